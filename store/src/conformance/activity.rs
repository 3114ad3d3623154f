//! Sessions and the activity of apps: merging, deletion and trimming.

use crate::activity::{ActivityBatch, SessionActivity};
use crate::commit::AppCommit;
use crate::conformance::samples::{
    activity, app_batch, batch, commit, counts, delete, first, ids, put, session,
};
use crate::session::StoredSession;
use crate::store::Store;

pub(super) async fn new_session_is_stored_unchanged<S: Store>(open: impl Fn() -> S) {
    let store = open();
    let known = StoredSession {
        requests: 50,
        moves: 4,
        user: Some("someone".to_owned()),
        ..session("s1", 10)
    };
    let bare = StoredSession {
        worker: None,
        client: None,
        ..session("s2", 11)
    };
    let added = counts(1, 1, 1);
    let sessions = [known.clone(), bare.clone()].map(|session| SessionActivity { session, added });
    store
        .save_activity(&ActivityBatch {
            sessions: sessions.to_vec(),
            apps: Vec::new(),
        })
        .await
        .unwrap();
    drop(store);
    assert_eq!(open().load().await.unwrap().sessions, [known, bare]);
}

pub(super) async fn later_activity_of_another_process_is_merged<S: Store>(open: impl Fn() -> S) {
    let (old, new) = (open(), open());
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
    let added = counts(4, 5, 6);
    let activity = vec![SessionActivity {
        session: later,
        added,
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
    assert_eq!(old.load().await.unwrap().sessions, [merged]);
}

pub(super) async fn earlier_and_simultaneous_activity_is_merged<S: Store>(open: impl Fn() -> S) {
    let (old, new) = (open(), open());
    let first = StoredSession {
        worker: Some("w2".to_owned()),
        last_request_id: "r2".to_owned(),
        ..session("s", 20)
    };
    new.save_activity(&batch([first.clone()])).await.unwrap();
    let earlier = StoredSession {
        last_request_id: "r0".to_owned(),
        ..session("s", 15)
    };
    old.save_activity(&batch([earlier])).await.unwrap();
    let merged = StoredSession {
        requests: 2,
        bytes_in: 4,
        bytes_out: 6,
        ..first
    };
    assert_eq!(new.load().await.unwrap().sessions, [merged]);
    let same = StoredSession {
        last_request_id: "r3".to_owned(),
        ..session("s", 20)
    };
    new.save_activity(&batch([same])).await.unwrap();
    let sessions = new.load().await.unwrap().sessions;
    assert_eq!(sessions[0].last_request_id, "r3");
}

pub(super) async fn deleted_session_stays_deleted<S: Store>(open: impl Fn() -> S) {
    let (store, other) = (open(), open());
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
    let state = open().load().await.unwrap();
    assert_eq!(ids(&state.sessions), ["s2"]);
    assert_eq!(
        state.deleted_sessions,
        [("never there".to_owned(), 30), ("s1".to_owned(), 30)]
    );
}

pub(super) async fn old_sessions_and_tombstones_are_trimmed<S: Store>(open: impl Fn() -> S) {
    let store = open();
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
    let state = store.load().await.unwrap();
    assert_eq!(ids(&state.sessions), ["s2", "s3"]);
    assert_eq!(state.deleted_sessions, [("d2".to_owned(), 10)]);
    assert_eq!(store.trim_sessions(10, 100).await.unwrap(), 0);
}

pub(super) async fn trimming_keeps_the_most_recently_active_sessions<S: Store>(
    open: impl Fn() -> S,
) {
    let store = open();
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

pub(super) async fn app_activity_is_merged_and_deleted_with_the_app<S: Store>(
    open: impl Fn() -> S,
) {
    let store = open();
    let save = async |active_ms, idle_since_ms, idle_notified_ms| {
        let batch = app_batch(activity("a", active_ms, idle_since_ms, idle_notified_ms));
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

pub(super) async fn sessions_are_deleted_with_their_app<S: Store>(open: impl Fn() -> S) {
    let store = open();
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
    // Activity written after the deletion has no effect.
    store.save_activity(&both()).await.unwrap();
    store
        .commit_apps(commit(3, 4, vec![put("notes", 4)]))
        .await
        .unwrap();
    assert_eq!(ids(&open().load().await.unwrap().sessions), ["o"]);
    store
        .save_activity(&batch([session("again", 5)]))
        .await
        .unwrap();
    assert_eq!(ids(&store.load().await.unwrap().sessions), ["again", "o"]);
    // A table of another epoch keeps the sessions of its own apps only.
    let another = AppCommit {
        base: ("e".into(), 4),
        epoch: "f".into(),
        ..commit(0, 1, vec![put("other", 1)])
    };
    store.commit_apps(another).await.unwrap();
    assert_eq!(ids(&store.load().await.unwrap().sessions), ["o"]);
}

pub(super) async fn large_numbers_are_clamped<S: Store>(open: impl Fn() -> S) {
    let store = open();
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
