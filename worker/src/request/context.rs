//! The worker's part of a request's context.

use std::sync::Arc;

use app_proxy_hop::context;
use http::Uri;

use crate::apps::ServedApp;
use crate::endpoints::LoadGuard;

/// The context of a request at the worker.
pub(crate) type RequestContext = context::RequestContext<RequestState, LoadGuard>;

/// The worker's state of one request.
#[derive(Default)]
pub(crate) struct RequestState {
    /// The app of the request, once it is found (`enter`).
    pub(super) route: Option<Route>,
}

/// The app of a request, and the target at the application.
pub(crate) struct Route {
    /// The app.
    pub(super) app: Arc<ServedApp>,
    /// The request target for the application.
    pub(super) target: Uri,
}
