//! Damaged files and files that are not stores: each gives a clear error and stays unchanged.

use super::*;

/// Opens a file that must be rejected and left unchanged; returns the error.
fn rejected(path: &Path) -> StoreError {
    let before = fs::read(path).unwrap();
    let error = SqliteStore::open(path).err().unwrap();
    assert!(
        error.to_string().contains(&path.display().to_string()),
        "{error}"
    );
    assert!(
        fs::read(path).unwrap() == before,
        "the file was changed: {error}"
    );
    error
}

fn rejected_as_corrupt(path: &Path) {
    let error = rejected(path);
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
}

/// Returns a file of some hundred pages.
async fn filled(path: &Path) -> Vec<u8> {
    let store = SqliteStore::open(path).unwrap();
    store
        .commit_apps(first(
            300,
            (1..=300)
                .map(|number| put(&format!("a{number}"), number))
                .collect(),
        ))
        .await
        .unwrap();
    let sessions = (0..1_000).map(|number| session(&format!("{number:022}"), number));
    store.save_activity(&batch(sessions)).await.unwrap();
    drop(store);
    fs::read(path).unwrap()
}

#[test]
fn garbage_is_rejected() {
    let (_folder, path) = place();
    let noise: Vec<u8> = (0..100_000_u32)
        .map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    for garbage in [
        b"hello\n".to_vec(),
        noise.clone(),
        [b"SQLite format 3\0", noise.as_slice()].concat(),
        vec![0; 8192],
    ] {
        fs::write(&path, garbage).unwrap();
        rejected_as_corrupt(&path);
    }
}

#[tokio::test]
async fn truncated_and_damaged_files_are_rejected() {
    let (_folder, path) = place();
    let whole = filled(&path).await;
    assert!(whole.len() > 50 * 4096);
    for length in [
        100,
        4096,
        whole.len() / 2,
        whole.len() / 2 + 77,
        whole.len() - 4096,
    ] {
        fs::write(&path, &whole[..length]).unwrap();
        rejected_as_corrupt(&path);
    }
    let mut damaged = whole.clone();
    let middle = whole.len() / 2 / 4096 * 4096;
    damaged[middle..middle + 4096].fill(0xa5);
    fs::write(&path, &damaged).unwrap();
    rejected_as_corrupt(&path);
    fs::write(&path, &whole).unwrap();
    assert_eq!(revision(&SqliteStore::open(&path).unwrap()).await, 300);
}

#[test]
fn databases_of_other_programs_are_rejected() {
    for sql in [
        "CREATE TABLE theirs (x);",
        "PRAGMA journal_mode = WAL; CREATE TABLE theirs (x);",
        "PRAGMA application_id = 7;",
        "PRAGMA user_version = 1;",
    ] {
        let (_folder, path) = place();
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        rejected_as_corrupt(&path);
    }
}

#[tokio::test]
async fn files_of_later_versions_are_rejected() {
    let (_folder, path) = place();
    filled(&path).await;
    Connection::open(&path)
        .unwrap()
        .execute_batch("PRAGMA user_version = 1000")
        .unwrap();
    let error = rejected(&path);
    assert!(
        matches!(
            error,
            StoreError::Newer {
                found: 1000,
                known: 2,
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(error.code(), "store_unavailable");
}

#[test]
fn directories_and_read_only_files_are_unusable() {
    let (folder, path) = place();
    fs::write(&path, "").unwrap();
    for path in [folder.path(), &path.join("below/a/file")] {
        let error = SqliteStore::open(path).err().unwrap();
        assert!(matches!(error, StoreError::Unusable(_)), "{error:?}");
    }
    drop(SqliteStore::open(&path).unwrap());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    if fs::OpenOptions::new().write(true).open(&path).is_ok() {
        eprintln!("skipped in part: this user may write to every file");
        return;
    }
    let error = rejected(&path);
    assert!(matches!(error, StoreError::Unusable(_)), "{error:?}");
}

#[tokio::test]
async fn errors_name_unreadable_rows() {
    for (sql, named) in [
        (
            "UPDATE apps SET value = '{}' WHERE name = 'a7'",
            "app `a7`: ",
        ),
        (
            "UPDATE apps SET revision = 1000 WHERE name = 'a7'",
            "app `a7`: ",
        ),
        (
            "UPDATE sessions SET client = 'nowhere' WHERE active_ms = 0",
            "session `0000000000000000000000`: ",
        ),
        (
            "INSERT INTO workers VALUES ('w1', '[]', NULL, NULL)",
            "worker `w1`: ",
        ),
        (
            "INSERT INTO webhooks VALUES (1, 'h1', 'http://x', '[]', 1, 0)",
            "webhook `h1`: ",
        ),
        ("DROP TABLE activity", "no such table: activity"),
    ] {
        let (_folder, path) = place();
        filled(&path).await;
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        let error = SqliteStore::open(&path).unwrap().load().await.unwrap_err();
        assert!(
            matches!(&error, StoreError::Corrupt { cause, .. } if cause.contains(named)),
            "{error:?}"
        );
    }
}
