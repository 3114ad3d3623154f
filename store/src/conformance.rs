//! What every store does, as tests that run on each of them: `memory` and `sqlite`.

use std::sync::Arc;

use app_proxy_api::table::{Source, StoredApp};
use app_proxy_api::webhooks::{WebhookEvent, WebhookEventData, WebhookEventKind};
use serde_json::json;

use super::*;
use crate::memory::MemoryStore;
use crate::sqlite::SqliteStore;

/// Where a store is kept.
pub(super) trait Place {
    /// An empty place.
    fn new() -> Self;

    /// A handle on what is kept there, as another process would have it.
    fn open(&self) -> Box<dyn Store>;
}

struct InMemory(MemoryStore);

impl Place for InMemory {
    fn new() -> Self {
        Self(MemoryStore::new())
    }

    fn open(&self) -> Box<dyn Store> {
        Box::new(self.0.another())
    }
}

struct InFile(tempfile::TempDir);

impl Place for InFile {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn open(&self) -> Box<dyn Store> {
        Box::new(SqliteStore::open(&self.0.path().join("store.db")).unwrap())
    }
}

macro_rules! every_store {
    ($($behaviour:ident),+ $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $behaviour() {
                super::$behaviour::<super::InMemory>().await;
            })+
        }
        mod sqlite {
            $(#[tokio::test]
            async fn $behaviour() {
                super::$behaviour::<super::InFile>().await;
            })+
        }
    };
}

every_store![
    a_new_store_is_empty_and_has_no_news,
    committed_apps_are_there_when_the_store_is_opened_again,
    a_commit_on_another_table_than_the_stored_one_is_refused_and_changes_nothing,
    another_epoch_replaces_the_table,
    deletions_are_remembered_up_to_the_horizon,
    an_app_that_comes_back_is_not_remembered_as_deleted,
    workers_are_remembered_and_forgotten,
    a_new_session_is_stored_as_it_is,
    activity_of_two_processes_comes_together,
    a_deleted_session_is_not_brought_back,
    old_sessions_and_old_deletions_are_trimmed,
    of_too_many_sessions_those_active_last_stay,
    activity_of_apps_is_merged_and_goes_with_the_app,
    sessions_go_with_their_app,
    a_webhook_is_stored_once_and_they_are_in_order,
    apps_are_news_to_another_process,
    a_process_that_is_too_far_behind_gets_the_whole_table,
    workers_are_news_to_another_process,
    deletions_of_sessions_are_news_to_another_process,
    activity_is_news_to_another_process,
    what_a_process_has_changed_itself_is_no_news_to_it,
    a_session_that_both_have_changed_is_news_to_both,
    numbers_that_are_too_large_are_cut_off,
];

/// An app whose endpoint's port tells its versions apart.
pub(super) fn app(name: &str, revision: u64) -> StoredApp {
    let port = 1 + revision % 60_000;
    let app = json!({"name": name, "endpoints": [{"address": format!("127.0.0.1:{port}")}], "pool": {"zone": "a"}});
    let app = serde_json::from_value(app).unwrap();
    StoredApp {
        app,
        revision,
        source: Source::Api,
        updated_at: Some("2024-05-01T00:00:00.000Z".to_owned()),
    }
}

pub(super) fn put(name: &str, revision: u64) -> AppChange {
    AppChange::Put(Arc::new(app(name, revision)))
}

fn delete(name: &str, revision: u64) -> AppChange {
    AppChange::Delete {
        name: name.to_owned(),
        revision,
    }
}

/// A commit in the epoch `e`.
pub(super) fn commit(base: u64, revision: u64, changes: Vec<AppChange>) -> AppCommit {
    AppCommit {
        base: ("e".to_owned(), base),
        epoch: "e".to_owned(),
        revision,
        horizon: 0,
        changes,
    }
}

/// The first commit of the epoch `e`.
pub(super) fn first(revision: u64, changes: Vec<AppChange>) -> AppCommit {
    AppCommit {
        base: (String::new(), 0),
        ..commit(0, revision, changes)
    }
}

pub(super) fn worker(id: &str) -> StoredWorker {
    let registration =
        json!({"address": "127.0.0.1:7080", "weight": 3, "labels": {"zone": "a"}, "instance": "i"});
    StoredWorker {
        id: id.to_owned(),
        registration: Some(serde_json::from_value(registration).unwrap()),
        drain: None,
    }
}

