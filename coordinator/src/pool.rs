//! The pool of workers: Pingora's load balancers with their ketama selection, and HTTP health
//! checks (phase `upstream_peer`).
//!
//! Workers are in the pool because the file defines them, or because they have registered and renew
//! their registration in time. Selection does no I/O and takes no lock: it reads a snapshot. It is
//! deterministic: coordinators with the same pool choose the same worker for a session, without
//! communication.

mod candidates;
mod error;
mod health;
mod operations;
mod persistence;
mod place;
mod publication;
mod registration;
mod registry;
mod resolve;
mod snapshot;
mod sweep;
mod view;
mod worker;

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use app_proxy_hop::config::TimeoutsSection;
use arc_swap::{ArcSwap, Guard};
use pingora_core::prelude::background_service;
use pingora_core::services::background::GenBackgroundService;
use pingora_load_balancing::{HealthCheckService, HealthRegistry};
use tokio::sync::{Mutex, Notify};

pub(crate) use candidates::Candidates;
pub(crate) use error::PoolError;
pub(crate) use resolve::ResolvedWorkers;
pub(crate) use sweep::Sweep;
pub(crate) use worker::{LoadGuard, PoolWorker};

use crate::config::{HealthCheckSection, RegistrationSection, WorkerSection};
use app_proxy_store::Store;
use registry::Registry;
use snapshot::PoolSnapshot;

/// Closes the open streams at a worker. Returns their number.
pub(crate) type CloseStreams = Arc<dyn Fn(&str) -> usize + Send + Sync>;

/// The pool of workers.
pub(crate) struct Pool {
    snapshot: Arc<ArcSwap<PoolSnapshot>>,
    health: Arc<HealthRegistry>,
    registration: RegistrationSection,
    /// Locked for short changes only.
    registry: Mutex<Registry>,
    /// The generation of the registry in `snapshot`. Locked, without the registry, while rings are
    /// built.
    published: Mutex<u64>,
    /// Locked while the store is written, so that writes have the order of changes.
    saving: Mutex<()>,
    store: OnceLock<Arc<dyn Store>>,
    close_streams: OnceLock<CloseStreams>,
    /// Notifies the sweep that its next deadline may have changed.
    sweep_due: Notify,
}

impl Pool {
    /// Creates the pool with the workers of the file, and its health check service.
    ///
    /// # Errors
    /// [`PoolError::Unresolved`] and [`PoolError::Internal`].
    pub(crate) async fn new(
        fixed: &[WorkerSection],
        check: HealthCheckSection,
        registration: RegistrationSection,
        timeouts: &TimeoutsSection,
    ) -> Result<(Arc<Self>, GenBackgroundService<HealthCheckService>), PoolError> {
        // One check per worker, whatever its weights on rings are.
        let health = Arc::new(HealthRegistry::with_equivalence(health::key_of));
        let snapshot = Arc::new(ArcSwap::from_pointee(PoolSnapshot::empty(&health)));
        health.set_health_check(Box::new(health::WorkerCheck::new(check, &snapshot)));
        let mut service = HealthCheckService::new(Arc::clone(&health));
        service.health_check_frequency = Some(check.interval.0);
        service.parallel_health_check = true;
        let pool = Self {
            snapshot,
            health,
            registration,
            registry: Mutex::new(Registry::new(timeouts)),
            published: Mutex::new(0),
            saving: Mutex::new(()),
            store: OnceLock::new(),
            close_streams: OnceLock::new(),
            sweep_due: Notify::new(),
        };
        pool.set_fixed(&ResolvedWorkers::resolve(fixed).await?)
            .await?;
        Ok((Arc::new(pool), background_service("worker health", service)))
    }

    /// Returns the current snapshot, which is read without a lock.
    #[must_use]
    pub(crate) fn load(&self) -> Guard<Arc<PoolSnapshot>> {
        self.snapshot.load()
    }

    /// Returns the worker with an identifier.
    #[must_use]
    pub(crate) fn by_id(&self, id: &str) -> Option<Arc<PoolWorker>> {
        self.snapshot.load().by_id(id).cloned()
    }

    /// Returns whether a worker passes its health checks.
    #[must_use]
    pub(crate) fn is_healthy(&self, worker: &PoolWorker) -> bool {
        self.snapshot.load().is_healthy(worker)
    }

    /// Checks that requests can be served: that a worker has passed a health check and does not
    /// drain.
    ///
    /// # Errors
    /// The reason in a few words.
    pub(crate) fn ready(&self) -> Result<(), &'static str> {
        let snapshot = self.snapshot.load();
        let healthy = |worker: &&Arc<PoolWorker>| {
            snapshot.is_healthy(worker) && worker.checked.load(Ordering::Relaxed)
        };
        let mut healthy = snapshot.iter().filter(healthy).peekable();
        if snapshot.iter().next().is_none() {
            Err("there is no worker")
        } else if healthy.peek().is_none() {
            Err("no worker is healthy")
        } else if healthy.all(|worker| worker.is_draining()) {
            Err("every healthy worker is drained")
        } else {
            Ok(())
        }
    }

    /// Runs one health check of all workers.
    #[cfg(test)]
    pub(crate) async fn check_health(&self) {
        self.health.run_health_check(true).await;
    }

    /// Returns all workers, in no order.
    #[must_use]
    pub(crate) fn workers(&self) -> Vec<Arc<PoolWorker>> {
        self.snapshot.load().iter().cloned().collect()
    }

    /// Sets the store for registrations and drains.
    pub(crate) fn set_store(&self, store: Arc<dyn Store>) {
        // Called once; a second call has no effect.
        let _ = self.store.set(store);
    }

    /// Sets the function that closes the open streams at a worker when its drain ends.
    pub(crate) fn set_close_streams(&self, close: CloseStreams) {
        let _ = self.close_streams.set(close);
    }
}

#[cfg(test)]
mod tests;
