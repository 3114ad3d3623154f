//! A process of schema 1 that goes on using a file which its successor has migrated.

use super::schema_1::{OldDelta, OldProcess};
use super::*;
use crate::conformance::samples::{activity, app_batch, member, served, webhook};
use crate::member::Role;

const OLD: i64 = 7;

/// Creates a file of schema 1 that an old process uses, and opens it as its successor does.
async fn upgrade(path: &Path) -> (OldProcess, SqliteStore) {
    let connection = Connection::open(path).unwrap();
    connection.execute_batch(schema::MIGRATIONS[0]).unwrap();
    let id = schema::APPLICATION_ID;
    connection
        .execute_batch(&format!(
            "PRAGMA application_id = {id}; PRAGMA user_version = 1;
             UPDATE app_table SET epoch = 'e'"
        ))
        .unwrap();
    let old = OldProcess::open(path, OLD);
    old.record_serving(0, true);
    // Its statements are prepared before the migration.
    use_everything(&old, 1);
    let new = SqliteStore::open(path).unwrap();
    (old, new)
}

/// Executes every statement of the old process; its commit has the revision `revision`.
fn use_everything(old: &OldProcess, revision: u64) {
    let revision_sql = rows::to_sql(revision);
    old.commit("a", revision);
    old.record_serving(revision_sql, false);
    old.save_worker("w");
    old.save_session("kept", revision_sql, 0);
    old.save_session("deleted", revision_sql, 1);
    old.delete_session("deleted", revision_sql);
    old.save_app_activity("a", revision_sql);
    old.trim(0, 1_000);
    old.served_elsewhere();
}

async fn seen(store: &SqliteStore) -> Cursor {
    store.load().await.unwrap().cursor
}

async fn delta(store: &SqliteStore, seen: &mut Cursor) -> Delta {
    let delta = store.changes_since(seen).await.unwrap().unwrap();
    *seen = delta.cursor.clone();
    assert_eq!(store.changes_since(seen).await.unwrap(), None);
    delta
}

#[tokio::test]
async fn old_process_uses_a_migrated_file_without_errors() {
    let (_folder, path) = place();
    let (mut old, new) = upgrade(&path).await;
    new.join(member(2), Role::Successor).await.unwrap();
    for revision in 2..5 {
        use_everything(&old, revision);
        old.changes();
    }
    old.delete_app("a", 5);
    let state = new.load().await.unwrap();
    let summary = (
        state.apps.revision,
        state.apps.apps.len(),
        state.sessions.len(),
    );
    assert_eq!(summary, (5, 0, 1));
    assert_eq!(state.deleted_sessions, [("deleted".to_owned(), 4)]);
    assert_eq!(state.sessions[0].requests, 4);
    old.record_shutdown();
    assert_eq!(new.members().await.unwrap(), []);
    let connection = Connection::open(&path).unwrap();
    let verdict: String = connection
        .query_row("PRAGMA integrity_check", (), |row| row.get(0))
        .unwrap();
    assert_eq!(verdict, "ok");
}

#[tokio::test]
async fn changes_of_each_reach_the_other() {
    let (_folder, path) = place();
    let (mut old, new) = upgrade(&path).await;
    let mut seen = seen(&new).await;
    assert_eq!(old.changes(), OldDelta::default());
    // The new process reads the changes of the old one.
    old.save_session("s", 10, 0);
    old.save_app_activity("b", 10);
    old.delete_session("gone", 10);
    old.save_worker("w2");
    let read = delta(&new, &mut seen).await;
    let lengths = (
        read.sessions.len(),
        read.activity.len(),
        read.deleted_sessions.len(),
    );
    assert_eq!((lengths, read.workers.unwrap().len()), ((1, 1, 1), 2));
    assert_eq!(old.changes(), OldDelta::default());
    // The old process reads those of the new one.
    new.save_activity(&batch([session("t", 10)])).await.unwrap();
    new.save_activity(&app_batch(activity("c", 11, 11, 0)))
        .await
        .unwrap();
    new.delete_sessions(&["gone too".to_owned()], 10)
        .await
        .unwrap();
    new.save_worker(worker("w3")).await.unwrap();
    let expected = OldDelta {
        workers: true,
        sessions: vec![("t".to_owned(), 1, 0)],
        deleted: vec!["gone too".to_owned()],
        activity: vec!["c".to_owned()],
    };
    assert_eq!(old.changes(), expected);
    assert_eq!(new.changes_since(&seen).await.unwrap(), None);
}