pub(super) fn session(id: &str, active_ms: u64) -> StoredSession {
    StoredSession {
        id: id.to_owned(),
        mac: format!("mac of {id}"),
        app: "notes".to_owned(),
        worker: Some("w1".to_owned()),
        moves: 0,
        origin_request_id: "r1".to_owned(),
        last_request_id: "r1".to_owned(),
        client: Some("2001:db8::1".parse().unwrap()),
        created_ms: 5,
        active_ms,
        requests: 1,
        bytes_in: 2,
        bytes_out: 3,
        draining_streams: 0,
    }
}

fn counts(requests: u64, bytes_in: u64, bytes_out: u64) -> Counts {
    Counts {
        requests,
        bytes_in,
        bytes_out,
    }
}

/// A batch in which all of a session is new.
pub(super) fn batch(sessions: impl IntoIterator<Item = StoredSession>) -> ActivityBatch {
    let activity = |session: StoredSession| {
        let more = counts(session.requests, session.bytes_in, session.bytes_out);
        SessionActivity { session, more }
    };
    ActivityBatch {
        sessions: sessions.into_iter().map(activity).collect(),
        apps: Vec::new(),
    }
}

fn activity(app: &str, active_ms: u64, quiet_since_ms: u64, idle_told_ms: u64) -> AppActivity {
    AppActivity {
        app: app.to_owned(),
        active_ms,
        quiet_since_ms,
        idle_told_ms,
    }
}

fn app_batch(app: AppActivity) -> ActivityBatch {
    ActivityBatch {
        sessions: Vec::new(),
        apps: vec![app],
    }
}

fn webhook(id: &str, created_ms: u64) -> StoredWebhook {
    let data = WebhookEventData {
        app: "notes".to_owned(),
        revision: 1,
        last_active_at: None,
        request_id: Some("r1".to_owned()),
        session_count: 0,
        sessions: Vec::new(),
    };
    let timestamp = "2024-05-01T00:00:00.000Z".to_owned();
    let event = WebhookEvent {
        id: id.to_owned(),
        kind: WebhookEventKind::AppWake,
        timestamp,
        data,
    };
    StoredWebhook {
        url: "http://127.0.0.1:9/hook".to_owned(),
        event,
        created_ms,
    }
}

fn names(apps: &TableState) -> Vec<(&str, u64)> {
    apps.apps
        .iter()
        .map(|app| (app.app.name.as_str(), app.revision))
        .collect()
}

fn ids(sessions: &[StoredSession]) -> Vec<&str> {
    sessions.iter().map(|session| session.id.as_str()).collect()
}

async fn cursor(store: &dyn Store) -> Cursor {
    store.load().await.unwrap().cursor
}

async fn a_new_store_is_empty_and_has_no_news<P: Place>() {
    let place = P::new();
    let store = place.open();
    assert_eq!(store.load().await.unwrap(), State::default());
    assert_eq!(store.news(&Cursor::default()).await.unwrap(), None);
    store.remove_worker("nobody").await.unwrap();
    store.remove_webhook("none").await.unwrap();
    store
        .save_activity(&ActivityBatch::default())
        .await
        .unwrap();
    store.delete_sessions(&[], 1).await.unwrap();
    assert_eq!(store.trim_sessions(u64::MAX, 0).await.unwrap(), 0);
    assert_eq!(place.open().load().await.unwrap(), State::default());
}

async fn committed_apps_are_there_when_the_store_is_opened_again<P: Place>() {
    let place = P::new();
    let store = place.open();
    store
        .commit_apps(first(2, vec![put("b", 1), put("a", 2)]))
        .await
        .unwrap();
    store
        .commit_apps(commit(2, 3, vec![put("b", 3)]))
        .await
        .unwrap();
    store
        .commit_apps(commit(3, 4, vec![delete("a", 4)]))
        .await
        .unwrap();
    drop(store);
    let contents = place.open().load().await.unwrap();
    let deleted = vec![("a".to_owned(), 4)];
    let apps = TableState {
        epoch: "e".to_owned(),
        revision: 4,
        horizon: 0,
        apps: vec![app("b", 3)],
        deleted,
    };
    let cursor = Cursor {
        epoch: "e".to_owned(),
        revision: 4,
        sequence: contents.cursor.sequence,
    };
    assert_eq!(
        contents,
        State {
            apps,
            cursor,
            ..State::default()
        }
    );
}

