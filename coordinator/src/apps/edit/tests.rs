//! Tests of changes: ownership, preconditions, epochs and commits.

use serde_json::json;

use super::*;
use app_proxy_store::FileClaims;

fn app(json: &serde_json::Value) -> App {
    serde_json::from_value(json.clone()).unwrap()
}

fn named(name: &str) -> App {
    app(&json!({"name": name}))
}

fn at(name: &str, path: &str) -> App {
    app(&json!({"name": name, "match": [{"path": path}]}))
}

fn put(app: App) -> Edit {
    Edit::Put(Box::new(app), Condition::None)
}

fn of_file(apps: &[App]) -> Snapshot {
    Snapshot::new(AppTable::from_file(apps.to_vec()), None).unwrap()
}

fn done(snapshot: &Snapshot, edits: &[Edit]) -> Draft {
    let mut draft = Draft::new(snapshot);
    for edit in edits {
        draft.apply(edit).unwrap();
    }
    draft
}

fn names(snapshot: &Snapshot) -> Vec<String> {
    snapshot
        .table
        .iter()
        .map(|app| app.app.name.clone())
        .collect()
}

#[test]
fn the_first_change_begins_an_epoch_and_writes_the_whole_table() {
    let draft = done(&of_file(&[named("f")]), &[put(named("a"))]);
    let commit = draft.commit().unwrap();
    assert_eq!(commit.base, (Epoch::of_file(&[named("f")]), 1));
    assert_ne!(commit.epoch, commit.base.0);
    assert_eq!((commit.revision, commit.changes.len()), (2, 2));
    let next = done(&draft.snapshot, &[put(named("b"))]).commit().unwrap();
    assert_eq!(
        (next.epoch == commit.epoch, next.base, next.changes.len()),
        (true, (commit.epoch, 2), 1)
    );
}

#[test]
fn an_identical_put_changes_nothing() {
    let first = done(&of_file(&[]), &[put(named("a"))]).snapshot;
    let mut draft = Draft::new(&first);
    let repeated = draft.apply(&put(named("a")));
    assert!(matches!(repeated, Ok(EditOutcome::Unchanged(app)) if app.revision == 1));
    assert!(draft.commit().is_none());
    let other = app(&json!({"name": "a", "affinity": "none"}));
    assert!(matches!(draft.apply(&put(other)), Ok(EditOutcome::Updated(app)) if app.revision == 2));
}

#[test]
fn a_repeated_delete_succeeds_but_not_that_of_an_unknown_app() {
    let first = done(&of_file(&[]), &[put(named("a"))]).snapshot;
    let delete = |name: &str| Edit::Delete(name.to_owned(), Condition::None);
    let mut draft = Draft::new(&first);
    assert!(matches!(
        draft.apply(&delete("a")),
        Ok(EditOutcome::Deleted)
    ));
    assert_eq!(
        (draft.deleted.len(), draft.snapshot.get("a").is_none()),
        (1, true)
    );
    let revision = draft.snapshot.table.revision();
    assert!(matches!(
        draft.apply(&delete("a")),
        Ok(EditOutcome::Deleted)
    ));
    assert_eq!(draft.snapshot.table.revision(), revision);
    assert!(matches!(
        draft.apply(&delete("b")),
        Err(EditError::NotFound(_))
    ));
}

#[test]
fn the_api_cannot_change_apps_of_the_file_or_claim_routes_of_others() {
    let mut draft = Draft::new(&of_file(&[at("f", "/x")]));
    let edits = [
        put(named("f")),
        Edit::Delete("f".to_owned(), Condition::None),
    ];
    for edit in edits {
        assert!(matches!(draft.apply(&edit), Err(EditError::OwnedByFile(_))));
    }
    let taken = draft.apply(&put(at("a", "/x")));
    assert!(matches!(taken, Err(EditError::MatchTaken(e)) if e.to_string().contains("`f`")));
    let invalid = draft.apply(&put(at("a", "x")));
    assert!(matches!(invalid, Err(EditError::Invalid(e)) if e.field == "match[0].path"));
    assert!(
        draft.commit().is_none(),
        "a rejected change has left something behind"
    );
    assert_eq!(names(&draft.snapshot), ["f"]);
}

#[test]
fn a_rejected_change_does_not_affect_others_of_the_batch() {
    let mut draft = Draft::new(&of_file(&[]));
    draft.apply(&put(at("a", "/a"))).unwrap();
    assert!(draft.apply(&put(at("b", "/a"))).is_err());
    draft.apply(&put(at("c", "/c"))).unwrap();
    let commit = draft.commit().unwrap();
    assert_eq!(
        (names(&draft.snapshot), commit.revision),
        (vec!["a".to_owned(), "c".to_owned()], 2)
    );
}

