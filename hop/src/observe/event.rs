//! The events of a request.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use http::{HeaderValue, Method, Version};

use crate::error::{ErrorCode, Tier};
use crate::identity::{InvalidId, RequestId};
use crate::observe::facts::{ClosedBy, RequestFacts, RequestKind, RequestOutcome};
use crate::tunnel::Direction;

/// The kind of an event.
///
/// ```
/// use app_proxy_hop::observe::EventKind;
///
/// assert_eq!(EventKind::StreamOpen.as_str(), "stream_open");
/// assert!(EventKind::StreamOpen.is_logged() && !EventKind::Unparsable.is_logged());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// A request that is not a stream ended.
    Request,
    /// A stream opened.
    StreamOpen,
    /// A stream ended.
    StreamClose,
    /// A WebSocket message was forwarded; only with `websocket.message_ids`.
    Message,
    /// A request began whose invalid identifier was replaced (docs/reference/request-id.md, rule
    /// 4).
    IdReplaced {
        /// The reason.
        reason: InvalidId,
        /// The length of the invalid identifier.
        bytes: usize,
    },
    /// A request head arrived that is invalid, too large or too slow (docs/reference/request-id.md,
    /// rule 13). It is rejected, and ends as a request.
    Unparsable,
}

impl EventKind {
    /// Returns the value of `event`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::StreamOpen => "stream_open",
            Self::StreamClose => "stream_close",
            Self::Message => "message",
            Self::IdReplaced { .. } => "id_replaced",
            Self::Unparsable => "unparsable",
        }
    }

    /// Returns whether the access log has a line of such events.
    #[must_use]
    pub const fn is_logged(self) -> bool {
        !matches!(self, Self::IdReplaced { .. } | Self::Unparsable)
    }
}

/// An event of a request, with all that a line of the access log has: the methods have the names of
/// the fields (docs/reference/access-log.md), and return none for what is unknown.
///
/// ```
/// use app_proxy_hop::observe::{Event, EventKind};
///
/// /// Describes requests that failed.
/// fn failure(event: &Event<'_>) -> Option<String> {
///     let error = event.error().filter(|_| event.kind() == EventKind::Request)?;
///     let (id, app) = (event.request_id(), event.app().unwrap_or("no app"));
///     Some(format!("{id} {app} {} {}: {error}", event.method(), event.path()))
/// }
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Event<'a> {
    pub(super) time: SystemTime,
    pub(super) tier: Tier,
    pub(super) kind: EventKind,
    pub(super) facts: &'a RequestFacts,
    pub(super) outcome: &'a RequestOutcome,
}

impl<'a> Event<'a> {
    /// An event that happens now.
    pub(crate) fn now(
        tier: Tier,
        kind: EventKind,
        facts: &'a RequestFacts,
        outcome: &'a RequestOutcome,
    ) -> Self {
        Self {
            time: SystemTime::now(),
            tier,
            kind,
            facts,
            outcome,
        }
    }

    /// Returns the kind of the event: `event`.
    #[must_use]
    pub const fn kind(&self) -> EventKind {
        self.kind
    }

    /// Returns the time of the event: `ts`.
    #[must_use]
    pub const fn time(&self) -> SystemTime {
        self.time
    }

    /// Returns the tier that observed it.
    #[must_use]
    pub const fn tier(&self) -> Tier {
        self.tier
    }

