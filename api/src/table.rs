//! The app table: every app with the revision that it changed at.
//!
//! A revision grows by one with every change. It counts within an epoch: a store that forgets
//! begins a new one, and whoever holds a table of another epoch takes the whole table anew.
//!
//! A table never changes: a change makes a new one, which shares all but a few nodes with the one
//! before, so that it costs about the same with ten apps and with ten thousand.

use std::sync::Arc;

use rpds::{HashTrieMapSync, RedBlackTreeMapSync};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::apps::App;

mod epoch;

pub use epoch::Epoch;

/// Deleted apps that are remembered for those who follow the table; who has missed more takes the
/// whole table.
const DELETED_REMEMBERED: usize = 10_000;

/// An app as the table holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StoredApp {
    /// The app.
    #[serde(flatten)]
    pub app: App,
    /// When it changed last.
    pub revision: u64,
    /// Who owns it.
    pub source: AppSource,
    /// When it changed last, RFC 3339; absent of apps of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime)]
    pub updated_at: Option<String>,
}

/// Where an app comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AppSource {
    /// The configuration file; the API cannot change it.
    File,
    /// The API.
    Api,
}

/// Answer of `GET /api/v1/apps`: the table, or what changed in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AppList {
    /// Apps; all of them, or those that changed after `since`.
    #[schema(value_type = Vec<StoredApp>)]
    pub items: Vec<Arc<StoredApp>>,
    /// Where the next page begins; none on the last one.
    pub next_cursor: Option<String>,
    /// The table's revision.
    pub revision: u64,
    /// What the revision counts in.
    #[schema(value_type = String)]
    pub epoch: Epoch,
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

/// A table as a store keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableState {
    /// What the revision counts in; empty when there has been none.
    pub epoch: Epoch,
    /// How many changes there were in this epoch.
    pub revision: u64,
    /// Deletions up to this revision are forgotten.
    pub horizon: u64,
    /// The apps.
    pub apps: Vec<StoredApp>,
    /// Apps that are gone, and when they went.
    pub deleted: Vec<(String, u64)>,
}

/// The table, immutable; a change makes a new one.
#[derive(Clone, Debug)]
pub struct AppTable {
    epoch: Epoch,
    revision: u64,
    /// Deletions up to this revision are forgotten.
    horizon: u64,
    apps: RedBlackTreeMapSync<Arc<str>, Arc<StoredApp>>,
    /// The apps by the revision that they changed at.
    changed: RedBlackTreeMapSync<u64, Arc<StoredApp>>,
    /// When apps went that are gone, and which apps these are.
    deleted: HashTrieMapSync<Arc<str>, u64>,
    deletions: RedBlackTreeMapSync<u64, Arc<str>>,
}