async fn a_commit_on_another_table_than_the_stored_one_is_refused_and_changes_nothing<P: Place>() {
    let place = P::new();
    let store = place.open();
    store
        .commit_apps(first(1, vec![put("a", 1)]))
        .await
        .unwrap();
    let before = store.load().await.unwrap();
    let elsewhere = AppCommit {
        base: ("f".to_owned(), 1),
        ..commit(1, 2, vec![put("b", 2)])
    };
    let behind = [
        first(2, vec![put("b", 2)]),
        commit(0, 2, vec![put("b", 2)]),
        commit(2, 3, vec![delete("a", 3)]),
        AppCommit {
            epoch: "g".to_owned(),
            ..commit(0, 1, Vec::new())
        },
        elsewhere,
    ];
    for commit in behind {
        let answer = store.commit_apps(commit.clone()).await;
        assert!(
            matches!(answer, Err(StoreError::Behind)),
            "{commit:?}: {answer:?}"
        );
    }
    assert_eq!(store.load().await.unwrap(), before);
    assert_eq!(place.open().news(&before.cursor).await.unwrap(), None);
}

async fn another_epoch_replaces_the_table<P: Place>() {
    let store = P::new().open();
    let changes = vec![put("a", 1), put("b", 2), delete("a", 3)];
    store
        .commit_apps(AppCommit {
            horizon: 1,
            ..first(3, changes)
        })
        .await
        .unwrap();
    let next = AppCommit {
        epoch: "f".to_owned(),
        ..commit(3, 2, vec![put("c", 1), delete("d", 2)])
    };
    store.commit_apps(next).await.unwrap();
    let apps = store.load().await.unwrap().apps;
    let deleted = vec![("d".to_owned(), 2)];
    assert_eq!(
        apps,
        TableState {
            epoch: "f".to_owned(),
            revision: 2,
            horizon: 0,
            apps: vec![app("c", 1)],
            deleted
        }
    );
}

async fn deletions_are_remembered_up_to_the_horizon<P: Place>() {
    let store = P::new().open();
    let changes = vec![
        put("a", 1),
        put("b", 2),
        put("c", 3),
        delete("a", 4),
        delete("b", 5),
        delete("c", 6),
    ];
    store
        .commit_apps(AppCommit {
            horizon: 4,
            ..first(6, changes)
        })
        .await
        .unwrap();
    let apps = store.load().await.unwrap().apps;
    assert_eq!(
        (apps.horizon, apps.deleted),
        (4, vec![("b".to_owned(), 5), ("c".to_owned(), 6)])
    );
    store
        .commit_apps(AppCommit {
            horizon: 5,
            ..commit(6, 7, vec![put("d", 7)])
        })
        .await
        .unwrap();
    let apps = store.load().await.unwrap().apps;
    assert_eq!((apps.horizon, apps.deleted), (5, vec![("c".to_owned(), 6)]));
}

async fn an_app_that_comes_back_is_not_remembered_as_deleted<P: Place>() {
    let store = P::new().open();
    store
        .commit_apps(first(3, vec![put("a", 1), delete("a", 2), put("a", 3)]))
        .await
        .unwrap();
    let apps = store.load().await.unwrap().apps;
    assert_eq!((names(&apps), apps.deleted.len()), (vec![("a", 3)], 0));
}

async fn workers_are_remembered_and_forgotten<P: Place>() {
    let place = P::new();
    let store = place.open();
    store.save_worker(worker("w2")).await.unwrap();
    store
        .save_worker(StoredWorker {
            registration: None,
            ..worker("w1")
        })
        .await
        .unwrap();
    store.save_worker(worker("w3")).await.unwrap();
    let drained = StoredWorker {
        drain: Some(StoredDrain {
            since_ms: 7,
            deadline_ms: 9,
        }),
        ..worker("w2")
    };
    store.save_worker(drained.clone()).await.unwrap();
    store.remove_worker("w3").await.unwrap();
    drop(store);
    let workers = place.open().load().await.unwrap().workers;
    assert_eq!(
        workers,
        [
            StoredWorker {
                registration: None,
                ..worker("w1")
            },
            drained
        ]
    );
}

