//! What is kept for one request, grouped by the phase that fills it in.

use std::sync::Arc;

use app_proxy_hop::exchange::{Exchange, HopServices};
use app_proxy_hop::identity::RequestId;
use http::Uri;

use crate::apps::RoutedApp;
use crate::apps::usage::UsageGuard;
use crate::pool::{LoadGuard, PoolWorker};
use crate::request::origin::Origin;
use crate::sessions::{OpenStream, SessionUse};

/// The context of a request: Pingora's `CTX`.
pub struct RequestContext {
    /// Its identifier, its log and what becomes of it.
    pub exchange: Exchange,
    /// Where it comes from, once its connection has been looked at.
    pub origin: Origin,
    /// The app that it is for, once it is matched.
    pub route: Option<Route>,
    /// The session that it belongs to, if the app has sessions.
    pub session: Option<SessionUse>,
    /// That it keeps the app in use, until it turns out to be a stream.
    pub in_use: Option<UsageGuard>,
    /// The workers that it goes to.
    pub placement: Placement,
    /// The stream or long download that its response has turned out to be.
    pub stream: Option<OpenStream>,
    /// The WebSocket's identifier, captured when the application has answered with 101
    /// (docs/reference/request-id.md, rule 15).
    pub websocket_id: Option<RequestId>,
    /// Body bytes that have come from the client, for the limit.
    pub body_bytes: u64,
}

/// The app that a request is for, and how it was matched.
#[derive(Clone)]
pub struct Route {
    /// The app.
    pub app: Arc<RoutedApp>,
    /// The path prefix that matched, without a trailing `/`; empty for a host alone.
    pub prefix: Box<str>,
    /// The request target for the worker: `/proxy/<app>` and what the application is to see.
    pub target: Uri,
}

/// Where a request goes.
#[derive(Default)]
pub struct Placement {
    /// The worker of the current attempt, counted as busy.
    pub worker: Option<LoadGuard>,
    /// Workers that could not be connected.
    pub failed: Vec<Arc<PoolWorker>>,
}

impl Placement {
    /// Leaves the worker of the current attempt out of further ones.
    pub fn give_up(&mut self) {
        self.failed
            .extend(self.worker.take().map(|busy| Arc::clone(busy.worker())));
    }
}

impl RequestContext {
    /// The context of a request that has not been looked at.
    #[must_use]
    pub fn new(hop: &Arc<HopServices>) -> Self {
        Self {
            exchange: Exchange::idle(hop),
            origin: Origin::unknown(),
            route: None,
            session: None,
            in_use: None,
            placement: Placement::default(),
            stream: None,
            websocket_id: None,
            body_bytes: 0,
        }
    }
}
