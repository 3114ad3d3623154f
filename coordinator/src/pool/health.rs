//! The health check of a worker: `GET /healthz` on its proxy listener.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use pingora_core::Result;
use pingora_http::RequestHeader;
use pingora_load_balancing::Backend;
use pingora_load_balancing::health_check::{HealthCheck, HttpHealthCheck};

use super::snapshot::PoolSnapshot;
use crate::config::HealthCheckSection;

/// Returns the key of a worker's health: its place and the number of its listener, so that a
/// change of weight keeps the health, and a change of address does not. The key does not leave the
/// process.
pub(super) fn key_of(backend: &Backend) -> u64 {
    let mut hasher = DefaultHasher::new();
    backend.addr.hash(&mut hasher);
    hasher.finish()
}

/// Pingora's HTTP check, which also marks the worker as checked.
pub(super) struct WorkerCheck {
    http: HttpHealthCheck,
    snapshot: Arc<ArcSwap<PoolSnapshot>>,
}

impl WorkerCheck {
    pub(super) fn new(section: HealthCheckSection, snapshot: &Arc<ArcSwap<PoolSnapshot>>) -> Self {
        let mut http = HttpHealthCheck::new("worker", false);
        if let Ok(mut request) = RequestHeader::build("GET", b"/healthz", Some(2)) {
            let _ = request.insert_header("Host", "worker");
            let _ = request.insert_header("User-Agent", "app-proxy-coordinator");
            http.req = request;
        }
        http.consecutive_success = section.healthy_after;
        http.consecutive_failure = section.unhealthy_after;
        let options = &mut http.peer_template.options;
        options.connection_timeout = Some(section.timeout.0);
        options.total_connection_timeout = Some(section.timeout.0);
        options.read_timeout = Some(section.timeout.0);
        options.write_timeout = Some(section.timeout.0);
        Self {
            http,
            snapshot: Arc::clone(snapshot),
        }
    }
}

#[async_trait]
impl HealthCheck for WorkerCheck {
    async fn check(&self, target: &Backend) -> Result<()> {
        // A worker that was just added or removed is not checked.
        let Some(worker) = self.snapshot.load().by_place(&target.addr).cloned() else {
            return Ok(());
        };
        // The address on the ring is the worker's place; the check needs the real one.
        let listener = Backend {
            addr: worker.resolved().clone(),
            ..target.clone()
        };
        let result = self.http.check(&listener).await;
        worker.checked.store(true, Ordering::Relaxed);
        result
    }

    fn backend_summary(&self, target: &Backend) -> String {
        self.snapshot.load().by_place(&target.addr).map_or_else(
            || format!("worker {}", target.addr),
            |worker| format!("worker {} ({})", worker.id, worker.address),
        )
    }

    fn health_threshold(&self, success: bool) -> usize {
        self.http.health_threshold(success)
    }
}