async fn a_new_session_is_stored_as_it_is<P: Place>() {
    let place = P::new();
    let store = place.open();
    let known = StoredSession {
        requests: 50,
        moves: 4,
        draining_streams: 6,
        ..session("s1", 10)
    };
    let bare = StoredSession {
        worker: None,
        client: None,
        ..session("s2", 11)
    };
    let more = counts(1, 1, 1);
    let sessions = [known.clone(), bare.clone()].map(|session| SessionActivity { session, more });
    store
        .save_activity(&ActivityBatch {
            sessions: sessions.to_vec(),
            apps: Vec::new(),
        })
        .await
        .unwrap();
    drop(store);
    assert_eq!(place.open().load().await.unwrap().sessions, [known, bare]);
}

async fn activity_of_two_processes_comes_together<P: Place>() {
    let place = P::new();
    let (old, new) = (place.open(), place.open());
    old.save_activity(&batch([session("s", 10)])).await.unwrap();
    let later = StoredSession {
        worker: Some("w2".to_owned()),
        moves: 1,
        last_request_id: "r2".to_owned(),
        origin_request_id: "not this".to_owned(),
        mac: "not this".to_owned(),
        client: None,
        created_ms: 99,
        requests: 900,
        ..session("s", 20)
    };
    let more = counts(4, 5, 6);
    let activity = vec![SessionActivity {
        session: later,
        more,
    }];
    new.save_activity(&ActivityBatch {
        sessions: activity,
        apps: Vec::new(),
    })
    .await
    .unwrap();
    let merged = StoredSession {
        worker: Some("w2".to_owned()),
        moves: 1,
        last_request_id: "r2".to_owned(),
        requests: 5,
        bytes_in: 7,
        bytes_out: 9,
        ..session("s", 20)
    };
    assert_eq!(
        old.load().await.unwrap().sessions,
        std::slice::from_ref(&merged)
    );
    let earlier = StoredSession {
        draining_streams: 3,
        last_request_id: "r0".to_owned(),
        ..session("s", 15)
    };
    old.save_activity(&batch([earlier])).await.unwrap();
    let merged = StoredSession {
        requests: 6,
        bytes_in: 9,
        bytes_out: 12,
        draining_streams: 3,
        ..merged
    };
    assert_eq!(new.load().await.unwrap().sessions, [merged]);
    let same = StoredSession {
        last_request_id: "r3".to_owned(),
        ..session("s", 20)
    };
    new.save_activity(&batch([same])).await.unwrap();
    let sessions = new.load().await.unwrap().sessions;
    assert_eq!(
        (
            sessions[0].last_request_id.as_str(),
            sessions[0].draining_streams
        ),
        ("r3", 0)
    );
}

async fn a_deleted_session_is_not_brought_back<P: Place>() {
    let place = P::new();
    let (store, other) = (place.open(), place.open());
    store
        .save_activity(&batch([session("s1", 10), session("s2", 10)]))
        .await
        .unwrap();
    store
        .delete_sessions(&["s1".to_owned(), "never there".to_owned()], 30)
        .await
        .unwrap();
    store.delete_sessions(&["s1".to_owned()], 20).await.unwrap();
    for process in [&store, &other] {
        let again = [
            session("s1", 40),
            session("never there", 40),
            session("s2", 40),
        ];
        process.save_activity(&batch(again)).await.unwrap();
    }
    drop((store, other));
    let contents = place.open().load().await.unwrap();
    assert_eq!(ids(&contents.sessions), ["s2"]);
    assert_eq!(
        contents.deleted_sessions,
        [("never there".to_owned(), 30), ("s1".to_owned(), 30)]
    );
}

async fn old_sessions_and_old_deletions_are_trimmed<P: Place>() {
    let store = P::new().open();
    store
        .save_activity(&batch([
            session("s1", 9),
            session("s2", 10),
            session("s3", 11),
        ]))
        .await
        .unwrap();
    store.delete_sessions(&["d1".to_owned()], 9).await.unwrap();
    store.delete_sessions(&["d2".to_owned()], 10).await.unwrap();
    assert_eq!(store.trim_sessions(10, 100).await.unwrap(), 1);
    let contents = store.load().await.unwrap();
    assert_eq!(ids(&contents.sessions), ["s2", "s3"]);
    assert_eq!(contents.deleted_sessions, [("d2".to_owned(), 10)]);
    assert_eq!(store.trim_sessions(10, 100).await.unwrap(), 0);
}

