//! The endpoint of an attempt (phase `upstream_peer`).

use std::sync::Arc;

use app_proxy_hop::error::ProxyError;
use app_proxy_hop::placement::NextHop;
use pingora_core::prelude::HttpPeer;

use crate::endpoints::{Endpoint, LoadGuard, select};
use crate::request::context::RequestContext;

/// Selects the endpoint of the next attempt: by the session, or the freer one of two.
///
/// # Errors
/// When the app has no endpoint, or none that can be connected.
pub(super) fn place(ctx: &mut RequestContext) -> Result<LoadGuard, ProxyError> {
    let route = ctx.state.route.as_ref().ok_or(ProxyError::Internal)?;
    let facts = &mut ctx.exchange.facts;
    let session = facts
        .session_id
        .as_ref()
        .filter(|_| route.app.has_sessions())
        .map(|id| id.as_bytes());
    let failed = ctx.placement.failed();
    let Some(endpoint) = select(&route.app.endpoints, session, failed) else {
        return Err(if failed.is_empty() {
            ProxyError::NoEndpointAvailable
        } else {
            ProxyError::EndpointUnreachable
        });
    };
    facts.endpoint = Some(Arc::clone(&endpoint.address));
    Ok(endpoint.enter())
}

impl NextHop for LoadGuard {
    const NOUN: &'static str = "endpoint";
    type Target = Endpoint;

    fn target(&self) -> &Arc<Endpoint> {
        self.endpoint()
    }

    fn name(&self) -> &str {
        &self.endpoint().address
    }

    fn peer(&self) -> &HttpPeer {
        &self.endpoint().peer
    }
}
