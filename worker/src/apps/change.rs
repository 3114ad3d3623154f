//! Changes of the tables, applied one at a time.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use app_proxy_api::address::Address;
use app_proxy_api::table::{AppList, Epoch, StoredApp};
use app_proxy_hop::config::TimeoutsSection;
use app_proxy_hop::forwarding::{PeerTimeouts, peer, resolve};
use app_proxy_hop::streams::CloseReason;
use arc_swap::{ArcSwap, Guard};
use log::warn;
use pingora_core::protocols::l4::socket::SocketAddr as PeerAddr;

use crate::apps::hostnames::Resolved;
use crate::apps::table::{ServedApp, Table, Tables};
use crate::endpoints::Endpoint;

/// The current tables.
pub(crate) struct Apps {
    current: ArcSwap<Tables>,
    change: Mutex<Change>,
}

/// The state beside the tables; locked during a change, so that there is one change at a time.
struct Change {
    timeouts: TimeoutsSection,
    /// The position of each followed coordinator, by its number.
    followed: BTreeMap<usize, Position>,
}

/// The epoch and revision that a coordinator sent last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    /// The epoch of the table.
    pub(crate) epoch: Epoch,
    /// The revision of the table.
    pub(crate) revision: u64,
}

impl Apps {
    /// Creates a state without tables.
    #[must_use]
    pub(crate) fn new(timeouts: TimeoutsSection) -> Self {
        Self {
            current: ArcSwap::default(),
            change: Mutex::new(Change {
                timeouts,
                followed: BTreeMap::new(),
            }),
        }
    }

    /// Returns the current state.
    #[must_use]
    pub(crate) fn load(&self) -> Guard<Arc<Tables>> {
        self.current.load()
    }

    /// Applies the list of a coordinator; `names` are the resolved host names of its endpoints.
    /// Closes the streams of apps that no table has any more, and returns those apps.
    pub(crate) fn apply(
        &self,
        coordinator: usize,
        list: AppList,
        names: &Resolved,
    ) -> Vec<Arc<ServedApp>> {
        let mut change = self.begin_change();
        let before = Arc::clone(&self.load());
        let epoch = before
            .of(list.epoch.as_str())
            .map_or_else(|| list.epoch.clone(), |t| t.epoch.clone());
        let at = Position {
            epoch: epoch.clone(),
            revision: list.revision,
        };
        change.followed.insert(coordinator, at);
        let mut tables: Vec<_> = before
            .0
            .iter()
            .filter(|table| change.is_followed(&table.epoch))
            .cloned()
            .collect();
        let index = tables.iter().position(|table| table.epoch == epoch);
        let held = index.and_then(|index| tables.get(index));
        if let Some(next) = change.next(
            &epoch,
            held,
            &list,
            &Sources {
                tables: &before,
                names,
            },
        ) {
            match index.and_then(|index| tables.get_mut(index)) {
                Some(table) => *table = Arc::new(next),
                None => tables.push(Arc::new(next)),
            }
        }
        let tables = Arc::new(Tables(tables));
        self.current.store(Arc::clone(&tables));
        let gone = gone(&before, &tables, &list);
        for app in &gone {
            app.streams.end_all(CloseReason::AppDeleted);
        }
        gone
    }

    /// Replaces the timeouts of endpoints, from the next request on.
    pub(crate) fn set_timeouts(&self, timeouts: TimeoutsSection) {
        let mut change = self.begin_change();
        change.timeouts = timeouts;
        self.rebuild(|app, _| Some(app.with_timeouts(&change.timeouts)));
    }

    /// Applies resolved host names to the apps that use them.
    pub(crate) fn apply_names(&self, names: &Resolved) {
        if names.is_empty() {
            return;
        }
        let change = self.begin_change();
        let uses_a_name = |app: &ServedApp| {
            app.stored
                .app
                .endpoints
                .iter()
                .any(|e| names.get(&e.address).is_some())
        };
        self.rebuild(|app, tables| {
            uses_a_name(app)
                .then(|| change.build(Arc::clone(&app.stored), &Sources { tables, names }))
        });
    }

    /// Replaces the apps for which `build` returns a new one.
    fn rebuild(&self, build: impl Fn(&ServedApp, &Tables) -> Option<ServedApp>) {
        let before = Arc::clone(&self.load());
        let rebuild = |table: &Arc<Table>| {
            let mut next = table.as_ref().clone();
            for app in table.apps.values().filter_map(|app| build(app, &before)) {
                next.apps.insert_mut(Arc::clone(&app.name), Arc::new(app));
            }
            Arc::new(next)
        };
        self.current
            .store(Arc::new(Tables(before.0.iter().map(rebuild).collect())));
    }