async fn of_too_many_sessions_those_active_last_stay<P: Place>() {
    let store = P::new().open();
    let sessions = (0..5_000).map(|number| session(&format!("s{number:04}"), 10_000 - number));
    store.save_activity(&batch(sessions)).await.unwrap();
    assert_eq!(store.trim_sessions(5_002, 3).await.unwrap(), 4_997);
    assert_eq!(
        ids(&store.load().await.unwrap().sessions),
        ["s0000", "s0001", "s0002"]
    );
    assert_eq!(store.trim_sessions(0, u64::MAX).await.unwrap(), 0);
    assert_eq!(store.trim_sessions(0, 0).await.unwrap(), 3);
}

async fn activity_of_apps_is_merged_and_goes_with_the_app<P: Place>() {
    let store = P::new().open();
    let save = async |active_ms, quiet_since_ms, idle_told_ms| {
        let batch = app_batch(activity("a", active_ms, quiet_since_ms, idle_told_ms));
        store.save_activity(&batch).await.unwrap();
        store.load().await.unwrap().activity
    };
    store
        .commit_apps(first(1, vec![put("a", 1)]))
        .await
        .unwrap();
    assert_eq!(save(10, 11, 0).await, [activity("a", 10, 11, 0)]);
    assert_eq!(save(8, 9, 11).await, [activity("a", 10, 11, 11)]);
    assert_eq!(save(10, 15, 0).await, [activity("a", 10, 15, 11)]);
    assert_eq!(save(20, 20, 0).await, [activity("a", 20, 20, 11)]);
    store
        .commit_apps(commit(1, 2, vec![delete("a", 2)]))
        .await
        .unwrap();
    assert_eq!(save(30, 30, 0).await, []);
    store
        .commit_apps(commit(2, 3, vec![put("a", 3)]))
        .await
        .unwrap();
    assert_eq!(save(40, 40, 0).await, [activity("a", 40, 40, 0)]);
}

async fn sessions_go_with_their_app<P: Place>() {
    let place = P::new();
    let store = place.open();
    let other = StoredSession {
        app: "other".to_owned(),
        ..session("o", 1)
    };
    let both = || batch([session("n", 1), other.clone()]);
    store
        .commit_apps(first(2, vec![put("notes", 1), put("other", 2)]))
        .await
        .unwrap();
    store.save_activity(&both()).await.unwrap();
    store
        .commit_apps(commit(2, 3, vec![delete("notes", 3)]))
        .await
        .unwrap();
    assert_eq!(ids(&store.load().await.unwrap().sessions), ["o"]);
    // What was still to be written of it comes too late.
    store.save_activity(&both()).await.unwrap();
    store
        .commit_apps(commit(3, 4, vec![put("notes", 4)]))
        .await
        .unwrap();
    assert_eq!(ids(&place.open().load().await.unwrap().sessions), ["o"]);
    store
        .save_activity(&batch([session("again", 5)]))
        .await
        .unwrap();
    assert_eq!(ids(&store.load().await.unwrap().sessions), ["again", "o"]);
    // A table of another epoch has the sessions of the apps that are in it.
    let another = AppCommit {
        base: ("e".to_owned(), 4),
        epoch: "f".to_owned(),
        ..commit(0, 1, vec![put("other", 1)])
    };
    store.commit_apps(another).await.unwrap();
    assert_eq!(ids(&store.load().await.unwrap().sessions), ["o"]);
}

async fn a_webhook_is_stored_once_and_they_are_in_order<P: Place>() {
    let place = P::new();
    let store = place.open();
    for (id, created_ms) in [
        ("late", 30),
        ("b", 10),
        ("a", 10),
        ("early", 5),
        ("gone", 7),
    ] {
        store.save_webhook(webhook(id, created_ms)).await.unwrap();
    }
    store
        .save_webhook(StoredWebhook {
            url: "http://elsewhere".to_owned(),
            ..webhook("b", 1)
        })
        .await
        .unwrap();
    store.remove_webhook("gone").await.unwrap();
    assert_eq!(
        place.open().news(&cursor(&*store).await).await.unwrap(),
        None
    );
    drop(store);
    let kept = [
        webhook("early", 5),
        webhook("b", 10),
        webhook("a", 10),
        webhook("late", 30),
    ];
    assert_eq!(place.open().load().await.unwrap().webhooks, kept);
    assert_eq!(place.open().webhooks().await.unwrap(), kept);
}

