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
    /// Claims of files, each of which replaces all claims of its file.
    pub files: Vec<FileClaim>,
    /// The [version](FileClaims::version) of the claims that the commit is based on, if `files` is
    /// not empty.
    pub files_base: u64,
}

/// The apps that a file of a member names. An app of a file belongs to the members that have the
/// file: it is deleted when its last claim goes.
///
/// The store does not delete apps by itself. A coordinator that applies a file reads
/// [`Store::file_claims`](crate::Store::file_claims), and commits its own claim together with the
/// deletion of the apps that no claim names any more. The commit is rejected if the claims have
/// changed since they were read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileClaim {
    /// The key of the file, opaque to the store.
    pub file: String,
    /// The names of its apps. A claim without apps deletes the claim.
    pub apps: Vec<String>,
}

/// The claims of all files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileClaims {
    /// A number that grows with every change of a claim.
    pub version: u64,
    /// The claims, ordered by file, their apps by name.
    pub files: Vec<FileClaim>,
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
