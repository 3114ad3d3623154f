//! The worker of an attempt (phase `upstream_peer`).

use std::sync::Arc;

use app_proxy_hop::error::ProxyError;
use app_proxy_hop::placement::NextHop;
use log::info;
use pingora_core::prelude::HttpPeer;

use crate::pool::{LoadGuard, PoolWorker};
use crate::request::context::RequestContext;
use crate::request::services::Services;

/// Selects the worker of the next attempt: that of the session, or one by the weights of the pool.
/// Pins the session to it. Called again for each attempt, with one more worker that failed.
pub(super) fn place(
    services: &Services,
    ctx: &mut RequestContext,
) -> Result<LoadGuard, ProxyError> {
    let route = ctx.state.route.as_ref().ok_or(ProxyError::Internal)?;
    let selector = &route.app.stored.app.pool;
    let session = ctx.state.session.as_ref().map(|used| &used.record);
    let failed = ctx.placement.failed();
    let selected = match session {
        Some(record) => {
            let pinned = record.worker();
            let key = record.id().as_str().as_bytes();
            services.pool.select(selector, key, pinned.as_ref(), failed)
        }
        None => {
            let key = rand::random::<[u8; 16]>();
            services.pool.select(selector, &key, None, failed)
        }
    };
    let worker = selected.ok_or(ProxyError::NoWorkerAvailable)?;
    if let Some(before) = session.and_then(|record| record.pin(&worker)) {
        info!(
            "request_id={} moves its session from worker {} to {}",
            ctx.exchange.id(),
            before.id,
            worker.id
        );
    }
    ctx.exchange.facts.worker = Some(Arc::clone(&worker.id));
    Ok(LoadGuard::new(worker))
}

impl NextHop for LoadGuard {
    const NOUN: &'static str = "worker";
    type Target = PoolWorker;

    fn target(&self) -> &Arc<PoolWorker> {
        self.worker()
    }

    fn name(&self) -> &str {
        &self.worker().id
    }

    fn peer(&self) -> &HttpPeer {
        &self.worker().peer
    }
}
