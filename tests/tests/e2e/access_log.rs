//! The access logs of both tiers: every request once, with the same fields, and never in a
//! request's way.

use std::collections::HashSet;

use app_proxy_tests::cluster::{free_address, own_address};
use app_proxy_tests::logs::AccessLog;
use app_proxy_tests::wait::within;
use app_proxy_tests::ws::WebSocket;
use app_proxy_tests::{REQUEST_ID, SESSION_COOKIE};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use serde_json::{Value, json};

use crate::{number, session_id, start, start_default};

/// All fields that a line may have (docs/reference/access-log.md).
const FIELDS: &[&str] = &[
    "ts",
    "tier",
    "event",
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
    "status",
    "error",
    "attempts",
    "bytes_in",
    "bytes_out",
    "messages_in",
    "messages_out",
    "close_code",
    "closed_by",
    "duration_ms",
    "connect_ms",
    "ttfb_ms",
    "connection_reused",
    "trace_id",
    "message_id",
    "direction",
];

fn is_rfc3339_with_millis(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 24
        && bytes[..23].iter().enumerate().all(|(at, byte)| match at {
            4 | 7 => *byte == b'-',
            10 => *byte == b'T',
            13 | 16 => *byte == b':',
            19 => *byte == b'.',
            _ => byte.is_ascii_digit(),
        })
        && (&text[23..] == "Z" || text[23..].starts_with(['+', '-']))
}