    fn begin_change(&self) -> MutexGuard<'_, Change> {
        self.change.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Change {
    fn is_followed(&self, epoch: &Epoch) -> bool {
        self.followed
            .values()
            .any(|followed| followed.epoch == *epoch)
    }

    /// Returns the table of `epoch` after a list is applied, or `None` if another coordinator has
    /// already sent a newer revision, or the same one. A list older than the current table is
    /// applied if no coordinator has the newer revision any more.
    fn next(
        &self,
        epoch: &Epoch,
        held: Option<&Arc<Table>>,
        list: &AppList,
        sources: &Sources<'_>,
    ) -> Option<Table> {
        let newest = self
            .followed
            .values()
            .filter(|followed| followed.epoch == *epoch)
            .map(|followed| followed.revision);
        let is_newest = newest.max().is_none_or(|newest| list.revision >= newest);
        let mut next = match held {
            _ if !is_newest => return None,
            // Another coordinator has already sent this revision.
            Some(held) if list.revision == held.revision => return None,
            Some(held) if !list.complete && list.revision < held.revision => return None,
            Some(held) if !list.complete => held.as_ref().clone(),
            _ => Table {
                epoch: epoch.clone(),
                ..Table::default()
            },
        };
        next.revision = list.revision;
        for name in &list.deleted {
            next.apps.remove_mut(name.as_str());
        }
        for stored in &list.items {
            let app = self.build(Arc::clone(stored), sources);
            next.apps.insert_mut(Arc::clone(&app.name), Arc::new(app));
        }
        Some(next)
    }

    /// Builds an app; endpoints keep their load, and the app keeps its streams.
    fn build(&self, stored: Arc<StoredApp>, sources: &Sources<'_>) -> ServedApp {
        let timeouts = peer_timeouts(&stored, &self.timeouts);
        let before: Vec<_> = sources
            .tables
            .0
            .iter()
            .filter_map(|table| table.get(&stored.app.name))
            .collect();
        let mut endpoints = Vec::with_capacity(stored.app.endpoints.len());
        for endpoint in &stored.app.endpoints {
            let address = endpoint.address.to_string();
            let same = before
                .iter()
                .flat_map(|app| &app.endpoints)
                .find(|e| *e.address == *address);
            let load =
                same.map_or_else(Arc::<AtomicUsize>::default, |same| Arc::clone(same.load()));
            match sources.address_of(&endpoint.address, same) {
                Ok(resolved) => {
                    endpoints.push(Arc::new(Endpoint::new(
                        &address,
                        endpoint.weight,
                        peer(&resolved, timeouts),
                        load,
                    )));
                }
                Err(e) => warn!(
                    "app {}: cannot resolve endpoint {address}, it gets no requests: {e}",
                    stored.app.name
                ),
            }
        }
        let streams = before
            .first()
            .map(|app| app.streams.clone())
            .unwrap_or_default();
        ServedApp {
            name: stored.app.name.as_str().into(),
            stored,
            endpoints,
            streams,
        }
    }
}

/// The current tables and the resolved host names from which a change builds apps.
struct Sources<'s> {
    tables: &'s Tables,
    names: &'s Resolved,
}

impl Sources<'_> {
    /// Returns the address of an endpoint. If its host name cannot be resolved at the moment, the
    /// endpoint keeps its address.
    fn address_of(
        &self,
        address: &Address,
        same: Option<&Arc<Endpoint>>,
    ) -> Result<PeerAddr, String> {
        if !address.is_name() {
            return resolve(address).map_err(|e| e.to_string());
        }
        match (self.names.get(address), same) {
            (Some(Ok(resolved)), _) => Ok(resolved.clone()),
            (_, Some(same)) => Ok(same.peer._address.clone()),
            (Some(Err(e)), None) => Err(e.clone()),
            (None, None) => Err("the lookup of its host name has not finished".to_owned()),
        }
    }
}

impl ServedApp {
    /// Returns the same app at the same addresses with the timeouts of `tier`.
    fn with_timeouts(&self, tier: &TimeoutsSection) -> Self {
        let timeouts = peer_timeouts(&self.stored, tier);
        let with_timeouts = |endpoint: &Arc<Endpoint>| {
            let peer = peer(&endpoint.peer._address, timeouts);
            Arc::new(Endpoint::new(
                &endpoint.address,
                endpoint.weight,
                peer,
                Arc::clone(endpoint.load()),
            ))
        };
        Self {
            stored: Arc::clone(&self.stored),
            name: Arc::clone(&self.name),
            endpoints: self.endpoints.iter().map(with_timeouts).collect(),
            streams: self.streams.clone(),
        }
    }
}

fn peer_timeouts(stored: &StoredApp, tier: &TimeoutsSection) -> PeerTimeouts {
    PeerTimeouts::new(tier, stored.app.timeouts.connect, stored.app.timeouts.read)
}

/// Returns the apps that no table has any more. A list that is not complete removes only the apps
/// that it names.
fn gone(before: &Tables, after: &Tables, list: &AppList) -> Vec<Arc<ServedApp>> {
    let is_gone = |name: &str| after.any(name).is_none();
    if !list.complete && before.0.len() == after.0.len() {
        let deleted = list.deleted.iter().filter(|name| is_gone(name));
        return deleted
            .filter_map(|name| before.any(name).cloned())
            .collect();
    }
    let apps = before.apps();
    apps.filter(|app| is_gone(&app.name)).cloned().collect()
}