impl AppTable {
    /// An empty table.
    #[must_use]
    pub fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            revision: 0,
            horizon: 0,
            apps: RedBlackTreeMapSync::new_sync(),
            changed: RedBlackTreeMapSync::new_sync(),
            deleted: HashTrieMapSync::new_sync(),
            deletions: RedBlackTreeMapSync::new_sync(),
        }
    }

    /// The table of a configuration file. Its epoch is made of what the file says, so that the
    /// daemons that overlap in a graceful upgrade, or restart with the same file, and coordinators
    /// with the same file, agree on epoch and revisions.
    #[must_use]
    pub fn from_file(apps: Vec<App>) -> Self {
        let mut table = Self::new(Epoch::of_file(&apps));
        for app in apps {
            table.put(app, AppSource::File, None);
        }
        table
    }

    /// The table that a store has kept.
    #[must_use]
    pub fn restore(state: TableState) -> Self {
        let mut table = Self {
            revision: state.revision,
            horizon: state.horizon,
            ..Self::new(state.epoch)
        };
        for app in state.apps {
            table.insert(Arc::new(app));
        }
        for (name, revision) in state.deleted {
            table.bury(name.into(), revision);
        }
        table
    }

    /// The same table under another epoch: what it counted before does not count any more.
    #[must_use]
    pub fn in_epoch(&self, epoch: Epoch) -> Self {
        Self {
            epoch,
            ..self.clone()
        }
    }

    /// Puts an app in, or in the place of the one of its name, at a new revision.
    pub fn put(
        &mut self,
        app: App,
        source: AppSource,
        updated_at: Option<String>,
    ) -> Arc<StoredApp> {
        self.revision += 1;
        let stored = Arc::new(StoredApp {
            app,
            revision: self.revision,
            source,
            updated_at,
        });
        self.insert(Arc::clone(&stored));
        stored
    }

    /// Takes an app out, at a new revision; says which revision that is. None when there is no such
    /// app.
    pub fn delete(&mut self, name: &str) -> Option<u64> {
        let revision = self.revision + 1;
        self.apps.contains_key(name).then(|| {
            self.remove(name, revision);
            revision
        })
    }

    /// Takes over what another table says, which is newer: an app.
    pub fn insert(&mut self, stored: Arc<StoredApp>) {
        let name: Arc<str> = stored.app.name.as_str().into();
        if let Some(before) = self.apps.get(&name) {
            self.changed.remove_mut(&before.revision);
        }
        if let Some(revision) = self.deleted.get(&name).copied() {
            self.deletions.remove_mut(&revision);
            self.deleted.remove_mut(&name);
        }
        self.revision = self.revision.max(stored.revision);
        self.changed
            .insert_mut(stored.revision, Arc::clone(&stored));
        self.apps.insert_mut(name, stored);
    }

    /// Takes over what another table says, which is newer: that an app is gone since `revision`. It
    /// may have come and gone there without ever having been here: the table is at that revision
    /// all the same.
    pub fn remove(&mut self, name: &str, revision: u64) {
        if let Some(before) = self.apps.get(name) {
            self.changed.remove_mut(&before.revision);
            self.apps.remove_mut(name);
        }
        self.bury(name.into(), revision);
    }

    fn bury(&mut self, name: Arc<str>, revision: u64) {
        self.revision = self.revision.max(revision);
        if let Some(before) = self.deleted.get(&name) {
            self.deletions.remove_mut(before);
        }
        self.deletions.insert_mut(revision, Arc::clone(&name));
        self.deleted.insert_mut(name, revision);
        while self.deleted.size() > DELETED_REMEMBERED {
            let Some((revision, name)) = self.deletions.first().map(|(r, n)| (*r, Arc::clone(n)))
            else {
                return;
            };
            self.horizon = revision;
            self.deletions.remove_mut(&revision);
            self.deleted.remove_mut(&name);
        }
    }

    /// What the revision counts in.
    #[must_use]
    pub fn epoch(&self) -> &Epoch {
        &self.epoch
    }

    /// How many changes there were in this epoch.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Deletions up to this revision are forgotten.
    #[must_use]
    pub fn horizon(&self) -> u64 {
        self.horizon
    }

    /// How many apps there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.apps.size()
    }

    /// Whether there is no app.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.apps.is_empty()
    }

    /// The app of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<StoredApp>> {
        self.apps.get(name)
    }

    /// Whether an app of this name was deleted, and that is remembered.
    #[must_use]
    pub fn is_deleted(&self, name: &str) -> bool {
        self.deleted.contains_key(name)
    }

    /// All apps by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<StoredApp>> {
        self.apps.values()
    }

    /// The page of at most `limit` apps behind the name `cursor`.
    #[must_use]
    pub fn page(&self, cursor: Option<&str>, limit: usize) -> AppList {
        use std::ops::Bound;
        let from = cursor.map_or(Bound::Unbounded, Bound::Excluded);
        let mut behind = self
            .apps
            .range::<str, _>((from, Bound::Unbounded))
            .map(|(_, app)| Arc::clone(app));
        let items: Vec<_> = behind.by_ref().take(limit).collect();
        let next_cursor = behind
            .next()
            .and(items.last())
            .map(|app| app.app.name.clone());
        let complete = cursor.is_none() && next_cursor.is_none();
        AppList {
            next_cursor,
            complete,
            ..self.list(items)
        }
    }

    /// What changed after `since`, deletions included; the whole table where that cannot be told
    /// (another epoch, a revision that is not there yet, or deletions that are forgotten).
    #[must_use]
    pub fn changes(&self, since: u64, epoch: Option<&Epoch>) -> AppList {
        let same = epoch.is_none_or(|epoch| *epoch == self.epoch) && since <= self.revision;
        let told = same && (since >= self.horizon);
        if !told || (since == 0 && epoch.is_none()) {
            return AppList {
                complete: true,
                ..self.list(self.iter().cloned().collect())
            };
        }
        let after = since + 1..;
        let items = self
            .changed
            .range(after.clone())
            .map(|(_, app)| Arc::clone(app))
            .collect();
        let deleted = self
            .deletions
            .range(after)
            .map(|(_, name)| name.as_ref().to_owned())
            .collect();
        AppList {
            deleted,
            ..self.list(items)
        }
    }

    fn list(&self, items: Vec<Arc<StoredApp>>) -> AppList {
        AppList {
            items,
            next_cursor: None,
            revision: self.revision,
            epoch: self.epoch.clone(),
            deleted: Vec::new(),
            complete: false,
        }
    }
}

