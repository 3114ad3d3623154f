//! What is kept for one request, grouped by the phase that fills it in.

use std::sync::Arc;

use app_proxy_hop::exchange::{Exchange, HopServices};
use app_proxy_hop::identity::RequestId;
use http::Uri;

use crate::apps::ServedApp;
use crate::endpoints::{Endpoint, LoadGuard};

/// The context of a request: Pingora's `CTX`.
pub struct RequestContext {
    /// Its identifier, its log (the session's identifier among it) and what becomes of it.
    pub exchange: Exchange,
    /// The app that it is for.
    pub route: Option<Route>,
    /// The endpoints that it goes to.
    pub placement: Placement,
    /// The WebSocket's identifier, captured when the application has answered with 101
    /// (docs/reference/request-id.md, rule 15).
    pub websocket_id: Option<RequestId>,
    /// Body bytes that have come from the coordinator, for the limit.
    pub body_bytes: u64,
}

/// The app that a request is for, and what the application is asked.
pub struct Route {
    /// The app.
    pub app: Arc<ServedApp>,
    /// The request target for the application.
    pub target: Uri,
}

/// Where a request goes.
#[derive(Default)]
pub struct Placement {
    /// The endpoint of the current attempt, counted as busy.
    pub endpoint: Option<LoadGuard>,
    /// Endpoints that could not be connected.
    pub failed: Vec<Arc<Endpoint>>,
}

impl Placement {
    /// Leaves the endpoint of the current attempt out of further ones.
    pub fn give_up(&mut self) {
        self.failed
            .extend(self.endpoint.take().map(|busy| Arc::clone(busy.endpoint())));
    }
}

impl RequestContext {
    /// The context of a request that has not been looked at.
    #[must_use]
    pub fn new(hop: &Arc<HopServices>) -> Self {
        Self {
            exchange: Exchange::idle(hop),
            route: None,
            placement: Placement::default(),
            websocket_id: None,
            body_bytes: 0,
        }
    }
}
