//! Changes of the app table: their result for a snapshot and the reasons to reject them. Nothing
//! here waits or writes.

mod file;

use std::sync::Arc;
use std::time::SystemTime;

use app_proxy_api::apps::{App, AppError};
use app_proxy_api::table::{AppSource, AppTable, Epoch, StoredApp};
use app_proxy_hop::observe::access_log::timestamp;

use super::{RoutedApp, Snapshot};
use crate::router::RouteError;
use app_proxy_store::{AppChange, AppCommit, AppDelta, FileClaim, StoreError};
pub(crate) use file::{FileScope, ReplacedFiles};

/// A change of the app table.
#[derive(Clone, Debug)]
pub(crate) enum Edit {
    /// Creates or replaces an app through the API.
    Put(Box<App>, Condition),
    /// Deletes an app through the API.
    Delete(String, Condition),
    /// Replaces the apps of the configuration file.
    File(Vec<App>),
}

/// The precondition of a change (RFC 9110 section 13).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Condition {
    /// No precondition.
    #[default]
    None,
    /// `If-Match`: the app exists at one of these revisions.
    Revisions(Vec<u64>),
    /// `If-Match: *`: the app exists.
    Exists,
    /// `If-None-Match: *`: the app does not exist.
    Absent,
}

/// The result of a change.
#[derive(Clone, Debug)]
pub(crate) enum EditOutcome {
    /// The app is new.
    Created(Arc<StoredApp>),
    /// The app is replaced.
    Updated(Arc<StoredApp>),
    /// The app was identical already.
    Unchanged(Arc<StoredApp>),
    /// The app is deleted, now or by an earlier call.
    Deleted,
    /// The apps of the file are applied.
    FileApplied {
        /// Number of new or changed apps.
        put: usize,
        /// The deleted apps, which no file defines any more.
        deleted: Vec<String>,
        /// New or changed apps that the file of another member defines as well.
        contested: Vec<String>,
    },
}

/// The reasons to reject a change.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum EditError {
    /// The app is invalid.
    #[error(transparent)]
    Invalid(#[from] AppError),
    /// No app has or had this name.
    #[error("there is no app `{0}`")]
    NotFound(String),
    /// The file defines the app.
    #[error("app `{0}` is defined in the coordinator's file and can only be changed there")]
    OwnedByFile(String),
    /// Another app has one of the routes.
    #[error("{0}")]
    MatchTaken(RouteError),
    /// The app is at another revision, or does not exist.
    #[error("the app is at {}", revision_text(*.0))]
    Precondition(Option<u64>),
    /// The store rejected the change.
    #[error("{0}")]
    Store(Arc<StoreError>),
    /// The coordinator is shutting down.
    #[error("the coordinator is shutting down")]
    ShuttingDown,
}

impl From<RouteError> for EditError {
    fn from(error: RouteError) -> Self {
        match error {
            RouteError::Rule(invalid) => Self::Invalid(invalid),
            RouteError::NameInHost { .. } | RouteError::NameInPath(_) => {
                Self::Invalid(AppError::new("name", error.to_string()))
            }
            conflict => Self::MatchTaken(conflict),
        }
    }
}

/// A snapshot under change, with the changes to store.
pub(crate) struct Draft {
    /// The snapshot with the changes so far.
    pub(crate) snapshot: Snapshot,
    base: (Epoch, u64),
    changes: Vec<AppChange>,
    /// The deleted apps.
    pub(crate) deleted: Vec<Arc<RoutedApp>>,
    /// The names of created and replaced apps.
    pub(crate) put: Vec<String>,
    /// The file of this member and those of others.
    scope: FileScope,
    /// The changes of claims to store.
    files: Vec<FileClaim>,
}

impl Draft {
    /// Creates a draft based on `snapshot`.
    #[must_use]
    pub(crate) fn new(snapshot: &Snapshot) -> Self {
        let base = (snapshot.table.epoch().clone(), snapshot.table.revision());
        Self {
            snapshot: snapshot.clone(),
            base,
            changes: Vec::new(),
            deleted: Vec::new(),
            put: Vec::new(),
            scope: FileScope::default(),
            files: Vec::new(),
        }
    }

    /// Makes this a draft of a member whose file is in `scope`, for edits that apply the file.
    #[must_use]
    pub(crate) fn in_scope(self, scope: FileScope) -> Self {
        Self { scope, ..self }
    }

    /// Applies a change.
    ///
    /// # Errors
    /// [`EditError`]; the draft is then unchanged.
    pub(crate) fn apply(&mut self, edit: &Edit) -> Result<EditOutcome, EditError> {
        let before = (
            self.snapshot.clone(),
            self.changes.len(),
            self.deleted.len(),
            self.put.len(),
        );
        let outcome = match edit {
            Edit::Put(app, condition) => self.put(app, condition),
            Edit::Delete(name, condition) => self.delete(name, condition),
            Edit::File(apps) => self.apply_file(apps),
        };
        if outcome.is_err() {
            self.snapshot = before.0;
            self.changes.truncate(before.1);
            self.deleted.truncate(before.2);
            self.put.truncate(before.3);
        }
        outcome
    }

    fn put(&mut self, app: &App, condition: &Condition) -> Result<EditOutcome, EditError> {
        let before = self.editable(&app.name)?;
        condition.check(before.as_deref())?;
        if let Some(same) = before.as_ref().filter(|before| before.app == *app) {
            return Ok(EditOutcome::Unchanged(Arc::clone(same)));
        }
        self.begin_unique_epoch()?;
        let routed = self.snapshot.unroute(&app.name);
        let now = timestamp(SystemTime::now());
        let stored = self.insert(app.clone(), AppSource::Api, Some(now), routed.as_deref())?;
        Ok(if before.is_some() {
            EditOutcome::Updated(stored)
        } else {
            EditOutcome::Created(stored)
        })
    }

