//! The pool as requests see it: an immutable snapshot of its workers with their rings, replaced
//! when the pool changes.
//!
//! There is one ring for all workers and one for each label selector in use. A ring is a Pingora
//! load balancer. All rings share one health registry, so that a worker on several rings is checked
//! once.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use app_proxy_api::apps::Labels;
use async_trait::async_trait;
use futures::FutureExt;
use log::error;
use pingora_core::Result;
use pingora_core::protocols::l4::socket::SocketAddr as PeerAddr;
use pingora_load_balancing::discovery::ServiceDiscovery;
use pingora_load_balancing::selection::consistent::KetamaHashing;
use pingora_load_balancing::{Backend, Backends, HealthRegistry, LoadBalancer};

use super::worker::PoolWorker;

/// Points that ketama puts on its ring for each unit of weight.
const POINTS_PER_WEIGHT: usize = 160;

/// A snapshot of the pool.
pub(crate) struct PoolSnapshot {
    /// In the order of their identifiers.
    workers: Vec<Arc<PoolWorker>>,
    /// Keyed by the address on the rings.
    by_place: HashMap<PeerAddr, Arc<PoolWorker>>,
    all: Arc<Ring>,
    by_selector: BTreeMap<Labels, Arc<Ring>>,
}

/// A ring of the workers that match a selector.
struct Ring {
    balancer: LoadBalancer<KetamaHashing>,
    backends: BTreeSet<Backend>,
    points: usize,
}

/// Service discovery that returns a fixed set of workers.
struct FixedDiscovery(BTreeSet<Backend>);

#[async_trait]
impl ServiceDiscovery for FixedDiscovery {
    async fn discover(&self) -> Result<(BTreeSet<Backend>, HashMap<u64, bool>)> {
        Ok((self.0.clone(), HashMap::new()))
    }
}

impl Ring {
    /// Builds the ring. The time is proportional to the weights.
    fn new(registry: &Arc<HealthRegistry>, backends: BTreeSet<Backend>) -> Self {
        let discovery = Box::new(FixedDiscovery(backends.clone()));
        let view = Backends::new_with_health_registry(discovery, Arc::clone(registry));
        let balancer = LoadBalancer::<KetamaHashing>::from_backends(view);
        // `FixedDiscovery` never waits.
        if let Some(Err(e)) = balancer.update().now_or_never() {
            error!("cannot build a ring of workers: {e}");
        }
        let points = backends
            .iter()
            .map(|backend| backend.weight * POINTS_PER_WEIGHT)
            .sum();
        Self {
            balancer,
            backends,
            points,
        }
    }

    /// Walks the workers in ketama's order for `key` and returns the first result of `accept`.
    fn find_map<T>(&self, key: &[u8], accept: impl Fn(&Backend, bool) -> Option<T>) -> Option<T> {
        let (found, left) = (Cell::new(None), Cell::new(self.backends.len()));
        let stop = |backend: &Backend, healthy: bool| {
            let result = accept(backend, healthy);
            left.set(left.get().saturating_sub(1));
            let is_accepted = result.is_some();
            found.set(result);
            // Each worker is visited once. After the last one, stop the walk: it would only pass
            // points of visited workers, most of 64,000 with two hundred workers.
            is_accepted || left.get() == 0
        };
        // Twice the ring, because the walk may begin anywhere and visits each point once.
        self.balancer.select_with(key, self.points * 2, stop)?;
        found.take()
    }
}

impl PoolSnapshot {
    /// Creates a snapshot without workers.
    pub(super) fn empty(registry: &Arc<HealthRegistry>) -> Self {
        let all = Arc::new(Ring::new(registry, BTreeSet::new()));
        Self {
            workers: Vec::new(),
            by_place: HashMap::new(),
            all,
            by_selector: BTreeMap::new(),
        }
    }

    /// Creates the next snapshot, with these workers, in the order of their identifiers, and a ring
    /// for each of these selectors. Unchanged rings are reused.
    pub(super) fn next(
        &self,
        registry: &Arc<HealthRegistry>,
        workers: &[Arc<PoolWorker>],
        selectors: &BTreeSet<Labels>,
    ) -> Self {
        let ring = |before: Option<&Arc<Ring>>, selector: &Labels| {
            let matching = workers.iter().filter(|worker| worker.matches(selector));
            let backends: BTreeSet<_> = matching.map(|worker| worker.backend.clone()).collect();
            match before.filter(|ring| ring.backends == backends) {
                Some(same) => Arc::clone(same),
                None => Arc::new(Ring::new(registry, backends)),
            }
        };
        Self {
            workers: workers.to_vec(),
            by_place: workers
                .iter()
                .map(|worker| (worker.backend.addr.clone(), Arc::clone(worker)))
                .collect(),
            all: ring(Some(&self.all), &Labels::new()),
            by_selector: selectors
                .iter()
                .map(|s| (s.clone(), ring(self.by_selector.get(s), s)))
                .collect(),
        }
    }

    /// Returns the first healthy worker in ketama's order for `key` that `wanted` accepts. Searches
    /// the ring of the selector, or that of all workers if it has none.
    pub(super) fn find<'s>(
        &'s self,
        selector: &Labels,
        key: &[u8],
        wanted: impl Fn(&'s Arc<PoolWorker>) -> bool,
    ) -> Option<&'s Arc<PoolWorker>> {
        self.ring(selector).find_map(key, |backend, healthy| {
            let worker = self.by_place.get(&backend.addr).filter(|_| healthy)?;
            wanted(worker).then_some(worker)
        })
    }

    /// Returns the ring of a selector, or that of all workers if the selector has none.
    fn ring(&self, selector: &Labels) -> &Ring {
        let own = if selector.is_empty() {
            None
        } else {
            self.by_selector.get(selector)
        };
        own.unwrap_or(&self.all)
    }

    /// Returns the worker itself, or its replacement if it is retired.
    pub(super) fn current<'w>(
        &'w self,
        worker: &'w Arc<PoolWorker>,
    ) -> Option<&'w Arc<PoolWorker>> {
        if worker.is_retired() {
            self.by_id(&worker.id)
        } else {
            Some(worker)
        }
    }

    /// Returns whether a worker passes its health checks.
    pub(super) fn is_healthy(&self, worker: &PoolWorker) -> bool {
        self.all.balancer.backends().ready(&worker.backend)
    }

    pub(super) fn by_id(&self, id: &str) -> Option<&Arc<PoolWorker>> {
        let found = self.workers.binary_search_by(|worker| (*worker.id).cmp(id));
        found.ok().and_then(|at| self.workers.get(at))
    }

    pub(super) fn by_place(&self, address: &PeerAddr) -> Option<&Arc<PoolWorker>> {
        self.by_place.get(address)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<PoolWorker>> {
        self.workers.iter()
    }
}
