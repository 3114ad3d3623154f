//! Tests of what the conformance suite cannot test: the file, locks, migrations, other processes,
//! faults of disks, and that a store in memory writes no file.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use futures::FutureExt;
use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::conformance::samples::{app, batch, commit, first, put, session, worker};

mod damage;
mod fixtures;
mod full;
mod memory;
mod presence;
mod processes;
mod schema_1;
mod upgrade;

/// Creates a folder and returns a path for a store in it.
fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    (folder, path)
}

/// Returns the path of a file beside that of the store.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

/// Opens a store with other migrations.
fn open_with(path: &Path, migrations: &[&str]) -> Result<SqliteStore, StoreError> {
    SqliteStore::open_with(Database::file(path)?, migrations)
}

async fn revision(store: &SqliteStore) -> u64 {
    store.load().await.unwrap().apps.revision
}

#[tokio::test]
async fn file_log_and_folder_are_private() {
    let (folder, _) = place();
    let path = folder.path().join("new/folder/store.db");
    let store = SqliteStore::open(&path).unwrap();
    store.save_worker(worker("w")).await.unwrap();
    assert_eq!(
        (
            mode(&path),
            mode(&beside(&path, "-wal")),
            mode(&beside(&path, "-shm"))
        ),
        (0o600, 0o600, 0o600)
    );
    assert_eq!(
        (
            mode(path.parent().unwrap()),
            mode(&folder.path().join("new"))
        ),
        (0o700, 0o700)
    );
}

#[tokio::test]
async fn an_empty_file_is_a_new_store_and_names_special_to_sqlite_are_files() {
    let (folder, path) = place();
    fs::write(&path, "").unwrap();
    SqliteStore::open(&path)
        .unwrap()
        .save_worker(worker("w"))
        .await
        .unwrap();
    assert_eq!(
        SqliteStore::open(&path)
            .unwrap()
            .load()
            .await
            .unwrap()
            .workers,
        [worker("w")]
    );
    let odd = folder.path().join("file:x?mode=memory");
    SqliteStore::open(&odd).unwrap();
    assert!(odd.is_file());
}

/// Regression: a connection or a thread of the store survived in a process that forks.
#[tokio::test]
async fn a_dropped_store_closes_its_files() {
    let (folder, path) = place();
    let store = SqliteStore::open(&path).unwrap();
    store.save_worker(worker("w")).await.unwrap();
    store.load().await.unwrap();
    let open = || {
        let links = fs::read_dir("/proc/self/fd")
            .unwrap()
            .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
        links
            .filter(|target| target.starts_with(folder.path()))
            .count()
    };
    assert!(open() > 0);
    drop(store);
    assert_eq!(open(), 0);
    assert!(
        !beside(&path, "-wal").exists(),
        "the log was not checkpointed"
    );
}

