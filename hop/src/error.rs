//! The errors that a tier answers with. This is the one place that maps each to a status, a code
//! and a text for the client.
//!
//! An error has two texts: `detail` for the client, which names no address and no cause, and the
//! cause for the log, under the same request ID.

mod code;
mod page;

use app_proxy_engine::Rejection;
use http::StatusCode;
use pingora_core::{Error, ErrorSource, ErrorType};

pub use code::ErrorCode;
pub(crate) use page::render;
pub use page::{escape, prefers_html};

/// A tier of the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Tier {
    /// The tier at the edge.
    Coordinator,
    /// The tier beside the applications.
    Worker,
}

impl Tier {
    /// Returns the name in logs, pages and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Coordinator => "coordinator",
            Self::Worker => "worker",
        }
    }
}

/// An error that a tier answers a request with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyError {
    /// 400; the text names the fault of the request.
    BadRequest(&'static str),
    /// 400: a WebSocket handshake that breaks RFC 6455.
    BadHandshake(&'static str),
    /// 401: the client has to prove who it is.
    Unauthenticated,
    /// 403 of a worker to a program that is no coordinator; the text names the reason.
    Forbidden(&'static str),
    /// 403: the client may not use the app.
    AccessDenied,
    /// 404: no app matches the request.
    AppNotFound,
    /// 405: the method is not served.
    MethodNotAllowed,
    /// 408: the client was silent within its request for too long.
    RequestTimeout,
    /// 413: the request body exceeds the limit.
    BodyTooLarge,
    /// 414: the request target exceeds the limit.
    TargetTooLong,
    /// 431: the request head exceeds a limit; the text names it.
    HeadersTooLarge(&'static str),
    /// 500: a fault of the proxy.
    Internal,
    /// 501: a transfer coding or a method that is not implemented; the text names it.
    NotImplemented(&'static str),
    /// 502: the endpoint does not accept connections.
    EndpointUnreachable,
    /// 502: the response of the next hop is not valid HTTP, or incomplete.
    BadUpstreamResponse,
    /// 503: the access policy has not decided.
    AccessUnavailable,
    /// 503: no worker can be reached.
    NoWorkerAvailable,
    /// 503: the app has no endpoint.
    NoEndpointAvailable,
    /// 503: the app has no endpoint, and its scheduler was asked to start it.
    AppStarting,
    /// 504: the next hop was silent for too long.
    UpstreamTimeout,
    /// 505: a major version of HTTP that is not served.
    VersionNotSupported,
    /// 508: the request has been at this app of this proxy before.
    LoopDetected,
    /// The client broke the connection and gets no answer.
    ClientGone,
}

impl ProxyError {
    /// Returns the status; none if the client gets no answer.
    #[must_use]
    pub const fn status(self) -> Option<StatusCode> {
        Some(match self {
            Self::BadRequest(_) | Self::BadHandshake(_) => StatusCode::BAD_REQUEST,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) | Self::AccessDenied => StatusCode::FORBIDDEN,
            Self::AppNotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadersTooLarge(_) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NotImplemented(_) => StatusCode::NOT_IMPLEMENTED,
            Self::EndpointUnreachable | Self::BadUpstreamResponse => StatusCode::BAD_GATEWAY,
            Self::AccessUnavailable
            | Self::NoWorkerAvailable
            | Self::NoEndpointAvailable
            | Self::AppStarting => StatusCode::SERVICE_UNAVAILABLE,
            Self::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::VersionNotSupported => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::LoopDetected => StatusCode::LOOP_DETECTED,
            Self::ClientGone => return None,
        })
    }

    /// Returns the stable code.
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::BadRequest(_) | Self::BadHandshake(_) => ErrorCode::BadRequest,
            Self::Unauthenticated => ErrorCode::Unauthenticated,
            Self::Forbidden(_) | Self::AccessDenied => ErrorCode::Forbidden,
            Self::AppNotFound => ErrorCode::AppNotFound,
            Self::MethodNotAllowed => ErrorCode::MethodNotAllowed,
            Self::RequestTimeout => ErrorCode::RequestTimeout,
            Self::BodyTooLarge => ErrorCode::BodyTooLarge,
            Self::TargetTooLong => ErrorCode::TargetTooLong,
            Self::HeadersTooLarge(_) => ErrorCode::HeadersTooLarge,
            Self::Internal => ErrorCode::Internal,
            Self::NotImplemented(_) => ErrorCode::NotImplemented,
            Self::EndpointUnreachable => ErrorCode::EndpointUnreachable,
            Self::BadUpstreamResponse => ErrorCode::BadUpstreamResponse,
            Self::AccessUnavailable => ErrorCode::AccessUnavailable,
            Self::NoWorkerAvailable => ErrorCode::NoWorkerAvailable,
            Self::NoEndpointAvailable => ErrorCode::NoEndpointAvailable,
            Self::AppStarting => ErrorCode::AppStarting,
            Self::UpstreamTimeout => ErrorCode::UpstreamTimeout,
            Self::VersionNotSupported => ErrorCode::VersionNotSupported,
            Self::LoopDetected => ErrorCode::LoopDetected,
            Self::ClientGone => ErrorCode::ClientGone,
        }
    }

    /// Returns the text for the client.
    #[must_use]
    pub const fn detail(self) -> &'static str {
        match self {
            Self::BadRequest(text)
            | Self::BadHandshake(text)
            | Self::Forbidden(text)
            | Self::HeadersTooLarge(text)
            | Self::NotImplemented(text) => text,
            Self::Unauthenticated => "Sign in to continue.",
            Self::AccessDenied => "Access to this address is not allowed.",
            Self::AppNotFound => "No application answers at this address.",
            Self::MethodNotAllowed => "This method is not served here.",
            Self::RequestTimeout => "The request did not arrive in time.",
            Self::BodyTooLarge => "The request body is larger than this proxy accepts.",
            Self::TargetTooLong => "The request target is longer than this proxy accepts.",
            Self::Internal => "The proxy failed; its log has the cause under this request ID.",
            Self::EndpointUnreachable => "The application does not accept connections.",
            Self::BadUpstreamResponse => "The application did not answer properly.",
            Self::AccessUnavailable => "Access cannot be checked; try again shortly.",
            Self::NoWorkerAvailable => "No worker can be reached; try again shortly.",
            Self::NoEndpointAvailable => "The application has no running endpoint.",
            Self::AppStarting => "The application is starting; try again shortly.",
            Self::UpstreamTimeout => "The application did not answer in time.",
            Self::VersionNotSupported => "This version of HTTP is not supported.",
            Self::LoopDetected => "The application sends its requests back to itself.",
            Self::ClientGone => "",
        }
    }

    /// Returns the seconds of `Retry-After`; none if a retry does not help.
    #[must_use]
    pub const fn retry_after(self) -> Option<&'static str> {
        match self {
            Self::AccessUnavailable
            | Self::NoWorkerAvailable
            | Self::NoEndpointAvailable
            | Self::AppStarting => Some("2"),
            _ => None,
        }
    }

    /// Returns whether the connection closes after the answer because its framing cannot be
    /// trusted.
    #[must_use]
    pub(crate) const fn closes_connection(self) -> bool {
        matches!(
            self,
            Self::BadRequest(_)
                | Self::BadHandshake(_)
                | Self::RequestTimeout
                | Self::BodyTooLarge
                | Self::MethodNotAllowed
                | Self::TargetTooLong
                | Self::HeadersTooLarge(_)
                | Self::NotImplemented(_)
                | Self::VersionNotSupported
        )
    }

    /// Maps a failure within the proxying at this tier.
    #[must_use]
    pub(crate) fn of_proxying(error: &Error, tier: Tier) -> Self {
        use ErrorType as E;
        let cause = error.root_cause();
        if let Some(failure) = cause.downcast_ref::<RaisedError>() {
            return failure.0;
        }
        if let Some(rejection) = cause.downcast_ref::<Rejection>()
            && *error.esource() == ErrorSource::Downstream
        {
            return Self::from(*rejection);
        }
        match (error.esource(), error.etype()) {
            (ErrorSource::Upstream, e) if is_connect_failure(e) => match tier {
                Tier::Coordinator => Self::NoWorkerAvailable,
                Tier::Worker => Self::EndpointUnreachable,
            },
            (ErrorSource::Upstream, E::ReadTimedout | E::WriteTimedout) => Self::UpstreamTimeout,
            (ErrorSource::Upstream, _) => Self::BadUpstreamResponse,
            (ErrorSource::Downstream, E::ReadTimedout) => Self::RequestTimeout,
            (
                ErrorSource::Downstream,
                E::WriteError | E::WriteTimedout | E::ReadError | E::ConnectionClosed | E::H2Error,
            ) => Self::ClientGone,
            (ErrorSource::Downstream, _) => Self::BadRequest("The request is not valid HTTP."),
            _ => Self::Internal,
        }
    }
}

