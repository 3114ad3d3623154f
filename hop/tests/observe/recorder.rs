//! An observer that records.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use app_proxy_hop::exchange::Policies;
use app_proxy_hop::observe::{Event, EventKind, Observe, StreamObserver};
use app_proxy_hop::tunnel::Direction;
use serde_json::{Value, json};

/// Records events and the bytes of streams; clones share the records.
#[derive(Clone, Default)]
pub(crate) struct Recorder(Arc<Mutex<Records>>);

/// The records.
#[derive(Clone, Default)]
pub(crate) struct Records {
    /// The events, as far as lines of the access log have them.
    pub(crate) events: Vec<Value>,
    /// The steps of each request: the names of its events, `data`, and `end`.
    pub(crate) steps: HashMap<String, Vec<&'static str>>,
    /// The bytes of each stream from the client.
    pub(crate) from_client: HashMap<String, Vec<u8>>,
    /// The bytes of each stream to the client.
    pub(crate) from_server: HashMap<String, Vec<u8>>,
}

impl Recorder {
    /// The policies with this observer.
    pub(crate) fn policies(&self) -> Policies {
        let mut policies = Policies::default();
        policies.observers.add(self.clone());
        policies
    }

    /// Returns a copy of the records once they are as `wanted`.
    pub(crate) async fn once(&self, wanted: impl Fn(&Records) -> bool) -> Records {
        let wait = async {
            loop {
                let records = self.0.lock().unwrap().clone();
                if wanted(&records) {
                    return records;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let limit = Duration::from_secs(30);
        let waited = tokio::time::timeout(limit, wait).await;
        waited.unwrap_or_else(|_| panic!("only: {:?}", self.0.lock().unwrap().steps))
    }

    /// Returns a copy of the records once the last event of a request was recorded.
    pub(crate) async fn after(&self, id: &str) -> Records {
        self.once(|records| records.has_ended(id)).await
    }

    fn step(&self, id: &str, step: &'static str) {
        let mut records = self.0.lock().unwrap();
        let steps = records.steps.entry(id.to_owned()).or_default();
        // Pieces are as long as the network makes them.
        if steps.last() != Some(&"data") || step != "data" {
            steps.push(step);
        }
    }
}

impl Records {
    /// Returns whether the last event of a request was recorded.
    pub(crate) fn has_ended(&self, id: &str) -> bool {
        let last = self.steps.get(id).and_then(|steps| steps.last());
        matches!(last, Some(&("request" | "stream_close")))
    }
}

/// Returns the values of an event that a line of the access log has too, absent ones as null.
fn shown(event: &Event<'_>) -> Value {
    let timed = [event.duration(), event.connect(), event.first_byte()].map(|time| time.is_some());
    json!({
        "event": event.kind().as_str(),
        "tier": event.tier().as_str(),
        "request_id": event.request_id().as_str(),
        "client_request_id": event.client_request_id().map(|id| id.as_str()),
        "session_id": event.session_id(),
        "origin_request_id": event.origin_request_id().map(|id| id.as_str()),
        "app": event.app(),
        "worker": event.worker(),
        "endpoint": event.endpoint(),
        "user": event.user(),
        "client": event.client().map(|ip| ip.to_string()),
        "method": event.method().as_str(),
        "host": event.host(),
        "path": event.path(),
        "protocol": event.protocol(),
        "kind": event.request_kind().as_str(),
        "trace_id": event.trace_id(),
        "message_id": event.message_id(),
        "status": event.status(),
        "error": event.error().map(|code| code.as_str()),
        "messages_in": event.messages_in(),
        "messages_out": event.messages_out(),
        "close_code": event.close_code(),
        "closed_by": event.closed_by().map(|by| by.as_str()),
        "connection_reused": event.connection_reused(),
        "bytes": event.bytes_in() + event.bytes_out(),
        "timed": timed,
    })
}

/// Returns the same values of a line.
pub(crate) fn values(line: &Value) -> Value {
    let number = |name: &str| line[name].as_u64().unwrap_or(0);
    let timed = ["duration_ms", "connect_ms", "ttfb_ms"].map(|name| !line[name].is_null());
    let bytes = number("bytes_in") + number("bytes_out");
    let mut values = json!({"bytes": bytes, "timed": timed});
    for name in [
        "event",
        "tier",
        "request_id",
        "client_request_id",
        "session_id",
        "origin_request_id",
        "app",
        "worker",
        "endpoint",
        "user",
        "client",
        "method",
        "host",
        "path",
        "protocol",
        "kind",
        "trace_id",
        "message_id",
        "status",
        "error",
        "messages_in",
        "messages_out",
        "close_code",
        "closed_by",
        "connection_reused",
    ] {
        values[name] = line[name].clone();
    }
    values
}

impl Observe for Recorder {
    fn event(&self, event: &Event<'_>) {
        if event.kind().is_logged() {
            self.0.lock().unwrap().events.push(shown(event));
        }
        self.step(event.request_id().as_str(), event.kind().as_str());
    }

    fn stream(&self, opened: &Event<'_>) -> Option<Box<dyn StreamObserver>> {
        assert_eq!(opened.kind(), EventKind::StreamOpen);
        let id = opened.request_id().to_string();
        self.step(&id, "stream");
        Some(Box::new(OneStream {
            recorder: self.clone(),
            id,
        }))
    }
}

struct OneStream {
    recorder: Recorder,
    id: String,
}

impl StreamObserver for OneStream {
    fn data(&mut self, from: Direction, bytes: &[u8]) {
        self.recorder.step(&self.id, "data");
        let mut records = self.recorder.0.lock().unwrap();
        let streams = match from {
            Direction::FromClient => &mut records.from_client,
            Direction::FromServer => &mut records.from_server,
        };
        let stream = streams.entry(self.id.clone()).or_default();
        stream.extend_from_slice(bytes);
    }

    fn end(&mut self, closed: &Event<'_>) {
        assert_eq!(closed.kind(), EventKind::StreamClose);
        assert_eq!(closed.request_id().as_str(), self.id);
        self.recorder.step(&self.id, "end");
    }
}
