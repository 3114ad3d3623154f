//! The worker's copies of the app tables, swapped whole when one changes; reading them takes no
//! lock.
//!
//! There is one table for each epoch: coordinators that share an app table share a copy of it,
//! others have one of their own, so that each request meets the table that its coordinator has
//! acted on. A copy goes when no coordinator is followed in its epoch any more.

mod change;
pub mod names;

use std::sync::Arc;

use app_proxy_api::apps::Affinity;
use app_proxy_api::table::{Epoch, StoredApp};
use app_proxy_hop::streams::Streams;
use rpds::HashTrieMapSync;

pub use change::{Apps, Followed};

use crate::endpoints::Endpoint;

/// An app with what each of its requests needs.
#[derive(Debug)]
pub struct ServedApp {
    /// The app.
    pub stored: Arc<StoredApp>,
    /// Its name, shared by log lines.
    pub name: Arc<str>,
    /// Where it listens; names that have no address are left out until they do.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// Its open streams; outlives changes of the app.
    pub streams: Streams,
}

impl ServedApp {
    /// Whether its clients have sessions.
    #[must_use]
    pub fn has_sessions(&self) -> bool {
        self.stored.app.affinity == Affinity::Session
    }
}

/// One state of one table.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// What the revision counts in.
    pub epoch: Epoch,
    /// The coordinators' revision at the last sync.
    pub revision: u64,
    apps: HashTrieMapSync<Arc<str>, Arc<ServedApp>>,
}

/// One state of all tables.
#[derive(Debug, Default)]
pub struct Tables(Vec<Arc<Table>>);

/// The table that a request's coordinator has acted on.
#[derive(Clone, Copy, Debug)]
pub struct RequiredRevision<'r> {
    /// What the revision counts in.
    pub epoch: &'r str,
    /// The revision of the request's app.
    pub revision: u64,
}

/// What the tables say of a request's app.
#[derive(Debug)]
pub enum Lookup {
    /// This it is.
    Found(Arc<ServedApp>),
    /// There is no such app.
    Unknown,
    /// The table that the request asks for is not here yet.
    Behind,
}

impl Table {
    /// The app of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<ServedApp>> {
        self.apps.get(name)
    }
}

impl Tables {
    /// All apps of all tables.
    pub fn apps(&self) -> impl Iterator<Item = &Arc<ServedApp>> {
        self.0.iter().flat_map(|table| table.apps.values())
    }

    /// Whether a table has been taken from a coordinator.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        !self.0.is_empty()
    }

    /// The table of an epoch.
    #[must_use]
    pub fn of(&self, epoch: &str) -> Option<&Arc<Table>> {
        self.0.iter().find(|table| table.epoch.as_str() == epoch)
    }

    /// Whether the table that `fence` asks for is here, and as new.
    #[must_use]
    pub fn satisfy(&self, fence: RequiredRevision<'_>) -> bool {
        self.of(fence.epoch)
            .is_some_and(|table| fence.revision <= table.revision)
    }

    /// The app of a name, in a table as new as `fence` asks for; without one in any table.
    #[must_use]
    pub fn look_up(&self, name: &str, fence: Option<RequiredRevision<'_>>) -> Lookup {
        let found = match fence {
            Some(fence) => match self
                .of(fence.epoch)
                .filter(|table| fence.revision <= table.revision)
            {
                Some(table) => table.get(name),
                None => return Lookup::Behind,
            },
            None if self.0.is_empty() => return Lookup::Behind,
            None => self.any(name),
        };
        found.map_or(Lookup::Unknown, |app| Lookup::Found(Arc::clone(app)))
    }

    /// The app of a name, in the table of `epoch` if there is one, and otherwise in any.
    #[must_use]
    pub fn best(&self, name: &str, epoch: &str) -> Option<&Arc<ServedApp>> {
        self.of(epoch)
            .map_or_else(|| self.any(name), |table| table.get(name))
    }

    /// The app of a name, in any table.
    fn any(&self, name: &str) -> Option<&Arc<ServedApp>> {
        self.0.iter().find_map(|table| table.get(name))
    }

    /// Says where the tables are, for the log.
    #[must_use]
    pub fn summary(&self) -> String {
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

#[cfg(test)]
mod tests;
