//! Tests of the app table.

use super::*;

fn apps(names: &[&str]) -> Vec<App> {
    names
        .iter()
        .map(|name| serde_json::from_value(serde_json::json!({"name": name})).unwrap())
        .collect()
}

fn names(list: &AppList) -> Vec<&str> {
    list.items.iter().map(|app| app.app.name.as_str()).collect()
}

#[test]
fn epochs_of_files_differ_exactly_if_the_apps_differ() {
    let one = AppTable::from_file(apps(&["a", "b"]));
    assert_eq!(one.epoch(), AppTable::from_file(apps(&["a", "b"])).epoch());
    assert_ne!(one.epoch(), AppTable::from_file(apps(&["a", "c"])).epoch());
    assert_eq!(one.revision(), 2);
}

#[test]
fn changes_follow_a_revision_of_the_same_epoch() {
    let table = AppTable::from_file(apps(&["a", "b"]));
    let all = table.changes(0, None);
    assert_eq!((names(&all), all.complete), (vec!["a", "b"], true));
    let later = table.changes(1, Some(table.epoch()));
    assert_eq!((names(&later), later.complete), (vec!["b"], false));
    assert!(names(&table.changes(2, Some(table.epoch()))).is_empty());
}

/// Regression: long polls of an empty table returned the whole table immediately.
#[test]
fn an_empty_table_has_no_changes_for_a_follower_of_its_epoch() {
    let table = AppTable::from_file(Vec::new());
    assert!(table.changes(0, None).complete);
    let list = table.changes(0, Some(table.epoch()));
    assert!(!list.complete && list.items.is_empty());
}

#[test]
fn another_epoch_or_a_future_revision_gets_the_whole_table() {
    let table = AppTable::from_file(apps(&["a", "b"]));
    for list in [
        table.changes(2, Some(&"other".into())),
        table.changes(9, Some(table.epoch())),
    ] {
        assert_eq!((names(&list), list.complete), (vec!["a", "b"], true));
    }
}

#[test]
fn a_follower_that_applies_the_changes_has_the_table() {
    let mut table = AppTable::from_file(apps(&["a", "b", "c"]));
    let held = table.clone();
    table.delete("b");
    table.put(apps(&["d"]).remove(0), AppSource::Api, None);
    table.put(apps(&["a"]).remove(0), AppSource::Api, None);
    assert_eq!(table.delete("unknown"), None);
    let changes = table.changes(held.revision(), Some(held.epoch()));
    assert_eq!(
        (names(&changes), changes.deleted.as_slice()),
        (vec!["d", "a"], &["b".to_owned()][..])
    );
    let mut follower = held;
    for app in &changes.items {
        follower.insert(Arc::clone(app));
    }
    follower.remove("b", 4);
    assert_eq!(
        names(&follower.changes(0, None)),
        names(&table.changes(0, None))
    );
    assert_eq!(follower.revision(), table.revision());
}

/// Regression: a follower that missed the creation of a deleted app stayed behind for good.
#[test]
fn an_app_created_and_deleted_between_two_reads_is_followed() {
    let mut table = AppTable::from_file(apps(&["a"]));
    let mut follower = table.clone();
    for revision in [3, 5] {
        table.put(apps(&["short"]).remove(0), AppSource::Api, None);
        assert_eq!(table.delete("short"), Some(revision));
        follower.remove("short", revision);
        assert_eq!(follower.revision(), table.revision());
        assert!(follower.is_deleted("short"));
        assert_eq!(follower.changes(1, None), table.changes(1, None));
    }
}

#[test]
fn a_recreated_app_is_not_listed_as_deleted() {
    let mut table = AppTable::from_file(apps(&["a"]));
    let since = table.revision();
    table.delete("a");
    table.put(apps(&["a"]).remove(0), AppSource::Api, None);
    let changes = table.changes(since, Some(table.epoch()));
    assert_eq!(
        (names(&changes), changes.deleted.len(), changes.revision),
        (vec!["a"], 0, 3)
    );
}

#[test]
fn followers_behind_the_horizon_get_the_whole_table() {
    let mut table = AppTable::new("e".into());
    for number in 0..=MAX_TOMBSTONES {
        let name = format!("a{number}");
        table.put(apps(&[&name]).remove(0), AppSource::Api, None);
        table.delete(&name);
    }
    assert_eq!(table.horizon(), 2);
    assert!(table.changes(1, Some(&"e".into())).complete);
    let list = table.changes(2, Some(&"e".into()));
    assert_eq!((list.complete, list.deleted.len()), (false, MAX_TOMBSTONES));
}

#[test]
fn pages_of_the_table_follow_each_other() {
    let table = AppTable::from_file(apps(&["a", "b", "c", "d", "e"]));
    let mut seen = Vec::new();
    let mut cursor = None;
    loop {
        let page = table.page(cursor.as_deref(), 2);
        seen.extend(page.items.iter().map(|app| app.app.name.clone()));
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["a", "b", "c", "d", "e"]);
    assert!(table.page(None, 5).complete);
}

#[test]
fn a_stored_table_is_restored_unchanged() {
    let mut table = AppTable::from_file(apps(&["a", "b"]));
    table.delete("a");
    let state = TableState {
        epoch: table.epoch().clone(),
        revision: table.revision(),
        horizon: 0,
        apps: table.iter().map(|app| app.as_ref().clone()).collect(),
        deleted: vec![("a".to_owned(), 3)],
    };
    let restored = AppTable::restore(state);
    assert_eq!(
        restored.changes(1, Some(table.epoch())),
        table.changes(1, Some(table.epoch()))
    );
}
