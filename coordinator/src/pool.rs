//! The pool of workers: Pingora's load balancer with its ketama selection, and HTTP health checks (phase `upstream_peer`).
//!
//! Selection does no I/O and takes no lock. It is deterministic: coordinators with the same pool send a session to the same
//! worker without talking to each other.

mod health;

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use app_proxy_hop::address::Address;
use app_proxy_hop::config::TimeoutsSection;
use app_proxy_hop::forwarding::{PeerTimeouts, peer};
use http::Extensions;
use pingora_core::prelude::{HttpPeer, background_service};
use pingora_core::protocols::l4::socket::SocketAddr as PeerAddr;
use pingora_core::services::background::GenBackgroundService;
use pingora_load_balancing::discovery::Static;
use pingora_load_balancing::selection::consistent::KetamaHashing;
use pingora_load_balancing::{Backend, Backends, LoadBalancer};
use sha2::{Digest, Sha256};

use crate::config::{HealthCheckSection, WorkerSection};

/// Points that ketama puts on its ring for each unit of weight.
const POINTS_PER_WEIGHT: usize = 160;

/// A worker of the pool.
pub struct PoolWorker {
    /// Its name.
    pub id: Arc<str>,
    /// Where its proxy listens.
    pub address: Address,
    /// Its share of new sessions.
    pub weight: u16,
    /// How it is connected to; made once and cloned for each request.
    pub peer: HttpPeer,
    backend: Backend,
    /// Whether it has been checked at all: the load balancer takes a new worker for healthy before the first check.
    pub(crate) checked: AtomicBool,
}

/// The pool.
pub struct Pool {
    balancer: Arc<LoadBalancer<KetamaHashing>>,
    workers: Vec<Arc<PoolWorker>>,
    by_backend: HashMap<Backend, Arc<PoolWorker>>,
    points: usize,
}

impl Pool {
    /// The pool of fixed workers, with the service that checks their health.
    ///
    /// # Errors
    /// When an address does not resolve.
    pub async fn new(
        members: &[WorkerSection],
        check: HealthCheckSection,
        timeouts: &TimeoutsSection,
    ) -> io::Result<(Self, GenBackgroundService<LoadBalancer<KetamaHashing>>)> {
        let mut workers = Vec::with_capacity(members.len());
        for member in members {
            let address = member.address.resolve()?;
            workers.push(Arc::new(PoolWorker {
                id: member.id.as_str().into(),
                address: member.address.clone(),
                weight: member.weight,
                peer: peer(&address, PeerTimeouts::new(timeouts, None, None)),
                backend: Backend {
                    addr: ring_address(&address),
                    weight: usize::from(member.weight),
                    ext: Extensions::new(),
                },
                checked: AtomicBool::new(false),
            }));
        }
        let by_backend: HashMap<_, _> = workers.iter().map(|w| (w.backend.clone(), Arc::clone(w))).collect();
        let discovered: BTreeSet<_> = by_backend.keys().cloned().collect();
        let mut balancer = LoadBalancer::<KetamaHashing>::from_backends(Backends::new(Static::new(discovered)));
        balancer.set_health_check(Box::new(health::WorkerCheck::new(check, &by_backend)));
        balancer.health_check_frequency = Some(check.interval.0);
        balancer.parallel_health_check = true;
        // The ring is built now rather than by the service, so that the first request finds it.
        balancer.update().await.map_err(|e| io::Error::other(e.to_string()))?;
        let points = workers.iter().map(|w| usize::from(w.weight) * POINTS_PER_WEIGHT).sum();
        let service = background_service("worker health", balancer);
        Ok((Self { balancer: service.task(), workers, by_backend, points }, service))
    }

