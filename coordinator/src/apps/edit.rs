//! What a change makes of a snapshot of the app table, and why it may be refused. Nothing here
//! waits or writes.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::SystemTime;

use app_proxy_api::apps::{App, AppError};
use app_proxy_api::table::{AppSource, AppTable, Epoch, StoredApp};
use app_proxy_hop::observe::access_log::timestamp;

use super::{RoutedApp, Snapshot};
use crate::router::RouteError;
use app_proxy_store::{AppChange, AppCommit, AppDelta, StoreError};

/// A change of the app table.
#[derive(Clone, Debug)]
pub(crate) enum Edit {
    /// An app of the API, new or in the place of the one of its name.
    Put(Box<App>, Condition),
    /// An app of the API goes.
    Delete(String, Condition),
    /// The apps of the configuration file, all of them.
    File(Vec<App>),
}

/// What must be the case for a change to be made (RFC 9110, section 13).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Condition {
    /// Nothing.
    #[default]
    None,
    /// `If-Match`: the app is there, at one of these revisions.
    Revisions(Vec<u64>),
    /// `If-Match: *`: the app is there.
    Exists,
    /// `If-None-Match: *`: it is not.
    Absent,
}

/// What a change has done.
#[derive(Clone, Debug)]
pub(crate) enum EditOutcome {
    /// The app is new.
    Created(Arc<StoredApp>),
    /// The app is another one now.
    Updated(Arc<StoredApp>),
    /// The app was like this already.
    Unchanged(Arc<StoredApp>),
    /// The app is gone, or was gone already.
    Deleted,
    /// The apps of the file are taken over: how many were put and how many went.
    FileApplied {
        /// New or changed.
        put: usize,
        /// Gone.
        deleted: usize,
    },
}

/// Why a change is refused.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum EditError {
    /// The app is not valid.
    #[error(transparent)]
    Invalid(#[from] AppError),
    /// There is no app of this name, and there was none.
    #[error("there is no app `{0}`")]
    NotFound(String),
    /// The file owns the app.
    #[error("app `{0}` is in the coordinator's file, and is changed there")]
    OwnedByFile(String),
    /// Another app answers there.
    #[error("{0}")]
    MatchTaken(RouteError),
    /// The app has changed since, or is not there.
    #[error("the app is at {}", .0.map_or_else(|| "no revision".to_owned(), |revision| format!("revision {revision}")))]
    Precondition(Option<u64>),
    /// The store cannot be written.
    #[error("{0}")]
    Store(Arc<StoreError>),
    /// The coordinator is ending.
    #[error("the coordinator is ending")]
    Ending,
}

impl From<RouteError> for EditError {
    fn from(error: RouteError) -> Self {
        match error {
            RouteError::Rule(invalid) => Self::Invalid(invalid),
            RouteError::NameInHost { .. } | RouteError::NameInPath(_) => {
                Self::Invalid(AppError::new("name", error.to_string()))
            }
            taken => Self::MatchTaken(taken),
        }
    }
}

/// A snapshot that is being changed, with what there is to write of it.
pub(crate) struct Draft {
    /// The state so far.
    pub(crate) snapshot: Snapshot,
    base: (Epoch, u64),
    changes: Vec<AppChange>,
    /// Apps that have gone.
    pub(crate) gone: Vec<Arc<RoutedApp>>,
    /// The names of apps that were put in.
    pub(crate) put: Vec<String>,
}

impl Draft {
    /// A draft on top of `snapshot`.
    #[must_use]
    pub(crate) fn of(snapshot: &Snapshot) -> Self {
        let base = (snapshot.table.epoch().clone(), snapshot.table.revision());
        Self {
            snapshot: snapshot.clone(),
            base,
            changes: Vec::new(),
            gone: Vec::new(),
            put: Vec::new(),
        }
    }

    /// Makes a change.
    ///
    /// # Errors
    /// [`EditError`]; the draft is then as it was before.
    pub(crate) fn apply(&mut self, edit: &Edit) -> Result<EditOutcome, EditError> {
        let before = (
            self.snapshot.clone(),
            self.changes.len(),
            self.gone.len(),
            self.put.len(),
        );
        let outcome = match edit {
            Edit::Put(app, condition) => self.put(app, condition),
            Edit::Delete(name, condition) => self.delete(name, condition),
            Edit::File(apps) => self.take_file(apps),
        };
        if outcome.is_err() {
            self.snapshot = before.0;
            self.changes.truncate(before.1);
            self.gone.truncate(before.2);
            self.put.truncate(before.3);
        }
        outcome
    }

    fn put(&mut self, app: &App, condition: &Condition) -> Result<EditOutcome, EditError> {
        let before = self.owned(&app.name)?;
        condition.check(before.as_deref())?;
        if let Some(same) = before.as_ref().filter(|before| before.app == *app) {
            return Ok(EditOutcome::Unchanged(Arc::clone(same)));
        }
        self.begin_own_epoch()?;
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
        let before = self.owned(name)?;
        condition.check(before.as_deref())?;
        if before.is_none() {
            // Whoever repeats a call whose answer was lost is told that it has worked.
            let repeated = self.snapshot.table.is_deleted(name);
            return if repeated {
                Ok(EditOutcome::Deleted)
            } else {
                Err(EditError::NotFound(name.to_owned()))
            };
        }
        self.begin_own_epoch()?;
        self.drop_app(name);
        Ok(EditOutcome::Deleted)
    }

