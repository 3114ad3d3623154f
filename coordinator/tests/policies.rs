//! The policies of a program around a coordinator: its own identifiers and observers, before real
//! traffic in this process.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use app_proxy_coordinator::{
    Config, Coordinator, Direction, EstablishedId, Event, HeaderMap, Identify, Observe, RequestId,
    StreamObserver,
};

const EVENTS: &str = "data: one\n\ndata: two\n\n";

/// Puts `site:` before each identifier.
struct Site;

impl Identify for Site {
    fn identify(&self, headers: &HeaderMap, peer: Option<IpAddr>) -> EstablishedId {
        assert!(peer.is_some_and(|peer| peer.is_loopback()));
        let inbound = headers.get("x-trace").and_then(|value| value.to_str().ok());
        let own = RequestId::generate();
        let id = format!("site:{}", inbound.unwrap_or(own.as_str()));
        EstablishedId::new(id.parse().unwrap())
    }
}

/// Records events and the bytes of streams.
#[derive(Clone, Default)]
struct Recorder {
    events: Arc<Mutex<Vec<(String, String)>>>,
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl Observe for Recorder {
    fn event(&self, event: &Event<'_>) {
        let recorded = (event.kind().as_str(), event.request_id().as_str());
        let recorded = (recorded.0.to_owned(), recorded.1.to_owned());
        self.events.lock().unwrap().push(recorded);
    }

    fn stream(&self, opened: &Event<'_>) -> Option<Box<dyn StreamObserver>> {
        assert_eq!(opened.app(), Some("demo"));
        Some(Box::new(self.clone()))
    }
}

impl StreamObserver for Recorder {
    fn data(&mut self, from: Direction, bytes: &[u8]) {
        assert_eq!(from, Direction::FromServer);
        self.bytes.lock().unwrap().extend_from_slice(bytes);
    }
}

/// Reads a header block.
fn read_head(connection: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match connection.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => break,
        }
    }
    String::from_utf8(head).unwrap().to_lowercase()
}

/// Returns the identifier in a header block.
fn id_of(head: &str) -> &str {
    let mut lines = head.lines();
    lines
        .find_map(|line| line.strip_prefix("x-backend-request-id: "))
        .unwrap()
}

/// A worker of which nothing is real: it answers with the identifier of the request, or with
/// events. Returns its address.
fn start_worker() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let head = read_head(&mut connection);
            let (media, body) = if head.starts_with("get /proxy/demo/events") {
                ("text/event-stream", EVENTS)
            } else if head.starts_with("get /proxy/") {
                ("text/plain", id_of(&head))
            } else {
                ("text/plain", "ok")
            };
            let _ = write!(
                connection,
                "HTTP/1.1 200 OK\r\nContent-Type: {media}\r\nContent-Length: {}\r\n\
                 Connection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    address
}

fn config(folder: &Path) -> Config {
    let worker = start_worker();
    let text = format!(
        "version: 1\n\
         coordinator:\n\
         \x20 listeners: [{{address: '127.0.0.1:0'}}]\n\
         \x20 admin: {{address: '127.0.0.1:0'}}\n\
         \x20 store: {{kind: memory}}\n\
         \x20 access_log: {{path: access.log}}\n\
         \x20 workers: [{{id: w1, address: '{worker}'}}]\n\
         \x20 apps:\n\
         \x20   - {{name: demo, endpoints: [{{address: '127.0.0.1:1'}}]}}\n"
    );
    Config::parse(&text, folder).unwrap()
}

/// Returns the header block and the body of a response.
fn get(address: &str, path: &str, headers: &str) -> (String, String) {
    let mut connection = TcpStream::connect(address).unwrap();
    write!(
        connection,
        "GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{headers}\r\n"
    )
    .unwrap();
    let head = read_head(&mut connection);
    let mut body = String::new();
    connection.read_to_string(&mut body).unwrap();
    (head, body)
}

#[test]
fn a_program_has_identifiers_and_observers_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (Recorder::default(), Recorder::default());
    let running = Coordinator::builder(config(folder.path()))
        .identify(Site)
        .observe(one.clone())
        .observe(two.clone())
        .build()
        .unwrap()
        .start()
        .unwrap();
    let at = running.addresses.public[0].to_string();

    let begin = Instant::now();
    while get(&at, "/apps/demo/", "").0.starts_with("http/1.1 503") {
        assert!(
            begin.elapsed() < Duration::from_secs(30),
            "no worker is healthy"
        );
        thread::sleep(Duration::from_millis(20));
    }
    let (head, body) = get(&at, "/apps/demo/", "X-Trace: mine\r\n");
    assert_eq!((id_of(&head), body.as_str()), ("site:mine", "site:mine"));
    let (head, body) = get(&at, "/apps/unknown/", "X-Trace: other\r\n");
    assert_eq!(id_of(&head), "site:other");
    assert!(head.starts_with("http/1.1 404") && body.contains("site:other"));
    assert_eq!(
        get(&at, "/apps/demo/events", "X-Trace: stream\r\n").1,
        EVENTS
    );
    running.stop();

    let log = std::fs::read_to_string(folder.path().join("access.log")).unwrap();
    let mut lines: Vec<(String, String)> = log
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| ["event", "request_id"].map(|name| line[name].as_str().unwrap().to_owned()))
        .map(|[event, id]| (event, id))
        .collect();
    lines.sort();
    assert!(lines.contains(&("stream_close".to_owned(), "site:stream".to_owned())));
    for recorder in [one, two] {
        let mut events = recorder.events.lock().unwrap().clone();
        events.sort();
        assert_eq!(events, lines);
        assert_eq!(*recorder.bytes.lock().unwrap(), EVENTS.as_bytes());
    }
}
