//! The worker's copy of the app table, swapped whole when it changes; reading it takes no lock.

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use app_proxy_control::app::Affinity;
use app_proxy_control::table::{AppList, StoredApp};
use app_proxy_hop::config::TimeoutsSection;
use app_proxy_hop::forwarding::{PeerTimeouts, peer};
use app_proxy_hop::streams::{CloseReason, Streams};
use arc_swap::ArcSwap;
use log::warn;

use crate::endpoints::Endpoint;

/// An app with what each of its requests needs.
#[derive(Debug)]
pub struct ServedApp {
    /// The app.
    pub stored: Arc<StoredApp>,
    /// Its name, shared by log lines.
    pub name: Arc<str>,
    /// Where it listens; addresses that do not resolve are left out until they do.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// Its open streams; outlives changes of the app.
    pub streams: Streams,
    /// Whether a host name among the addresses has to be looked up again from time to time.
    has_names: bool,
}

impl ServedApp {
    /// Whether its clients have sessions.
    #[must_use]
    pub fn has_sessions(&self) -> bool {
        self.stored.app.affinity == Affinity::Session
    }

    /// The same app at the same addresses, waited for as long as `tier` says.
    fn with_timeouts(&self, tier: &TimeoutsSection) -> Self {
        let timeouts = peer_timeouts(&self.stored, tier);
        let again = |endpoint: &Arc<Endpoint>| {
            let peer = peer(&endpoint.peer._address, timeouts);
            Arc::new(Endpoint::new(&endpoint.address, endpoint.weight, peer, Arc::clone(endpoint.load())))
        };
        Self {
            stored: Arc::clone(&self.stored),
            name: Arc::clone(&self.name),
            endpoints: self.endpoints.iter().map(again).collect(),
            streams: self.streams.clone(),
            has_names: self.has_names,
        }
    }
}

/// One state of the table.
#[derive(Debug, Default)]
pub struct Table {
    /// What the revision counts in; empty before the first sync.
    pub epoch: String,
    /// The coordinator's revision at the last sync.
    pub revision: u64,
    apps: HashMap<String, Arc<ServedApp>>,
}

impl Table {
    /// The app of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<ServedApp>> {
        self.apps.get(name)
    }

    /// Whether the table has been taken from a coordinator.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        !self.epoch.is_empty()
    }

    /// Whether the table is at least as new as a request asks for.
    #[must_use]
    pub fn satisfies(&self, fence: Option<Fence<'_>>) -> bool {
        fence.is_none_or(|fence| fence.epoch == self.epoch && fence.revision <= self.revision)
    }
}

/// The table that a request's coordinator has acted on.
#[derive(Clone, Copy, Debug)]
pub struct Fence<'r> {
    /// What the revision counts in.
    pub epoch: &'r str,
    /// The revision of the request's app.
    pub revision: u64,
}

/// The current state.
pub struct Apps {
    current: ArcSwap<Table>,
    /// Locked for the whole of a change of the table, of which there is one at a time; requests take no lock.
    timeouts: Mutex<TimeoutsSection>,
}

impl Apps {
    /// An empty table.
    #[must_use]
    pub fn new(timeouts: TimeoutsSection) -> Self {
        Self { current: ArcSwap::default(), timeouts: Mutex::new(timeouts) }
    }

    /// The state of this moment.
    #[must_use]
    pub fn load(&self) -> Arc<Table> {
        self.current.load_full()
    }

    /// Takes in what a coordinator says, and closes the streams of apps that are gone. Looks host names up, which blocks.
    pub fn apply(&self, list: AppList) {
        let timeouts = self.begin_change();
        let before = self.load();
        let mut apps = if list.complete { HashMap::new() } else { before.apps.clone() };
        for name in &list.deleted {
            apps.remove(name);
        }
        for stored in list.items {
            let name = stored.app.name.clone();
            apps.insert(name.clone(), Arc::new(serve(stored, before.get(&name), &timeouts)));
        }
        let table = Arc::new(Table { epoch: list.epoch, revision: list.revision, apps });
        self.current.store(Arc::clone(&table));
        for gone in before.apps.iter().filter(|(name, _)| table.get(name).is_none()).map(|(_, app)| app) {
            gone.streams.end_all(CloseReason::AppDeleted);
        }
    }

    /// Changes how long endpoints are waited for, from the next request on.
    pub fn set_timeouts(&self, timeouts: TimeoutsSection) {
        let mut current = self.begin_change();
        *current = timeouts;
        let before = self.load();
        let again = |(name, app): (&String, &Arc<ServedApp>)| (name.clone(), Arc::new(app.with_timeouts(&current)));
        let apps = before.apps.iter().map(again).collect();
        self.current.store(Arc::new(Table { epoch: before.epoch.clone(), revision: before.revision, apps }));
    }

    /// Looks host names up again, which blocks.
    pub fn look_names_up(&self) {
        let timeouts = self.begin_change();
        let before = self.load();
        if !before.apps.values().any(|app| app.has_names) {
            return;
        }
        let again = |(name, app): (&String, &Arc<ServedApp>)| {
            let again = || Arc::new(serve(Arc::clone(&app.stored), Some(app), &timeouts));
            (name.clone(), if app.has_names { again() } else { Arc::clone(app) })
        };
        let apps = before.apps.iter().map(again).collect();
        self.current.store(Arc::new(Table { epoch: before.epoch.clone(), revision: before.revision, apps }));
    }

