//! A worker of the pool as requests see it, and what is at it.

use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use app_proxy_api::address::Address;
use app_proxy_api::apps::Labels;
use app_proxy_api::workers::WorkerRegistration;
use app_proxy_hop::config::TimeoutsSection;
use app_proxy_hop::forwarding::{PeerTimeouts, peer};
use http::Extensions;
use pingora_core::prelude::HttpPeer;
use pingora_core::protocols::l4::socket::SocketAddr as PeerAddr;
use pingora_load_balancing::Backend;
use sha2::{Digest, Sha256};

/// A worker of the pool. It never changes: a worker that registers with another address, weight or
/// labels is a new one under the same identifier, and the old one is retired.
pub(crate) struct PoolWorker {
    /// Its identifier.
    pub(crate) id: Arc<str>,
    /// Where its proxy listens.
    pub(crate) address: Address,
    /// Its share of new sessions.
    pub(crate) weight: u16,
    /// What apps may ask for by `pool`.
    pub(crate) labels: Labels,
    /// How it is connected to; made once and cloned for each request.
    pub(crate) peer: HttpPeer,
    pub(super) backend: Backend,
    /// Whether it has been checked at all: the load balancer takes a new worker for healthy before
    /// the first check.
    pub(super) checked: AtomicBool,
    retired: AtomicBool,
    pub(super) load: Arc<WorkerLoad>,
}

/// What is at a worker; outlives that it registers anew.
#[derive(Debug, Default)]
pub(super) struct WorkerLoad {
    in_flight: AtomicUsize,
    open_streams: AtomicUsize,
    /// Whether it takes no new sessions.
    pub(super) draining: AtomicBool,
}

/// What a worker is made of.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Description {
    pub(super) address: Address,
    pub(super) resolved: PeerAddr,
    pub(super) weight: u16,
    pub(super) labels: Labels,
}

impl Description {
    /// What a worker says of itself, at the address that was looked up.
    pub(super) fn of(said: &WorkerRegistration, resolved: PeerAddr) -> Self {
        Self {
            address: said.address.clone(),
            resolved,
            weight: said.weight,
            labels: said.labels.clone(),
        }
    }
}

impl PoolWorker {
    pub(super) fn new(
        id: &Arc<str>,
        is: Description,
        timeouts: &TimeoutsSection,
        load: Arc<WorkerLoad>,
    ) -> Self {
        Self {
            id: Arc::clone(id),
            address: is.address,
            weight: is.weight,
            labels: is.labels,
            peer: peer(&is.resolved, PeerTimeouts::new(timeouts, None, None)),
            backend: Backend {
                addr: ring_address(&is.resolved),
                weight: usize::from(is.weight),
                ext: Extensions::new(),
            },
            checked: AtomicBool::new(false),
            retired: AtomicBool::new(false),
            load,
        }
    }

    pub(super) fn description(&self) -> Description {
        Description {
            address: self.address.clone(),
            resolved: self.peer._address.clone(),
            weight: self.weight,
            labels: self.labels.clone(),
        }
    }

    /// Whether it has all labels that an app asks for.
    #[must_use]
    pub(crate) fn has(&self, selector: &Labels) -> bool {
        selector
            .iter()
            .all(|(key, value)| self.labels.get(key) == Some(value))
    }

    /// Whether it takes no new sessions.
    #[must_use]
    pub(crate) fn is_draining(&self) -> bool {
        self.load.draining.load(Ordering::Relaxed)
    }

    /// Whether the pool does not have it any more, or has another one under its identifier.
    #[must_use]
    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }

    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    /// Requests and streams of this coordinator that are at it now.
    #[must_use]
    pub(crate) fn in_flight(&self) -> usize {
        self.load.in_flight.load(Ordering::Relaxed)
    }

    /// Streams among them.
    #[must_use]
    pub(crate) fn open_streams(&self) -> usize {
        self.load.open_streams.load(Ordering::Relaxed)
    }
}

/// A worker with a request at it; dropping it says that the request has ended.
pub(crate) struct LoadGuard {
    worker: Arc<PoolWorker>,
    is_stream: bool,
}

impl LoadGuard {
    /// Counts a request in.
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

    /// Counts the request as a stream from now on.
    pub(crate) fn becomes_stream(&mut self) {
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

/// What stands for a worker on the ring, where Pingora's ketama takes internet addresses only: a
/// Unix path becomes an address that is made of it, the same at every coordinator, and never
/// connected to.
pub(super) fn ring_address(address: &PeerAddr) -> PeerAddr {
    let Some(path) = address.as_unix().and_then(|unix| unix.as_pathname()) else {
        return address.clone();
    };
    let digest = Sha256::digest(path.as_os_str().as_encoded_bytes());
    let mut octets = [0; 16];
    octets
        .iter_mut()
        .zip(digest)
        .for_each(|(octet, byte)| *octet = byte);
    PeerAddr::Inet((Ipv6Addr::from(octets), 1).into())
}