#[test]
fn conditions_guard_against_lost_updates() {
    let first = done(&of_file(&[]), &[put(named("a"))]).snapshot;
    let other = app(&json!({"name": "a", "affinity": "none"}));
    let put = |app: &App, condition| Edit::Put(Box::new(app.clone()), condition);
    let apply = |edit| Draft::new(&first).apply(&edit);
    assert!(apply(put(&other, Condition::Revisions(vec![1]))).is_ok());
    assert!(matches!(
        apply(put(&other, Condition::Revisions(vec![2]))),
        Err(EditError::Precondition(Some(1)))
    ));
    assert!(matches!(
        apply(put(&other, Condition::Absent)),
        Err(EditError::Precondition(Some(1)))
    ));
    assert!(apply(put(&other, Condition::Exists)).is_ok());
    assert!(matches!(
        apply(put(&named("b"), Condition::Exists)),
        Err(EditError::Precondition(None))
    ));
    assert!(apply(put(&named("b"), Condition::Absent)).is_ok());
    let delete = Edit::Delete("a".to_owned(), Condition::Revisions(vec![3]));
    assert!(matches!(
        apply(delete),
        Err(EditError::Precondition(Some(1)))
    ));
}

#[test]
fn a_changed_file_is_applied_and_apps_of_the_api_stay() {
    let first = done(
        &of_file(&[at("f", "/f"), at("g", "/g"), at("h", "/h")]),
        &[put(named("a"))],
    )
    .snapshot;
    // `f` and `g` swap routes, `h` is removed, `a` moves to the file, `i` is new.
    let file = [at("f", "/g"), at("g", "/f"), named("a"), named("i")];
    let mut draft = Draft::new(&first);
    let outcome = draft.apply(&Edit::File(file.to_vec())).unwrap();
    assert!(
        matches!(&outcome, EditOutcome::FileApplied { put: 4, deleted, .. } if *deleted == ["h"]),
        "{outcome:?}"
    );
    assert_eq!(names(&draft.snapshot), ["a", "f", "g", "i"]);
    assert!(
        draft
            .snapshot
            .table
            .iter()
            .all(|app| app.source == AppSource::File)
    );
    assert_eq!(draft.snapshot.table.epoch(), first.table.epoch());
    let scope = FileScope {
        claims: claims(&[("", &["a", "f", "g", "i"])]),
        ..FileScope::default()
    };
    let mut again = Draft::new(&draft.snapshot).in_scope(scope);
    let outcome = again.apply(&Edit::File(file.to_vec())).unwrap();
    assert!(
        matches!(&outcome, EditOutcome::FileApplied { put: 0, deleted, .. } if deleted.is_empty()),
        "{outcome:?}"
    );
    assert!(again.commit().is_none());
}

#[test]
fn a_file_that_claims_the_route_of_an_api_app_is_rejected() {
    let first = done(&of_file(&[]), &[put(at("a", "/x"))]).snapshot;
    let mut draft = Draft::new(&first);
    assert!(matches!(
        draft.apply(&Edit::File(vec![at("f", "/x")])),
        Err(EditError::MatchTaken(_))
    ));
    assert_eq!(names(&draft.snapshot), ["a"]);
}

#[test]
fn a_table_of_the_file_alone_keeps_the_files_epoch() {
    let mut draft = Draft::new(&of_file(&[named("f"), named("g")]));
    let outcome = draft.apply(&Edit::File(vec![named("g")])).unwrap();
    assert!(
        matches!(&outcome, EditOutcome::FileApplied { put: 0, deleted, .. } if *deleted == ["f"]),
        "{outcome:?}"
    );
    assert_eq!(*draft.snapshot.table.epoch(), Epoch::of_file(&[named("g")]));
    assert_eq!(draft.deleted.len(), 1);
}

/// Regression: a store whose epoch is not unique lost the apps of the API at the next start.
#[test]
fn apps_of_the_api_stay_under_any_epoch() {
    let mut table = AppTable::restore(app_proxy_api::table::TableState {
        epoch: Epoch::from("e"),
        ..Default::default()
    });
    table.put(named("notes"), AppSource::Api, None);
    table.put(named("f"), AppSource::File, None);
    let stored = Snapshot::new(table, None).unwrap();
    for (file, left) in [
        (vec![], vec!["notes"]),
        (vec![named("g")], vec!["g", "notes"]),
    ] {
        let mut draft = Draft::new(&stored);
        let outcome = draft.apply(&Edit::File(file)).unwrap();
        assert!(
            matches!(&outcome, EditOutcome::FileApplied { deleted, .. } if *deleted == ["f"]),
            "{outcome:?}"
        );
        assert_eq!(names(&draft.snapshot), left);
        assert!(draft.commit().unwrap().epoch.is_unique());
    }
}

