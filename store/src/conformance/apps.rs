//! The app table: commits, epochs and tombstones.

use app_proxy_api::table::TableState;

use crate::commit::{AppCommit, FileClaim, FileClaims};
use crate::conformance::samples::{app, commit, delete, first, names, put};
use crate::error::StoreError;
use crate::state::{Cursor, State};
use crate::store::Store;

pub(super) async fn committed_apps_survive_reopening<S: Store>(open: impl Fn() -> S) {
    let store = open();
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
    let state = open().load().await.unwrap();
    let deleted = vec![("a".to_owned(), 4)];
    let apps = TableState {
        epoch: "e".into(),
        revision: 4,
        horizon: 0,
        apps: vec![app("b", 3)],
        deleted,
    };
    let cursor = Cursor {
        epoch: "e".into(),
        revision: 4,
        sequence: state.cursor.sequence,
    };
    assert_eq!(
        state,
        State {
            apps,
            cursor,
            ..State::default()
        }
    );
}

pub(super) async fn stale_commits_are_rejected_and_change_nothing<S: Store>(open: impl Fn() -> S) {
    let store = open();
    store
        .commit_apps(first(1, vec![put("a", 1)]))
        .await
        .unwrap();
    let before = store.load().await.unwrap();
    let elsewhere = AppCommit {
        base: ("f".into(), 1),
        ..commit(1, 2, vec![put("b", 2)])
    };
    let behind = [
        first(2, vec![put("b", 2)]),
        commit(0, 2, vec![put("b", 2)]),
        commit(2, 3, vec![delete("a", 3)]),
        AppCommit {
            epoch: "g".into(),
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
    assert_eq!(open().changes_since(&before.cursor).await.unwrap(), None);
}

pub(super) async fn new_epoch_replaces_the_table<S: Store>(open: impl Fn() -> S) {
    let store = open();
    let changes = vec![put("a", 1), put("b", 2), delete("a", 3)];
    store
        .commit_apps(AppCommit {
            horizon: 1,
            ..first(3, changes)
        })
        .await
        .unwrap();
    let next = AppCommit {
        epoch: "f".into(),
        ..commit(3, 2, vec![put("c", 1), delete("d", 2)])
    };
    store.commit_apps(next).await.unwrap();
    let apps = store.load().await.unwrap().apps;
    let deleted = vec![("d".to_owned(), 2)];
    assert_eq!(
        apps,
        TableState {
            epoch: "f".into(),
            revision: 2,
            horizon: 0,
            apps: vec![app("c", 1)],
            deleted
        }
    );
}

pub(super) async fn app_tombstones_are_kept_back_to_the_horizon<S: Store>(open: impl Fn() -> S) {
    let store = open();
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

pub(super) async fn recreated_app_has_no_tombstone<S: Store>(open: impl Fn() -> S) {
    let store = open();
    store
        .commit_apps(first(3, vec![put("a", 1), delete("a", 2), put("a", 3)]))
        .await
        .unwrap();
    let apps = store.load().await.unwrap().apps;
    assert_eq!((names(&apps), apps.deleted.len()), (vec![("a", 3)], 0));
}

fn claim(file: &str, apps: &[&str]) -> FileClaim {
    FileClaim {
        file: file.to_owned(),
        apps: apps.iter().map(|app| (*app).to_owned()).collect(),
    }
}

pub(super) async fn claims_of_a_file_are_replaced<S: Store>(open: impl Fn() -> S) {
    let store = open();
    assert_eq!(store.file_claims().await.unwrap(), FileClaims::default());
    let put_two = AppCommit {
        files: vec![claim("f", &["b", "a"]), claim("g", &["b", "c"])],
        ..first(2, vec![put("a", 1), put("b", 2)])
    };
    store.commit_apps(put_two).await.unwrap();
    let claims = open().file_claims().await.unwrap();
    let expected = [claim("f", &["a", "b"]), claim("g", &["b", "c"])];
    assert_eq!(claims.files, expected);
    // A commit may change claims alone, and the last claim goes with the app.
    let mut version = claims.version;
    for (commit, files) in [
        (commit(2, 2, vec![]), vec![claim("g", &["c"])]),
        (commit(2, 3, vec![delete("a", 3)]), vec![claim("f", &["b"])]),
        (commit(3, 3, vec![]), vec![claim("g", &[])]),
    ] {
        let files_base = version;
        let commit = AppCommit {
            files,
            files_base,
            ..commit
        };
        store.commit_apps(commit).await.unwrap();
        version = store.file_claims().await.unwrap().version;
        assert!(version > files_base);
    }
    let files = open().file_claims().await.unwrap().files;
    assert_eq!(files, [claim("f", &["b"])]);
}

pub(super) async fn commits_on_stale_claims_are_rejected<S: Store>(open: impl Fn() -> S) {
    let (one, other) = (open(), open());
    let base = one.file_claims().await.unwrap().version;
    let with = |files_base, file, commit| AppCommit {
        files: vec![claim(file, &["a"])],
        files_base,
        ..commit
    };
    one.commit_apps(with(base, "f", first(1, vec![put("a", 1)])))
        .await
        .unwrap();
    let seen = one.file_claims().await.unwrap();
    // The other file names the app as well, just before the first file no longer does.
    other
        .commit_apps(with(seen.version, "g", commit(1, 1, vec![])))
        .await
        .unwrap();
    let deletion = AppCommit {
        files: vec![claim("f", &[])],
        files_base: seen.version,
        ..commit(1, 2, vec![delete("a", 2)])
    };
    let answer = one.commit_apps(deletion).await;
    assert!(matches!(answer, Err(StoreError::Behind)), "{answer:?}");
    assert_eq!(names(&one.load().await.unwrap().apps), [("a", 1)]);
    // Equal claims are no change, and commits of the API need not know the claims.
    let now = one.file_claims().await.unwrap();
    one.commit_apps(with(now.version, "f", commit(1, 1, vec![])))
        .await
        .unwrap();
    assert_eq!(one.file_claims().await.unwrap(), now);
    one.commit_apps(commit(1, 2, vec![put("b", 2)]))
        .await
        .unwrap();
}