    /// The app of a name, unless the file owns it.
    fn owned(&self, name: &str) -> Result<Option<Arc<StoredApp>>, EditError> {
        match self.snapshot.table.get(name) {
            Some(app) if app.source == AppSource::File => {
                Err(EditError::OwnedByFile(name.to_owned()))
            }
            app => Ok(app.cloned()),
        }
    }

    /// Takes over what the file says: apps of the file that it does not name any more go, those
    /// that it has changed are put. Apps of the API stay, unless the file has one of the name.
    fn take_file(&mut self, apps: &[App]) -> Result<EditOutcome, EditError> {
        let lost: Vec<String> = self.lost_by(apps);
        let differs = |app: &&App| {
            let before = self.snapshot.table.get(&app.name);
            before.is_none_or(|before| before.source != AppSource::File || before.app != **app)
        };
        let differing: Vec<App> = apps.iter().filter(differs).cloned().collect();
        let taken = EditOutcome::FileApplied {
            put: differing.len(),
            deleted: lost.len(),
        };
        if self.is_of_file() {
            self.replace_by_file(apps, &lost)?;
            return Ok(taken);
        }
        for name in &lost {
            self.drop_app(name);
        }
        // All out before one goes in: one of them may have what another one had.
        let out = |app: App| {
            let routed = self.snapshot.unroute(&app.name);
            (app, routed)
        };
        let out: Vec<_> = differing.into_iter().map(out).collect();
        for (app, routed) in out {
            self.insert(app, AppSource::File, None, routed.as_deref())?;
        }
        Ok(taken)
    }

    /// Apps of the file that it does not name any more.
    fn lost_by(&self, apps: &[App]) -> Vec<String> {
        let named: HashSet<&str> = apps.iter().map(|app| app.name.as_str()).collect();
        let of_file = self
            .snapshot
            .table
            .iter()
            .filter(|app| app.source == AppSource::File);
        of_file
            .map(|app| app.app.name.clone())
            .filter(|name| !named.contains(name.as_str()))
            .collect()
    }

    /// A table that is what the file says is made anew when the file changes, in the file's own
    /// epoch.
    fn replace_by_file(&mut self, apps: &[App], lost: &[String]) -> Result<(), EditError> {
        if *self.snapshot.table.epoch() == Epoch::of_file(apps) {
            return Ok(());
        }
        self.gone.extend(
            lost.iter()
                .filter_map(|name| self.snapshot.get(name).cloned()),
        );
        self.snapshot = self.snapshot.remade(AppTable::from_file(apps.to_vec()))?;
        self.put.extend(apps.iter().map(|app| app.name.clone()));
        Ok(())
    }

    /// Whether the table has only ever had what a file says.
    fn is_of_file(&self) -> bool {
        !self.snapshot.table.epoch().is_unique()
    }

    /// A table that was the file's alone until now gets an epoch of its own: from here on it has
    /// another history than that of coordinators with the same file.
    fn begin_own_epoch(&mut self) -> Result<(), EditError> {
        if self.is_of_file() {
            let table = self.snapshot.table.in_epoch(Epoch::unique());
            self.snapshot = self.snapshot.remade(table)?;
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

    fn drop_app(&mut self, name: &str) {
        self.gone.extend(self.snapshot.unroute(name));
        if let Some(revision) = self.snapshot.table.delete(name) {
            self.changes.push(AppChange::Delete {
                name: name.to_owned(),
                revision,
            });
        }
    }

    /// Takes over what another process has written.
    ///
    /// # Errors
    /// When the apps contradict each other, which no process writes.
    pub(crate) fn follow(&mut self, news: AppDelta) -> Result<(), EditError> {
        if news.complete {
            let before = self.snapshot.clone();
            self.snapshot = before.remade(AppTable::restore(news.state))?;
            let gone = before
                .apps()
                .filter(|app| self.snapshot.get(&app.name).is_none());
            self.gone.extend(gone.map(Arc::clone));
            self.put.extend(
                self.snapshot
                    .table
                    .iter()
                    .map(|stored| stored.app.name.clone()),
            );
        } else {
            for (name, revision) in &news.state.deleted {
                self.gone.extend(self.snapshot.unroute(name));
                self.snapshot.table.remove(name, *revision);
            }
            let out = |app: StoredApp| {
                let routed = self.snapshot.unroute(&app.app.name);
                (Arc::new(app), routed)
            };
            let out: Vec<_> = news.state.apps.into_iter().map(out).collect();
            for (stored, routed) in out {
                self.put.push(stored.app.name.clone());
                self.snapshot.table.insert(Arc::clone(&stored));
                self.snapshot.route(stored, routed.as_deref())?;
            }
        }
        // What others have written is written.
        let (gone, put) = (
            std::mem::take(&mut self.gone),
            std::mem::take(&mut self.put),
        );
        *self = Self {
            gone,
            put,
            ..Self::of(&self.snapshot)
        };
        Ok(())
    }

    /// What there is to write; none when nothing has changed.
    #[must_use]
    pub(crate) fn commit(&self) -> Option<AppCommit> {
        let table = &self.snapshot.table;
        let (epoch, revision) = (table.epoch().clone(), table.revision());
        if self.base == (epoch.clone(), revision) {
            return None;
        }
        let changes = if self.base.0 == epoch {
            self.changes.clone()
        } else {
            // Another epoch: all of it.
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
        })
    }
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
