//! The causes of a start that failed.

use std::io;

use crate::config::ConfigError;
use crate::pingora::hand_over::HandOverError;

/// The cause of a failed start. The text is one line.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct StartError(#[from] Cause);

/// The causes that [`StartError`] hides, so that more can be added.
#[derive(Debug, thiserror::Error)]
pub(super) enum Cause {
    /// The configuration, or a file or an address that it names, cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The system refuses a thread or a runtime.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    /// A service does not listen.
    #[error("cannot listen on {address} ({name}) within {seconds} s")]
    Listen {
        address: String,
        name: &'static str,
        seconds: u64,
    },
    /// The process cannot enter the background.
    #[error("cannot enter the background: {0}")]
    Background(String),
    /// The predecessor did not hand over its sockets.
    #[error("{0}")]
    HandOver(String),
    /// The daemon in the background did not start; the text is its error.
    #[error("{0}")]
    InBackground(String),
    /// The daemon in the background died.
    #[error("the daemon ended before it served")]
    Died,
    /// A signal ended the daemon while it started.
    #[error("stopped before it served")]
    Stopped,
}

impl From<ConfigError> for StartError {
    fn from(error: ConfigError) -> Self {
        Self(Cause::Config(error))
    }
}

impl From<HandOverError> for StartError {
    fn from(error: HandOverError) -> Self {
        Self(Cause::HandOver(error.to_string()))
    }
}

impl StartError {
    /// The start failed because the system refuses a thread or a runtime.
    #[must_use]
    pub fn thread(error: io::Error) -> Self {
        Self(Cause::Thread(error))
    }

    /// Returns whether a signal ended the daemon while it started, which is no failure.
    #[must_use]
    pub fn is_stop(&self) -> bool {
        matches!(self.0, Cause::Stopped)
    }
}
