//! A cluster before a [`RawApp`], raw requests, and the lines that both tiers must log.

use app_proxy_tests::REQUEST_ID;
use app_proxy_tests::cluster::{Cluster, ClusterBuilder};
use app_proxy_tests::http1::{Client, Response};
use app_proxy_tests::logs::AccessLog;
use app_proxy_tests::raw_app::RawApp;
use app_proxy_tests::wait::within;
use serde_json::{Value, json};

/// A cluster before one application with three names: `raw` (paths stripped), `kept` (paths kept),
/// both without sessions, and `user` (paths stripped, sessions).
pub(super) async fn start(
    configure: impl FnOnce(ClusterBuilder) -> ClusterBuilder,
) -> (RawApp, Cluster) {
    let app = RawApp::start().await;
    let builder = Cluster::builder()
        .app_with("raw", app.addr(), &json!({"affinity": "none"}))
        .app_with(
            "kept",
            app.addr(),
            &json!({"affinity": "none", "upstream_path": "keep"}),
        )
        .app_at("user", app.addr());
    let cluster = configure(builder).start().await;
    (app, cluster)
}

/// As [`start`], with everything at its default.
pub(super) async fn start_default() -> (RawApp, Cluster) {
    start(|builder| builder).await
}

/// A request for `target` with this ID, further header lines (each with its CRLF) and a body.
pub(super) fn request(method: &str, target: &str, id: &str, lines: &str, body: &str) -> Vec<u8> {
    head(format!("{method} {target} HTTP/1.1"), id, lines, body)
}

/// A request with this request line, which need not be text.
pub(super) fn head(line: impl AsRef<[u8]>, id: &str, lines: &str, body: &str) -> Vec<u8> {
    let rest = format!("\r\nHost: h.example\r\n{REQUEST_ID}: {id}\r\n{lines}\r\n{body}");
    [line.as_ref(), rest.as_bytes()].concat()
}

/// Sends bytes on a connection of their own, and reads one response.
pub(super) async fn send(cluster: &Cluster, bytes: impl AsRef<[u8]>) -> (Response, Client) {
    let mut client = cluster.client().await;
    // A rejection may come before the last byte is sent.
    let _ = within("the bytes to be sent", client.wire.try_send(bytes.as_ref())).await;
    let answer = client.read_response("GET").await;
    (answer, client)
}

/// The next head, as bytes, with its empty line.
pub(super) async fn raw_head(client: &mut Client) -> Vec<u8> {
    let head = within("a head", client.wire.take_through(b"\r\n\r\n")).await;
    head.expect("a head").expect("a head").to_vec()
}

/// Asserts that the proxy itself gave this answer: a problem document with this ID.
pub(super) fn assert_problem(answer: &Response, status: u16, code: &str, id: &str) {
    assert_eq!(answer.status, status, "{id}: {}", answer.text());
    assert_eq!(answer.request_id(), id, "{}", answer.text());
    let kind = answer.headers.get("Content-Type");
    assert_eq!(kind, Some("application/problem+json"), "{id}");
    let problem = answer.json();
    assert_eq!(problem["status"], status, "{id}: {problem}");
    assert_eq!(problem["code"], code, "{id}: {problem}");
    assert_eq!(problem["request_id"], id, "{problem}");
    let detail = problem["detail"].as_str().unwrap_or_default();
    assert!(detail.ends_with('.'), "{id}: {problem}");
}

/// Asserts a rejection after which the connection ends.
pub(super) async fn assert_refused(
    (answer, mut client): (Response, Client),
    status: u16,
    code: &str,
    id: &str,
) {
    assert_problem(&answer, status, code, id);
    assert!(
        answer.headers.lists("Connection", "close"),
        "{id}: {answer:?}"
    );
    assert_eq!(client.closed().await, 0, "{id}: bytes behind the answer");
}

/// The lines that one tier logs of a request.
#[derive(Clone, Copy, Debug)]
enum Lines {
    None,
    /// None, or one with any error.
    AtMostOne,
    One {
        status: Option<u16>,
        error: Option<&'static str>,
    },
}

