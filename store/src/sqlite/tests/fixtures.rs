//! Files that released programs wrote, migrated to the latest schema.
//!
//! A release that changes the schema adds a file here, written by its own program, and named by the
//! schema and the commit: the migration from each released schema is tested forever.

use app_proxy_api::table::{AppSource, StoredApp, TableState};

use super::*;
use crate::StoredSession;
use crate::conformance::samples::{activity, member, served, webhook};
use crate::member::Role;
use crate::state::StoredDrain;

/// Copies a fixture to a place where it may be changed.
fn fixture(name: &str) -> (TempDir, PathBuf) {
    let (folder, path) = place();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    fs::copy(fixtures.join(name), &path).unwrap();
    (folder, path)
}

/// Returns the state that every fixture has.
fn expected(cursor: Cursor) -> State {
    let of_file = StoredApp {
        source: AppSource::File,
        updated_at: None,
        ..app("of-file", 2)
    };
    let drain = Some(StoredDrain {
        since_ms: 7,
        deadline_ms: 9,
    });
    let drained = StoredWorker {
        drain,
        ..worker("w2")
    };
    let of_configuration = StoredWorker {
        registration: None,
        ..worker("w3")
    };
    let used_by_two = StoredSession {
        requests: 2,
        bytes_in: 4,
        bytes_out: 6,
        ..session("s1", 20)
    };
    let with_streams = StoredSession {
        streams_elsewhere: 3,
        ..session("s2", 11)
    };
    State {
        apps: TableState {
            epoch: "e".into(),
            revision: 6,
            horizon: 5,
            apps: vec![app("notes", 1), of_file],
            deleted: vec![("gone".to_owned(), 6)],
        },
        workers: vec![worker("w1"), drained, of_configuration],
        sessions: vec![used_by_two, with_streams],
        deleted_sessions: vec![("s3".to_owned(), 30)],
        activity: vec![activity("notes", 12, 11, 10)],
        webhooks: vec![webhook("h1", 1), webhook("h2", 2)],
        cursor,
    }
}

#[tokio::test]
async fn file_of_schema_1_is_migrated() {
    let (_folder, path) = fixture("schema-1-818f1d6.db");
    let (read, _) = SqliteStore::read_only(&path).unwrap();
    assert_eq!(read, expected(read.cursor.clone()));
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.load().await.unwrap(), read);
    // The process that wrote the file is a member, until a lone start finds that it is not alive.
    let members = store.members().await.unwrap();
    assert_eq!((members.len(), &members[0].served), (1, &served(6)));
    assert!(members[0].is_legacy());
    store.join(member(1), Role::Alone).await.unwrap();
    assert_eq!(store.members().await.unwrap(), []);
    // Its history goes on.
    let change = commit(6, 7, vec![put("gone", 7)]);
    store.commit_apps(change).await.unwrap();
    store.save_worker(worker("w4")).await.unwrap();
    let other = SqliteStore::open(&path).unwrap();
    let delta = other.changes_since(&read.cursor).await.unwrap().unwrap();
    assert_eq!(delta.apps.unwrap().state.apps, [app("gone", 7)]);
    assert_eq!(delta.workers.unwrap().len(), 4);
    assert!(
        delta
            .sessions
            .iter()
            .all(|session| session.streams_elsewhere == 0)
    );
}