    fn delete(&mut self, name: &str, condition: &Condition) -> Result<EditOutcome, EditError> {
        let before = self.editable(name)?;
        condition.check(before.as_deref())?;
        if before.is_none() {
            // A client may repeat a call because the response was lost.
            let was_deleted = self.snapshot.table.is_deleted(name);
            return if was_deleted {
                Ok(EditOutcome::Deleted)
            } else {
                Err(EditError::NotFound(name.to_owned()))
            };
        }
        self.begin_unique_epoch()?;
        self.remove_app(name);
        Ok(EditOutcome::Deleted)
    }

    /// Returns the app with a name, unless the file defines it.
    fn editable(&self, name: &str) -> Result<Option<Arc<StoredApp>>, EditError> {
        match self.snapshot.table.get(name) {
            Some(app) if app.source == AppSource::File => {
                Err(EditError::OwnedByFile(name.to_owned()))
            }
            app => Ok(app.cloned()),
        }
    }

    /// Returns whether the table has only ever had the apps of a file. The first versions wrote
    /// apps of the API under other epochs too.
    fn is_of_file(&self) -> bool {
        let table = &self.snapshot.table;
        !table.epoch().is_unique() && table.iter().all(|app| app.source == AppSource::File)
    }

    /// Gives a table of the file alone a unique epoch, because its history now differs from that of
    /// other coordinators with the same file.
    fn begin_unique_epoch(&mut self) -> Result<(), EditError> {
        if !self.snapshot.table.epoch().is_unique() {
            let table = self.snapshot.table.in_epoch(Epoch::unique());
            self.snapshot = self.snapshot.rebuilt(table)?;
        }
        Ok(())
    }

    fn insert(
        &mut self,
        app: App,
        source: AppSource,
        updated_at: Option<String>,
        before: Option<&RoutedApp>,
    ) -> Result<Arc<StoredApp>, EditError> {
        let stored = self.snapshot.table.put(app, source, updated_at);
        self.snapshot.route(Arc::clone(&stored), before)?;
        self.changes.push(AppChange::Put(Arc::clone(&stored)));
        self.put.push(stored.app.name.clone());
        Ok(stored)
    }

    fn remove_app(&mut self, name: &str) {
        self.deleted.extend(self.snapshot.unroute(name));
        if let Some(revision) = self.snapshot.table.delete(name) {
            self.changes.push(AppChange::Delete {
                name: name.to_owned(),
                revision,
            });
        }
    }

    /// Applies the changes of another process.
    ///
    /// # Errors
    /// [`EditError`] if the apps are in conflict, which no process writes.
    pub(crate) fn follow(&mut self, delta: AppDelta) -> Result<(), EditError> {
        if delta.complete {
            let before = self.snapshot.clone();
            self.snapshot = before.rebuilt(AppTable::restore(delta.state))?;
            let deleted = before
                .apps()
                .filter(|app| self.snapshot.get(&app.name).is_none());
            self.deleted.extend(deleted.map(Arc::clone));
            self.put.extend(
                self.snapshot
                    .table
                    .iter()
                    .map(|stored| stored.app.name.clone()),
            );
        } else {
            for (name, revision) in &delta.state.deleted {
                self.deleted.extend(self.snapshot.unroute(name));
                self.snapshot.table.remove(name, *revision);
            }
            let unroute = |app: StoredApp| {
                let routed = self.snapshot.unroute(&app.app.name);
                (Arc::new(app), routed)
            };
            let unrouted: Vec<_> = delta.state.apps.into_iter().map(unroute).collect();
            for (stored, routed) in unrouted {
                self.put.push(stored.app.name.clone());
                self.snapshot.table.insert(Arc::clone(&stored));
                self.snapshot.route(stored, routed.as_deref())?;
            }
        }
        // These changes are stored already.
        let (deleted, put) = (
            std::mem::take(&mut self.deleted),
            std::mem::take(&mut self.put),
        );
        *self = Self {
            deleted,
            put,
            ..Self::new(&self.snapshot)
        };
        Ok(())
    }

    /// Returns the changes to store, or `None` if there are none.
    #[must_use]
    pub(crate) fn commit(&self) -> Option<AppCommit> {
        let table = &self.snapshot.table;
        let (epoch, revision) = (table.epoch().clone(), table.revision());
        if self.base == (epoch.clone(), revision) && self.files.is_empty() {
            return None;
        }
        let changes = if self.base.0 == epoch {
            self.changes.clone()
        } else {
            // A new epoch: store the whole table.
            table
                .iter()
                .map(|app| AppChange::Put(Arc::clone(app)))
                .collect()
        };
        Some(AppCommit {
            base: self.base.clone(),
            epoch,
            revision,
            horizon: table.horizon(),
            changes,
            files: self.files.clone(),
            files_base: self.scope.claims.version,
        })
    }
}

fn revision_text(revision: Option<u64>) -> String {
    revision.map_or_else(
        || "no revision".to_owned(),
        |revision| format!("revision {revision}"),
    )
}

impl Condition {
    fn check(&self, before: Option<&StoredApp>) -> Result<(), EditError> {
        let holds = match self {
            Self::None => true,
            Self::Exists => before.is_some(),
            Self::Absent => before.is_none(),
            Self::Revisions(wanted) => {
                before.is_some_and(|before| wanted.contains(&before.revision))
            }
        };
        if holds {
            Ok(())
        } else {
            Err(EditError::Precondition(
                before.map(|before| before.revision),
            ))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests;
