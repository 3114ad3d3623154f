//! The registry of workers: their definitions in the file, their registrations and their drains,
//! with the rules for changing them.

mod drains;
mod entry;
mod fixed;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use app_proxy_api::apps::Labels;
use app_proxy_api::workers::{InstanceId, WorkerRegistration};
use app_proxy_hop::config::TimeoutsSection;
use pingora_core::protocols::l4::socket::SocketAddr as PeerAddr;
use tokio::time::Instant;

use super::error::PoolError;
use super::place::ListenerNumber;
use super::worker::{PoolWorker, WorkerLoad, WorkerSpec};
use app_proxy_store::StoredWorker;
use entry::OrphanedDrain;

pub(super) use entry::{Lease, RegistryEntry, durable};

/// The minimum time that a departed instance is remembered, so that its late registrations are
/// rejected.
const DEPARTED_RETENTION: Duration = Duration::from_secs(60);

/// All workers. One task at a time changes it; requests never read it.
pub(super) struct Registry {
    pub(super) entries: BTreeMap<Arc<str>, RegistryEntry>,
    pub(super) selectors: BTreeSet<Labels>,
    timeouts: TimeoutsSection,
    /// The number of the latest listener.
    listeners: ListenerNumber,
    /// Increases with each change that affects requests.
    pub(super) generation: u64,
    /// The last instance of each worker that has left.
    departed: HashMap<String, Departed>,
    /// Drains of workers whose registration expired: a short network failure must not return a
    /// drained worker to service.
    orphaned_drains: BTreeMap<String, OrphanedDrain>,
}

/// An instance that has left.
struct Departed {
    instance: InstanceId,
    /// The time until which registrations of the instance are rejected.
    until: Instant,
}

/// The source of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The file defines the worker.
    Fixed,
    /// The worker has registered.
    Registered,
    /// The worker is not in the pool, but has an orphaned drain.
    Expired,
}

/// The consequences of a change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// The worker is new.
    pub(super) is_new: bool,
    /// The change affects requests.
    pub(super) needs_publish: bool,
    /// The change has to survive a restart.
    pub(super) needs_save: bool,
}

impl Registry {
    pub(super) fn new(timeouts: &TimeoutsSection) -> Self {
        Self {
            entries: BTreeMap::new(),
            selectors: BTreeSet::new(),
            timeouts: timeouts.clone(),
            listeners: 0,
            generation: 0,
            departed: HashMap::new(),
            orphaned_drains: BTreeMap::new(),
        }
    }

    pub(super) fn workers(&self) -> Vec<Arc<PoolWorker>> {
        self.entries
            .values()
            .map(|entry| Arc::clone(&entry.worker))
            .collect()
    }

    /// Returns the stored form of a worker; `None` for an unknown worker and for one that only the
    /// file defines.
    pub(super) fn stored(&self, id: &str) -> Option<StoredWorker> {
        match self.entries.get(id) {
            Some(entry) => entry.stored(),
            None => {
                let drain = self.orphaned_drains.get(id)?.drain;
                Some(StoredWorker {
                    id: id.to_owned(),
                    registration: None,
                    drain: Some(drain),
                })
            }
        }
    }

    /// Applies the registration of a worker at the resolved address, valid for `lease`.
    pub(super) fn register(
        &mut self,
        id: &str,
        registration: WorkerRegistration,
        resolved: PeerAddr,
        lease: Duration,
    ) -> Result<Change, PoolError> {
        self.check_instance(id, registration.instance.as_ref())?;
        let spec = WorkerSpec::new(&registration, resolved);
        let fixed = self.entries.get(id).and_then(|entry| entry.fixed.as_ref());
        if fixed.is_some_and(|fixed| fixed.resolved != spec.resolved) {
            return Err(PoolError::OwnedByFile);
        }
        // The file overrides the registration of a worker that it defines.
        let is_fixed = fixed.is_some();
        self.check_address(id, &spec.resolved)?;
        let change = if is_fixed {
            Change::default()
        } else {
            self.apply_spec(id, spec)
        };
        let Some(entry) = self.entries.get_mut(id) else {
            return Err(PoolError::Unknown);
        };
        let needs_save = entry
            .lease
            .as_ref()
            .is_none_or(|before| durable(&before.registration) != durable(&registration));
        entry.lease = Some(Lease {
            registration,
            duration: lease,
            until: Instant::now() + lease,
            runs_here: true,
        });
        entry.update_draining();
        self.departed.remove(id);
        Ok(Change {
            needs_save,
            ..change
        })
    }

    /// Rejects an instance that is older than the registered one, or not newer than a departed one.
    /// Instances without an order are accepted: the last one wins.
    fn check_instance(&self, id: &str, instance: Option<&InstanceId>) -> Result<(), PoolError> {
        let Some(instance) = instance else {
            return Ok(());
        };
        let now = Instant::now();
        let departed = self
            .departed
            .get(id)
            .filter(|departed| departed.until > now)
            .and_then(|departed| instance.compare_start(&departed.instance));
        let lease = self.entries.get(id).and_then(|entry| entry.lease.as_ref());
        let registered =
            lease.and_then(|lease| instance.compare_start(lease.registration.instance.as_ref()?));
        if departed.is_some_and(|order| order.is_le())
            || registered.is_some_and(|order| order.is_lt())
        {
            Err(PoolError::Superseded)
        } else {
            Ok(())
        }
    }

