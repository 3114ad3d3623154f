//! Limits of requests: header lines, bytes, targets, methods, hosts, time.

use app_proxy_tests::REQUEST_ID;
use app_proxy_tests::cluster::Cluster;
use app_proxy_tests::http1::{Client, Response};
use app_proxy_tests::raw_app::{RawApp, Reply};
use serde_json::json;

use super::support::{
    Journal, assert_problem, assert_refused, only_line, request, send, start, start_default,
};

/// A request with this many header lines in all.
fn with_lines(target: &str, id: &str, count: usize) -> Vec<u8> {
    let own = 2;
    let lines: String = (own..count)
        .map(|n| format!("X-Line-{n}: {n}\r\n"))
        .collect();
    request("GET", target, id, &lines, "")
}

/// A request whose head has this many bytes.
fn with_bytes(target: &str, id: &str, count: usize) -> Vec<u8> {
    let without = request("GET", target, id, "X: \r\n", "").len();
    let line = format!("X: {}\r\n", "v".repeat(count - without));
    request("GET", target, id, &line, "")
}

/// A target of this many bytes.
fn target(prefix: &str, count: usize) -> String {
    format!("{prefix}{}", "t".repeat(count - prefix.len()))
}

async fn assert_passes(app: &RawApp, cluster: &Cluster, bytes: &[u8], id: &str) {
    let (answer, _) = send(cluster, bytes).await;
    assert_eq!(answer.status, 200, "{id}: {}", answer.text());
    assert_eq!(answer.request_id(), id);
    app.only(id);
}

#[tokio::test]
async fn header_lines_pass_up_to_the_limit_and_are_refused_by_the_coordinator_beyond() {
    let (app, cluster) = start_default().await;
    let mut journal = Journal::default();
    for target in ["/apps/raw/a", "/apps/kept/a", "/apps/user/a"] {
        for count in [100, 199, 200] {
            let id = format!("lines-{count}{}", target.replace('/', "-"));
            assert_passes(&app, &cluster, &with_lines(target, &id, count), &id).await;
            let seen = app.only(&id);
            for n in 2..count {
                let value = seen.value(&format!("X-Line-{n}"));
                assert_eq!(value, Some(n.to_string()), "{id}");
            }
            journal.passed(&id, 200);
        }
    }
    let passed = app.count();
    for count in [201, 202, 225, 249, 256, 257, 289, 300, 1_000, 5_000] {
        let id = format!("lines-{count}");
        let answered = send(&cluster, with_lines("/apps/raw/a", &id, count)).await;
        assert_refused(answered, 431, "headers_too_large", &id).await;
        journal.refused(&id, 431, "headers_too_large");
    }
    assert_eq!(app.count(), passed);
    journal.check(&cluster).await;
}

#[tokio::test]
async fn the_limit_of_header_lines_is_configured_between_32_and_224() {
    for limit in [32, 224] {
        let limits = json!({"limits": {"request_headers": limit}});
        let (app, cluster) = start(|builder| builder.coordinator(&limits)).await;
        let mut journal = Journal::default();
        for target in ["/apps/raw/a", "/apps/user/a"] {
            let id = format!("fits{}", target.replace('/', "-"));
            assert_passes(&app, &cluster, &with_lines(target, &id, limit), &id).await;
            journal.passed(&id, 200);
        }
        let id = "exceeds";
        let answered = send(&cluster, with_lines("/apps/user/a", id, limit + 1)).await;
        assert_refused(answered, 431, "headers_too_large", id).await;
        journal.refused(id, 431, "headers_too_large");
        journal.check(&cluster).await;
    }
}

#[tokio::test]
async fn head_bytes_pass_up_to_the_limit_and_are_refused_by_the_coordinator_beyond() {
    for limit in [4 << 10, 64 << 10, 128 << 10] {
        let limits = json!({"limits": {"request_head": limit}});
        let (app, cluster) = start(|builder| builder.coordinator(&limits)).await;
        let mut journal = Journal::default();
        for target in ["/apps/raw/a", "/apps/kept/a", "/apps/user/a"] {
            let id = format!("bytes{}", target.replace('/', "-"));
            let bytes = with_bytes(target, &id, limit);
            assert_eq!(bytes.len(), limit);
            assert_passes(&app, &cluster, &bytes, &id).await;
            journal.passed(&id, 200);
        }
        for count in [limit + 1, limit + 5_000, 2_000_000] {
            let id = format!("bytes-{count}");
            let bytes = with_bytes("/apps/user/a", &id, count);
            let answered = send(&cluster, bytes).await;
            assert_refused(answered, 431, "headers_too_large", &id).await;
            journal.refused(&id, 431, "headers_too_large");
        }
        assert_eq!(app.count(), 3);
        journal.check(&cluster).await;
    }
}

