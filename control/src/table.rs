//! The app table: every app with the revision that it changed at.
//!
//! A revision grows by one with every change. It counts within an epoch: a store that forgets begins a new one, and whoever
//! holds a table of another epoch takes the whole table anew.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::app::App;

/// An app as the table holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredApp {
    /// The app.
    #[serde(flatten)]
    pub app: App,
    /// When it changed last.
    pub revision: u64,
    /// Who owns it.
    pub source: Source,
}

/// Where an app comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The configuration file; the API cannot change it.
    File,
    /// The API.
    Api,
}

/// Answer of `GET /api/v1/apps`: the table, or what changed in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppList {
    /// Apps; all of them, or those that changed after `since`.
    pub items: Vec<Arc<StoredApp>>,
    /// Where the next page begins; none on the last one.
    pub next_cursor: Option<String>,
    /// The table's revision.
    pub revision: u64,
    /// What the revision counts in.
    pub epoch: String,
    /// Names of apps that were deleted after `since`.
    #[serde(default)]
    pub deleted: Vec<String>,
    /// Whether `items` is the whole table: also when `since` was of another epoch.
    pub complete: bool,
}

impl AppList {
    /// Whether there is anything in it for who holds an older table.
    #[must_use]
    pub fn has_news(&self) -> bool {
        self.complete || !self.items.is_empty() || !self.deleted.is_empty()
    }
}

/// The table, immutable; a change makes a new one.
#[derive(Clone, Debug)]
pub struct AppTable {
    epoch: Arc<str>,
    revision: u64,
    apps: BTreeMap<String, Arc<StoredApp>>,
    /// Apps that are gone, and when they went.
    deleted: BTreeMap<String, u64>,
}

impl AppTable {
    /// The table of a configuration file. Its epoch is made of what the file says, so that the daemons that overlap in a graceful
    /// upgrade, or restart with the same file, agree on epoch and revisions.
    #[must_use]
    pub fn from_file(apps: Vec<App>) -> Self {
        let mut hash = Sha256::new();
        let mut stored = BTreeMap::new();
        let mut revision = 0;
        for app in apps {
            revision += 1;
            // An app is made of strings and numbers, which always are JSON.
            hash.update(serde_json::to_vec(&app).unwrap_or_default());
            stored.insert(app.name.clone(), Arc::new(StoredApp { app, revision, source: Source::File }));
        }
        let digest = hash.finalize();
        let epoch: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Self { epoch: epoch.into(), revision, apps: stored, deleted: BTreeMap::new() }
    }

    /// What the revision counts in.
    #[must_use]
    pub fn epoch(&self) -> &Arc<str> {
        &self.epoch
    }

    /// How many changes there were in this epoch.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The app of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<StoredApp>> {
        self.apps.get(name)
    }

    /// All apps by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<StoredApp>> {
        self.apps.values()
    }

    /// What changed after `since`, deletions included; the whole table where that cannot be told (another epoch, or a revision that
    /// is not there yet).
    #[must_use]
    pub fn changes(&self, since: u64, epoch: Option<&str>) -> AppList {
        let same = epoch.is_none_or(|epoch| *epoch == *self.epoch) && since <= self.revision;
        let after = if same { since } else { 0 };
        AppList {
            items: self.apps.values().filter(|app| app.revision > after).cloned().collect(),
            next_cursor: None,
            revision: self.revision,
            epoch: self.epoch.as_ref().to_owned(),
            deleted: self.deleted.iter().filter(|(_, at)| **at > after).map(|(name, _)| name.clone()).collect(),
            complete: !same || (since == 0 && epoch.is_none()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apps(names: &[&str]) -> Vec<App> {
        names.iter().map(|name| serde_json::from_value(serde_json::json!({"name": name})).unwrap()).collect()
    }

    fn names(list: &AppList) -> Vec<&str> {
        list.items.iter().map(|app| app.app.name.as_str()).collect()
    }

    #[test]
    fn the_same_file_gives_the_same_epoch_and_another_file_another() {
        let one = AppTable::from_file(apps(&["a", "b"]));
        assert_eq!(one.epoch(), AppTable::from_file(apps(&["a", "b"])).epoch());
        assert_ne!(one.epoch(), AppTable::from_file(apps(&["a", "c"])).epoch());
        assert_eq!(one.revision(), 2);
    }

    #[test]
    fn changes_are_those_after_a_revision_of_the_same_epoch() {
        let table = AppTable::from_file(apps(&["a", "b"]));
        let all = table.changes(0, None);
        assert_eq!((names(&all), all.complete), (vec!["a", "b"], true));
        let later = table.changes(1, Some(table.epoch()));
        assert_eq!((names(&later), later.complete), (vec!["b"], false));
        assert!(names(&table.changes(2, Some(table.epoch()))).is_empty());
    }

    /// Keeps out: a follower of an empty table was told at once, again and again, that this is all of it.
    #[test]
    fn an_empty_table_has_no_news_for_who_knows_its_epoch() {
        let table = AppTable::from_file(Vec::new());
        assert!(table.changes(0, None).complete);
        let list = table.changes(0, Some(table.epoch()));
        assert!(!list.complete && list.items.is_empty());
    }

    #[test]
    fn another_epoch_or_a_revision_from_the_future_gets_the_whole_table() {
        let table = AppTable::from_file(apps(&["a", "b"]));
        for list in [table.changes(2, Some("other")), table.changes(9, Some(table.epoch()))] {
            assert_eq!((names(&list), list.complete), (vec!["a", "b"], true));
        }
    }
}
