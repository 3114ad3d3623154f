//! The reasons for which a tier closes a tunnel.

use std::time::Duration;

use crate::error::ErrorCode;
use crate::streams::CloseReason;

/// The time in which both ends must answer a close message before the connections are cut.
const CLOSE_WAIT: Duration = Duration::from_secs(5);
/// The same when the stream is closed by an operator: after the deletion of a session or an app its
/// streams must be gone soon, also one that is within a message, or whose receiver reads nothing.
const CLOSE_WAIT_ON_REQUEST: Duration = Duration::from_secs(1);

/// The reason for which this tier closes a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CloseCause {
    /// The daemon shuts down.
    Draining,
    /// No byte has passed for too long.
    Idle,
    /// The stream was closed from outside.
    Requested(CloseReason),
}

impl CloseCause {
    /// Returns `error` of the access log.
    pub(super) const fn code(self) -> ErrorCode {
        match self {
            Self::Draining => ErrorCode::Draining,
            Self::Idle => ErrorCode::IdleTimeout,
            Self::Requested(reason) => reason.code(),
        }
    }

    /// Returns how long both ends have to answer a close message.
    pub(super) const fn wait(self) -> Duration {
        match self {
            Self::Draining | Self::Idle => CLOSE_WAIT,
            Self::Requested(_) => CLOSE_WAIT_ON_REQUEST,
        }
    }
}
