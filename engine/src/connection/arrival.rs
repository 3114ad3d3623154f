//! A connection before its first request.

use std::time::Duration;

use bytes::Bytes;
use pingora_core::protocols::Stream;
use tokio::time::Instant;

use crate::gateway::Gateway;

/// The time for the last request of a connection when the process begins to end.
pub(super) const LATE_REQUEST: Duration = Duration::from_secs(1);

/// A connection before its first request.
pub(super) struct Arrived<G: Gateway> {
    pub(super) stream: Stream,
    /// Bytes that were read to detect the protocol.
    pub(super) input: Bytes,
    /// When the connection was opened.
    pub(super) opened: Instant,
    /// Held until the first request has arrived.
    pub(super) arriving: G::Arriving,
}
