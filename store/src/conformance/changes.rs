//! Changes that another process made, as `Store::changes_since` returns them.

use app_proxy_api::table::TableState;

use crate::commit::AppCommit;
use crate::conformance::samples::{
    activity, app, app_batch, batch, commit, cursor, delete, first, ids, names, put, session,
    webhook, worker,
};
use crate::session::StoredSession;
use crate::state::{AppDelta, Cursor, Delta};
use crate::store::Store;

pub(super) async fn app_changes_reach_another_process<S: Store>(open: impl Fn() -> S) {
    let (one, other) = (open(), open());
    one.commit_apps(first(2, vec![put("a", 1), put("b", 2)]))
        .await
        .unwrap();
    let delta = other
        .changes_since(&Cursor::default())
        .await
        .unwrap()
        .unwrap();
    let apps = delta.apps.unwrap();
    assert_eq!(
        (names(&apps.state), apps.complete),
        (vec![("a", 1), ("b", 2)], true)
    );
    assert_eq!(other.changes_since(&delta.cursor).await.unwrap(), None);
    one.commit_apps(commit(2, 4, vec![put("c", 3), delete("a", 4)]))
        .await
        .unwrap();
    let delta = other.changes_since(&delta.cursor).await.unwrap().unwrap();
    let state = TableState {
        epoch: "e".into(),
        revision: 4,
        horizon: 0,
        apps: vec![app("c", 3)],
        deleted: vec![("a".to_owned(), 4)],
    };
    let cursor = Cursor {
        epoch: "e".into(),
        revision: 4,
        sequence: delta.cursor.sequence,
    };
    assert_eq!(
        delta,
        Delta {
            apps: Some(AppDelta {
                state,
                complete: false
            }),
            cursor: cursor.clone(),
            ..Delta::default()
        }
    );
    assert_eq!(other.changes_since(&cursor).await.unwrap(), None);
}

pub(super) async fn process_behind_the_horizon_gets_the_complete_table<S: Store>(
    open: impl Fn() -> S,
) {
    let (one, other) = (open(), open());
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
        epoch: epoch.into(),
        revision,
        sequence: 0,
    };
    for (seen, complete, apps) in [
        (cursor("e", 2), true, vec![("a", 1)]),
        (cursor("e", 3), false, vec![]),
        (cursor("e", 6), true, vec![("a", 1)]),
        (cursor("f", 5), true, vec![("a", 1)]),
    ] {
        let delta = other
            .changes_since(&seen)
            .await
            .unwrap()
            .unwrap()
            .apps
            .unwrap();
        assert_eq!(
            (delta.complete, names(&delta.state)),
            (complete, apps),
            "{seen:?}"
        );
        assert_eq!(delta.state.deleted, [("c".to_owned(), 5)], "{seen:?}");
    }
}

pub(super) async fn worker_changes_reach_another_process<S: Store>(open: impl Fn() -> S) {
    let (one, other) = (open(), open());
    let mut seen = cursor(&other).await;
    one.save_worker(worker("w1")).await.unwrap();
    for expected in [vec![worker("w1")], vec![]] {
        let delta = other.changes_since(&seen).await.unwrap().unwrap();
        assert_eq!(
            delta,
            Delta {
                workers: Some(expected),
                cursor: delta.cursor.clone(),
                ..Delta::default()
            }
        );
        seen = delta.cursor;
        assert_eq!(other.changes_since(&seen).await.unwrap(), None);
        one.delete_worker("w1").await.unwrap();
    }
    assert_eq!(
        other.changes_since(&seen).await.unwrap(),
        None,
        "deleting a missing worker is no change"
    );
}

pub(super) async fn session_deletions_reach_another_process<S: Store>(open: impl Fn() -> S) {
    let (one, other) = (open(), open());
    let seen = cursor(&other).await;
    one.delete_sessions(&["s".to_owned()], 30).await.unwrap();
    let delta = other.changes_since(&seen).await.unwrap().unwrap();
    let deleted_sessions = vec![("s".to_owned(), 30)];
    assert_eq!(
        delta,
        Delta {
            deleted_sessions,
            cursor: delta.cursor.clone(),
            ..Delta::default()
        }
    );
    assert_eq!(other.changes_since(&delta.cursor).await.unwrap(), None);
}

pub(super) async fn activity_reaches_another_process<S: Store>(open: impl Fn() -> S) {
    let (one, other) = (open(), open());
    let seen = cursor(&other).await;
    one.save_activity(&batch([session("s1", 10), session("s2", 11)]))
        .await
        .unwrap();
    one.save_activity(&app_batch(activity("a", 11, 11, 0)))
        .await
        .unwrap();
    let delta = other.changes_since(&seen).await.unwrap().unwrap();
    assert_eq!(delta.sessions, [session("s1", 10), session("s2", 11)]);
    assert_eq!(delta.activity, [activity("a", 11, 11, 0)]);
    assert_eq!(
        (delta.workers, delta.deleted_sessions.len(), delta.apps),
        (None, 0, None)
    );
    assert_eq!(other.changes_since(&delta.cursor).await.unwrap(), None);
    one.save_activity(&batch([session("s2", 12)]))
        .await
        .unwrap();
    let delta = other.changes_since(&delta.cursor).await.unwrap().unwrap();
    assert_eq!(
        (ids(&delta.sessions), delta.activity.len()),
        (vec!["s2"], 0)
    );
}

pub(super) async fn own_changes_are_not_returned<S: Store>(open: impl Fn() -> S) {
    let (one, other) = (open(), open());
    let mut seen = cursor(&one).await;
    one.commit_apps(first(1, vec![put("a", 1)])).await.unwrap();
    // A commit missing from the cursor is returned, so that a caller finds one it did not wait for.
    assert_eq!(
        names(
            &one.changes_since(&seen)
                .await
                .unwrap()
                .unwrap()
                .apps
                .unwrap()
                .state
        ),
        [("a", 1)]
    );
    seen = Cursor {
        epoch: "e".into(),
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
        assert_eq!(one.changes_since(&seen).await.unwrap(), None);
    }
    // Only the changes of the other process are returned from then on.
    other
        .save_activity(&batch([session("s2", 12)]))
        .await
        .unwrap();
    let delta = one.changes_since(&seen).await.unwrap().unwrap();
    let cursor = Cursor {
        sequence: delta.cursor.sequence,
        ..seen
    };
    assert_eq!(
        delta,
        Delta {
            sessions: vec![session("s2", 12)],
            cursor,
            ..Delta::default()
        }
    );
    assert_eq!(one.changes_since(&delta.cursor).await.unwrap(), None);
}

pub(super) async fn session_changed_by_two_processes_reaches_both<S: Store>(open: impl Fn() -> S) {
    let (one, other) = (open(), open());
    let start = cursor(&one).await;
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
        let delta = process.changes_since(&start).await.unwrap().unwrap();
        assert_eq!(delta.sessions, std::slice::from_ref(&together));
        assert_eq!(process.changes_since(&delta.cursor).await.unwrap(), None);
    }
}