#[tokio::test]
async fn session_written_by_both_reaches_both_in_each_order() {
    let (_folder, path) = place();
    let (mut old, new) = upgrade(&path).await;
    let mut seen = seen(&new).await;
    old.changes();
    let mut requests = 0;
    // Each letter is a write of the old or of the new process.
    for order in ["on", "no", "onn", "noo", "ono", "non", "onnoonn"] {
        for writer in order.chars() {
            match writer {
                'o' => old.save_session("s", 10, 0),
                _ => new.save_activity(&batch([session("s", 20)])).await.unwrap(),
            }
            requests += 1;
        }
        let expected = vec![("s".to_owned(), requests, 0)];
        assert_eq!(old.changes().sessions, expected, "{order}");
        let sessions = delta(&new, &mut seen).await.sessions;
        assert_eq!(sessions[0].requests, requests as u64, "{order}");
    }
    // Once both have read everything, a writer does not read its own change.
    new.save_activity(&batch([session("s", 30)])).await.unwrap();
    assert_eq!(new.changes_since(&seen).await.unwrap(), None);
    old.changes();
    old.save_session("s", 40, 0);
    assert_eq!(old.changes().sessions, []);
}

#[tokio::test]
async fn processes_wait_for_each_other() {
    let (_folder, path) = place();
    let (old, new) = upgrade(&path).await;
    let others = new.join(member(2), Role::Successor).await.unwrap();
    assert_eq!((others.len(), others[0].is_legacy()), (1, true));
    assert_eq!(others[0].id.get(), OLD);
    assert_eq!(old.served_elsewhere(), [("e".to_owned(), 1)]);
    new.beat(MemberStage::Serving, &served(2)).await.unwrap();
    assert_eq!(old.served_elsewhere(), [("e".to_owned(), 2)]);
    let others = new.commit_apps(commit(1, 2, vec![put("b", 2)])).await;
    let before = others.unwrap()[0].clone();
    old.record_serving(2, false);
    let after = new.members().await.unwrap()[0].clone();
    assert_eq!(after.served, served(2));
    assert!(after.beat > before.beat);
    // Every other write is a beat as well.
    old.save_app_activity("a", 50);
    assert!(new.members().await.unwrap()[0].beat > after.beat);
    new.leave().await.unwrap();
    assert_eq!(old.served_elsewhere(), []);
}

#[tokio::test]
async fn streams_of_an_old_process_that_drains_are_those_of_its_member() {
    let (_folder, path) = place();
    let (old, new) = upgrade(&path).await;
    let others = new.join(member(2), Role::Successor).await.unwrap();
    let mut seen = seen(&new).await;
    let mut streams = async || {
        let sessions = delta(&new, &mut seen).await.sessions.into_iter();
        sessions
            .map(|session| (session.id, session.streams_elsewhere))
            .collect::<Vec<_>>()
    };
    let one = |open| [("s".to_owned(), open)];
    for open in [3, 2, 0, 1] {
        old.save_session("s", 10, open);
        assert_eq!(streams().await, one(open));
    }
    // A write of the new process keeps them.
    new.save_activity(&batch([session("s", 20)])).await.unwrap();
    assert_eq!(new.load().await.unwrap().sessions.len(), 2);
    // The old process was silent, and was removed.
    new.remove_member(others[0].id).await.unwrap();
    assert_eq!(streams().await, one(0));
    old.save_session("s", 30, 2);
    assert_eq!(streams().await, one(2));
    assert_eq!(new.members().await.unwrap()[0].id.get(), OLD);
    old.record_shutdown();
    assert_eq!(streams().await, one(0));
}

#[tokio::test]
async fn webhooks_of_an_old_process_are_adopted_when_it_has_left() {
    let (_folder, path) = place();
    let (old, new) = upgrade(&path).await;
    new.join(member(2), Role::Successor).await.unwrap();
    old.save_webhook("h");
    assert_eq!(new.adopt_webhooks().await.unwrap(), []);
    old.record_shutdown();
    assert_eq!(new.adopt_webhooks().await.unwrap(), [webhook("h", 1)]);
}

#[tokio::test]
async fn rows_of_killed_old_processes_are_deleted_by_a_lone_start() {
    let (_folder, path) = place();
    let (old, new) = upgrade(&path).await;
    old.save_session("s", 10, 3);
    drop(old);
    assert_eq!(new.join(member(2), Role::Alone).await.unwrap(), []);
    assert_eq!(new.load().await.unwrap().sessions[1].streams_elsewhere, 0);
}

#[tokio::test]
async fn streams_of_a_draining_process_are_migrated() {
    let (_folder, path) = place();
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch(schema::MIGRATIONS[0]).unwrap();
    let old = OldProcess::open(&path, OLD);
    old.record_serving(0, true);
    old.save_session("s", 10, 3);
    let id = schema::APPLICATION_ID;
    connection
        .execute_batch(&format!(
            "PRAGMA application_id = {id}; PRAGMA user_version = 1"
        ))
        .unwrap();
    let new = SqliteStore::open(&path).unwrap();
    assert_eq!(new.load().await.unwrap().sessions[0].streams_elsewhere, 3);
}
