//! The app table: every app with the revision of its last change.
//!
//! The revision grows by one with every change. It counts within an [`Epoch`]: a store that lost
//! its content begins a new epoch, and a follower of another epoch replaces its whole table.
//!
//! An [`AppTable`] is a persistent data structure: copies share all but the changed nodes, so that
//! a copy and a change cost about the same with ten apps and with ten thousand.

mod epoch;
mod list;

use std::ops::Bound;
use std::sync::Arc;

use rpds::{HashTrieMapSync, RedBlackTreeMapSync};

use crate::apps::App;

pub use epoch::Epoch;
pub use list::{AppList, AppSource, AppliedApp, ServedBy, StoredApp, TableState};

/// Maximum number of remembered deletions. Followers that missed more get the whole table.
const MAX_TOMBSTONES: usize = 10_000;

/// The app table.
///
/// ```
/// use app_proxy_api::apps::App;
/// use app_proxy_api::table::{AppSource, AppTable};
///
/// let app: App = serde_json::from_str(r#"{"name": "notes"}"#)?;
/// let mut table = AppTable::from_file(vec![app.clone()]);
/// let follower = table.clone();
///
/// table.put(App { name: "maps".to_owned(), ..app }, AppSource::Api, None);
/// table.delete("notes");
///
/// let changes = table.changes(follower.revision(), Some(follower.epoch()));
/// assert_eq!(changes.items[0].app.name, "maps");
/// assert_eq!((changes.deleted, changes.revision), (vec!["notes".to_owned()], 3));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct AppTable {
    epoch: Epoch,
    revision: u64,
    horizon: u64,
    apps: RedBlackTreeMapSync<Arc<str>, Arc<StoredApp>>,
    /// The apps by revision.
    changed: RedBlackTreeMapSync<u64, Arc<StoredApp>>,
    /// The revision at which each deleted app was deleted.
    deleted: HashTrieMapSync<Arc<str>, u64>,
    /// The names of deleted apps by revision.
    deletions: RedBlackTreeMapSync<u64, Arc<str>>,
}

impl AppTable {
    /// Creates an empty table.
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

    /// Creates the table of a configuration file. Its epoch depends on the apps alone, so that all
    /// processes and coordinators with the same file have the same epoch and revisions.
    #[must_use]
    pub fn from_file(apps: Vec<App>) -> Self {
        let mut table = Self::new(Epoch::of_file(&apps));
        for app in apps {
            table.put(app, AppSource::File, None);
        }
        table
    }

    /// Creates the table from a store's content.
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
            table.record_deletion(name.into(), revision);
        }
        table
    }

    /// Returns the same table in another epoch.
    #[must_use]
    pub fn in_epoch(&self, epoch: Epoch) -> Self {
        Self {
            epoch,
            ..self.clone()
        }
    }

    /// Creates or replaces an app, at a new revision.
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

    /// Deletes an app, and returns the revision of the deletion, or `None` if there is no such app.
    pub fn delete(&mut self, name: &str) -> Option<u64> {
        let revision = self.revision + 1;
        self.apps.contains_key(name).then(|| {
            self.remove(name, revision);
            revision
        })
    }

    /// Adopts an app from a newer table, with its revision.
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

    /// Adopts a deletion from a newer table, with its revision. This table need not have the app:
    /// it may have been created and deleted since.
    pub fn remove(&mut self, name: &str, revision: u64) {
        if let Some(before) = self.apps.get(name) {
            self.changed.remove_mut(&before.revision);
            self.apps.remove_mut(name);
        }
        self.record_deletion(name.into(), revision);
    }

    fn record_deletion(&mut self, name: Arc<str>, revision: u64) {
        self.revision = self.revision.max(revision);
        if let Some(before) = self.deleted.get(&name) {
            self.deletions.remove_mut(before);
        }
        self.deletions.insert_mut(revision, Arc::clone(&name));
        self.deleted.insert_mut(name, revision);
        while self.deleted.size() > MAX_TOMBSTONES {
            let Some((revision, name)) = self.deletions.first().map(|(r, n)| (*r, Arc::clone(n)))
            else {
                return;
            };
            self.horizon = revision;
            self.deletions.remove_mut(&revision);
            self.deleted.remove_mut(&name);
        }
    }

    /// Returns the epoch of the table.
    #[must_use]
    pub fn epoch(&self) -> &Epoch {
        &self.epoch
    }

    /// Returns the number of changes in this epoch.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Returns the highest revision whose deletion is forgotten.
    #[must_use]
    pub fn horizon(&self) -> u64 {
        self.horizon
    }

    /// Returns the number of apps.
    #[must_use]
    pub fn len(&self) -> usize {
        self.apps.size()
    }

    /// Returns whether there is no app.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.apps.is_empty()
    }

    /// Returns an app by name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<StoredApp>> {
        self.apps.get(name)
    }

    /// Returns whether an app of this name was deleted, unless its deletion is forgotten.
    #[must_use]
    pub fn is_deleted(&self, name: &str) -> bool {
        self.deleted.contains_key(name)
    }

    /// Returns all apps, ordered by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<StoredApp>> {
        self.apps.values()
    }

    /// Returns the page of at most `limit` apps after the name `cursor`.
    #[must_use]
    pub fn page(&self, cursor: Option<&str>, limit: usize) -> AppList {
        let from = cursor.map_or(Bound::Unbounded, Bound::Excluded);
        let mut after = self
            .apps
            .range::<str, _>((from, Bound::Unbounded))
            .map(|(_, app)| Arc::clone(app));
        let items: Vec<_> = after.by_ref().take(limit).collect();
        let next_cursor = after
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

    /// Returns the changes after the revision `since`, with deletions. Returns the whole table if
    /// `since` is of another epoch, in the future, or before the horizon.
    #[must_use]
    pub fn changes(&self, since: u64, epoch: Option<&Epoch>) -> AppList {
        let comparable = epoch.is_none_or(|epoch| *epoch == self.epoch) && since <= self.revision;
        let known = comparable && since >= self.horizon;
        if !known || (since == 0 && epoch.is_none()) {
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
mod tests;