#[tokio::test]
async fn a_name_or_a_value_of_any_length_is_refused_by_the_limit_of_the_head() {
    let (app, cluster) = start_default().await;
    let mut journal = Journal::default();
    for (n, line) in [
        format!("{}: v\r\n", "n".repeat(100_000)),
        format!("X: {}\r\n", "v".repeat(100_000)),
        format!("Cookie: {}\r\n", "c=d; ".repeat(20_000)),
        format!("{}\r\n", "no-colon".repeat(10_000)),
    ]
    .iter()
    .enumerate()
    {
        let id = format!("long-line-{n}");
        let answered = send(&cluster, request("GET", "/apps/raw/a", &id, line, "")).await;
        assert_refused(answered, 431, "headers_too_large", &id).await;
        journal.refused(&id, 431, "headers_too_large");
    }
    assert_eq!(app.count(), 0);
    journal.check(&cluster).await;
}

#[tokio::test]
async fn targets_pass_up_to_the_limit_and_are_refused_by_the_coordinator_beyond() {
    for (limit, configured) in [
        (16 << 10, json!({})),
        (1 << 10, json!({"request_target": "1KiB"})),
        (
            60 << 10,
            json!({"request_head": "128KiB", "request_target": "60KiB"}),
        ),
    ] {
        let limits = json!({"limits": configured});
        let (app, cluster) = start(|builder| builder.coordinator(&limits)).await;
        let mut journal = Journal::default();
        for prefix in [
            "/apps/raw/",
            "/apps/kept/",
            "/apps/user/?",
            "/apps/kept/<>`?",
        ] {
            let id = format!("target-{}", journal_name(prefix));
            let bytes = request("GET", &target(prefix, limit), &id, "", "");
            assert_passes(&app, &cluster, &bytes, &id).await;
            let sent = target(prefix, limit);
            let seen = app.only(&id);
            let kept = prefix.starts_with("/apps/kept");
            let expected = if kept { &sent[..] } else { &sent[10..] };
            assert!(
                seen.target()
                    .ends_with(expected.trim_start_matches('/').as_bytes()),
                "{id}"
            );
            journal.passed(&id, 200);
        }
        let passed = app.count();
        for count in [
            limit + 1,
            limit + 100,
            65_524,
            65_534,
            65_535,
            65_536,
            1_000_000,
        ] {
            let id = format!("target-{count}");
            let bytes = request("GET", &target("/apps/raw/", count), &id, "", "");
            let answered = send(&cluster, bytes).await;
            assert_eq!(answered.0.status, 414, "{count}: {}", answered.0.text());
            // An ID behind a target that is not read cannot be read either.
            let id = answered.0.request_id();
            assert_refused(answered, 414, "target_too_long", &id).await;
            journal.refused(&id, 414, "target_too_long");
        }
        assert_eq!(app.count(), passed);
        journal.check(&cluster).await;
    }
}