    /// Returns the identifier of the request.
    #[must_use]
    pub const fn request_id(&self) -> &'a RequestId {
        &self.facts.request_id
    }

    /// Returns a valid identifier of the client that was not accepted.
    #[must_use]
    pub const fn client_request_id(&self) -> Option<&'a RequestId> {
        self.facts.client_request_id.as_ref()
    }

    /// Returns the identifier of the session.
    #[must_use]
    pub fn session_id(&self) -> Option<&'a str> {
        self.facts.session_id.as_ref().map(text)
    }

    /// Returns the identifier of the request that created the session.
    #[must_use]
    pub const fn origin_request_id(&self) -> Option<&'a RequestId> {
        self.facts.origin_request_id.as_ref()
    }

    /// Returns the name of the app.
    #[must_use]
    pub fn app(&self) -> Option<&'a str> {
        self.facts.app.as_deref()
    }

    /// Returns the identifier of the worker.
    #[must_use]
    pub fn worker(&self) -> Option<&'a str> {
        self.facts.worker.as_deref()
    }

    /// Returns the address of the application.
    #[must_use]
    pub fn endpoint(&self) -> Option<&'a str> {
        self.facts.endpoint.as_deref()
    }

    /// Returns the user that the access policy found.
    #[must_use]
    pub fn user(&self) -> Option<&'a str> {
        self.facts.user.as_deref()
    }

    /// Returns the address of the client, according to trusted proxies.
    #[must_use]
    pub const fn client(&self) -> Option<IpAddr> {
        self.facts.client
    }

    /// Returns the method; `-` if the request could not be read.
    #[must_use]
    pub const fn method(&self) -> &'a Method {
        &self.facts.method
    }

    /// Returns the host that the client asked for.
    #[must_use]
    pub fn host(&self) -> Option<&'a str> {
        self.facts.host.as_ref().map(text)
    }

    /// Returns the path as it arrived at this tier, without the query.
    #[must_use]
    pub fn path(&self) -> &'a str {
        self.facts.uri.path()
    }

    /// Returns the query. It may contain secrets: the access log has it only with
    /// `access_log.query`.
    #[must_use]
    pub fn query(&self) -> Option<&'a str> {
        self.facts.uri.query()
    }

    /// Returns the path with the query.
    pub(super) fn path_and_query(&self) -> &'a str {
        let whole = self.facts.uri.path_and_query();
        whole.map_or_else(|| self.path(), |whole| whole.as_str())
    }

    /// Returns the protocol on the client's side.
    #[must_use]
    pub const fn protocol(&self) -> &'static str {
        match self.facts.version {
            Version::HTTP_09 => "HTTP/0.9",
            Version::HTTP_10 => "HTTP/1.0",
            Version::HTTP_2 => "HTTP/2",
            Version::HTTP_3 => "HTTP/3",
            _ => "HTTP/1.1",
        }
    }

    /// Returns the kind of the request: `kind`.
    #[must_use]
    pub const fn request_kind(&self) -> RequestKind {
        self.facts.kind
    }

    /// Returns the trace-id of a valid `traceparent`.
    #[must_use]
    pub fn trace_id(&self) -> Option<&'a str> {
        let id = self.facts.trace_id.as_ref()?;
        str::from_utf8(id).ok()
    }

    /// Returns the identifier of the message (docs/reference/request-id.md, rule 16).
    #[must_use]
    pub fn message_id(&self) -> Option<String> {
        let (direction, number) = self.outcome.message?;
        let letter = match direction {
            Direction::FromClient => 'c',
            Direction::FromServer => 's',
        };
        Some(format!("{}#{letter}{number}", self.request_id()))
    }

    /// Returns the direction of the message.
    #[must_use]
    pub fn direction(&self) -> Option<Direction> {
        self.outcome.message.map(|(direction, _)| direction)
    }

    /// Returns the status of the final response.
    #[must_use]
    pub const fn status(&self) -> Option<u16> {
        self.outcome.status
    }

    /// Returns the code of the failure.
    #[must_use]
    pub const fn error(&self) -> Option<ErrorCode> {
        self.outcome.error
    }

    /// Returns how many next hops were tried.
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.outcome.attempts
    }

    /// Returns the body bytes from the client so far, or the payload of the message.
    #[must_use]
    pub const fn bytes_in(&self) -> u64 {
        self.outcome.bytes_in
    }

    /// Returns the body bytes to the client so far, or the payload of the message.
    #[must_use]
    pub const fn bytes_out(&self) -> u64 {
        self.outcome.bytes_out
    }

    /// Returns the count of a WebSocket's messages from the client.
    #[must_use]
    pub fn messages_in(&self) -> Option<u64> {
        self.outcome.messages.map(|(count, _)| count)
    }

    /// Returns the count of a WebSocket's messages to the client.
    #[must_use]
    pub fn messages_out(&self) -> Option<u64> {
        self.outcome.messages.map(|(_, count)| count)
    }

    /// Returns the code of the first close frame.
    #[must_use]
    pub const fn close_code(&self) -> Option<u16> {
        self.outcome.close_code
    }

    /// Returns the side that closed the stream first.
    #[must_use]
    pub const fn closed_by(&self) -> Option<ClosedBy> {
        self.outcome.closed_by
    }

    /// Returns the time from the header of the request to its end: `duration_ms`.
    #[must_use]
    pub const fn duration(&self) -> Option<Duration> {
        self.outcome.duration
    }

    /// Returns the time to connect to the next hop: `connect_ms`.
    #[must_use]
    pub const fn connect(&self) -> Option<Duration> {
        self.outcome.connect
    }

    /// Returns the time until the header of the response: `ttfb_ms`.
    #[must_use]
    pub const fn first_byte(&self) -> Option<Duration> {
        self.outcome.first_byte
    }

    /// Returns whether the connection to the next hop was open before.
    #[must_use]
    pub const fn connection_reused(&self) -> Option<bool> {
        self.outcome.reused
    }
}

/// An event that owns its facts: a line of the access log.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// The time of the event.
    pub(crate) time: SystemTime,
    /// The tier.
    pub(crate) tier: Tier,
    /// The kind of the event.
    pub(crate) kind: EventKind,
    /// Facts about the request.
    pub(crate) facts: RequestFacts,
    /// Results of the request.
    pub(crate) outcome: RequestOutcome,
}

impl Record {
    /// The event.
    pub(crate) const fn event(&self) -> Event<'_> {
        Event {
            time: self.time,
            tier: self.tier,
            kind: self.kind,
            facts: &self.facts,
            outcome: &self.outcome,
        }
    }
}

/// Returns a header value as text. A value with bytes outside printable ASCII is replaced: the log
/// must be valid UTF-8.
fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or("(unprintable)")
}