fn logs(cluster: &app_proxy_tests::cluster::Cluster) -> [(&'static str, AccessLog); 2] {
    [
        ("coordinator", cluster.coordinator_log()),
        ("worker", cluster.worker_log(0)),
    ]
}

#[tokio::test]
async fn a_request_is_one_line_at_each_tier_with_all_that_is_known() {
    let (app, cluster) = start_default().await;
    let cookie = cluster
        .get("/apps/notes/echo")
        .id("origin")
        .send()
        .await
        .session_cookie()
        .unwrap();
    let answer = cluster
        .request("PUT", "/apps/notes/echo/a%20b?secret=1")
        .id("known")
        .session(&cookie)
        .body(vec![b'x'; 2000])
        .send()
        .await;
    for (tier, log) in logs(&cluster) {
        let line = log.request("known").await;
        for (field, expected) in [
            ("tier", json!(tier)),
            ("event", json!("request")),
            ("request_id", json!("known")),
            ("session_id", json!(session_id(&cookie))),
            ("app", json!("notes")),
            ("method", json!("PUT")),
            ("kind", json!("http")),
            ("status", json!(200)),
            ("attempts", json!(1)),
        ] {
            assert_eq!(line[field], expected, "{field}: {line}");
        }
        assert!(
            is_rfc3339_with_millis(line["ts"].as_str().unwrap()),
            "{line}"
        );
        assert!(line["protocol"].as_str().unwrap().contains("1.1"), "{line}");
        assert_eq!(number(&line, "bytes_in"), 2000, "{line}");
        assert_eq!(
            number(&line, "bytes_out"),
            answer.body.len() as u64,
            "{line}"
        );
        for field in ["duration_ms", "ttfb_ms"] {
            assert!(line[field].is_number(), "{field}: {line}");
        }
        assert!(line["connection_reused"].is_boolean(), "{line}");
        assert!(line["error"].is_null(), "{line}");
        assert!(
            line["client"].as_str().unwrap().starts_with("127."),
            "{line}"
        );
        assert_eq!(log.of_request("known").len(), 1);
        assert!(!log.text().contains("secret"), "the query is in the log");
    }
    let line = cluster.coordinator_log().request("known").await;
    assert_eq!(line["worker"], "w1");
    assert_eq!(line["origin_request_id"], "origin");
    assert_eq!(line["path"], "/apps/notes/echo/a%20b");
    assert_eq!(line["host"], cluster.public().to_string());
    let line = cluster.worker_log(0).request("known").await;
    assert_eq!(line["endpoint"], app.addr().to_string());
}

#[tokio::test]
async fn lines_have_no_other_fields() {
    let on = json!({"websocket": {"message_ids": true}});
    let dead = free_address(own_address());
    let (app, cluster) = start(|builder| {
        builder
            .h2c()
            .coordinator(&on)
            .worker(&on)
            .app_at("gone", dead)
    })
    .await;
    app.release("fields", 1);
    for target in [
        "/apps/notes/echo",
        "/apps/unknown/",
        "/apps/gone/",
        "/apps/notes",
        "/apps/notes/sse/fields/1",
        "/apps/notes/%zz",
    ] {
        cluster.get(target).id("fields").send().await;
    }
    cluster.request("TRACE", "/").send().await;
    cluster.h2_client().await.get("/apps/notes/echo", &[]).await;
    let mut socket = cluster
        .websocket("/apps/notes/ws/echo", &[(REQUEST_ID, "last")])
        .await;
    socket.send_text("one").await;
    socket.frame().await;
    socket.close(1000).await;
    drop(socket);
    let known: HashSet<_> = FIELDS.iter().copied().collect();
    for (_, log) in logs(&cluster) {
        log.event("last", "stream_close").await;
        for line in log.lines() {
            for (field, value) in line.as_object().unwrap() {
                assert!(known.contains(field.as_str()), "{field}: {line}");
                assert!(
                    !value.is_null(),
                    "{field} is unknown, and should be absent: {line}"
                );
            }
            for field in ["ts", "tier", "event", "request_id"] {
                assert!(line[field].is_string(), "{field}: {line}");
            }
        }
    }
}

#[tokio::test]
async fn the_query_is_logged_if_enabled() {
    let query = json!({"access_log": {"query": true}});
    let (_app, cluster) = start(|builder| builder.coordinator(&query).worker(&query)).await;
    cluster
        .get("/apps/notes/echo?x=1&y=%20")
        .id("query")
        .send()
        .await;
    for (_, log) in logs(&cluster) {
        let line = log.request("query").await;
        assert!(
            line["path"].as_str().unwrap().ends_with("/echo?x=1&y=%20"),
            "{line}"
        );
    }
}

#[tokio::test]
async fn hostile_bytes_do_not_break_a_line() {
    let (_app, cluster) = start_default().await;
    for (n, path) in [
        "/apps/notes/\"},{\"x\":\"",
        "/apps/notes/a\\b\\",
        "/apps/notes/caf\u{e9}",
    ]
    .iter()
    .enumerate()
    {
        let answer = cluster
            .get(path)
            .id(&format!("hostile-{n}"))
            .header("User-Agent", "\"}\u{1b}[31m")
            .try_send()
            .await;
        if let Some(id) = answer
            .ok()
            .and_then(|answer| answer.headers.get(REQUEST_ID).map(str::to_owned))
        {
            cluster.coordinator_log().request(&id).await;
        }
    }
    // Reading the lines asserts that each is JSON.
    for (_, log) in logs(&cluster) {
        let lines = log.lines();
        assert!(lines.iter().all(|line| line["tier"].is_string()));
    }
}

#[tokio::test]
async fn generated_errors_are_logged_with_their_reason() {
    let dead = free_address(own_address());
    let (_app, cluster) = start(|builder| builder.app_at("gone", dead)).await;
    for (id, target, status, tiers) in [
        ("log-404", "/apps/unknown/", 404, 1),
        ("log-400", "/apps/notes/%zz", 400, 1),
        ("log-308", "/apps/notes", 308, 1),
        ("log-502", "/apps/gone/", 502, 2),
    ] {
        cluster.get(target).id(id).send().await;
        for (_, log) in logs(&cluster).into_iter().take(tiers) {
            let line = log.request(id).await;
            assert_eq!(line["status"], status, "{line}");
            assert_eq!(log.of_request(id).len(), 1);
            if status >= 400 && tiers == 1 {
                assert!(line["error"].is_string(), "{line}");
            }
        }
    }
    let line = cluster.worker_log(0).request("log-502").await;
    assert!(line["error"].is_string(), "{line}");
}

async fn assert_once(cluster: &app_proxy_tests::cluster::Cluster, id: &str) -> Vec<Value> {
    let mut lines = Vec::new();
    for (_, log) in logs(cluster) {
        lines.push(log.request(id).await);
    }
    // Whatever would have written a second line has had its turn when later requests are logged.
    for n in 0..5 {
        cluster
            .get("/apps/api/echo")
            .id(&format!("{id}-later-{n}"))
            .send()
            .await;
    }
    for (tier, log) in logs(cluster) {
        log.request(&format!("{id}-later-4")).await;
        assert_eq!(log.of_request(id).len(), 1, "{tier}");
    }
    lines
}

#[tokio::test]
async fn a_client_that_disconnects_before_the_response_is_logged_once() {
    let (app, cluster) = start_default().await;
    let client = cluster
        .get("/apps/api/gate/abort")
        .id("gone-early")
        .start()
        .await;
    app.wait_for_id("gone-early").await;
    client.wire.reset();
    app.release("abort", 1);
    let lines = assert_once(&cluster, "gone-early").await;
    assert_eq!(lines[0]["path"], "/apps/api/gate/abort");
}

#[tokio::test]
async fn a_client_that_disconnects_during_its_upload_is_logged_once() {
    let (app, cluster) = start_default().await;
    let mut client = cluster
        .request("POST", "/apps/api/echo")
        .id("half-upload")
        .header("Content-Length", "1000000")
        .start()
        .await;
    client.send(vec![b'x'; 1000]).await;
    app.wait_for_id("half-upload").await;
    drop(client);
    assert_once(&cluster, "half-upload").await;
}

#[tokio::test]
async fn a_client_that_disconnects_during_a_download_is_logged_once() {
    let (app, cluster) = start_default().await;
    let mut client = cluster
        .get("/apps/api/bytes/40000000")
        .id("half-download")
        .start()
        .await;
    client.read_head().await;
    client.wire.reset();
    assert_eq!(app.with_id("half-download").len(), 1);
    let lines = assert_once(&cluster, "half-download").await;
    assert!(number(&lines[0], "bytes_out") < 40_000_000, "{}", lines[0]);
}

#[tokio::test]
async fn a_client_that_disconnects_in_its_head_is_not_a_request() {
    let (app, cluster) = start_default().await;
    let mut client = cluster.client().await;
    client
        .send("GET /apps/api/echo HTTP/1.1\r\nHost: x\r\n")
        .await;
    drop(client);
    drop(cluster.client().await);
    cluster.get("/apps/api/echo").id("after").send().await;
    cluster.worker_log(0).request("after").await;
    assert_eq!(app.count(), 1);
    assert_eq!(cluster.worker_log(0).lines().len(), 1);
}

#[tokio::test]
async fn requests_and_streams_in_flight_at_sigterm_are_logged_once() {
    let drain = json!({"drain": {"requests": "500ms", "streams": "200ms"}});
    let (app, mut cluster) = start(|builder| builder.coordinator(&drain)).await;
    let mut waiting = cluster
        .get("/apps/api/gate/never")
        .id("drained-request")
        .start()
        .await;
    let mut socket = cluster
        .websocket("/apps/notes/ws/echo", &[(REQUEST_ID, "drained-socket")])
        .await;
    app.wait_for_id("drained-request").await;
    cluster.coordinator().signal(Signal::SIGTERM);
    while socket.next().await.is_some() {}
    drop(socket);
    cluster.coordinator().ended().await;
    let _ = waiting.try_read_response("GET").await;
    let log = cluster.coordinator_log();
    assert_eq!(log.of_request("drained-request").len(), 1, "{}", log.text());
    assert_eq!(log.of_request("drained-socket").len(), 2, "{}", log.text());
}

#[tokio::test]
async fn events_logged_before_a_restart_are_kept() {
    let (_app, mut cluster) = start_default().await;
    cluster.get("/apps/api/echo").id("before").send().await;
    cluster.coordinator_log().request("before").await;
    cluster.coordinator().signal(Signal::SIGTERM);
    cluster.coordinator().ended().await;
    cluster.restart_coordinator().await;
    cluster.get("/apps/api/echo").id("after").send().await;
    cluster.coordinator_log().request("after").await;
    assert_eq!(cluster.coordinator_log().of_request("before").len(), 1);
}

#[tokio::test]
async fn all_lines_are_written_before_the_daemon_ends() {
    let (_app, mut cluster) = start_default().await;
    let mut client = cluster.client().await;
    for n in 0..200 {
        client
            .get("/apps/api/echo")
            .id(&format!("flushed-{n}"))
            .send()
            .await;
    }
    cluster.coordinator().signal(Signal::SIGTERM);
    cluster.worker_daemon(0).signal(Signal::SIGTERM);
    assert_eq!(cluster.coordinator().ended().await.code(), Some(0));
    assert_eq!(cluster.worker_daemon(0).ended().await.code(), Some(0));
    for (tier, log) in logs(&cluster) {
        let lines = log.select(|line| {
            line["request_id"]
                .as_str()
                .is_some_and(|id| id.starts_with("flushed-"))
        });
        assert_eq!(lines.len(), 200, "{tier}");
    }
}

#[tokio::test]
async fn a_log_that_does_not_take_lines_stops_no_request() {
    let pipes = tempfile_folder();
    let path = pipes.path().join("stalled.log");
    nix::unistd::mkfifo(&path, Mode::S_IRWXU).unwrap();
    // A reader that never reads: the pipe buffers 64 KiB and then nothing more.
    let _reader = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    let stalled = json!({"access_log": {"path": path}});
    let (app, cluster) = start(|builder| builder.coordinator(&stalled)).await;
    let long = "x".repeat(1000);
    let mut client = cluster.client().await;
    for n in 0..600 {
        let answer = client
            .get(&format!("/apps/api/echo/{long}"))
            .id(&format!("stalled-{n}"))
            .send()
            .await;
        assert_eq!(answer.status, 200);
    }
    assert_eq!(app.count(), 600);
}

fn tempfile_folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

#[tokio::test]
async fn protocols_are_distinguished() {
    let (_app, cluster) = start(app_proxy_tests::cluster::ClusterBuilder::h2c).await;
    cluster
        .get("/apps/api/echo")
        .http10()
        .id("p10")
        .send()
        .await;
    cluster.get("/apps/api/echo").id("p11").send().await;
    let h2 = cluster.h2_client().await;
    h2.get("/apps/api/echo", &[(REQUEST_ID, "p2")]).await;
    for (id, version) in [("p10", "1.0"), ("p11", "1.1"), ("p2", "2")] {
        let line = cluster.coordinator_log().request(id).await;
        assert!(
            line["protocol"].as_str().unwrap().contains(version),
            "{line}"
        );
    }
}

#[tokio::test]
async fn a_rejected_identifier_is_logged_and_a_kept_one_is_not_repeated() {
    let (_app, cluster) =
        start(|builder| builder.coordinator(&json!({"request_id": {"accept_from": []}}))).await;
    let answer = cluster.get("/apps/api/echo").id("clients-own").send().await;
    let line = cluster
        .coordinator_log()
        .request(&answer.request_id())
        .await;
    assert_eq!(line["client_request_id"], "clients-own");
}

#[tokio::test]
async fn a_handshake_aborted_by_the_client_is_logged_once() {
    let (app, cluster) = start_default().await;
    let cookie = cluster
        .get("/apps/notes/echo")
        .send()
        .await
        .session_cookie()
        .unwrap();
    let header = format!("{SESSION_COOKIE}={cookie}");
    let client = app_proxy_tests::ws::handshake(
        cluster.public(),
        "/apps/notes/ws/gate/torn",
        &[("Cookie", &header), (REQUEST_ID, "torn-handshake")],
    )
    .start()
    .await;
    app.wait_for_id("torn-handshake").await;
    client.wire.reset();
    app.release("torn", 1);
    // It was a request without an answer, or a stream that ended as it began; never both.
    let lines = cluster
        .coordinator_log()
        .wait_for_count("lines of the handshake", 1, |line| {
            line["request_id"] == "torn-handshake" && line["event"] != "stream_open"
        })
        .await;
    assert_eq!(lines.len(), 1);
    let mut other = within(
        "another handshake",
        WebSocket::connect(
            cluster.public(),
            "/apps/notes/ws/echo",
            &[("Cookie", &header)],
        ),
    )
    .await;
    other.close(1000).await;
}
