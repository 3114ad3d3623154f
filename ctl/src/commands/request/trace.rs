//! The trace of a request as a timeline of both tiers.

use serde::Deserialize;

use crate::output::{Column, Table, bytes, details, milliseconds};

const COLUMNS: &[Column] = &[
    Column::text("TIME"),
    Column::text("TIER"),
    Column::text("EVENT"),
    Column::text("STATUS"),
    Column::text("WORKER"),
    Column::text("ENDPOINT"),
    Column::number("CONNECT"),
    Column::number("FIRST BYTE"),
    Column::number("TOOK"),
    Column::text("MORE"),
];

/// The response of `GET /api/v1/requests/{id}`.
#[derive(Debug, Deserialize)]
pub(super) struct Trace {
    #[serde(default)]
    request_id: String,
    /// Access-log events of both tiers, the oldest first.
    #[serde(default)]
    pub(super) events: Vec<Event>,
    #[serde(default)]
    workers_asked: Vec<String>,
    #[serde(default)]
    pub(super) workers_failed: Vec<FailedWorker>,
}

/// A worker that could not be queried.
#[derive(Debug, Deserialize)]
pub(super) struct FailedWorker {
    pub(super) worker: String,
    #[serde(default)]
    pub(super) error: String,
}

/// The fields of an access-log event that are shown.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Event {
    ts: String,
    tier: String,
    event: String,
    session_id: Option<String>,
    origin_request_id: Option<String>,
    client_request_id: Option<String>,
    trace_id: Option<String>,
    app: Option<String>,
    worker: Option<String>,
    endpoint: Option<String>,
    user: Option<String>,
    client: Option<String>,
    method: Option<String>,
    host: Option<String>,
    path: Option<String>,
    protocol: Option<String>,
    kind: Option<String>,
    message_id: Option<String>,
    direction: Option<String>,
    status: Option<u16>,
    error: Option<String>,
    attempts: Option<u64>,
    bytes_in: Option<u64>,
    bytes_out: Option<u64>,
    messages_in: Option<u64>,
    messages_out: Option<u64>,
    close_code: Option<u16>,
    closed_by: Option<String>,
    duration_ms: Option<f64>,
    connect_ms: Option<f64>,
    ttfb_ms: Option<f64>,
    connection_reused: Option<bool>,
}

impl Trace {
    /// Formats the trace for people, or returns `None` if it has no events.
    pub(super) fn to_text(&self) -> Option<String> {
        // The coordinator's event has the client's request line.
        let first = self
            .events
            .iter()
            .find(|event| event.tier == "coordinator")
            .or_else(|| self.events.first())?;
        let day = self.common_day();
        let mut table = Table::new(COLUMNS, true);
        for event in &self.events {
            table.row(event.cells(day));
        }
        let mut facts = vec![("Request", self.request_id.clone())];
        facts.extend(first.facts());
        facts.push(("Day", day.unwrap_or_default().to_owned()));
        facts.push(("Asked", self.workers_asked.join(", ")));
        Some(format!("{}\n\n{table}", details(&facts)))
    }

    /// Explains a trace without events.
    pub(super) fn empty_reason(&self) -> String {
        let asked = match self.workers_asked.as_slice() {
            [] => "no worker was asked".to_owned(),
            workers => format!("workers asked: {}", workers.join(", ")),
        };
        format!("neither tier has events of this request, or it is still in progress ({asked})")
    }

    /// Returns the day of the events, if all have the same.
    fn common_day(&self) -> Option<&str> {
        let day = self.events.first()?.ts.split_once('T')?.0;
        self.events
            .iter()
            .all(|event| event.ts.starts_with(day))
            .then_some(day)
    }
}

fn text(value: &Option<String>) -> String {
    value.clone().unwrap_or_default()
}

impl Event {
    /// Returns the facts that all events of a request share.
    fn facts(&self) -> Vec<(&'static str, String)> {
        let spaced = [&self.method, &self.host, &self.path].map(text).join(" ");
        let kind = [&self.kind, &self.protocol].map(text).join(", ");
        vec![
            ("Client asked", spaced),
            ("Kind", kind),
            ("App", text(&self.app)),
            ("Client", text(&self.client)),
            ("User", text(&self.user)),
            ("Session", text(&self.session_id)),
            ("Session began with", text(&self.origin_request_id)),
            ("Client's own ID", text(&self.client_request_id)),
            ("Trace", text(&self.trace_id)),
        ]
    }

    fn cells(&self, day: Option<&str>) -> Vec<String> {
        let time = self.ts.as_str();
        let time = day
            .and_then(|day| time.strip_prefix(day)?.strip_prefix('T'))
            .unwrap_or(time);
        let ms = |value: Option<f64>| value.map(milliseconds).unwrap_or_default();
        vec![
            time.trim_end_matches('Z').to_owned(),
            self.tier.clone(),
            self.event.clone(),
            self.status
                .map(|status| status.to_string())
                .unwrap_or_default(),
            text(&self.worker),
            text(&self.endpoint),
            if self.connection_reused == Some(true) {
                "reused".to_owned()
            } else {
                ms(self.connect_ms)
            },
            ms(self.ttfb_ms),
            ms(self.duration_ms),
            self.more(),
        ]
    }