    fn check_address(&self, id: &str, resolved: &PeerAddr) -> Result<(), PoolError> {
        let has =
            |entry: &&RegistryEntry| entry.worker.resolved() == resolved && *entry.worker.id != *id;
        match self.entries.values().find(has) {
            Some(other) => Err(PoolError::AddressTaken(Arc::clone(&other.worker.id))),
            None => Ok(()),
        }
    }

    /// Creates a worker or replaces it, unless it has this specification already: then sessions
    /// stay pinned to the same `PoolWorker`.
    fn apply_spec(&mut self, id: &str, spec: WorkerSpec) -> Change {
        let Some(entry) = self.entries.get_mut(id) else {
            let load = Arc::<WorkerLoad>::default();
            self.listeners = self.listeners.wrapping_add(1);
            let worker = PoolWorker::new(&id.into(), spec, self.listeners, &self.timeouts, load);
            let worker = Arc::new(worker);
            let drain = self
                .orphaned_drains
                .remove(id)
                .map(|orphaned| orphaned.drain);
            let entry = RegistryEntry {
                worker: Arc::clone(&worker),
                fixed: None,
                lease: None,
                drain,
                is_stored: drain.is_some(),
            };
            entry.update_draining();
            self.entries.insert(Arc::clone(&worker.id), entry);
            self.generation += 1;
            return Change {
                is_new: true,
                needs_publish: true,
                needs_save: true,
            };
        };
        if entry.worker.spec() == spec {
            return Change::default();
        }
        let before = &entry.worker;
        let moved = *before.resolved() != spec.resolved;
        self.listeners = self.listeners.wrapping_add(u32::from(moved));
        let listener = if moved {
            self.listeners
        } else {
            before.listener
        };
        entry.worker = Arc::new(before.replacement(spec, listener, &self.timeouts));
        self.generation += 1;
        Change {
            needs_publish: true,
            ..Change::default()
        }
    }

    /// Sets the selectors that get a ring. Returns whether they differ from the previous ones.
    pub(super) fn set_selectors(&mut self, selectors: BTreeSet<Labels>) -> bool {
        let differ = self.selectors != selectors;
        self.generation += u64::from(differ);
        self.selectors = selectors;
        differ
    }

    /// Replaces all workers by ones with other timeouts.
    pub(super) fn set_timeouts(&mut self, timeouts: &TimeoutsSection) {
        self.timeouts = timeouts.clone();
        self.generation += 1;
        for entry in self.entries.values_mut() {
            let before = &entry.worker;
            let (spec, listener) = (before.spec(), before.listener);
            entry.worker = Arc::new(before.replacement(spec, listener, timeouts));
        }
    }

    /// Removes the registration of a worker, and the worker unless the file defines it. Late
    /// registrations of the `departed` instance are rejected. Returns whether requests are
    /// affected.
    pub(super) fn unregister(&mut self, id: &str, departed: Option<&InstanceId>) -> bool {
        let Some(entry) = self.entries.get_mut(id) else {
            return false;
        };
        let lease = entry
            .lease
            .take()
            .map_or(Duration::ZERO, |lease| lease.duration);
        entry.update_draining();
        let removed = entry.fixed.is_none();
        if removed {
            self.entries.remove(id);
            self.generation += 1;
        }
        let now = Instant::now();
        self.departed.retain(|_, departed| departed.until > now);
        if let Some(instance) = departed {
            let instance = instance.clone();
            let until = now + lease.max(DEPARTED_RETENTION);
            self.departed
                .insert(id.to_owned(), Departed { instance, until });
        }
        removed
    }

    /// Removes a worker whose registration has expired. Its drain is kept for its return.
    pub(super) fn expire(&mut self, id: &str) {
        let drain = self.entries.get(id).and_then(|entry| entry.drain);
        if self.unregister(id, None) {
            self.set_drain(id, drain);
        }
    }

    /// Returns whether the lease of a worker runs here.
    pub(super) fn runs_here(&self, id: &str) -> bool {
        let lease = self.entries.get(id).and_then(|entry| entry.lease.as_ref());
        lease.is_some_and(|lease| lease.runs_here)
    }

    /// Returns the source of a worker, if it is known.
    pub(super) fn origin(&self, id: &str) -> Option<Origin> {
        match self.entries.get(id) {
            Some(entry) if entry.fixed.is_some() => Some(Origin::Fixed),
            Some(_) => Some(Origin::Registered),
            None => self
                .orphaned_drains
                .contains_key(id)
                .then_some(Origin::Expired),
        }
    }

    /// Returns the workers that have not renewed their registration in time.
    pub(super) fn expired(&self, now: Instant) -> Vec<Arc<str>> {
        let expired = |entry: &&RegistryEntry| {
            entry
                .lease
                .as_ref()
                .is_some_and(|lease| lease.runs_here && lease.until <= now)
        };
        self.entries
            .values()
            .filter(expired)
            .map(|entry| Arc::clone(&entry.worker.id))
            .collect()
    }

    /// Returns the time of the next expiry.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.entries
            .values()
            .filter_map(|entry| entry.lease.as_ref())
            .filter(|lease| lease.runs_here)
            .map(|lease| lease.until)
            .min()
    }

    /// Begins the leases that did not run here.
    pub(super) fn begin_leases(&mut self, now: Instant) {
        let leases = self.entries.values_mut();
        for lease in leases.filter_map(|entry| entry.lease.as_mut()) {
            if !std::mem::replace(&mut lease.runs_here, true) {
                lease.until = now + lease.duration;
            }
        }
    }
}
