//! The pool of workers: Pingora's load balancers with their ketama selection, and HTTP health
//! checks (phase `upstream_peer`).
//!
//! Workers are in the pool because the file names them, or because they have registered and renew
//! that in time. Selection does no I/O and takes no lock: it reads a snapshot. It is deterministic:
//! coordinators with the same pool send a session to the same worker without talking to each other.

mod book;
mod change;
mod health;
mod members;
mod sweep;
mod view;
mod worker;

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use app_proxy_api::address::Address;
use app_proxy_api::apps::Labels;
use app_proxy_hop::config::TimeoutsSection;
use arc_swap::ArcSwap;
use pingora_core::prelude::background_service;
use pingora_core::services::background::GenBackgroundService;
use pingora_load_balancing::{Backend, HealthCheckService, HealthRegistry};
use tokio::sync::{Mutex, Notify};

pub(crate) use change::Resolved;
pub(crate) use sweep::Sweep;
pub(crate) use worker::{LoadGuard, PoolWorker};

use crate::config::{HealthCheckSection, RegistrationSection, WorkerSection};
use app_proxy_store::{Store, StoreError};
use book::Registry;
use members::Members;

/// Closes the streams that are at a worker; says how many those were.
pub(crate) type CloseStreams = Arc<dyn Fn(&str) -> usize + Send + Sync>;

/// The pool.
pub(crate) struct Pool {
    members: Arc<ArcSwap<Members>>,
    registry: Arc<HealthRegistry>,
    registration: RegistrationSection,
    /// Held for a change of the pool. Nothing that takes long happens meanwhile.
    book: Mutex<Registry>,
    /// Which edition of the book requests see. Held, without the book, while rings are built.
    published: Mutex<u64>,
    /// Held for what is written into the store, so that the last thing written is the last thing
    /// that happened.
    saving: Mutex<()>,
    store: OnceLock<Arc<dyn Store>>,
    close_streams: OnceLock<CloseStreams>,
    /// Wakes the sweep: something may be due earlier than it knows.
    changed: Notify,
}

/// Why the pool is not changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PoolError {
    /// There is no worker of this identifier.
    #[error("There is no worker of this identifier.")]
    Unknown,
    /// The file says where the worker is, and that it is in the pool.
    #[error(
        "This worker is in the coordinator's configuration file, which has another address for it or keeps it in the pool."
    )]
    OwnedByFile,
    /// Two workers cannot be at one address.
    #[error("Worker `{0}` has this address.")]
    AddressTaken(Arc<str>),
    /// A later process has registered under the identifier.
    #[error("A later process of this worker has registered, or this one has left.")]
    Superseded,
    /// A host name has no address at the moment.
    #[error("{address} has no address: {cause}")]
    Unresolved {
        /// What was looked up.
        address: Address,
        /// What the system says.
        cause: io::Error,
    },
    /// The store does not take it.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// A fault of ours.
    #[error("The pool could not be changed: {0}")]
    Internal(String),
}

impl Pool {
    /// The pool of the workers of a file, with the service that checks the health of all.
    ///
    /// # Errors
    /// When an address does not resolve.
    pub(crate) async fn new(
        fixed: &[WorkerSection],
        check: HealthCheckSection,
        registration: RegistrationSection,
        timeouts: &TimeoutsSection,
    ) -> Result<(Arc<Self>, GenBackgroundService<HealthCheckService>), PoolError> {
        // A worker is checked once, whatever its weight is on which ring.
        let registry = Arc::new(HealthRegistry::with_equivalence(health::key_of));
        let members = Arc::new(ArcSwap::from_pointee(Members::none(&registry)));
        registry.set_health_check(Box::new(health::WorkerCheck::new(check, &members)));
        let mut service = HealthCheckService::new(Arc::clone(&registry));
        service.health_check_frequency = Some(check.interval.0);
        service.parallel_health_check = true;
        let pool = Self {
            members,
            registry,
            registration,
            book: Mutex::new(Registry::new(timeouts)),
            published: Mutex::new(0),
            saving: Mutex::new(()),
            store: OnceLock::new(),
            close_streams: OnceLock::new(),
            changed: Notify::new(),
        };
        pool.set_fixed(&Resolved::of(fixed).await?).await?;
        Ok((Arc::new(pool), background_service("worker health", service)))
    }

    /// The worker of an app's pool for `key`: the pinned one while it may be used, or else ketama's
    /// choice among those that may, those that `failed` left out. A worker may be used that is
    /// healthy, has the labels of `selector`, and does not drain.
    #[must_use]
    pub(crate) fn select(
        &self,
        selector: &Labels,
        key: &[u8],
        pinned: Option<&Arc<PoolWorker>>,
        failed: &[Arc<PoolWorker>],
    ) -> Option<Arc<PoolWorker>> {
        self.members.load().select(selector, key, pinned, failed)
    }

    /// The worker of an identifier.
    #[must_use]
    pub(crate) fn by_id(&self, id: &str) -> Option<Arc<PoolWorker>> {
        self.members.load().by_id(id).cloned()
    }

    /// Whether a worker answers its health checks.
    #[must_use]
    pub(crate) fn is_healthy(&self, worker: &PoolWorker) -> bool {
        self.members.load().is_healthy(worker)
    }

    /// Whether requests find a worker: one that is healthy, has been checked for it, and does not
    /// drain.
    ///
    /// # Errors
    /// What is amiss with all of them, in a few words.
    pub(crate) fn ready(&self) -> Result<(), &'static str> {
        let members = self.members.load();
        let healthy = |worker: &&Arc<PoolWorker>| {
            members.is_healthy(worker) && worker.checked.load(Ordering::Relaxed)
        };
        let mut healthy = members.iter().filter(healthy).peekable();
        if members.iter().next().is_none() {
            Err("there is no worker")
        } else if healthy.peek().is_none() {
            Err("no worker is healthy")
        } else if healthy.all(|worker| worker.is_draining()) {
            Err("every healthy worker is drained")
        } else {
            Ok(())
        }
    }

    /// Checks the health of all workers once.
    #[cfg(test)]
    pub(crate) async fn check_health(&self) {
        self.registry.run_health_check(true).await;
    }

    /// All workers, in no order.
    #[must_use]
    pub(crate) fn workers(&self) -> Vec<Arc<PoolWorker>> {
        self.members.load().iter().cloned().collect()
    }

    /// Keeps registrations and drains in a store from now on.
    pub(crate) fn keep_in(&self, store: Arc<dyn Store>) {
        // A second store would be a fault of ours; the first one stays.
        let _ = self.store.set(store);
    }

    /// Says who closes the streams that are still at a worker when its drain is over.
    pub(crate) fn on_deadline(&self, close: CloseStreams) {
        let _ = self.close_streams.set(close);
    }

    /// For how long a registration holds that asks for `lease`.
    fn lease(&self, lease: Option<Duration>) -> Duration {
        lease
            .unwrap_or(self.registration.lease.0)
            .clamp(RegistrationSection::SHORTEST, RegistrationSection::LONGEST)
    }
}

#[cfg(test)]
mod tests;