    /// The worker for `key`: the pinned one while it is healthy, or else ketama's choice among the healthy ones, those that `failed` left out.
    #[must_use]
    pub fn select(
        &self,
        key: &[u8],
        pinned: Option<&Arc<PoolWorker>>,
        failed: &[Arc<PoolWorker>],
    ) -> Option<Arc<PoolWorker>> {
        let usable = |worker: &Arc<PoolWorker>| !failed.iter().any(|f| Arc::ptr_eq(f, worker));
        if let Some(worker) = pinned.filter(|worker| usable(worker) && self.is_healthy(worker)) {
            return Some(Arc::clone(worker));
        }
        // Twice the ring: the walk may begin anywhere and meets each point once.
        let accept = |backend: &Backend, healthy: bool| healthy && self.by_backend.get(backend).is_some_and(usable);
        let chosen = self.balancer.select_with(key, self.points * 2, accept)?;
        self.by_backend.get(&chosen).cloned()
    }

    /// Whether the pool sends requests to a worker.
    #[must_use]
    pub fn is_healthy(&self, worker: &PoolWorker) -> bool {
        self.balancer.backends().ready(&worker.backend)
    }

    /// Whether a worker is healthy, and has been checked for it.
    #[must_use]
    pub fn any_healthy(&self) -> bool {
        self.workers.iter().any(|worker| self.is_healthy(worker) && worker.checked.load(Ordering::Relaxed))
    }

    /// The worker of an identifier.
    #[must_use]
    pub fn by_id(&self, id: &str) -> Option<Arc<PoolWorker>> {
        self.workers.iter().find(|worker| *worker.id == *id).cloned()
    }

    /// All workers.
    #[must_use]
    pub fn workers(&self) -> &[Arc<PoolWorker>] {
        &self.workers
    }
}

/// What stands for a worker on the ring, where Pingora's ketama takes internet addresses only: a Unix path becomes an address that is
/// made of it, the same at every coordinator, and never connected to.
fn ring_address(address: &PeerAddr) -> PeerAddr {
    let Some(path) = address.as_unix().and_then(|unix| unix.as_pathname()) else { return address.clone() };
    let digest = Sha256::digest(path.as_os_str().as_encoded_bytes());
    let mut octets = [0; 16];
    octets.iter_mut().zip(digest).for_each(|(octet, byte)| *octet = byte);
    PeerAddr::Inet((Ipv6Addr::from(octets), 1).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn pool(weights: &[u16]) -> Pool {
        let members: Vec<_> = weights
            .iter()
            .enumerate()
            .map(|(i, weight)| WorkerSection {
                id: format!("w{i}"),
                address: format!("127.0.0.1:{}", 1000 + i).parse().unwrap(),
                weight: *weight,
            })
            .collect();
        Pool::new(&members, HealthCheckSection::default(), &TimeoutsSection::default()).await.unwrap().0
    }

    fn share(pool: &Pool, id: &str) -> usize {
        (0..1000_u32).filter(|key| pool.select(&key.to_be_bytes(), None, &[]).unwrap().id.as_ref() == id).count()
    }

    #[tokio::test]
    async fn coordinators_with_the_same_pool_agree() {
        let (one, other) = (pool(&[1, 1, 1]).await, pool(&[1, 1, 1]).await);
        for key in 0..100_u32 {
            let key = key.to_be_bytes();
            assert_eq!(one.select(&key, None, &[]).unwrap().id, other.select(&key, None, &[]).unwrap().id);
        }
    }

    #[tokio::test]
    async fn weight_is_the_share_of_sessions() {
        let pool = pool(&[1, 3]).await;
        let share = share(&pool, "w1");
        assert!((600..900).contains(&share), "{share} of 1000");
    }

    #[tokio::test]
    async fn the_pin_holds_until_the_worker_has_failed() {
        let pool = pool(&[1, 1]).await;
        let pinned = Arc::clone(&pool.workers()[1]);
        for key in 0..50_u32 {
            assert_eq!(pool.select(&key.to_be_bytes(), Some(&pinned), &[]).unwrap().id, pinned.id);
        }
        let failed = [pinned.clone()];
        assert_eq!(pool.select(b"k", Some(&pinned), &failed).unwrap().id.as_ref(), "w0");
        let all = pool.workers().to_vec();
        assert!(pool.select(b"k", Some(&pinned), &all).is_none());
    }

    #[tokio::test]
    async fn an_empty_pool_selects_nobody() {
        assert!(pool(&[]).await.select(b"k", None, &[]).is_none());
    }
}
