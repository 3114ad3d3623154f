//! Changes of the tables: what coordinators say is taken over, one change at a time.

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

use super::names::Names;
use super::{ServedApp, Table, Tables};
use crate::endpoints::Endpoint;

/// The current state.
pub struct Apps {
    current: ArcSwap<Tables>,
    change: Mutex<Change>,
}

/// What is known beside the tables; locked for the whole of a change, of which there is one at a
/// time.
struct Change {
    timeouts: TimeoutsSection,
    /// How far each coordinator has been followed, by its number.
    followed: BTreeMap<usize, Followed>,
}

/// How far a coordinator has been followed: what it said last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Followed {
    /// What the revision counts in.
    pub epoch: Epoch,
    /// The revision.
    pub revision: u64,
}

impl Apps {
    /// No table.
    #[must_use]
    pub fn new(timeouts: TimeoutsSection) -> Self {
        Self {
            current: ArcSwap::default(),
            change: Mutex::new(Change {
                timeouts,
                followed: BTreeMap::new(),
            }),
        }
    }

    /// The state of this moment.
    #[must_use]
    pub fn load(&self) -> Guard<Arc<Tables>> {
        self.current.load()
    }

    /// Takes in what a coordinator says, whose names were looked up before; closes the streams of
    /// apps that are in no table any more, and gives these back.
    pub fn apply(&self, coordinator: usize, list: AppList, names: &Names) -> Vec<Arc<ServedApp>> {
        let mut change = self.begin_change();
        let before = Arc::clone(&self.load());
        let epoch = before
            .of(list.epoch.as_str())
            .map_or_else(|| list.epoch.clone(), |t| t.epoch.clone());
        let at = Followed {
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
        let place = tables.iter().position(|table| table.epoch == epoch);
        let held = place.and_then(|place| tables.get(place));
        if let Some(next) = change.next(
            &epoch,
            held,
            &list,
            &Known {
                tables: &before,
                names,
            },
        ) {
            match place.and_then(|place| tables.get_mut(place)) {
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

    /// Changes how long endpoints are waited for, from the next request on.
    pub fn set_timeouts(&self, timeouts: TimeoutsSection) {
        let mut change = self.begin_change();
        change.timeouts = timeouts;
        self.serve_again(|app, _| Some(app.with_timeouts(&change.timeouts)));
    }

    /// Takes in what was looked up.
    pub fn take_names(&self, names: &Names) {
        if names.is_empty() {
            return;
        }
        let change = self.begin_change();
        let concerned = |app: &ServedApp| {
            app.stored
                .app
                .endpoints
                .iter()
                .any(|e| names.get(&e.address).is_some())
        };
        self.serve_again(|app, tables| {
            concerned(app).then(|| change.serve(Arc::clone(&app.stored), &Known { tables, names }))
        });
    }

    fn serve_again(&self, again: impl Fn(&ServedApp, &Tables) -> Option<ServedApp>) {
        let before = Arc::clone(&self.load());
        let again = |table: &Arc<Table>| {
            let mut next = table.as_ref().clone();
            for app in table.apps.values().filter_map(|app| again(app, &before)) {
                next.apps.insert_mut(Arc::clone(&app.name), Arc::new(app));
            }
            Arc::new(next)
        };
        self.current
            .store(Arc::new(Tables(before.0.iter().map(again).collect())));
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

    /// What a list makes of the table of its epoch; nothing where another coordinator has told more
    /// already. A table that is older than the one that is held counts when no coordinator knows
    /// the newer one any more.
    fn next(
        &self,
        epoch: &Epoch,
        held: Option<&Arc<Table>>,
        list: &AppList,
        known: &Known<'_>,
    ) -> Option<Table> {
        let newest = self
            .followed
            .values()
            .filter(|followed| followed.epoch == *epoch)
            .map(|followed| followed.revision);
        let is_newest = newest.max().is_none_or(|newest| list.revision >= newest);
        let mut next = match held {
            _ if !is_newest => return None,
            // Another coordinator has said the same before.
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
            let app = self.serve(Arc::clone(stored), known);
            next.apps.insert_mut(Arc::clone(&app.name), Arc::new(app));
        }
        Some(next)
    }

    fn serve(&self, stored: Arc<StoredApp>, known: &Known<'_>) -> ServedApp {
        let timeouts = peer_timeouts(&stored, &self.timeouts);
        let before: Vec<_> = known
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
            match known.address_of(&endpoint.address, same) {
                Ok(resolved) => {
                    endpoints.push(Arc::new(Endpoint::new(
                        &address,
                        endpoint.weight,
                        peer(&resolved, timeouts),
                        load,
                    )));
                }
                Err(e) => warn!(
                    "app {}: endpoint {address} is left out: {e}",
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

/// What is known of apps and names before a change.
struct Known<'k> {
    tables: &'k Tables,
    names: &'k Names,
}

impl Known<'_> {
    /// Where an endpoint is reached. One whose name cannot be looked up at the moment stays where
    /// it was.
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
            (None, None) => Err("its name is still being looked up".to_owned()),
        }
    }
}

impl ServedApp {
    /// The same app at the same addresses, waited for as long as `tier` says.
    fn with_timeouts(&self, tier: &TimeoutsSection) -> Self {
        let timeouts = peer_timeouts(&self.stored, tier);
        let again = |endpoint: &Arc<Endpoint>| {
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
            endpoints: self.endpoints.iter().map(again).collect(),
            streams: self.streams.clone(),
        }
    }
}

fn peer_timeouts(stored: &StoredApp, tier: &TimeoutsSection) -> PeerTimeouts {
    PeerTimeouts::new(tier, stored.app.timeouts.connect, stored.app.timeouts.read)
}

/// The apps that are in no table any more. A list that is no whole table takes out what it says and
/// nothing else.
fn gone(before: &Tables, after: &Tables, list: &AppList) -> Vec<Arc<ServedApp>> {
    let is_gone = |name: &str| after.any(name).is_none();
    if !list.complete && before.0.len() == after.0.len() {
        let deleted = list.deleted.iter().filter(|name| is_gone(name));
        return deleted
            .filter_map(|name| before.any(name).cloned())
            .collect();
    }
    let all = before.0.iter().flat_map(|table| table.apps.values());
    all.filter(|app| is_gone(&app.name)).cloned().collect()
}
