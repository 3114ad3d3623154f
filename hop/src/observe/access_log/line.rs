//! The content of a line.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, SecondsFormat, Utc};
use http::{HeaderValue, Method, Uri, Version};

use crate::error::{ErrorCode, Tier};
use crate::identity::RequestId;
use crate::observe::access_log::fields::Fields;
use crate::tunnel::Direction;

/// The event that a line reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogEvent {
    /// A request that is not a stream ended.
    Request,
    /// A stream opened.
    StreamOpen,
    /// A stream ended.
    StreamClose,
    /// A WebSocket message was forwarded.
    Message,
}

impl LogEvent {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::StreamOpen => "stream_open",
            Self::StreamClose => "stream_close",
            Self::Message => "message",
        }
    }
}

/// The kind of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    /// The value of `kind`.
    #[must_use]
    pub(crate) const fn as_str(self) -> &'static str {
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
    const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Upstream => "upstream",
            Self::Proxy => "proxy",
        }
    }
}

/// Returns a direction's value of `direction`, and its letter in a message's identifier
/// (docs/reference/request-id.md, rule 16).
const fn direction_name(direction: Direction) -> (&'static str, char) {
    match direction {
        Direction::FromClient => ("client", 'c'),
        Direction::FromServer => ("server", 's'),
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
    pub(crate) version: Version,
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

    /// Copies the header values, whose originals keep the request's whole header buffer alive: an
    /// open stream may live for days.
    pub(crate) fn detach(&mut self) {
        for value in [&mut self.host, &mut self.session_id].into_iter().flatten() {
            *value = HeaderValue::from_bytes(value.as_bytes()).unwrap_or_else(|_| value.clone());
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

/// One line.
#[derive(Clone, Debug)]
pub(crate) struct LogLine {
    /// `ts`: time of the event.
    pub(crate) time: SystemTime,
    /// `tier`.
    pub(crate) tier: Tier,
    /// `event`.
    pub(crate) event: LogEvent,
    /// Facts about the request.
    pub(crate) facts: RequestFacts,
    /// Results of the request.
    pub(crate) outcome: RequestOutcome,
}

impl LogLine {
    /// Appends the line and a line feed to `buffer`.
    pub(super) fn write(&self, buffer: &mut Vec<u8>, with_query: bool) {
        let mut fields = Fields::new(buffer);
        self.write_facts(&mut fields, with_query);
        match self.outcome.message {
            Some((direction, number)) => self.write_message(&mut fields, direction, number),
            None => self.write_outcome(&mut fields),
        }
        fields.end();
        buffer.push(b'\n');
    }

    fn write_facts(&self, fields: &mut Fields<'_>, with_query: bool) {
        let facts = &self.facts;
        fields.text("ts", &timestamp(self.time));
        fields.text("tier", self.tier.as_str());
        fields.text("event", self.event.as_str());
        fields.text("request_id", facts.request_id.as_str());
        fields.text_if(
            "client_request_id",
            facts.client_request_id.as_ref().map(RequestId::as_str),
        );
        fields.text_if("session_id", facts.session_id.as_ref().map(text));
        fields.text_if(
            "origin_request_id",
            facts.origin_request_id.as_ref().map(RequestId::as_str),
        );
        fields.text_if("app", facts.app.as_deref());
        fields.text_if("worker", facts.worker.as_deref());
        fields.text_if("endpoint", facts.endpoint.as_deref());
        fields.text_if("user", facts.user.as_deref());
        fields.address_if("client", facts.client);
        fields.text("method", facts.method.as_str());
        fields.text_if("host", facts.host.as_ref().map(text));
        let query = if with_query {
            facts.uri.path_and_query()
        } else {
            None
        };
        fields.text(
            "path",
            query.map_or_else(|| facts.uri.path(), |whole| whole.as_str()),
        );
        fields.text("protocol", protocol(facts.version));
        fields.text("kind", facts.kind.as_str());
        fields.text_if(
            "trace_id",
            facts
                .trace_id
                .as_ref()
                .and_then(|id| std::str::from_utf8(id).ok()),
        );
    }

    fn write_message(&self, fields: &mut Fields<'_>, direction: Direction, number: u64) {
        let (name, letter) = direction_name(direction);
        fields.text(
            "message_id",
            &format!("{}#{letter}{number}", self.facts.request_id),
        );
        fields.text("direction", name);
        match direction {
            Direction::FromClient => fields.number("bytes_in", self.outcome.bytes_in),
            Direction::FromServer => fields.number("bytes_out", self.outcome.bytes_out),
        }
    }

    fn write_outcome(&self, fields: &mut Fields<'_>) {
        let outcome = &self.outcome;
        fields.number_if("status", outcome.status);
        fields.text_if("error", outcome.error.map(ErrorCode::as_str));
        fields.number_if(
            "attempts",
            (outcome.attempts > 0).then_some(outcome.attempts),
        );
        if self.event != LogEvent::StreamOpen {
            fields.number("bytes_in", outcome.bytes_in);
            fields.number("bytes_out", outcome.bytes_out);
        }
        fields.number_if("messages_in", outcome.messages.map(|(count, _)| count));
        fields.number_if("messages_out", outcome.messages.map(|(_, count)| count));
        fields.number_if("close_code", outcome.close_code);
        fields.text_if("closed_by", outcome.closed_by.map(ClosedBy::as_str));
        fields.millis_if("duration_ms", outcome.duration);
        fields.millis_if("connect_ms", outcome.connect);
        fields.millis_if("ttfb_ms", outcome.first_byte);
        fields.bool_if("connection_reused", outcome.reused);
    }
}

/// Returns a header value as text. A value with bytes outside printable ASCII is replaced: the log
/// must be valid UTF-8.
fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or("(unprintable)")
}

/// Formats a time as logs and the API have it: RFC 3339, UTC, with milliseconds.
#[must_use]
pub fn timestamp(time: SystemTime) -> String {
    DateTime::<Utc>::from(time).to_rfc3339_opts(SecondsFormat::Millis, true)
}

const fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_3 => "HTTP/3",
        _ => "HTTP/1.1",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> LogLine {
        LogLine {
            time: SystemTime::UNIX_EPOCH + Duration::from_millis(1_500),
            tier: Tier::Worker,
            event: LogEvent::StreamClose,
            facts: RequestFacts {
                request_id: RequestId::accept(&HeaderValue::from_static("id-1")).unwrap(),
                client_request_id: RequestId::accept(&HeaderValue::from_static("theirs")).ok(),
                session_id: Some(HeaderValue::from_static("s")),
                origin_request_id: RequestId::accept(&HeaderValue::from_static("id-0")).ok(),
                app: Some("app".into()),
                worker: Some("w1".into()),
                endpoint: Some("127.0.0.1:1".into()),
                user: Some("ada".into()),
                client: Some("192.0.2.1".parse().unwrap()),
                method: Method::GET,
                host: Some(HeaderValue::from_static("h\"ost")),
                uri: Uri::from_static("/a?secret=1"),
                version: Version::HTTP_11,
                kind: RequestKind::WebSocket,
                trace_id: Some([b'a'; 32]),
            },
            outcome: RequestOutcome {
                status: Some(101),
                error: Some(ErrorCode::ClientGone),
                attempts: 2,
                bytes_in: 3,
                bytes_out: 4,
                messages: Some((1, 2)),
                close_code: Some(1000),
                closed_by: Some(ClosedBy::Client),
                duration: Some(Duration::from_micros(1_500)),
                connect: Some(Duration::from_micros(250)),
                first_byte: Some(Duration::from_millis(1)),
                reused: Some(false),
                message: None,
            },
        }
    }

    fn written(line: &LogLine, with_query: bool) -> String {
        let mut buffer = Vec::new();
        line.write(&mut buffer, with_query);
        String::from_utf8(buffer).unwrap()
    }

    /// The names and their order are a contract with docs/reference/access-log.md.
    #[test]
    fn field_names_and_their_order_are_golden() {
        let golden = concat!(
            r#"{"ts":"1970-01-01T00:00:01.500Z","tier":"worker","event":"stream_close","#,
            r#""request_id":"id-1","client_request_id":"theirs","session_id":"s","#,
            r#""origin_request_id":"id-0","app":"app","worker":"w1","endpoint":"127.0.0.1:1","#,
            r#""user":"ada","client":"192.0.2.1","method":"GET","host":"h\"ost","path":"/a","#,
            r#""protocol":"HTTP/1.1","kind":"websocket","#,
            r#""trace_id":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","status":101,"#,
            r#""error":"client_gone","attempts":2,"bytes_in":3,"bytes_out":4,"#,
            r#""messages_in":1,"messages_out":2,"close_code":1000,"closed_by":"client","#,
            r#""duration_ms":1.500,"connect_ms":0.250,"ttfb_ms":1.000,"connection_reused":false}"#,
            "\n"
        );
        assert_eq!(written(&line(), false), golden);
    }

    #[test]
    fn the_query_is_written_only_if_configured() {
        assert!(!written(&line(), false).contains("secret"));
        assert!(written(&line(), true).contains(r#""path":"/a?secret=1""#));
    }

    #[test]
    fn rule_16_a_message_identifier_has_the_number_and_the_direction() {
        let mut line = line();
        line.event = LogEvent::Message;
        line.outcome.message = Some((Direction::FromServer, 7));
        let value: serde_json::Value = serde_json::from_str(&written(&line, false)).unwrap();
        assert_eq!(value["message_id"], "id-1#s7");
        assert_eq!(value["direction"], "server");
        assert_eq!(
            (&value["bytes_out"], value.get("bytes_in")),
            (&serde_json::json!(4), None)
        );
    }
}
