//! Tests of the tables.

use std::sync::Arc;

use app_proxy_api::apps::App;
use app_proxy_api::table::{AppList, AppTable};
use app_proxy_api::units::Period;
use app_proxy_hop::config::TimeoutsSection;

use super::*;

fn list(apps: serde_json::Value) -> AppList {
    let apps: Vec<App> = serde_json::from_value(apps).unwrap();
    AppTable::from_file(apps).changes(0, None)
}

/// Returns a complete table of an epoch, or a change of it.
fn sent(epoch: &str, revision: u64, complete: bool, names: &[&str]) -> AppList {
    let apps = names
        .iter()
        .map(|name| serde_json::json!({"name": name}))
        .collect();
    AppList {
        epoch: epoch.into(),
        revision,
        complete,
        ..list(serde_json::Value::Array(apps))
    }
}

fn apps() -> Apps {
    Apps::new(TimeoutsSection::default())
}

fn found(apps: &Apps, name: &str, epoch: &str, revision: u64) -> &'static str {
    match apps
        .load()
        .look_up(name, Some(RequiredRevision { epoch, revision }))
    {
        Lookup::Found(_) => "found",
        Lookup::Unknown => "unknown",
        Lookup::Behind => "behind",
    }
}

fn names(gone: &[Arc<ServedApp>]) -> Vec<&str> {
    gone.iter().map(|app| &*app.name).collect()
}

#[test]
fn a_complete_list_replaces_the_table_and_a_change_adds_to_it() {
    let apps = apps();
    assert!(!apps.load().is_loaded());
    assert_eq!(found(&apps, "a", "e", 0), "behind");
    apps.apply(0, sent("e", 3, true, &["a", "b"]), &Resolved::default());
    let change = AppList {
        deleted: vec!["b".to_owned()],
        ..sent("e", 5, false, &["c"])
    };
    assert_eq!(names(&apps.apply(0, change, &Resolved::default())), ["b"]);
    let at = |name| found(&apps, name, "e", 5);
    assert_eq!((at("a"), at("b"), at("c")), ("found", "unknown", "found"));
    assert_eq!(
        (found(&apps, "a", "e", 6), found(&apps, "a", "other", 1)),
        ("behind", "behind")
    );
    assert_eq!(
        names(&apps.apply(0, sent("e", 6, true, &["c"]), &Resolved::default())),
        ["a"]
    );
}

#[test]
fn each_epoch_has_a_table_while_a_coordinator_of_it_is_followed() {
    let apps = apps();
    apps.apply(
        0,
        sent("one", 1, true, &["a", "both"]),
        &Resolved::default(),
    );
    apps.apply(
        1,
        sent("two", 1, true, &["b", "both"]),
        &Resolved::default(),
    );
    assert_eq!(
        (found(&apps, "a", "one", 1), found(&apps, "a", "two", 1)),
        ("found", "unknown")
    );
    assert_eq!(
        (found(&apps, "b", "one", 1), found(&apps, "b", "two", 1)),
        ("unknown", "found")
    );
    // An app that another table has is not gone.
    assert_eq!(
        names(&apps.apply(1, sent("three", 1, true, &["c"]), &Resolved::default())),
        ["b"]
    );
    assert_eq!(
        (found(&apps, "b", "two", 1), found(&apps, "c", "three", 1)),
        ("behind", "found")
    );
    let tables = apps.load();
    assert!(tables.best("both", "two").is_some() && tables.best("both", "three").is_none());
}

#[test]
fn coordinators_of_one_epoch_share_a_table_and_the_newer_revision_wins() {
    let apps = apps();
    apps.apply(0, sent("e", 5, true, &["a", "b"]), &Resolved::default());
    let table = Arc::clone(apps.load().of("e").unwrap());
    apps.apply(1, sent("e", 5, true, &["a", "b"]), &Resolved::default());
    assert!(Arc::ptr_eq(&table, apps.load().of("e").unwrap()));
    apps.apply(1, sent("e", 4, true, &["a"]), &Resolved::default());
    assert_eq!(found(&apps, "b", "e", 5), "found");
    apps.apply(1, sent("e", 6, false, &["c"]), &Resolved::default());
    apps.apply(0, sent("e", 6, false, &["c"]), &Resolved::default());
    assert_eq!(
        (found(&apps, "c", "e", 6), apps.load().0.len()),
        ("found", 1)
    );
    // A store restored from a backup: no coordinator has the newer revision any more.
    apps.apply(0, sent("e", 4, true, &["a"]), &Resolved::default());
    assert_eq!(found(&apps, "c", "e", 6), "found");
    apps.apply(1, sent("e", 4, true, &["a"]), &Resolved::default());
    assert_eq!(
        (found(&apps, "c", "e", 4), found(&apps, "a", "e", 5)),
        ("unknown", "behind")
    );
}

#[test]
fn the_load_of_an_endpoint_survives_changes_and_is_shared_by_all_tables() {
    let apps = apps();
    let table = serde_json::json!([{"name": "a", "endpoints": [{"address": "127.0.0.1:1"}]}]);
    apps.apply(0, list(table.clone()), &Resolved::default());
    let load = |apps: &Apps, epoch: &str| {
        Arc::clone(apps.load().of(epoch).unwrap().get("a").unwrap().endpoints[0].load())
    };
    let epoch = list(table.clone()).epoch;
    let first = load(&apps, epoch.as_str());
    apps.apply(
        0,
        AppList {
            revision: 9,
            ..list(table.clone())
        },
        &Resolved::default(),
    );
    apps.apply(
        1,
        AppList {
            epoch: "other".into(),
            ..list(table)
        },
        &Resolved::default(),
    );
    assert!(
        Arc::ptr_eq(&first, &load(&apps, epoch.as_str()))
            && Arc::ptr_eq(&first, &load(&apps, "other"))
    );
}

#[test]
fn new_timeouts_apply_to_every_app() {
    let apps = apps();
    apps.apply(
        0,
        list(serde_json::json!([{"name": "a", "endpoints": [{"address": "127.0.0.1:1"}]}])),
        &Resolved::default(),
    );
    let short = Period::from_secs(7);
    apps.set_timeouts(TimeoutsSection {
        upstream_read: short,
        ..TimeoutsSection::default()
    });
    let tables = apps.load();
    let Lookup::Found(app) = tables.look_up("a", None) else {
        panic!("{tables:?}")
    };
    assert_eq!(app.endpoints[0].peer.options.read_timeout, Some(short.0));
}
