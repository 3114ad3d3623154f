//! What the engine needs of the owner of the phases.

use std::time::Duration;

use pingora_proxy::ProxyHttp;

use crate::limits::HeadLimits;

/// The time limits towards a client.
#[derive(Clone, Copy, Debug)]
pub struct ClientTimeouts {
    /// The longest silence within a request, and the time for a whole request head.
    pub read: Duration,
    /// The longest time in which the client accepts no byte.
    pub write: Duration,
    /// The time for which an unused connection stays open.
    pub keepalive: Duration,
    /// The time for which a request continues after the client has closed its sending side.
    pub half_closed: Duration,
}

/// Pingora's phases, and the settings and the supervision of their owner.
///
/// The methods are called for each request: they must be cheap.
pub trait Gateway: ProxyHttp<CTX: Send + Sync> + Send + Sync + 'static {
    /// Held while a connection waits for its first request.
    type Arriving: Send;

    /// Returns the bounds of a request head.
    fn request_limits(&self) -> HeadLimits;

    /// Returns the bounds of a response head of the next hop.
    fn response_limits(&self) -> HeadLimits;

    /// Returns the time limits towards clients.
    fn timeouts(&self) -> ClientTimeouts;

    /// Returns whether connections close after the response in progress, because the process ends.
    /// A task that waits for a client is woken when this changes.
    fn closes_connections(&self) -> bool;

    /// Returns what a new connection holds until its first request has arrived.
    fn arriving(&self) -> Self::Arriving;

    /// Returns header names that phases add to responses, in the spelling that clients see. Called
    /// once.
    fn spelled_names(&self) -> Vec<String>;

    /// Runs the exchange of one HTTP/2 stream; `None` if the owner ends it before its end.
    fn supervise<T: Send>(
        &self,
        exchange: impl Future<Output = T> + Send,
    ) -> impl Future<Output = Option<T>> + Send;
}
