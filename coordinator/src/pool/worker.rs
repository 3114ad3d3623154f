//! A worker of the pool as requests see it, and its current load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use app_proxy_api::address::Address;
use app_proxy_api::apps::Labels;
use app_proxy_api::workers::WorkerRegistration;
use app_proxy_hop::config::TimeoutsSection;
use app_proxy_hop::forwarding::{PeerTimeouts, peer};
use pingora_core::prelude::HttpPeer;
use pingora_core::protocols::l4::socket::SocketAddr as PeerAddr;
use pingora_load_balancing::Backend;

use super::place::{ListenerNumber, backend};

/// A worker of the pool, immutable. If a worker registers with another address, weight or labels, a
/// new `PoolWorker` replaces the old one, which is retired.
pub(crate) struct PoolWorker {
    /// The identifier.
    pub(crate) id: Arc<str>,
    /// The address of its proxy listener.
    pub(crate) address: Address,
    /// The weight in the distribution of new sessions.
    pub(crate) weight: u16,
    /// The labels that the `pool` of an app selects by.
    pub(crate) labels: Labels,
    /// The peer for connections, cloned for each request.
    pub(crate) peer: HttpPeer,
    /// The place on the rings, with the number of the listener.
    pub(super) backend: Backend,
    pub(super) listener: ListenerNumber,
    /// True after the first health check. Before it, the load balancer treats the worker as
    /// healthy.
    pub(super) checked: AtomicBool,
    retired: AtomicBool,
    pub(super) load: Arc<WorkerLoad>,
}

/// The current load of a worker. A replacement worker shares it.
#[derive(Debug, Default)]
pub(super) struct WorkerLoad {
    in_flight: AtomicUsize,
    open_streams: AtomicUsize,
    /// True if the worker accepts no new sessions.
    pub(super) draining: AtomicBool,
}

/// The specification of a worker.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct WorkerSpec {
    pub(super) address: Address,
    pub(super) resolved: PeerAddr,
    pub(super) weight: u16,
    pub(super) labels: Labels,
}

impl WorkerSpec {
    /// Creates the specification of a registration, with the resolved address.
    pub(super) fn new(registration: &WorkerRegistration, resolved: PeerAddr) -> Self {
        Self {
            address: registration.address.clone(),
            resolved,
            weight: registration.weight,
            labels: registration.labels.clone(),
        }
    }
}

impl PoolWorker {
    pub(super) fn new(
        id: &Arc<str>,
        spec: WorkerSpec,
        listener: ListenerNumber,
        timeouts: &TimeoutsSection,
        load: Arc<WorkerLoad>,
    ) -> Self {
        Self {
            backend: backend(id, listener, spec.weight),
            listener,
            id: Arc::clone(id),
            address: spec.address,
            weight: spec.weight,
            labels: spec.labels,
            peer: peer(&spec.resolved, PeerTimeouts::new(timeouts, None, None)),
            checked: AtomicBool::new(false),
            retired: AtomicBool::new(false),
            load,
        }
    }

    /// Creates the replacement of this worker. It shares the load, and on the same listener keeps
    /// whether it was checked.
    pub(super) fn replacement(
        &self,
        spec: WorkerSpec,
        listener: ListenerNumber,
        timeouts: &TimeoutsSection,
    ) -> Self {
        let load = Arc::clone(&self.load);
        let next = Self::new(&self.id, spec, listener, timeouts, load);
        let checked = listener == self.listener && self.checked.load(Ordering::Relaxed);
        next.checked.store(checked, Ordering::Relaxed);
        next
    }

    pub(super) fn spec(&self) -> WorkerSpec {
        WorkerSpec {
            address: self.address.clone(),
            resolved: self.resolved().clone(),
            weight: self.weight,
            labels: self.labels.clone(),
        }
    }

    /// The resolved address of its proxy listener.
    pub(super) fn resolved(&self) -> &PeerAddr {
        &self.peer._address
    }

    /// Returns whether the worker has all labels of a selector.
    #[must_use]
    pub(crate) fn matches(&self, selector: &Labels) -> bool {
        selector
            .iter()
            .all(|(key, value)| self.labels.get(key) == Some(value))
    }

    /// Returns whether the worker accepts no new sessions.
    #[must_use]
    pub(crate) fn is_draining(&self) -> bool {
        self.load.draining.load(Ordering::Relaxed)
    }

    /// Returns whether the worker was removed from the pool or replaced.
    #[must_use]
    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }

    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    /// Number of requests and streams of this coordinator at the worker.
    #[must_use]
    pub(crate) fn in_flight(&self) -> usize {
        self.load.in_flight.load(Ordering::Relaxed)
    }

    /// Number of streams among them.
    #[must_use]
    pub(crate) fn open_streams(&self) -> usize {
        self.load.open_streams.load(Ordering::Relaxed)
    }
}

/// Counts a request at a worker until it is dropped.
pub(crate) struct LoadGuard {
    worker: Arc<PoolWorker>,
    is_stream: bool,
}

impl LoadGuard {
    /// Counts a request at a worker.
    #[must_use]
    pub(crate) fn new(worker: Arc<PoolWorker>) -> Self {
        worker.load.in_flight.fetch_add(1, Ordering::Relaxed);
        Self {
            worker,
            is_stream: false,
        }
    }

    /// The worker.
    #[must_use]
    pub(crate) fn worker(&self) -> &Arc<PoolWorker> {
        &self.worker
    }

    /// Counts the request as a stream, too.
    pub(crate) fn mark_stream(&mut self) {
        if !std::mem::replace(&mut self.is_stream, true) {
            self.worker
                .load
                .open_streams
                .fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for LoadGuard {
    fn drop(&mut self) {
        self.worker.load.in_flight.fetch_sub(1, Ordering::Relaxed);
        if self.is_stream {
            self.worker
                .load
                .open_streams
                .fetch_sub(1, Ordering::Relaxed);
        }
    }
}
