//! An entry of the registry: a worker and the sources that define it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use app_proxy_api::workers::{InstanceId, Load, WorkerRegistration};
use app_proxy_store::{StoredDrain, StoredWorker};
use tokio::time::Instant;

use crate::pool::worker::{PoolWorker, WorkerSpec};

/// A worker and the sources that define it.
pub(crate) struct RegistryEntry {
    pub(crate) worker: Arc<PoolWorker>,
    /// Set if the file defines the worker.
    pub(crate) fixed: Option<WorkerSpec>,
    /// Set while the worker is registered.
    pub(crate) lease: Option<Lease>,
    pub(crate) drain: Option<StoredDrain>,
    /// True if the store has the worker, as far as is known.
    pub(crate) is_stored: bool,
}

/// A registration with its period of validity.
pub(crate) struct Lease {
    pub(crate) registration: WorkerRegistration,
    pub(crate) duration: Duration,
    pub(crate) until: Instant,
    /// True if the lease runs here: the worker has renewed it here, or the members that it may have
    /// renewed it at are gone. False for a lease of the store, which another member may know to be
    /// renewed.
    pub(crate) runs_here: bool,
}

/// The drain of a worker whose registration has expired.
pub(crate) struct OrphanedDrain {
    pub(crate) drain: StoredDrain,
    /// The time of the expiry, in milliseconds since 1970; of the restart, if the drain was read
    /// from a store.
    pub(crate) since_ms: u64,
}

impl RegistryEntry {
    pub(crate) fn is_registered_as(&self, instance: &InstanceId) -> bool {
        self.lease
            .as_ref()
            .is_some_and(|lease| lease.registration.instance.as_ref() == Some(instance))
    }

    /// Publishes to requests whether the worker accepts new sessions.
    pub(crate) fn update_draining(&self) {
        let reported = self
            .lease
            .as_ref()
            .is_some_and(|lease| lease.registration.draining);
        self.worker
            .load
            .draining
            .store(self.drain.is_some() || reported, Ordering::Relaxed);
    }

    pub(crate) fn set_drain(&mut self, drain: Option<StoredDrain>) {
        self.drain = drain;
        self.update_draining();
    }

    /// Returns the stored form; `None` if only the file defines the worker.
    pub(crate) fn stored(&self) -> Option<StoredWorker> {
        let registration = self
            .lease
            .as_ref()
            .map(|lease| durable(&lease.registration));
        (registration.is_some() || self.drain.is_some()).then(|| StoredWorker {
            id: self.worker.id.as_ref().to_owned(),
            registration,
            drain: self.drain,
        })
    }
}

/// Returns the part of a registration that is stored: without the fields that change with each
/// renewal.
pub(crate) fn durable(registration: &WorkerRegistration) -> WorkerRegistration {
    WorkerRegistration {
        held: None,
        load: Load::default(),
        ..registration.clone()
    }
}