fn journal_name(prefix: &str) -> String {
    prefix.bytes().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn a_target_just_beyond_the_limit_is_refused_under_the_id_of_the_client() {
    let (_app, cluster) = start_default().await;
    for count in [(16 << 10) + 1, 20_000, 40_000] {
        let id = format!("own-id-{count}");
        let bytes = request("GET", &target("/apps/raw/", count), &id, "", "");
        assert_refused(send(&cluster, bytes).await, 414, "target_too_long", &id).await;
    }
}

#[tokio::test]
async fn long_methods_and_hosts_are_refused_and_no_log_line_is_long() {
    let (app, cluster) = start_default().await;
    let mut journal = Journal::default();
    let longest = "M".repeat(32);
    let (answer, _) = send(
        &cluster,
        request(&longest, "/apps/raw/a", "longest", "", ""),
    )
    .await;
    assert_eq!(answer.status, 200);
    assert_eq!(app.only("longest").word(0), longest.as_bytes());
    journal.passed("longest", 200);
    for count in [33, 64, 1_000, 900_000] {
        let id = format!("method-{count}");
        let bytes = request(&"M".repeat(count), "/apps/raw/a", &id, "", "");
        let (answer, client) = send(&cluster, bytes).await;
        let id = answer.request_id();
        assert_refused((answer, client), 501, "not_implemented", &id).await;
        journal.refused(&id, 501, "not_implemented");
    }
    for count in [301, 1_000, 60_000] {
        for target in [
            "/apps/raw/a".to_owned(),
            format!("http://{}/a", "h".repeat(count)),
        ] {
            let id = format!("host-{count}-{}", target.len());
            if target.len() > 16 << 10 {
                continue;
            }
            let host = "h".repeat(count);
            let bytes =
                format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{REQUEST_ID}: {id}\r\n\r\n");
            assert_refused(send(&cluster, bytes).await, 400, "bad_request", &id).await;
            journal.refused(&id, 400, "bad_request");
        }
    }
    let id = "host-900000";
    let bytes = format!(
        "GET /apps/raw/a HTTP/1.1\r\n{REQUEST_ID}: {id}\r\nHost: {}\r\n\r\n",
        "h".repeat(900_000)
    );
    assert_refused(send(&cluster, bytes).await, 431, "headers_too_large", id).await;
    journal.refused(id, 431, "headers_too_large");
    assert_eq!(app.count(), 1);
    journal.check(&cluster).await;
    for log in [cluster.coordinator_log(), cluster.worker_log(0)] {
        for line in log.text().lines() {
            assert!(line.len() < 8_000, "a line of {} bytes", line.len());
        }
    }
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_answered_with_413_in_either_framing() {
    let limits = json!({"limits": {"request_body": "1KiB"}});
    let (app, cluster) = start(|builder| builder.coordinator(&limits)).await;
    let mut journal = Journal::default();
    let body = "b".repeat(1024);
    let chunked = |body: &str| format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    for (id, lines, body) in [
        ("fits", "Content-Length: 1024\r\n", body.clone()),
        (
            "fits-chunked",
            "Transfer-Encoding: chunked\r\n",
            chunked(&body),
        ),
    ] {
        let (answer, _) = send(&cluster, request("POST", "/apps/raw/a", id, lines, &body)).await;
        assert_eq!(answer.status, 200, "{id}");
        assert_eq!(app.only(id).body.len(), 1024);
        journal.passed(id, 200);
    }
    let more = format!("{body}b");
    for (id, lines, body) in [
        ("exceeds", "Content-Length: 1025\r\n", more.clone()),
        (
            "exceeds-far",
            "Content-Length: 18446744073709551615\r\n",
            more.clone(),
        ),
        (
            "exceeds-chunked",
            "Transfer-Encoding: chunked\r\n",
            chunked(&more),
        ),
        (
            "exceeds-waiting",
            "Content-Length: 1025\r\nExpect: 100-continue\r\n",
            String::new(),
        ),
    ] {
        let answered = send(&cluster, request("POST", "/apps/raw/a", id, lines, &body)).await;
        let (answer, client): (Response, Client) = answered;
        assert!(answer.interim.is_empty(), "{id}: {answer:?}");
        assert_refused((answer, client), 413, "body_too_large", id).await;
        assert!(app.with_id(id).iter().all(|request| !request.whole), "{id}");
        journal.refused_late(id, 413, "body_too_large");
    }
    journal.check(&cluster).await;
}

#[tokio::test]
async fn a_response_head_beyond_the_limits_is_a_502_with_its_cause_in_the_log() {
    let (app, mut cluster) = start_default().await;
    let mut journal = Journal::default();
    let lines = |count: usize| -> String { (0..count).map(|n| format!("X-{n}: v\r\n")).collect() };
    let long = |bytes: usize| -> String { format!("X: {}\r\n", "v".repeat(bytes)) };
    for (id, more) in [("r-253", lines(253)), ("r-bytes", long(127 << 10))] {
        app.reply("/large", large(&more));
        let (answer, _) = send(&cluster, request("GET", "/apps/user/large", id, "", "")).await;
        assert_eq!(answer.status, 200, "{id}: {}", answer.text());
        assert_eq!(answer.text(), "ok");
        journal.passed(id, 200);
    }
    for (id, more, cause) in [
        ("r-300", lines(300), "too many header lines"),
        ("r-257", lines(257), "too many header lines"),
        ("r-129k", long(129 << 10), "too long"),
        ("r-2m", long(2 << 20), "too long"),
    ] {
        app.reply("/large", large(&more));
        let (answer, _) = send(&cluster, request("GET", "/apps/user/large", id, "", "")).await;
        assert_problem(&answer, 502, "bad_upstream_response", id);
        journal.failed(id, 502, "bad_upstream_response");
        only_line(&cluster.worker_log(0), id).await;
        let worker = cluster.worker_daemon(0);
        let what = format!("{cause} of {id}");
        let matches = |line: &str| line.contains(id) && line.contains(cause);
        worker.wait_for_stderr(&what, matches).await;
    }
    journal.check(&cluster).await;
}

fn large(more: &str) -> Reply {
    Reply::new(format!(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{more}\r\nok"
    ))
}
