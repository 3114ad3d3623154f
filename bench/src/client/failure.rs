//! Failures of requests, messages and streams.

use std::io;

/// The failure of a request, a message or a stream. Each of them makes a batch void.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The connection broke.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The other side closed the connection before its answer was complete.
    #[error("the connection was closed before the answer was complete")]
    Closed,
    /// The status is not the expected one.
    #[error("status {0}")]
    Status(u16),
    /// The answer is not HTTP, not a WebSocket frame, or not of the expected form.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// The length of the body is not the expected one.
    #[error("{found} bytes instead of {expected}")]
    Length {
        /// The expected value.
        expected: u64,
        /// The received value.
        found: u64,
    },
    /// The response has no request ID.
    #[error("no request ID in the response")]
    NoRequestId,
    /// The echoed data differs from the sent data.
    #[error("the echo is not what was sent")]
    Echo,
    /// The answer did not end in time.
    #[error("no answer in time")]
    Late,
}
