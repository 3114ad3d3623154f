//! The coordinator's part of a request's context, grouped by the phase that sets it.

use std::sync::Arc;

use app_proxy_hop::context;
use http::Uri;

use crate::apps::RoutedApp;
use crate::apps::usage::UsageGuard;
use crate::pool::LoadGuard;
use crate::request::origin::Origin;
use crate::sessions::{OpenStream, SessionUse};

/// The context of a request at the coordinator.
pub(crate) type RequestContext = context::RequestContext<RequestState, LoadGuard>;

/// The coordinator's state of one request.
#[derive(Default)]
pub(crate) struct RequestState {
    /// The origin of the request (`enter`).
    pub(super) origin: Origin,
    /// The app of the request, once it is matched (`enter`).
    pub(super) route: Option<Route>,
    /// The session, if the app has sessions (`enter`).
    pub(super) session: Option<SessionUse>,
    /// Keeps the app in use until the response becomes a stream (`enter`).
    pub(super) in_use: Option<UsageGuard>,
    /// The stream or long download that the response has become (`observe`).
    pub(super) stream: Option<OpenStream>,
}

/// The app of a request, and how it was matched.
pub(crate) struct Route {
    /// The app.
    pub(super) app: Arc<RoutedApp>,
    /// The path prefix that matched, without a trailing `/`; empty for a match by host alone.
    pub(super) prefix: Box<str>,
    /// The request target for the worker: `/proxy/<app>`, then the target for the application.
    pub(super) target: Uri,
}

impl Route {
    /// Returns the prefix that is removed from the path; empty if the app keeps the whole path.
    pub(super) fn stripped_prefix(&self) -> &str {
        if self.app.strips_prefix() {
            &self.prefix
        } else {
            ""
        }
    }
}
