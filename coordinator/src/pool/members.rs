//! The members of the pool as requests see them: a snapshot with its rings, swapped whole when the
//! pool changes.
//!
//! There is a ring for all workers and one for each selector of labels in use. A ring is a load
//! balancer of Pingora's; all of them share one registry of health, so that a worker is checked
//! once however many rings it is on.

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

/// One state of the pool.
pub(super) struct Members {
    by_id: HashMap<Arc<str>, Arc<PoolWorker>>,
    /// By their addresses on the ring.
    by_address: HashMap<PeerAddr, Arc<PoolWorker>>,
    all: Arc<Ring>,
    of_selectors: BTreeMap<Labels, Arc<Ring>>,
}

/// The workers that a selector picks, on a ring.
struct Ring {
    balancer: LoadBalancer<KetamaHashing>,
    backends: BTreeSet<Backend>,
    points: usize,
}

/// Tells a load balancer the workers of its ring.
struct Picked(BTreeSet<Backend>);

#[async_trait]
impl ServiceDiscovery for Picked {
    async fn discover(&self) -> Result<(BTreeSet<Backend>, HashMap<u64, bool>)> {
        Ok((self.0.clone(), HashMap::new()))
    }
}

impl Ring {
    /// Builds the ring, which takes the longer the larger the weights are.
    fn new(registry: &Arc<HealthRegistry>, backends: BTreeSet<Backend>) -> Self {
        let discovery = Box::new(Picked(backends.clone()));
        let view = Backends::new_with_health_registry(discovery, Arc::clone(registry));
        let balancer = LoadBalancer::<KetamaHashing>::from_backends(view);
        // Our discovery never waits.
        if let Some(Err(e)) = balancer.update().now_or_never() {
            error!("the workers' ring was not built: {e}");
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

    /// What `wanted` makes of the first worker for `key`, in ketama's order, that it wants at all.
    fn first<T>(&self, key: &[u8], wanted: impl Fn(&Backend, bool) -> Option<T>) -> Option<T> {
        let (found, left) = (Cell::new(None), Cell::new(self.backends.len()));
        let accept = |backend: &Backend, healthy: bool| {
            let this = wanted(backend, healthy);
            left.set(left.get().saturating_sub(1));
            let is_wanted = this.is_some();
            found.set(this);
            // Each worker comes once. When none is left there is nobody, and no reason to walk on
            // over points of those that were met: with two hundred workers these are most of
            // 64,000.
            is_wanted || left.get() == 0
        };
        // Twice the ring: the walk may begin anywhere and meets each point once.
        self.balancer.select_with(key, self.points * 2, accept)?;
        found.take()
    }
}

impl Members {
    /// No member.
    pub(super) fn none(registry: &Arc<HealthRegistry>) -> Self {
        let all = Arc::new(Ring::new(registry, BTreeSet::new()));
        Self {
            by_id: HashMap::new(),
            by_address: HashMap::new(),
            all,
            of_selectors: BTreeMap::new(),
        }
    }

    /// The state with these workers, and with a ring for each of these selectors. Rings that are
    /// the same as in this state are taken over.
    pub(super) fn next(
        &self,
        registry: &Arc<HealthRegistry>,
        workers: &[Arc<PoolWorker>],
        selectors: &BTreeSet<Labels>,
    ) -> Self {
        let ring = |before: Option<&Arc<Ring>>, selector: &Labels| {
            let picked = workers.iter().filter(|worker| worker.has(selector));
            let backends: BTreeSet<_> = picked.map(|worker| worker.backend.clone()).collect();
            match before.filter(|ring| ring.backends == backends) {
                Some(same) => Arc::clone(same),
                None => Arc::new(Ring::new(registry, backends)),
            }
        };
        Self {
            by_id: workers
                .iter()
                .map(|worker| (Arc::clone(&worker.id), Arc::clone(worker)))
                .collect(),
            by_address: workers
                .iter()
                .map(|worker| (worker.backend.addr.clone(), Arc::clone(worker)))
                .collect(),
            all: ring(Some(&self.all), &Labels::new()),
            of_selectors: selectors
                .iter()
                .map(|s| (s.clone(), ring(self.of_selectors.get(s), s)))
                .collect(),
        }
    }

    /// The worker for `key`: the pinned one while it may be used, or else ketama's choice among
    /// those that may, those that `failed` left out.
    pub(super) fn select(
        &self,
        selector: &Labels,
        key: &[u8],
        pinned: Option<&Arc<PoolWorker>>,
        failed: &[Arc<PoolWorker>],
    ) -> Option<Arc<PoolWorker>> {
        let usable = |worker: &Arc<PoolWorker>| {
            !worker.is_draining()
                && worker.has(selector)
                && !failed.iter().any(|f| Arc::ptr_eq(f, worker))
        };
        let present = pinned.and_then(|pinned| self.present(pinned));
        if let Some(worker) = present.filter(|worker| usable(worker) && self.is_healthy(worker)) {
            return Some(Arc::clone(worker));
        }
        self.ring(selector).first(key, |backend, healthy| {
            let worker = self.by_address.get(&backend.addr).filter(|_| healthy)?;
            usable(worker).then(|| Arc::clone(worker))
        })
    }

    /// The ring of a selector; the one of all workers where there is none of its own yet.
    fn ring(&self, selector: &Labels) -> &Ring {
        let own = if selector.is_empty() {
            None
        } else {
            self.of_selectors.get(selector)
        };
        own.unwrap_or(&self.all)
    }

    /// The worker itself, or who is in its place now.
    fn present<'w>(&'w self, worker: &'w Arc<PoolWorker>) -> Option<&'w Arc<PoolWorker>> {
        if worker.is_retired() {
            self.by_id.get(&worker.id)
        } else {
            Some(worker)
        }
    }

    /// Whether a worker answers its health checks.
    pub(super) fn is_healthy(&self, worker: &PoolWorker) -> bool {
        self.all.balancer.backends().ready(&worker.backend)
    }

    pub(super) fn by_id(&self, id: &str) -> Option<&Arc<PoolWorker>> {
        self.by_id.get(id)
    }

    pub(super) fn by_ring_address(&self, address: &PeerAddr) -> Option<&Arc<PoolWorker>> {
        self.by_address.get(address)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<PoolWorker>> {
        self.by_id.values()
    }
}