#[cfg(test)]
mod tests {
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

    /// Keeps out: a follower of an empty table was told at once, again and again, that this is all
    /// of it.
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
        assert_eq!(table.delete("nobody"), None);
        let news = table.changes(held.revision(), Some(held.epoch()));
        assert_eq!(
            (names(&news), news.deleted.as_slice()),
            (vec!["d", "a"], &["b".to_owned()][..])
        );
        let mut follower = held;
        for app in &news.items {
            follower.insert(Arc::clone(app));
        }
        follower.remove("b", 4);
        assert_eq!(
            names(&follower.changes(0, None)),
            names(&table.changes(0, None))
        );
        assert_eq!(follower.revision(), table.revision());
    }

    /// Keeps out: a table that followed an app which came and went at another process in between
    /// stayed behind it for good.
    #[test]
    fn an_app_that_has_come_and_gone_elsewhere_is_followed_too() {
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
    fn an_app_that_comes_back_is_not_told_as_deleted() {
        let mut table = AppTable::from_file(apps(&["a"]));
        let since = table.revision();
        table.delete("a");
        table.put(apps(&["a"]).remove(0), AppSource::Api, None);
        let news = table.changes(since, Some(table.epoch()));
        assert_eq!(
            (names(&news), news.deleted.len(), news.revision),
            (vec!["a"], 0, 3)
        );
    }

    #[test]
    fn who_has_missed_too_many_deletions_gets_the_whole_table() {
        let mut table = AppTable::new("e".into());
        for number in 0..=DELETED_REMEMBERED {
            let name = format!("a{number}");
            table.put(apps(&[&name]).remove(0), AppSource::Api, None);
            table.delete(&name);
        }
        assert_eq!(table.horizon(), 2);
        assert!(table.changes(1, Some(&"e".into())).complete);
        let list = table.changes(2, Some(&"e".into()));
        assert_eq!(
            (list.complete, list.deleted.len()),
            (false, DELETED_REMEMBERED)
        );
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
    fn what_a_store_keeps_makes_the_same_table() {
        let mut table = AppTable::from_file(apps(&["a", "b"]));
        table.delete("a");
        let state = TableState {
            epoch: table.epoch().clone(),
            revision: table.revision(),
            horizon: 0,
            apps: table.iter().map(|app| app.as_ref().clone()).collect(),
            deleted: vec![("a".to_owned(), 3)],
        };
        let again = AppTable::restore(state);
        assert_eq!(
            again.changes(1, Some(table.epoch())),
            table.changes(1, Some(table.epoch()))
        );
    }
}
