//! The errors that a tier generates: one enum, one place that maps each to a status, a code and
//! what may be said.
//!
//! Two texts leave an error: the client reads `detail`, which names no address and no cause; the
//! log reads the cause, under the same request ID.

mod page;

use http::StatusCode;
use pingora_core::{Error, ErrorSource, ErrorType};

pub use page::{ErrorPage, escape, prefers_html, render};

/// Which tier speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// At the edge.
    Coordinator,
    /// Next to the applications.
    Worker,
}

impl Tier {
    /// The name in logs, pages and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Coordinator => "coordinator",
            Self::Worker => "worker",
        }
    }
}

/// Why a request is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyError {
    /// 400; the text says what is wrong with the request.
    BadRequest(&'static str),
    /// 400: a WebSocket handshake that breaks RFC 6455.
    BadHandshake(&'static str),
    /// 403.
    Forbidden(&'static str),
    /// 404.
    AppNotFound,
    /// 405.
    MethodNotAllowed,
    /// 408: the client went silent within its request.
    RequestTimeout,
    /// 413.
    BodyTooLarge,
    /// 500: a fault of ours.
    Internal,
    /// 502: the application's address does not accept connections.
    EndpointUnreachable,
    /// 502: the next hop's answer is no HTTP, or it ended within it.
    BadUpstreamResponse,
    /// 503: no worker can be reached.
    NoWorkerAvailable,
    /// 503: the app has no endpoint.
    NoEndpointAvailable,
    /// 503: the app has no endpoint, and its scheduler has been asked to start it.
    AppStarting,
    /// 504.
    UpstreamTimeout,
    /// The client is gone: there is nobody to answer.
    ClientGone,
}

impl ProxyError {
    /// The status, or none when there is nobody to answer.
    #[must_use]
    pub const fn status(self) -> Option<StatusCode> {
        Some(match self {
            Self::BadRequest(_) | Self::BadHandshake(_) => StatusCode::BAD_REQUEST,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::AppNotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::EndpointUnreachable | Self::BadUpstreamResponse => StatusCode::BAD_GATEWAY,
            Self::NoWorkerAvailable | Self::NoEndpointAvailable | Self::AppStarting => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::ClientGone => return None,
        })
    }

    /// The stable code: `code` of the answer and `error` of the log.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::BadRequest(_) | Self::BadHandshake(_) => "bad_request",
            Self::Forbidden(_) => "forbidden",
            Self::AppNotFound => "app_not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::RequestTimeout => "request_timeout",
            Self::BodyTooLarge => "body_too_large",
            Self::Internal => "internal",
            Self::EndpointUnreachable => "endpoint_unreachable",
            Self::BadUpstreamResponse => "bad_upstream_response",
            Self::NoWorkerAvailable => "no_worker_available",
            Self::NoEndpointAvailable => "no_endpoint_available",
            Self::AppStarting => "app_starting",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::ClientGone => "client_gone",
        }
    }

    /// What the client reads.
    #[must_use]
    pub const fn detail(self) -> &'static str {
        match self {
            Self::BadRequest(text) | Self::BadHandshake(text) | Self::Forbidden(text) => text,
            Self::AppNotFound => "No application answers at this address.",
            Self::MethodNotAllowed => "This method is not served here.",
            Self::RequestTimeout => "The request did not arrive in time.",
            Self::BodyTooLarge => "The request body is larger than this proxy accepts.",
            Self::Internal => "The proxy failed; its log has the cause under this request ID.",
            Self::EndpointUnreachable => "The application does not accept connections.",
            Self::BadUpstreamResponse => "The application did not answer properly.",
            Self::NoWorkerAvailable => "No worker can be reached; try again shortly.",
            Self::NoEndpointAvailable => {
                "The application has no place where it runs at the moment."
            }
            Self::AppStarting => "The application is starting; try again shortly.",
            Self::UpstreamTimeout => "The application did not answer in time.",
            Self::ClientGone => "",
        }
    }

    /// Seconds for `Retry-After`, where trying again helps.
    #[must_use]
    pub const fn retry_after(self) -> Option<&'static str> {
        match self {
            Self::NoWorkerAvailable | Self::NoEndpointAvailable | Self::AppStarting => Some("2"),
            _ => None,
        }
    }

    /// Whether the connection is closed after the answer because its framing can no longer be
    /// trusted.
    #[must_use]
    pub const fn closes_connection(self) -> bool {
        matches!(
            self,
            Self::BadRequest(_)
                | Self::BadHandshake(_)
                | Self::RequestTimeout
                | Self::BodyTooLarge
                | Self::MethodNotAllowed
        )
    }

    /// What a failure in Pingora's proxying means at this tier.
    #[must_use]
    pub fn of_proxying(error: &Error, tier: Tier) -> Self {
        use ErrorType as E;
        if let Some(failure) = error.root_cause().downcast_ref::<RaisedError>() {
            return failure.0;
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

/// A [`ProxyError`] on its way through Pingora, which carries it as the root cause of its own error.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("{}", .0.code())]
pub struct RaisedError(pub ProxyError);

/// The Pingora error that ends a phase with `failure`; `cause` is for the log.
#[must_use]
pub fn raise(failure: ProxyError, cause: impl Into<String>) -> Box<Error> {
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
    fn a_raised_failure_survives_pingora() {
        let error =
            raise(ProxyError::NoWorkerAvailable, "all tried").more_context("while proxying");
        assert_eq!(
            ProxyError::of_proxying(&error, Tier::Coordinator),
            ProxyError::NoWorkerAvailable
        );
    }

    #[test]
    fn faults_of_the_next_hop_and_of_the_client_are_told_apart() {
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
        assert_eq!(down(ErrorType::InvalidHTTPHeader).code(), "bad_request");
    }
}