#[test]
fn changes_of_another_process_are_applied() {
    let mine = done(&of_file(&[named("f")]), &[put(named("a"))]).snapshot;
    let theirs = done(
        &mine,
        &[
            put(named("b")),
            Edit::Delete("a".to_owned(), Condition::None),
        ],
    )
    .snapshot;
    let changes = theirs
        .table
        .changes(mine.table.revision(), Some(mine.table.epoch()));
    let state = |list: &app_proxy_api::table::AppList| app_proxy_api::table::TableState {
        epoch: list.epoch.clone(),
        revision: list.revision,
        horizon: 0,
        apps: list.items.iter().map(|app| app.as_ref().clone()).collect(),
        deleted: list
            .deleted
            .iter()
            .map(|name| (name.clone(), list.revision))
            .collect(),
    };
    let mut draft = Draft::new(&mine);
    draft
        .follow(AppDelta {
            state: state(&changes),
            complete: false,
        })
        .unwrap();
    assert_eq!(
        (names(&draft.snapshot), draft.deleted.len()),
        (vec!["b".to_owned(), "f".to_owned()], 1)
    );
    assert_eq!(draft.snapshot.table.revision(), theirs.table.revision());
    assert!(
        draft.commit().is_none(),
        "changes of others are stored already"
    );

    let mut draft = Draft::new(&of_file(&[named("x")]));
    draft
        .follow(AppDelta {
            state: state(&theirs.table.changes(0, None)),
            complete: true,
        })
        .unwrap();
    assert_eq!(
        (names(&draft.snapshot), draft.deleted.len()),
        (vec!["b".to_owned(), "f".to_owned()], 1)
    );
}

/// The claims of two files.
fn claims(files: &[(&str, &[&str])]) -> FileClaims {
    let claim = |(file, apps): &(&str, &[&str])| FileClaim {
        file: (*file).to_owned(),
        apps: apps.iter().map(|app| (*app).to_owned()).collect(),
    };
    FileClaims {
        version: 3,
        files: files.iter().map(claim).collect(),
    }
}

#[test]
fn a_file_replaces_its_own_claims_and_those_of_its_predecessor() {
    let table = of_file(&[named("a"), named("b"), named("c")]);
    let applied = |replaced| {
        let scope = FileScope {
            file: "ours".to_owned(),
            replaced,
            claims: claims(&[("old", &["b"]), ("ours", &["a"]), ("theirs", &["c"])]),
        };
        let mut draft = Draft::new(&table).in_scope(scope);
        draft.apply(&Edit::File(vec![named("d")])).unwrap();
        let commit = draft.commit().unwrap();
        let files = commit
            .files
            .into_iter()
            .map(|claim| (claim.file, claim.apps));
        assert_eq!(commit.files_base, 3);
        (names(&draft.snapshot), files.collect::<Vec<_>>())
    };
    let own = ("ours".to_owned(), vec!["d".to_owned()]);
    let gone = |file: &str| (file.to_owned(), Vec::new());
    assert_eq!(
        applied(ReplacedFiles::NONE),
        (
            ["b", "c", "d"].map(str::to_owned).to_vec(),
            vec![own.clone()]
        )
    );
    assert_eq!(
        applied(ReplacedFiles::These(vec!["old".to_owned()])),
        (
            ["c", "d"].map(str::to_owned).to_vec(),
            vec![own.clone(), gone("old")]
        )
    );
    assert_eq!(
        applied(ReplacedFiles::All),
        (vec!["d".to_owned()], vec![own, gone("old"), gone("theirs")])
    );
}

#[test]
fn a_claim_without_another_app_is_committed_at_the_same_revision() {
    let scope = FileScope {
        file: "ours".to_owned(),
        replaced: ReplacedFiles::NONE,
        claims: claims(&[("theirs", &["a"])]),
    };
    let mut draft = Draft::new(&of_file(&[named("a")])).in_scope(scope.clone());
    draft.apply(&Edit::File(vec![named("a")])).unwrap();
    let commit = draft.commit().unwrap();
    assert_eq!(
        (commit.revision, commit.base.1, commit.changes.len()),
        (1, 1, 0)
    );
    assert_eq!(commit.files.len(), 1);
    let mut draft = Draft::new(&of_file(&[named("a")])).in_scope(scope);
    draft.apply(&Edit::File(Vec::new())).unwrap();
    assert!(
        draft.commit().is_none(),
        "the file of another member names it"
    );
}