#[tokio::test]
async fn a_commit_completes_when_its_future_is_dropped() {
    let (_folder, path) = place();
    let store = SqliteStore::open(&path).unwrap();
    // Polled once and then dropped, as when the client of an API call disconnects.
    let _ = store
        .commit_apps(first(1, vec![put("a", 1)]))
        .now_or_never();
    loop {
        if let Some(delta) = store.changes_since(&Cursor::default()).await.unwrap() {
            assert_eq!(delta.apps.unwrap().state.apps, [app("a", 1)]);
            break;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_store_locked_by_another_process_recovers() {
    let (_folder, path) = place();
    let store = SqliteStore::open(&path).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = store.save_worker(worker("w")).await.unwrap_err();
    assert!(matches!(error, StoreError::Locked(_)), "{error:?}");
    assert!(store.load().await.is_ok(), "reads are not blocked");
    other.execute_batch("ROLLBACK").unwrap();
    store.save_worker(worker("w")).await.unwrap();
}

#[tokio::test]
async fn the_log_stays_small() {
    let (_folder, path) = place();
    let store = SqliteStore::open(&path).unwrap();
    let size = |path: &Path| path.metadata().unwrap().len();
    let mut longest = 0;
    for round in 0..60 {
        // A part of the same sessions each time, from all over the file.
        let ids = (0..2_000).map(|number| (round * 2_000 + number) * 7_919 % 20_000);
        store
            .save_activity(&batch(ids.map(|id| session(&format!("{id:022}"), round))))
            .await
            .unwrap();
        longest = longest.max(size(&beside(&path, "-wal")));
    }
    assert!(longest <= 24 << 20, "{longest} bytes of log");
    assert!(size(&path) > 1 << 20, "the log was not checkpointed");
}

/// Returns the migrations of a later version.
fn next_migrations() -> Vec<&'static str> {
    const NEXT: &str = "ALTER TABLE workers ADD COLUMN note TEXT NOT NULL DEFAULT 'none';";
    [schema::MIGRATIONS, &[NEXT]].concat()
}

#[tokio::test]
async fn older_files_are_migrated() {
    let (now, next) = (schema::MIGRATIONS, next_migrations());
    let (_folder, path) = place();
    open_with(&path, now)
        .unwrap()
        .commit_apps(first(1, vec![put("a", 1)]))
        .await
        .unwrap();

    // A failed migration changes nothing.
    let broken = [now, &["CREATE TABLE half (x); SELECT nonsense;"]].concat();
    open_with(&path, &broken).err().unwrap();
    assert_eq!(revision(&open_with(&path, now).unwrap()).await, 1);

    let store = open_with(&path, &next).unwrap();
    assert_eq!(store.load().await.unwrap().apps.apps, [app("a", 1)]);
    let notes = Connection::open(&path)
        .unwrap()
        .prepare("SELECT note FROM workers")
        .map(|_| ());
    assert_eq!(notes, Ok(()));
    drop(store);

    // An earlier version rejects the migrated file.
    let error = open_with(&path, now).err().unwrap();
    assert!(
        matches!(
            error,
            StoreError::Newer {
                found: 3,
                known: 2,
                ..
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_read_only_open_migrates_a_copy_and_leaves_the_file_unchanged() {
    let (now, next) = (schema::MIGRATIONS, next_migrations());
    let (folder, path) = place();
    let open = SqliteStore::open(&path).unwrap();
    open.commit_apps(first(1, vec![put("a", 1)])).await.unwrap();
    let files = || [path.clone(), beside(&path, "-wal")].map(|file| fs::read(file).unwrap());
    let before = files();
    assert!(before[1].len() > 4096, "the commit is not in the log");
    for migrations in [now, &next[..]] {
        let (seen, _) = SqliteStore::read_only_with(&path, migrations).unwrap();
        assert_eq!((seen.apps.apps, seen.apps.revision), (vec![app("a", 1)], 1));
    }
    assert!(SqliteStore::read_only_with(&path, &[now, &["SELECT nonsense;"]].concat()).is_err());
    assert_eq!(files(), before);
    drop(open);
    assert_eq!(SqliteStore::read_only(&path).unwrap().0.apps.revision, 1);
    let listed: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(
        listed,
        std::slice::from_ref(&path),
        "files were left behind"
    );
    // An empty file becomes a store.
    fs::write(&path, "").unwrap();
    assert_eq!(SqliteStore::read_only(&path).unwrap().0.apps.revision, 0);
    assert_eq!(fs::read(&path).unwrap(), b"");
    assert!(matches!(
        SqliteStore::read_only(&beside(&path, "-none")),
        Err(StoreError::Unusable(_))
    ));
}

#[test]
fn a_new_file_has_the_latest_version_and_the_application_id() {
    let (_folder, path) = place();
    drop(SqliteStore::open(&path).unwrap());
    let connection = Connection::open(&path).unwrap();
    let id: i64 = connection
        .pragma_query_value(None, "application_id", |row| row.get(0))
        .unwrap();
    assert_eq!(
        (id, schema::version(&connection).unwrap()),
        (schema::APPLICATION_ID, 2)
    );
}
