//! Commits: changes of the app table that are stored together.

use std::sync::Arc;

use app_proxy_api::table::{Epoch, StoredApp};

/// Changes of the app table that are stored together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AppCommit {
    /// Epoch and revision of the table that the changes are based on; empty and 0 for a store
    /// without a table.
    pub base: (Epoch, u64),
    /// The epoch after the changes. If it differs from that of `base`, `changes` is the whole
    /// table, with its tombstones.
    pub epoch: Epoch,
    /// The revision after the changes.
    pub revision: u64,
    /// Tombstones up to this revision may be deleted. Never decreases within an epoch.
    pub horizon: u64,
    /// The changes, ordered by revision.
    pub changes: Vec<AppChange>,
}

/// A change of the app table.
#[derive(Clone, Debug, PartialEq)]
pub enum AppChange {
    /// Creates an app, or replaces the app of the same name.
    Put(Arc<StoredApp>),
    /// Deletes an app and keeps a tombstone.
    Delete {
        /// The name of the app.
        name: String,
        /// The revision of the deletion.
        revision: u64,
    },
}
