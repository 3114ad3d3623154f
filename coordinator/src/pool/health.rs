//! The health check of a worker: `GET /healthz` on its proxy listener.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::RequestHeader;
use pingora_load_balancing::Backend;
use pingora_load_balancing::health_check::{HealthCheck, HttpHealthCheck};

use super::PoolWorker;
use crate::config::HealthCheckSection;

/// Pingora's HTTP check, with a note at the worker that it has been checked.
pub(super) struct WorkerCheck {
    http: HttpHealthCheck,
    workers: HashMap<Backend, Arc<PoolWorker>>,
}

impl WorkerCheck {
    pub(super) fn new(section: HealthCheckSection, workers: &HashMap<Backend, Arc<PoolWorker>>) -> Self {
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
        Self { http, workers: workers.clone() }
    }
}

#[async_trait]
impl HealthCheck for WorkerCheck {
    async fn check(&self, target: &Backend) -> Result<()> {
        let Some(worker) = self.workers.get(target) else {
            return Err(Error::explain(ErrorType::InternalError, "not a worker of the pool"));
        };
        // The ring's address may be a stand-in; what is checked is where the worker listens.
        let listener = Backend { addr: worker.peer._address.clone(), ..target.clone() };
        let result = self.http.check(&listener).await;
        worker.checked.store(true, Ordering::Relaxed);
        result
    }

    fn backend_summary(&self, target: &Backend) -> String {
        self.workers.get(target).map_or_else(
            || format!("worker {}", target.addr),
            |worker| format!("worker {} ({})", worker.id, worker.address),
        )
    }

    fn health_threshold(&self, success: bool) -> usize {
        self.http.health_threshold(success)
    }
}
