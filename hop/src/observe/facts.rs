//! Facts about a request, and its results.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method, Uri, Version};

use crate::error::ErrorCode;
use crate::identity::RequestId;
use crate::tunnel::Direction;

/// The kind of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestKind {
    /// One request, one response.
    #[default]
    Http,
    /// A WebSocket.
    WebSocket,
    /// Server-sent events.
    Sse,
    /// gRPC.
    Grpc,
}

impl RequestKind {
    /// Returns the value of `kind`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::WebSocket => "websocket",
            Self::Sse => "sse",
            Self::Grpc => "grpc",
        }
    }
}

/// The side that closed a stream first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClosedBy {
    /// The client.
    Client,
    /// The next hop or the application.
    Upstream,
    /// This tier.
    Proxy,
}

impl ClosedBy {
    /// Returns the value of `closed_by`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Upstream => "upstream",
            Self::Proxy => "proxy",
        }
    }
}

/// Facts about a request that are the same in each of its lines.
#[derive(Clone, Debug)]
pub struct RequestFacts {
    /// `request_id`.
    pub request_id: RequestId,
    /// `client_request_id`: the client's valid identifier, if it was not accepted.
    pub(crate) client_request_id: Option<RequestId>,
    /// `session_id`.
    pub session_id: Option<HeaderValue>,
    /// `origin_request_id`: the request that created the session.
    pub origin_request_id: Option<RequestId>,
    /// `app`.
    pub app: Option<Arc<str>>,
    /// `worker`.
    pub worker: Option<Arc<str>>,
    /// `endpoint`: the application's address.
    pub endpoint: Option<Arc<str>>,
    /// `user`: the name that the access policy gives the client.
    pub user: Option<Arc<str>>,
    /// `client`: the client's address, according to trusted proxies.
    pub(crate) client: Option<IpAddr>,
    /// `method`.
    pub(crate) method: Method,
    /// `host`.
    pub(crate) host: Option<HeaderValue>,
    /// `path`; with the query string only if `access_log.query` is set.
    pub(crate) uri: Uri,
    /// `protocol`.
    pub version: Version,
    /// `kind`.
    pub(crate) kind: RequestKind,
    /// `trace_id`, of a valid `traceparent`.
    pub trace_id: Option<[u8; 32]>,
}

impl RequestFacts {
    /// Returns the facts before a request was read.
    #[must_use]
    pub(crate) fn unknown() -> Self {
        Self {
            request_id: RequestId::unset(),
            client_request_id: None,
            session_id: None,
            origin_request_id: None,
            app: None,
            worker: None,
            endpoint: None,
            user: None,
            client: None,
            method: Method::GET,
            host: None,
            uri: Uri::default(),
            version: Version::HTTP_11,
            kind: RequestKind::Http,
            trace_id: None,
        }
    }

    /// Copies the target and the header values, whose originals keep the request's whole header
    /// buffer alive: an open stream may live for days.
    pub(crate) fn detach(&mut self) {
        for value in [&mut self.host, &mut self.session_id].into_iter().flatten() {
            *value = HeaderValue::from_bytes(value.as_bytes()).unwrap_or_else(|_| value.clone());
        }
        if let Ok(copy) = self.uri.to_string().parse() {
            self.uri = copy;
        }
    }
}

/// Results of a request at the time of a line. Unknown ones are absent from the line.
#[derive(Clone, Debug, Default)]
pub struct RequestOutcome {
    /// `status`.
    pub(crate) status: Option<u16>,
    /// `error`: the code of the failure.
    pub(crate) error: Option<ErrorCode>,
    /// `attempts`: the number of next hops tried.
    pub attempts: u32,
    /// `bytes_in`: body bytes from the client.
    pub bytes_in: u64,
    /// `bytes_out`: body bytes to the client.
    pub bytes_out: u64,
    /// `messages_in` and `messages_out`.
    pub(crate) messages: Option<(u64, u64)>,
    /// `close_code`: of the first close frame.
    pub(crate) close_code: Option<u16>,
    /// `closed_by`: `client`, `upstream` or `proxy`.
    pub(crate) closed_by: Option<ClosedBy>,
    /// `duration_ms`.
    pub(crate) duration: Option<Duration>,
    /// `connect_ms`: time to connect to the next hop, if this request opened the connection.
    pub(crate) connect: Option<Duration>,
    /// `ttfb_ms`: time until the response header.
    pub(crate) first_byte: Option<Duration>,
    /// `connection_reused`: the connection to the next hop was open before.
    pub(crate) reused: Option<bool>,
    /// `direction`, and the number in `message_id`.
    pub(crate) message: Option<(Direction, u64)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detached_facts_are_equal_and_share_no_buffer() {
        let head = bytes::Bytes::from("/a?b=%zz \u{e9}host".to_owned().into_bytes());
        let mut facts = RequestFacts::unknown();
        facts.uri = Uri::from_maybe_shared(head.slice(..8)).unwrap();
        facts.host = HeaderValue::from_maybe_shared(head.slice(9..)).ok();
        let before = (facts.uri.clone(), facts.host.clone());
        facts.detach();
        assert_eq!((&facts.uri, &facts.host), (&before.0, &before.1));
        drop(before);
        assert!(head.is_unique());
        for target in ["*", "/", "http://h:80/a"] {
            facts.uri = target.parse().unwrap();
            let before = facts.uri.clone();
            facts.detach();
            assert_eq!(facts.uri, before, "{target}");
        }
    }
}
