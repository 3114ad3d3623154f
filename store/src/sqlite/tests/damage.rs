//! Files that are no store, or are damaged: a clear error, and the file stays as it is.

use super::*;

/// Refuses a file, and leaves it as it is.
fn refused(path: &Path) -> StoreError {
    let before = fs::read(path).unwrap();
    let error = SqliteStore::open(path).err().unwrap();
    assert!(
        error.to_string().contains(&path.display().to_string()),
        "{error}"
    );
    assert!(fs::read(path).unwrap() == before, "it was changed: {error}");
    error
}

fn refused_as_corrupt(path: &Path) {
    let error = refused(path);
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
}

/// A store with some hundred pages.
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
fn garbage_is_refused() {
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
        refused_as_corrupt(&path);
    }
}

#[tokio::test]
async fn a_store_that_ends_too_early_or_has_a_damaged_page_is_refused() {
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
        refused_as_corrupt(&path);
    }
    let mut damaged = whole.clone();
    let middle = whole.len() / 2 / 4096 * 4096;
    damaged[middle..middle + 4096].fill(0xa5);
    fs::write(&path, &damaged).unwrap();
    refused_as_corrupt(&path);
    fs::write(&path, &whole).unwrap();
    assert_eq!(revision(&SqliteStore::open(&path).unwrap()).await, 300);
}

#[test]
fn a_database_of_another_program_is_refused() {
    for sql in [
        "CREATE TABLE theirs (x);",
        "PRAGMA journal_mode = WAL; CREATE TABLE theirs (x);",
        "PRAGMA application_id = 7;",
        "PRAGMA user_version = 1;",
    ] {
        let (_folder, path) = place();
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        refused_as_corrupt(&path);
    }
}

#[tokio::test]
async fn a_store_of_a_later_version_is_refused() {
    let (_folder, path) = place();
    filled(&path).await;
    Connection::open(&path)
        .unwrap()
        .execute_batch("PRAGMA user_version = 1000")
        .unwrap();
    let error = refused(&path);
    assert!(
        matches!(
            error,
            StoreError::Newer {
                found: 1000,
                known: 1,
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(error.code(), "store_unavailable");
}

#[test]
fn what_is_no_file_or_cannot_be_written_is_unusable() {
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
    let error = refused(&path);
    assert!(matches!(error, StoreError::Unusable(_)), "{error:?}");
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_named() {
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
            "INSERT INTO webhooks VALUES (1, 'h1', 'http://x', '[]', 1)",
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
