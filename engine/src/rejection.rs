//! The errors that the engine rejects a request with before a phase sees it.

use http::StatusCode;

/// A request that the engine rejects. The text of [`Display`](std::fmt::Display) is for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// 400: the request breaks RFC 9112; the text names the fault.
    #[error("{0}")]
    BadRequest(&'static str),
    /// 408: the request head did not arrive in time.
    #[error("The request did not arrive in time.")]
    Timeout,
    /// 414: the request target is longer than the limit.
    #[error("The request target is longer than this proxy accepts.")]
    TargetTooLong,
    /// 431: the header block exceeds a limit; the text names it.
    #[error("{0}")]
    HeadersTooLarge(&'static str),
    /// 501: a transfer coding or a method that is not implemented.
    #[error("{0}")]
    NotImplemented(&'static str),
    /// 505: a major version of HTTP other than 1.
    #[error("This version of HTTP is not supported.")]
    VersionNotSupported,
}

impl Rejection {
    /// Returns the status of the answer.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::Timeout => StatusCode::REQUEST_TIMEOUT,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadersTooLarge(_) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::NotImplemented(_) => StatusCode::NOT_IMPLEMENTED,
            Self::VersionNotSupported => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
        }
    }
}
