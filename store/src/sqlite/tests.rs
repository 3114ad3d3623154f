//! What holds of the store in a file alone: its file, other processes, and what goes wrong with
//! disks.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use futures::FutureExt;
use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::conformance::{app, batch, commit, first, put, session, worker};

mod damage;
mod full;
mod processes;

/// A folder with a path for a store in it.
fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    (folder, path)
}

/// A file beside the store's.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

async fn revision(store: &SqliteStore) -> u64 {
    store.load().await.unwrap().apps.revision
}

#[tokio::test]
async fn file_log_and_folder_are_for_nobody_else() {
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
async fn an_empty_file_is_a_new_store_and_names_that_sqlite_knows_are_files() {
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

#[tokio::test]
async fn processes_know_from_which_table_the_others_serve() {
    let (_folder, path) = place();
    let [killed, old, new] = [(), (), ()].map(|()| SqliteStore::open(&path).unwrap());
    let served = |revision| Served {
        epoch: "e".to_owned(),
        revision,
    };
    killed.note_serving(&served(9), false).await.unwrap();
    old.note_serving(&served(1), true).await.unwrap();
    assert_eq!(old.served_elsewhere().await.unwrap(), Some(vec![]));
    assert_eq!(new.served_elsewhere().await.unwrap(), Some(vec![served(1)]));
    new.note_serving(&served(2), false).await.unwrap();
    old.note_serving(&served(3), false).await.unwrap();
    assert_eq!(old.served_elsewhere().await.unwrap(), Some(vec![served(2)]));
    assert_eq!(new.served_elsewhere().await.unwrap(), Some(vec![served(3)]));
    old.note_leaving().await.unwrap();
    old.note_serving(&served(4), false).await.unwrap();
    assert_eq!(new.served_elsewhere().await.unwrap(), Some(vec![]));
}

/// Keeps out: a connection or a thread of the store that lives on in a process that forks.
#[tokio::test]
async fn a_dropped_store_has_nothing_open() {
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
    assert!(!beside(&path, "-wal").exists(), "the log is in the file");
}

#[tokio::test]
async fn a_commit_is_carried_out_even_when_nobody_waits_for_it() {
    let (_folder, path) = place();
    let store = SqliteStore::open(&path).unwrap();
    // It is begun and then dropped, as when the client of an API call goes away.
    let _ = store
        .commit_apps(first(1, vec![put("a", 1)]))
        .now_or_never();
    loop {
        if let Some(news) = store.news(&Cursor::default()).await.unwrap() {
            assert_eq!(news.apps.unwrap().state.apps, [app("a", 1)]);
            break;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_store_that_another_process_holds_is_locked_and_works_after_that() {
    let (_folder, path) = place();
    let store = SqliteStore::open(&path).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = store.save_worker(worker("w")).await.unwrap_err();
    assert!(matches!(error, StoreError::Locked(_)), "{error:?}");
    assert!(store.load().await.is_ok(), "reading goes on");
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
        // Each time some of the same sessions, from all over the file.
        let ids = (0..2_000).map(|number| (round * 2_000 + number) * 7_919 % 20_000);
        store
            .save_activity(&batch(ids.map(|id| session(&format!("{id:022}"), round))))
            .await
            .unwrap();
        longest = longest.max(size(&beside(&path, "-wal")));
    }
    assert!(longest <= 24 << 20, "{longest} bytes of log");
    assert!(
        size(&path) > 1 << 20,
        "what was written has been moved to the file"
    );
}

#[tokio::test]
async fn an_older_file_is_brought_to_the_latest_version() {
    const SECOND: &str = "ALTER TABLE workers ADD COLUMN note TEXT NOT NULL DEFAULT 'none';";
    let two = [schema::MIGRATIONS[0], SECOND];
    let (_folder, path) = place();
    SqliteStore::open_with(&path, &two[..1])
        .unwrap()
        .commit_apps(first(1, vec![put("a", 1)]))
        .await
        .unwrap();

    // One that fails changes nothing.
    let broken = [two[0], "CREATE TABLE half (x); SELECT nonsense;"];
    SqliteStore::open_with(&path, &broken).err().unwrap();
    assert_eq!(
        revision(&SqliteStore::open_with(&path, &two[..1]).unwrap()).await,
        1
    );

    let store = SqliteStore::open_with(&path, &two).unwrap();
    assert_eq!(store.load().await.unwrap().apps.apps, [app("a", 1)]);
    let notes = Connection::open(&path)
        .unwrap()
        .prepare("SELECT note FROM workers")
        .map(|_| ());
    assert_eq!(notes, Ok(()));
    drop(store);

    // What is new here is too new there.
    let error = SqliteStore::open_with(&path, &two[..1]).err().unwrap();
    assert!(
        matches!(
            error,
            StoreError::Newer {
                found: 2,
                known: 1,
                ..
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_look_migrates_a_copy_and_leaves_the_file_to_those_who_use_it() {
    const SECOND: &str = "ALTER TABLE workers ADD COLUMN note TEXT NOT NULL DEFAULT 'none';";
    let two = [schema::MIGRATIONS[0], SECOND];
    let (folder, path) = place();
    let open = SqliteStore::open(&path).unwrap();
    open.commit_apps(first(1, vec![put("a", 1)])).await.unwrap();
    let files = || [path.clone(), beside(&path, "-wal")].map(|file| fs::read(file).unwrap());
    let before = files();
    assert!(before[1].len() > 4096, "what was written is in the log");
    for migrations in [&two[..1], &two] {
        let seen = SqliteStore::look_with(&path, migrations).unwrap();
        assert_eq!((seen.apps.apps, seen.apps.revision), (vec![app("a", 1)], 1));
    }
    assert!(SqliteStore::look_with(&path, &[two[0], "SELECT nonsense;"]).is_err());
    assert_eq!(files(), before);
    drop(open);
    assert_eq!(SqliteStore::look(&path).unwrap().apps.revision, 1);
    let listed: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(listed, std::slice::from_ref(&path), "it makes nothing");
    // An empty file is a store to be.
    fs::write(&path, "").unwrap();
    assert_eq!(SqliteStore::look(&path).unwrap().apps.revision, 0);
    assert_eq!(fs::read(&path).unwrap(), b"");
    assert!(matches!(
        SqliteStore::look(&beside(&path, "-none")),
        Err(StoreError::Unusable(_))
    ));
}

#[test]
fn a_new_file_has_the_latest_version_and_our_mark() {
    let (_folder, path) = place();
    drop(SqliteStore::open(&path).unwrap());
    let connection = Connection::open(&path).unwrap();
    let id: i64 = connection
        .pragma_query_value(None, "application_id", |row| row.get(0))
        .unwrap();
    assert_eq!(
        (id, schema::version(&connection).unwrap()),
        (schema::APPLICATION_ID, 1)
    );
}