async fn apps_are_news_to_another_process<P: Place>() {
    let place = P::new();
    let (one, other) = (place.open(), place.open());
    one.commit_apps(first(2, vec![put("a", 1), put("b", 2)]))
        .await
        .unwrap();
    let news = other.news(&Cursor::default()).await.unwrap().unwrap();
    let apps = news.apps.unwrap();
    assert_eq!(
        (names(&apps.state), apps.complete),
        (vec![("a", 1), ("b", 2)], true)
    );
    assert_eq!(other.news(&news.cursor).await.unwrap(), None);
    one.commit_apps(commit(2, 4, vec![put("c", 3), delete("a", 4)]))
        .await
        .unwrap();
    let news = other.news(&news.cursor).await.unwrap().unwrap();
    let state = TableState {
        epoch: "e".to_owned(),
        revision: 4,
        horizon: 0,
        apps: vec![app("c", 3)],
        deleted: vec![("a".to_owned(), 4)],
    };
    let cursor = Cursor {
        epoch: "e".to_owned(),
        revision: 4,
        sequence: news.cursor.sequence,
    };
    assert_eq!(
        news,
        Delta {
            apps: Some(AppDelta {
                state,
                complete: false
            }),
            cursor: cursor.clone(),
            ..Delta::default()
        }
    );
    assert_eq!(other.news(&cursor).await.unwrap(), None);
}

async fn a_process_that_is_too_far_behind_gets_the_whole_table<P: Place>() {
    let place = P::new();
    let (one, other) = (place.open(), place.open());
    let changes = vec![
        put("a", 1),
        put("b", 2),
        delete("b", 3),
        put("c", 4),
        delete("c", 5),
    ];
    one.commit_apps(AppCommit {
        horizon: 3,
        ..first(5, changes)
    })
    .await
    .unwrap();
    let cursor = |epoch: &str, revision| Cursor {
        epoch: epoch.to_owned(),
        revision,
        sequence: 0,
    };
    for (seen, complete, apps) in [
        (cursor("e", 2), true, vec![("a", 1)]),
        (cursor("e", 3), false, vec![]),
        (cursor("e", 6), true, vec![("a", 1)]),
        (cursor("f", 5), true, vec![("a", 1)]),
    ] {
        let news = other.news(&seen).await.unwrap().unwrap().apps.unwrap();
        assert_eq!(
            (news.complete, names(&news.state)),
            (complete, apps),
            "{seen:?}"
        );
        assert_eq!(news.state.deleted, [("c".to_owned(), 5)], "{seen:?}");
    }
}

async fn workers_are_news_to_another_process<P: Place>() {
    let place = P::new();
    let (one, other) = (place.open(), place.open());
    let mut seen = cursor(&*other).await;
    one.save_worker(worker("w1")).await.unwrap();
    for expected in [vec![worker("w1")], vec![]] {
        let news = other.news(&seen).await.unwrap().unwrap();
        assert_eq!(
            news,
            Delta {
                workers: Some(expected),
                cursor: news.cursor.clone(),
                ..Delta::default()
            }
        );
        seen = news.cursor;
        assert_eq!(other.news(&seen).await.unwrap(), None);
        one.remove_worker("w1").await.unwrap();
    }
    assert_eq!(
        other.news(&seen).await.unwrap(),
        None,
        "one that was not there is no news"
    );
}

async fn deletions_of_sessions_are_news_to_another_process<P: Place>() {
    let place = P::new();
    let (one, other) = (place.open(), place.open());
    let seen = cursor(&*other).await;
    one.delete_sessions(&["s".to_owned()], 30).await.unwrap();
    let news = other.news(&seen).await.unwrap().unwrap();
    let deleted_sessions = vec![("s".to_owned(), 30)];
    assert_eq!(
        news,
        Delta {
            deleted_sessions,
            cursor: news.cursor.clone(),
            ..Delta::default()
        }
    );
    assert_eq!(other.news(&news.cursor).await.unwrap(), None);
}

