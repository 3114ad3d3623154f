//! The state of the app tables at one moment.

use std::sync::Arc;

use app_proxy_api::apps::Affinity;
use app_proxy_api::table::{Epoch, StoredApp};
use app_proxy_hop::streams::Streams;
use rpds::HashTrieMapSync;

use crate::endpoints::Endpoint;

/// An app with all that its requests need.
#[derive(Debug)]
pub(crate) struct ServedApp {
    /// The app.
    pub(crate) stored: Arc<StoredApp>,
    /// The name of the app, shared by log lines.
    pub(crate) name: Arc<str>,
    /// The endpoints, except those whose host name has no address at the moment.
    pub(crate) endpoints: Vec<Arc<Endpoint>>,
    /// The open streams; kept across changes of the app.
    pub(crate) streams: Streams,
}

impl ServedApp {
    /// Returns whether the app has sessions.
    #[must_use]
    pub(crate) fn has_sessions(&self) -> bool {
        self.stored.app.affinity == Affinity::Session
    }
}

/// The state of the table of one epoch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    /// The epoch.
    pub(super) epoch: Epoch,
    /// The coordinators' revision at the last sync.
    pub(super) revision: u64,
    pub(super) apps: HashTrieMapSync<Arc<str>, Arc<ServedApp>>,
}

impl Table {
    /// Returns the app of this name.
    #[must_use]
    pub(super) fn get(&self, name: &str) -> Option<&Arc<ServedApp>> {
        self.apps.get(name)
    }
}

/// The epoch and revision that a request requires: those of its app at its coordinator.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequiredRevision<'r> {
    /// The epoch of the table.
    pub(crate) epoch: &'r str,
    /// The revision of the app.
    pub(crate) revision: u64,
}

/// The result of a lookup of an app.
#[derive(Debug)]
pub(crate) enum Lookup {
    /// The app.
    Found(Arc<ServedApp>),
    /// The table has no such app.
    Unknown,
    /// The worker does not have the required revision yet.
    Behind,
}

/// The state of all tables.
#[derive(Debug, Default)]
pub(crate) struct Tables(pub(super) Vec<Arc<Table>>);

impl Tables {
    /// Returns the apps of all tables.
    pub(crate) fn apps(&self) -> impl Iterator<Item = &Arc<ServedApp>> {
        self.0.iter().flat_map(|table| table.apps.values())
    }

    /// Returns whether a table of a coordinator has been loaded.
    #[must_use]
    pub(crate) fn is_loaded(&self) -> bool {
        !self.0.is_empty()
    }

    /// Returns whether there is a table of this epoch.
    #[must_use]
    pub(crate) fn has_epoch(&self, epoch: &str) -> bool {
        self.of(epoch).is_some()
    }

    /// Returns the table of an epoch.
    #[must_use]
    pub(super) fn of(&self, epoch: &str) -> Option<&Arc<Table>> {
        self.0.iter().find(|table| table.epoch.as_str() == epoch)
    }

    /// Returns whether the required revision is here.
    #[must_use]
    pub(crate) fn satisfy(&self, required: RequiredRevision<'_>) -> bool {
        self.satisfying(required).is_some()
    }

    /// Returns the table of the required epoch, if its revision is as new as required.
    fn satisfying(&self, required: RequiredRevision<'_>) -> Option<&Arc<Table>> {
        self.of(required.epoch)
            .filter(|table| required.revision <= table.revision)
    }

    /// Looks an app up in the table that the request requires, or in any table if it requires none.
    #[must_use]
    pub(crate) fn look_up(&self, name: &str, required: Option<RequiredRevision<'_>>) -> Lookup {
        let found = match required {
            Some(required) => match self.satisfying(required) {
                Some(table) => table.get(name),
                None => return Lookup::Behind,
            },
            None if self.0.is_empty() => return Lookup::Behind,
            None => self.any(name),
        };
        found.map_or(Lookup::Unknown, |app| Lookup::Found(Arc::clone(app)))
    }

    /// Returns an app from the table of `epoch`, or from any table if there is none of that epoch.
    #[must_use]
    pub(crate) fn best(&self, name: &str, epoch: &str) -> Option<&Arc<ServedApp>> {
        self.of(epoch)
            .map_or_else(|| self.any(name), |table| table.get(name))
    }

    /// Returns an app from any table.
    pub(super) fn any(&self, name: &str) -> Option<&Arc<ServedApp>> {
        self.0.iter().find_map(|table| table.get(name))
    }

    /// Describes revisions and epochs for the log.
    #[must_use]
    pub(crate) fn summary(&self) -> String {
        let each: Vec<_> = self
            .0
            .iter()
            .map(|table| format!("{} of {}", table.revision, table.epoch))
            .collect();
        if each.is_empty() {
            "nowhere".to_owned()
        } else {
            format!("at {}", each.join(", "))
        }
    }
}
