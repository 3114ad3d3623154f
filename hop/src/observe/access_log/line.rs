//! The content of a line.

use crate::error::ErrorCode;
use crate::identity::RequestId;
use crate::observe::access_log::fields::{
    address_if, bool_if, key, millis_if, number, number_if, plain, plain_if, text, text_if,
};
use crate::observe::access_log::timestamp::Clock;
use crate::observe::event::{Event, EventKind};
use crate::observe::excerpt::{MAX_HOST_BYTES, MAX_METHOD_BYTES, MAX_PATH_BYTES, excerpt};
use crate::observe::facts::ClosedBy;
use crate::tunnel::Direction;

/// The length of a line without the texts of the request, at most, in bytes.
const FIXED: usize = 1024;

/// Appends the line of an event and a line feed to `buffer`.
pub(super) fn write(event: &Event<'_>, buffer: &mut Vec<u8>, clock: &mut Clock, with_query: bool) {
    buffer.reserve(FIXED);
    buffer.extend_from_slice(br#"{"ts":""#);
    clock.write(event.time(), buffer);
    buffer.push(b'"');
    write_facts(event, buffer, with_query);
    match event.direction() {
        Some(direction) => write_message(event, buffer, direction),
        None => write_outcome(event, buffer),
    }
    buffer.extend_from_slice(b"}\n");
}

/// Identifiers, methods (RFC 9110, section 5.6.2) and names of ours need no escapes.
fn write_facts(event: &Event<'_>, buffer: &mut Vec<u8>, with_query: bool) {
    plain(buffer, key!("tier"), event.tier().as_str());
    plain(buffer, key!("event"), event.kind().as_str());
    plain(buffer, key!("request_id"), event.request_id().as_str());
    plain_if(
        buffer,
        key!("client_request_id"),
        event.client_request_id().map(RequestId::as_str),
    );
    text_if(buffer, key!("session_id"), event.session_id());
    plain_if(
        buffer,
        key!("origin_request_id"),
        event.origin_request_id().map(RequestId::as_str),
    );
    text_if(buffer, key!("app"), event.app());
    text_if(buffer, key!("worker"), event.worker());
    text_if(buffer, key!("endpoint"), event.endpoint());
    text_if(buffer, key!("user"), event.user());
    address_if(buffer, key!("client"), event.client());
    let method = excerpt(event.method().as_str(), MAX_METHOD_BYTES);
    plain(buffer, key!("method"), &method);
    let host = event.host().map(|host| excerpt(host, MAX_HOST_BYTES));
    text_if(buffer, key!("host"), host.as_deref());
    let path = if with_query {
        event.path_and_query()
    } else {
        event.path()
    };
    text(buffer, key!("path"), &excerpt(path, MAX_PATH_BYTES));
    plain(buffer, key!("protocol"), event.protocol());
    plain(buffer, key!("kind"), event.request_kind().as_str());
    plain_if(buffer, key!("trace_id"), event.trace_id());
}

fn write_message(event: &Event<'_>, buffer: &mut Vec<u8>, direction: Direction) {
    plain_if(buffer, key!("message_id"), event.message_id().as_deref());
    match direction {
        Direction::FromClient => {
            plain(buffer, key!("direction"), "client");
            number(buffer, key!("bytes_in"), event.bytes_in());
        }
        Direction::FromServer => {
            plain(buffer, key!("direction"), "server");
            number(buffer, key!("bytes_out"), event.bytes_out());
        }
    }
}

fn write_outcome(event: &Event<'_>, buffer: &mut Vec<u8>) {
    number_if(buffer, key!("status"), event.status());
    plain_if(buffer, key!("error"), event.error().map(ErrorCode::as_str));
    let attempts = Some(event.attempts()).filter(|count| *count > 0);
    number_if(buffer, key!("attempts"), attempts);
    if event.kind() != EventKind::StreamOpen {
        number(buffer, key!("bytes_in"), event.bytes_in());
        number(buffer, key!("bytes_out"), event.bytes_out());
    }
    number_if(buffer, key!("messages_in"), event.messages_in());
    number_if(buffer, key!("messages_out"), event.messages_out());
    number_if(buffer, key!("close_code"), event.close_code());
    plain_if(
        buffer,
        key!("closed_by"),
        event.closed_by().map(ClosedBy::as_str),
    );
    millis_if(buffer, key!("duration_ms"), event.duration());
    millis_if(buffer, key!("connect_ms"), event.connect());
    millis_if(buffer, key!("ttfb_ms"), event.first_byte());
    bool_if(buffer, key!("connection_reused"), event.connection_reused());
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::time::{Duration, SystemTime};

    use http::{HeaderValue, Method, Uri, Version};

    use crate::error::Tier;
    use crate::observe::event::Record;
    use crate::observe::facts::{RequestFacts, RequestKind, RequestOutcome};

    fn line() -> Record {
        Record {
            time: SystemTime::UNIX_EPOCH + Duration::from_millis(1_500),
            tier: Tier::Worker,
            kind: EventKind::StreamClose,
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

    fn written(line: &Record, with_query: bool) -> String {
        let mut buffer = Vec::new();
        write(
            &line.event(),
            &mut buffer,
            &mut Clock::default(),
            with_query,
        );
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

    /// Regression: a client could write lines of 900 kB.
    #[test]
    fn a_line_is_short_whatever_the_client_sends() {
        let mut line = line();
        let long = "m".repeat(10_000);
        line.facts.method = Method::from_bytes(long.as_bytes()).unwrap();
        line.facts.host = HeaderValue::from_str(&long).ok();
        line.facts.uri = format!("/{long}?{long}").parse().unwrap();
        for with_query in [false, true] {
            let written = written(&line, with_query);
            assert!(written.len() < 6_000, "{}", written.len());
            let value: serde_json::Value = serde_json::from_str(&written).unwrap();
            for (name, length) in [("method", 64), ("host", 300), ("path", 4_096)] {
                let text = value[name].as_str().unwrap();
                let cut = text.strip_suffix('\u{2026}').unwrap();
                assert_eq!(cut.len(), length, "{name}");
            }
        }
    }

    #[test]
    fn rule_16_a_message_identifier_has_the_number_and_the_direction() {
        let mut line = line();
        line.kind = EventKind::Message;
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