async fn activity_is_news_to_another_process<P: Place>() {
    let place = P::new();
    let (one, other) = (place.open(), place.open());
    let seen = cursor(&*other).await;
    one.save_activity(&batch([session("s1", 10), session("s2", 11)]))
        .await
        .unwrap();
    one.save_activity(&app_batch(activity("a", 11, 11, 0)))
        .await
        .unwrap();
    let news = other.news(&seen).await.unwrap().unwrap();
    assert_eq!(news.sessions, [session("s1", 10), session("s2", 11)]);
    assert_eq!(news.activity, [activity("a", 11, 11, 0)]);
    assert_eq!(
        (news.workers, news.deleted_sessions.len(), news.apps),
        (None, 0, None)
    );
    assert_eq!(other.news(&news.cursor).await.unwrap(), None);
    one.save_activity(&batch([session("s2", 12)]))
        .await
        .unwrap();
    let news = other.news(&news.cursor).await.unwrap().unwrap();
    assert_eq!((ids(&news.sessions), news.activity.len()), (vec!["s2"], 0));
}

async fn what_a_process_has_changed_itself_is_no_news_to_it<P: Place>() {
    let place = P::new();
    let (one, other) = (place.open(), place.open());
    let mut seen = cursor(&*one).await;
    one.commit_apps(first(1, vec![put("a", 1)])).await.unwrap();
    // As one of another process: this is how a commit is found again that nobody has waited for.
    assert_eq!(
        names(&one.news(&seen).await.unwrap().unwrap().apps.unwrap().state),
        [("a", 1)]
    );
    seen = Cursor {
        epoch: "e".to_owned(),
        revision: 1,
        ..seen
    };
    one.save_worker(worker("w1")).await.unwrap();
    one.save_activity(&batch([session("s1", 10)]))
        .await
        .unwrap();
    one.save_activity(&app_batch(activity("a", 11, 11, 0)))
        .await
        .unwrap();
    one.delete_sessions(&["s1".to_owned()], 30).await.unwrap();
    one.save_webhook(webhook("a", 1)).await.unwrap();
    for _ in 0..2 {
        assert_eq!(one.news(&seen).await.unwrap(), None);
    }
    // What the other does then is news, and nothing else is.
    other
        .save_activity(&batch([session("s2", 12)]))
        .await
        .unwrap();
    let news = one.news(&seen).await.unwrap().unwrap();
    let cursor = Cursor {
        sequence: news.cursor.sequence,
        ..seen
    };
    assert_eq!(
        news,
        Delta {
            sessions: vec![session("s2", 12)],
            cursor,
            ..Delta::default()
        }
    );
    assert_eq!(one.news(&news.cursor).await.unwrap(), None);
}

async fn a_session_that_both_have_changed_is_news_to_both<P: Place>() {
    let place = P::new();
    let (one, other) = (place.open(), place.open());
    let start = cursor(&*one).await;
    other
        .save_activity(&batch([session("s", 10)]))
        .await
        .unwrap();
    one.save_activity(&batch([session("s", 20)])).await.unwrap();
    one.save_activity(&batch([session("s", 30)])).await.unwrap();
    let together = StoredSession {
        requests: 3,
        bytes_in: 6,
        bytes_out: 9,
        ..session("s", 30)
    };
    for process in [&one, &other] {
        let news = process.news(&start).await.unwrap().unwrap();
        assert_eq!(news.sessions, std::slice::from_ref(&together));
        assert_eq!(process.news(&news.cursor).await.unwrap(), None);
    }
}

async fn numbers_that_are_too_large_are_cut_off<P: Place>() {
    let store = P::new().open();
    let large = StoredSession {
        bytes_in: u64::MAX,
        bytes_out: u64::MAX - 1,
        moves: u32::MAX,
        ..session("s", u64::MAX)
    };
    for _ in 0..2 {
        store.save_activity(&batch([large.clone()])).await.unwrap();
    }
    let sessions = store.load().await.unwrap().sessions;
    assert!(sessions[0].bytes_in >= i64::MAX as u64 && sessions[0].active_ms >= i64::MAX as u64);
    assert_eq!((sessions[0].requests, sessions[0].moves), (2, u32::MAX));
    store.trim_sessions(1, u64::MAX).await.unwrap();
    assert_eq!(store.load().await.unwrap().sessions.len(), 1);
}