    fn begin_change(&self) -> MutexGuard<'_, TimeoutsSection> {
        self.timeouts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn peer_timeouts(stored: &StoredApp, tier: &TimeoutsSection) -> PeerTimeouts {
    PeerTimeouts::new(tier, stored.app.timeouts.connect, stored.app.timeouts.read)
}

fn serve(stored: Arc<StoredApp>, before: Option<&Arc<ServedApp>>, tier: &TimeoutsSection) -> ServedApp {
    let timeouts = peer_timeouts(&stored, tier);
    let load_of = |address: &str| {
        let known = before.and_then(|app| app.endpoints.iter().find(|endpoint| *endpoint.address == *address));
        known.map_or_else(Arc::<AtomicUsize>::default, |endpoint| Arc::clone(endpoint.load()))
    };
    let mut has_names = false;
    let mut endpoints = Vec::with_capacity(stored.app.endpoints.len());
    for endpoint in &stored.app.endpoints {
        let address = endpoint.address.to_string();
        has_names |= endpoint.address.is_name();
        match endpoint.address.resolve() {
            Ok(resolved) => {
                let load = load_of(&address);
                endpoints.push(Arc::new(Endpoint::new(&address, endpoint.weight, peer(&resolved, timeouts), load)));
            }
            Err(e) => warn!("app {}: endpoint {address} is left out: {e}", stored.app.name),
        }
    }
    let streams = before.map(|app| app.streams.clone()).unwrap_or_default();
    ServedApp { name: stored.app.name.as_str().into(), stored, endpoints, streams, has_names }
}

#[cfg(test)]
mod tests {
    use super::*;
    use app_proxy_control::app::App;
    use app_proxy_control::table::AppTable;
    use app_proxy_hop::config::Period;

    fn list(apps: serde_json::Value) -> AppList {
        let apps: Vec<App> = serde_json::from_value(apps).unwrap();
        AppTable::from_file(apps).changes(0, None)
    }

    #[test]
    fn a_whole_table_replaces_and_a_change_adds() {
        let apps = Apps::new(TimeoutsSection::default());
        assert!(!apps.load().is_loaded());
        apps.apply(list(serde_json::json!([{"name": "a", "endpoints": [{"address": "127.0.0.1:1"}]}, {"name": "b"}])));
        let mut change = list(serde_json::json!([{"name": "c"}]));
        change.complete = false;
        change.deleted = vec!["b".to_owned()];
        change.epoch = apps.load().epoch.clone();
        change.revision = 4;
        apps.apply(change);
        let table = apps.load();
        assert!(table.get("a").is_some() && table.get("b").is_none() && table.get("c").is_some());
        assert!(table.satisfies(Some(Fence { epoch: &table.epoch, revision: 4 })));
        assert!(!table.satisfies(Some(Fence { epoch: &table.epoch, revision: 5 })));
        assert!(!table.satisfies(Some(Fence { epoch: "other", revision: 1 })));
    }

    #[test]
    fn the_streams_of_an_app_outlive_a_change_and_are_closed_when_it_is_gone() {
        let apps = Apps::new(TimeoutsSection::default());
        apps.apply(list(serde_json::json!([{"name": "a"}, {"name": "b"}])));
        let open = |name| apps.load().get(name).unwrap().streams.register(None, None);
        let (a, b) = (open("a"), open("b"));
        apps.apply(list(serde_json::json!([{"name": "a", "upstream_path": "keep"}, {"name": "b"}])));
        assert_eq!((a.opened().closed(), apps.load().get("a").unwrap().streams.len()), (None, 1));
        let mut change = list(serde_json::json!([]));
        (change.complete, change.deleted) = (false, vec!["a".to_owned()]);
        apps.apply(change);
        assert_eq!((a.opened().closed(), b.opened().closed()), (Some(CloseReason::AppDeleted), None));
        apps.apply(list(serde_json::json!([{"name": "c"}])));
        assert_eq!(b.opened().closed(), Some(CloseReason::AppDeleted));
    }

    #[test]
    fn the_load_of_an_endpoint_outlives_a_change() {
        let apps = Apps::new(TimeoutsSection::default());
        let table = serde_json::json!([{"name": "a", "endpoints": [{"address": "127.0.0.1:1"}]}]);
        apps.apply(list(table.clone()));
        let busy = apps.load().get("a").unwrap().endpoints[0].enter();
        apps.apply(list(table));
        assert!(Arc::ptr_eq(apps.load().get("a").unwrap().endpoints[0].load(), busy.endpoint().load()));
    }

    #[test]
    fn new_timeouts_hold_for_endpoints_that_are_there_and_those_to_come() {
        let apps = Apps::new(TimeoutsSection::default());
        let of = |name| serde_json::json!([{"name": name, "endpoints": [{"address": "127.0.0.1:1"}]}]);
        apps.apply(list(of("a")));
        let busy = apps.load().get("a").unwrap().endpoints[0].enter();
        let short = Period::from_secs(7);
        apps.set_timeouts(TimeoutsSection { upstream_read: short, ..TimeoutsSection::default() });
        let mut change = list(of("b"));
        change.complete = false;
        apps.apply(change);
        let table = apps.load();
        for name in ["a", "b"] {
            assert_eq!(table.get(name).unwrap().endpoints[0].peer.options.read_timeout, Some(short.0), "{name}");
        }
        assert!(Arc::ptr_eq(table.get("a").unwrap().endpoints[0].load(), busy.endpoint().load()));
    }
}
