//! Access: decides who may enter (phase `request_filter`), after the request is routed and before
//! anything else happens: no redirect, no session, no activation.
//!
//! A coordinator without a policy lets everybody in.

mod identity;
mod reply;
mod request;

use std::time::Duration;

use async_trait::async_trait;

pub use identity::{Identity, IdentityError};
pub use reply::Reply;
pub use request::AccessRequest;

/// The time that a policy has for one decision, unless it says otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A policy that decides who may enter.
///
/// It is asked once for each request, WebSocket handshakes and requests for unknown apps included,
/// so that strangers cannot tell apps that exist from apps that do not. Exceptions are requests
/// that are not valid (400, 405, 413) and the probe `/.app-proxy/healthz`.
///
/// A policy that panics, or does not decide in time, lets nobody in: the client gets 503
/// `access_unavailable`.
///
/// ```
/// use app_proxy_coordinator::{Access, AccessRequest, Decision, Identity, Reply, async_trait};
/// use http::HeaderValue;
///
/// /// Lets everybody in who has the password.
/// struct Password;
///
/// #[async_trait]
/// impl Access for Password {
///     async fn check(&self, request: &AccessRequest<'_>) -> Decision {
///         match request.headers().get("authorization") {
///             None => {
///                 let challenge = HeaderValue::from_static("Basic realm=\"apps\"");
///                 Decision::Challenge(Reply::unauthorized(challenge))
///             }
///             Some(value) if value == "Basic YW5uYTpzZWNyZXQ=" => {
///                 Identity::user("anna").map_or(Decision::deny(), Decision::Allow)
///             }
///             Some(_) => Decision::deny(),
///         }
///     }
/// }
/// ```
#[async_trait]
pub trait Access: Send + Sync + 'static {
    /// Decides about a request. It must not block its thread.
    async fn check(&self, request: &AccessRequest<'_>) -> Decision;

    /// The time for one decision: 10 s, unless the policy says otherwise.
    fn timeout(&self) -> Duration {
        TIMEOUT
    }
}

/// The decision of an access policy.
///
/// ```
/// use app_proxy_coordinator::{Decision, Identity, Reply};
///
/// let decision = Decision::Challenge(Reply::redirect("https://login.example/"));
/// assert_ne!(decision, Decision::Allow(Identity::anonymous()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// The client may enter, under this identity.
    Allow(Identity),
    /// The client has to prove who it is: it gets this reply, and the access log the code
    /// `unauthenticated`.
    Challenge(Reply),
    /// The client may not enter: it gets this reply, and the access log the code `forbidden`.
    Deny(Reply),
}

impl Decision {
    /// The client may not enter, and gets the proxy's own page with status 403.
    #[must_use]
    pub const fn deny() -> Self {
        Self::Deny(Reply::forbidden())
    }
}
