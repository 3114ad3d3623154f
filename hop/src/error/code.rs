//! The stable codes of errors.

use std::fmt;

/// The code of an error: `code` of an answer, `error` of the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorCode {
    /// The request is not valid.
    BadRequest,
    /// The client has to prove who it is.
    Unauthenticated,
    /// The client may not send requests here.
    Forbidden,
    /// No app matches the request.
    AppNotFound,
    /// The method is not served.
    MethodNotAllowed,
    /// The client was silent within its request for too long.
    RequestTimeout,
    /// The request body exceeds the limit.
    BodyTooLarge,
    /// The request target exceeds the limit.
    TargetTooLong,
    /// The request head exceeds a limit.
    HeadersTooLarge,
    /// A fault of the proxy.
    Internal,
    /// The transfer coding or the method is not implemented.
    NotImplemented,
    /// The endpoint does not accept connections.
    EndpointUnreachable,
    /// The response of the next hop is not valid, or incomplete.
    BadUpstreamResponse,
    /// The access policy has not decided.
    AccessUnavailable,
    /// No worker can be reached.
    NoWorkerAvailable,
    /// The app has no endpoint.
    NoEndpointAvailable,
    /// The app has no endpoint, and its scheduler was asked to start it.
    AppStarting,
    /// The next hop was silent for too long.
    UpstreamTimeout,
    /// The major version of HTTP is not served.
    VersionNotSupported,
    /// The request has been at this app of this proxy before.
    LoopDetected,
    /// The client broke the connection.
    ClientGone,
    /// The application broke the connection of a WebSocket.
    UpstreamGone,
    /// The tier cut the request off.
    Aborted,
    /// The tier closed the WebSocket because it was shutting down.
    Draining,
    /// The tier closed the WebSocket because it was idle.
    IdleTimeout,
    /// The tier closed the stream because its session was deleted.
    SessionDeleted,
    /// The tier closed the stream because its app was deleted.
    AppDeleted,
    /// The tier closed the stream because its worker was draining.
    WorkerDraining,
}

impl ErrorCode {
    /// Returns the text in answers and in the access log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::AppNotFound => "app_not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::RequestTimeout => "request_timeout",
            Self::BodyTooLarge => "body_too_large",
            Self::TargetTooLong => "target_too_long",
            Self::HeadersTooLarge => "headers_too_large",
            Self::Internal => "internal",
            Self::NotImplemented => "not_implemented",
            Self::EndpointUnreachable => "endpoint_unreachable",
            Self::BadUpstreamResponse => "bad_upstream_response",
            Self::AccessUnavailable => "access_unavailable",
            Self::NoWorkerAvailable => "no_worker_available",
            Self::NoEndpointAvailable => "no_endpoint_available",
            Self::AppStarting => "app_starting",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::VersionNotSupported => "version_not_supported",
            Self::LoopDetected => "loop_detected",
            Self::ClientGone => "client_gone",
            Self::UpstreamGone => "upstream_gone",
            Self::Aborted => "aborted",
            Self::Draining => "draining",
            Self::IdleTimeout => "idle_timeout",
            Self::SessionDeleted => "session_deleted",
            Self::AppDeleted => "app_deleted",
            Self::WorkerDraining => "worker_draining",
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