    fn more(&self) -> String {
        let counted = |number: Option<u64>, noun: &str| {
            number.filter(|n| *n > 0).map(|n| format!("{n} {noun}"))
        };
        let sized = |number: Option<u64>, direction: &str| {
            number
                .filter(|n| *n > 0)
                .map(|n| format!("{} {direction}", bytes(n)))
        };
        let message = self
            .message_id
            .as_ref()
            .and_then(|id| id.rsplit_once('#'))
            .map(|(_, number)| {
                format!(
                    "message {number} of the {}",
                    self.direction.as_deref().unwrap_or("peer")
                )
            });
        let parts = [
            self.error.as_ref().map(|error| format!("error {error}")),
            message,
            self.closed(),
            self.attempts
                .filter(|attempts| *attempts > 1)
                .map(|attempts| format!("{attempts} attempts")),
            counted(self.messages_in, "messages in"),
            counted(self.messages_out, "messages out"),
            sized(self.bytes_in, "in"),
            sized(self.bytes_out, "out"),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    fn closed(&self) -> Option<String> {
        match (&self.closed_by, self.close_code) {
            (Some(closer), Some(code)) => Some(format!("closed by {closer} with {code}")),
            (Some(closer), None) => Some(format!("closed by {closer}")),
            (None, Some(code)) => Some(format!("closed with {code}")),
            (None, None) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn text_of(events: Value) -> Option<String> {
        let trace = json!({"request_id": "r1", "events": events, "workers_asked": ["w1"],
            "workers_failed": []});
        serde_json::from_value::<Trace>(trace).unwrap().to_text()
    }

    #[test]
    fn the_trace_of_a_websocket_has_events_of_both_tiers() {
        let both = json!({"request_id": "r1", "app": "notes", "worker": "w1", "client": "10.0.0.9",
            "method": "GET", "host": "h", "protocol": "HTTP/1.1", "kind": "websocket",
            "status": 101, "session_id": "s1"});
        let events = [
            json!({"ts": "2026-11-23T04:22:08.496Z", "tier": "worker", "event": "stream_open",
                "endpoint": "127.0.0.1:8890", "path": "/proxy/notes/ws", "connect_ms": 0.155,
                "ttfb_ms": 1.328}),
            json!({"ts": "2026-11-23T04:22:08.497Z", "tier": "coordinator",
                "event": "stream_open", "path": "/apps/notes/ws", "origin_request_id": "r0",
                "connection_reused": true, "ttfb_ms": 2.9}),
            json!({"ts": "2026-11-23T04:23:11.000Z", "tier": "coordinator",
                "event": "stream_close", "path": "/apps/notes/ws", "duration_ms": 62504.0,
                "closed_by": "client", "close_code": 1001, "messages_in": 3, "messages_out": 0,
                "bytes_in": 2048, "bytes_out": 0, "error": "client_gone"}),
        ];
        let events = events.map(|own| {
            let mut event = both.as_object().unwrap().clone();
            event.extend(own.as_object().unwrap().clone());
            Value::Object(event)
        });
        let text = text_of(json!(events));
        let expected = "\
Request:             r1
Client asked:        GET h /apps/notes/ws
Kind:                websocket, HTTP/1.1
App:                 notes
Client:              10.0.0.9
Session:             s1
Session began with:  r0
Day:                 2026-11-23
Asked:               w1

TIME          TIER         EVENT         STATUS  WORKER  ENDPOINT        CONNECT  \
FIRST BYTE   TOOK  MORE
04:22:08.496  worker       stream_open   101     w1      127.0.0.1:8890    0.2ms       \
1.3ms      -  -
04:22:08.497  coordinator  stream_open   101     w1      -                reused       \
2.9ms      -  -
04:23:11.000  coordinator  stream_close  101     w1      -                     -           \
-  1m03s  error client_gone, closed by client with 1001, 3 messages in, 2.0 KiB in";
        assert_eq!(text.as_deref(), Some(expected));
    }

    #[test]
    fn events_of_two_days_have_dates() {
        let text = text_of(json!([
            {"ts": "2026-11-23T23:59:59.999Z", "tier": "worker", "event": "request"},
            {"ts": "2026-11-24T00:00:00.000Z", "tier": "coordinator", "event": "request"},
        ]));
        assert!(
            text.unwrap().contains("2026-11-24T00:00:00.000"),
            "the day is missing"
        );
    }

    #[test]
    fn an_unknown_request_has_no_trace() {
        assert_eq!(text_of(json!([])), None);
    }

    #[test]
    fn control_characters_are_escaped() {
        let text = text_of(
            json!([{"ts": "t", "tier": "coordinator", "event": "request", "path": "/\u{1b}[2J"}]),
        )
        .unwrap();
        assert!(!text.contains('\u{1b}'), "{text}");
    }
}