/// The lines that both tiers must log, exactly once each.
#[derive(Debug, Default)]
pub(super) struct Journal(Vec<(String, [Lines; 2])>);

impl Journal {
    fn add(&mut self, id: &str, coordinator: Lines, worker: Lines) {
        self.0.push((id.to_owned(), [coordinator, worker]));
    }

    /// The coordinator refuses the request with this status and code; the worker never sees it.
    pub(super) fn refused(&mut self, id: &str, status: u16, code: &'static str) {
        let error = Some(code);
        let line = Lines::One {
            status: Some(status),
            error,
        };
        self.add(id, line, Lines::None);
    }

    /// The coordinator refuses the request, of which the worker may have seen a part.
    pub(super) fn refused_late(&mut self, id: &str, status: u16, code: &'static str) {
        let error = Some(code);
        let line = Lines::One {
            status: Some(status),
            error,
        };
        self.add(id, line, Lines::AtMostOne);
    }

    /// The coordinator answers the request itself, and it is no error.
    pub(super) fn answered(&mut self, id: &str, status: u16) {
        let line = Lines::One {
            status: Some(status),
            error: None,
        };
        self.add(id, line, Lines::None);
    }

    /// The application's response passes both tiers.
    pub(super) fn passed(&mut self, id: &str, status: u16) {
        let line = Lines::One {
            status: Some(status),
            error: None,
        };
        self.add(id, line, line);
    }

    /// The worker answers with this status and code, which pass the coordinator.
    pub(super) fn failed(&mut self, id: &str, status: u16, code: &'static str) {
        let status = Some(status);
        let passed = Lines::One {
            status,
            error: None,
        };
        let error = Some(code);
        self.add(id, passed, Lines::One { status, error });
    }

    /// The coordinator refuses the request, of which the worker and the application have a part.
    pub(super) fn cut_off_by_client(&mut self, id: &str, status: u16, code: &'static str) {
        let line = Lines::One {
            status: Some(status),
            error: Some(code),
        };
        let gone = Lines::One {
            status: None,
            error: Some("client_gone"),
        };
        self.add(id, line, gone);
    }

    /// A response that has begun is cut off; both lines have this code.
    pub(super) fn cut_off(&mut self, id: &str, status: u16, code: &'static str) {
        let line = Lines::One {
            status: Some(status),
            error: Some(code),
        };
        self.add(id, line, line);
    }

    /// Asserts that each tier has logged exactly these lines.
    pub(super) async fn check(self, cluster: &Cluster) {
        let logs = [cluster.coordinator_log(), cluster.worker_log(0)];
        for (id, tiers) in &self.0 {
            for (log, lines) in logs.iter().zip(tiers) {
                if let Lines::One { .. } = lines {
                    log.request(id).await;
                }
            }
        }
        // The lines of a later request come after any second line of an earlier one.
        let end = "end-of-journal";
        cluster.get("/apps/raw/end").id(end).send().await;
        for log in &logs {
            log.request(end).await;
        }
        for (log, tier) in logs.iter().zip(0..) {
            let all = log.lines();
            for (id, tiers) in &self.0 {
                assert_lines(id, tiers[tier], &all);
            }
        }
    }
}

fn assert_lines(id: &str, expected: Lines, all: &[Value]) {
    let lines: Vec<_> = all.iter().filter(|line| line["request_id"] == id).collect();
    match expected {
        Lines::None => assert!(lines.is_empty(), "{id}: {lines:?}"),
        Lines::AtMostOne => assert!(lines.len() <= 1, "{id}: {lines:?}"),
        Lines::One { status, error } => {
            assert_eq!(lines.len(), 1, "{id}: {lines:?}");
            let line = lines[0];
            assert_eq!(line["error"].as_str(), error, "{line}");
            assert_eq!(line["status"].as_u64(), status.map(u64::from), "{line}");
        }
    }
}

/// Asserts that a log has exactly one line of this request, and returns it.
pub(super) async fn only_line(log: &AccessLog, id: &str) -> Value {
    let line = log.request(id).await;
    assert_eq!(log.of_request(id).len(), 1, "{id}");
    line
}
