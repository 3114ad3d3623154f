//! The worker of an attempt (phase `upstream_peer`).

use std::sync::Arc;

use app_proxy_hop::error::ProxyError;
use app_proxy_hop::exchange::Exchange;
use app_proxy_hop::guard::guarded;
use app_proxy_hop::placement::NextHop;
use log::{error, info};
use pingora_core::prelude::HttpPeer;
use pingora_http::RequestHeader;

use crate::placement::{Candidate, Ketama, Placement, PlacementRequest};
use crate::pool::{Candidates, LoadGuard, PoolWorker};
use crate::request::context::RequestContext;
use crate::request::services::Services;

/// Selects the worker of the next attempt, and pins the session to it. Called again for each
/// attempt, with one more worker that failed.
pub(super) fn place(
    services: &Services,
    request: &RequestHeader,
    ctx: &mut RequestContext,
) -> Result<LoadGuard, ProxyError> {
    let route = ctx.state.route.as_ref().ok_or(ProxyError::Internal)?;
    let session = ctx.state.session.as_ref().map(|used| &used.record);
    let pinned = session.and_then(|record| record.worker());
    let random;
    let key = match session {
        Some(record) => record.id().as_str().as_bytes(),
        None => {
            random = rand::random::<[u8; 16]>();
            &random
        }
    };
    let app = &route.app.stored.app;
    let pool = services.pool.load();
    let view = PlacementRequest {
        head: request,
        app,
        session: session.map(|record| record.id().as_str()),
        user: ctx.exchange.facts.user.as_deref(),
        key,
        pinned: pinned.as_ref(),
        candidates: Candidates::new(&pool, &app.pool, ctx.placement.failed()),
    };
    let selected = match &services.policies.placement {
        None => Ketama.place(&view),
        Some(policy) => consult(&**policy, &view, &ctx.exchange),
    };
    let worker = Arc::clone(selected.ok_or(ProxyError::NoWorkerAvailable)?.0);
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

/// Lets the policy select. If it panics, it has selected no worker.
fn consult<'p>(
    policy: &dyn Placement,
    request: &PlacementRequest<'p>,
    exchange: &Exchange,
) -> Option<Candidate<'p>> {
    guarded(|| policy.place(request)).unwrap_or_else(|panic| {
        error!(
            "request_id={} placement: the policy panicked; no worker is selected: {panic}",
            exchange.id()
        );
        None
    })
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