impl From<Rejection> for ProxyError {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::BadRequest(text) => Self::BadRequest(text),
            Rejection::Timeout => Self::RequestTimeout,
            Rejection::TargetTooLong => Self::TargetTooLong,
            Rejection::HeadersTooLarge(text) => Self::HeadersTooLarge(text),
            Rejection::NotImplemented(text) => Self::NotImplemented(text),
            Rejection::VersionNotSupported => Self::VersionNotSupported,
        }
    }
}

fn is_connect_failure(e: &ErrorType) -> bool {
    use ErrorType as E;
    matches!(
        e,
        E::ConnectTimedout
            | E::ConnectRefused
            | E::ConnectNoRoute
            | E::ConnectError
            | E::ConnectProxyFailure
            | E::BindError
            | E::SocketError
            | E::TLSHandshakeFailure
            | E::TLSHandshakeTimedout
            | E::HandshakeError
            | E::InvalidCert
    )
}

/// A [`ProxyError`] as the root cause of an error of Pingora's.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("{}", .0.code())]
pub(crate) struct RaisedError(ProxyError);

/// Returns the error of Pingora's that ends a phase with `failure`; `cause` is for the log.
#[must_use]
pub(crate) fn raise(failure: ProxyError, cause: impl Into<String>) -> Box<Error> {
    let status = failure
        .status()
        .map_or(ErrorType::ConnectionClosed, |status| {
            ErrorType::HTTPStatus(status.as_u16())
        });
    Error::because(status, cause.into(), RaisedError(failure))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raised_error_passes_through_pingora() {
        let error =
            raise(ProxyError::NoWorkerAvailable, "all tried").more_context("while proxying");
        assert_eq!(
            ProxyError::of_proxying(&error, Tier::Coordinator),
            ProxyError::NoWorkerAvailable
        );
    }

    #[test]
    fn a_rejection_of_the_engine_keeps_its_status_and_text_and_closes_the_connection() {
        for rejection in [
            Rejection::BadRequest("The request line is not valid."),
            Rejection::Timeout,
            Rejection::TargetTooLong,
            Rejection::HeadersTooLarge("The request has more than 200 headers."),
            Rejection::NotImplemented("This transfer coding is not implemented."),
            Rejection::VersionNotSupported,
        ] {
            let error = |source| {
                let mut error =
                    Error::because(ErrorType::InvalidHTTPHeader, "reading a head", rejection);
                error.esource = source;
                error.more_context("while proxying")
            };
            let downstream = error(ErrorSource::Downstream);
            let failure = ProxyError::of_proxying(&downstream, Tier::Coordinator);
            assert_eq!(failure.status(), Some(rejection.status()), "{rejection:?}");
            assert_eq!(failure.detail(), rejection.to_string());
            assert!(failure.closes_connection(), "{rejection:?}");
            // An application cannot cause an error that blames the client.
            let upstream = error(ErrorSource::Upstream);
            assert_eq!(
                ProxyError::of_proxying(&upstream, Tier::Coordinator),
                ProxyError::BadUpstreamResponse
            );
        }
    }

    #[test]
    fn faults_of_the_next_hop_and_of_the_client_are_distinguished() {
        let up = |e| ProxyError::of_proxying(&Error::new_up(e), Tier::Worker);
        assert_eq!(
            up(ErrorType::ConnectRefused),
            ProxyError::EndpointUnreachable
        );
        assert_eq!(up(ErrorType::ReadTimedout), ProxyError::UpstreamTimeout);
        assert_eq!(
            up(ErrorType::InvalidHTTPHeader),
            ProxyError::BadUpstreamResponse
        );
        let down = |e| ProxyError::of_proxying(&Error::new_down(e), Tier::Worker);
        assert_eq!(down(ErrorType::ReadTimedout), ProxyError::RequestTimeout);
        assert_eq!(down(ErrorType::ConnectionClosed), ProxyError::ClientGone);
        assert_eq!(
            down(ErrorType::InvalidHTTPHeader).code(),
            ErrorCode::BadRequest
        );
    }
}
