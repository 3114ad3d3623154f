//! Responses of applications: framing, responses without a body, bytes of headers.

use app_proxy_tests::cluster::Cluster;
use app_proxy_tests::http1::Client;
use app_proxy_tests::raw_app::{RawApp, Reply};

use super::support::{Journal, assert_problem, raw_head, request, send, start_default};

/// A 200 with these header lines and this body.
fn ok(lines: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{lines}\r\n{body}")
}

/// Has the application send these bytes to a request, and returns the client's connection.
pub(super) async fn ask(
    app: &RawApp,
    cluster: &Cluster,
    method: &str,
    id: &str,
    reply: Reply,
) -> Client {
    app.reply("/x", reply);
    let mut client = cluster.client().await;
    client
        .send(request(method, "/apps/raw/x", id, "", ""))
        .await;
    client
}

#[tokio::test]
async fn equal_lengths_of_a_response_are_one() {
    let (app, cluster) = start_default().await;
    let mut journal = Journal::default();
    for (n, lines) in [
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nX: 1\r\ncontent-length: 05\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: 5,5\r\n",
        "Content-Length: 05\r\n",
        "Content-Length: 0000000000000000000000000005\r\n",
        "Content-Length: \t5 \r\n",
        "Content-Length: 5\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: Identity\r\nContent-Length: 5\r\n",
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("equal-{n}");
        let mut client = ask(&app, &cluster, "GET", &id, Reply::new(ok(lines, "hello"))).await;
        let answer = client.read_response("GET").await;
        assert_eq!(
            (answer.status, &answer.text()[..]),
            (200, "hello"),
            "{lines:?}"
        );
        assert_eq!(answer.headers.all("Content-Length"), ["5"], "{lines:?}");
        assert!(!answer.headers.has("Transfer-Encoding"), "{lines:?}");
        // The connection of the client goes on.
        let next = format!("{id}-next");
        client
            .send(request("GET", "/apps/raw/y", &next, "", ""))
            .await;
        assert_eq!(client.read_response("GET").await.text(), "ok", "{lines:?}");
        journal.passed(&id, 200);
        journal.passed(&next, 200);
    }
    journal.check(&cluster).await;
}

#[tokio::test]
async fn an_ambiguous_framing_of_a_response_is_a_bad_response() {
    let (app, mut cluster) = start_default().await;
    let mut journal = Journal::default();
    for (n, lines) in [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5, 6\r\n",
        "Content-Length: 5,\r\n",
        "Content-Length: ,5\r\n",
        "Content-Length: 5;5\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: 5x\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 5.0\r\n",
        "Content-Length:\r\n",
        "Content-Length: five\r\n",
        "Content-Length: 18446744073709551616\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: identity, chunked\r\n",
        "Transfer-Encoding: ,chunked\r\n",
        "Transfer-Encoding: chunked;a\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Content-Length : 5\r\n",
        " Content-Length: 5\r\n",
        "X: 1\r\n Content-Length: 5\r\n",
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("ambiguous-{n}");
        println!("{id}: {lines:?}");
        let reply = Reply::new(ok(lines, "5\r\nhello\r\n0\r\n\r\n"));
        let mut client = ask(&app, &cluster, "GET", &id, reply).await;
        let answer = client.read_response("GET").await;
        assert_problem(&answer, 502, "bad_upstream_response", &id);
        // The connection to the application is not used again.
        app.wait_closed(app.only(&id).connection).await;
        journal.failed(&id, 502, "bad_upstream_response");
        assert_cause(&mut cluster, &id).await;
    }
    journal.check(&cluster).await;
}

/// Asserts that the diagnostics of the worker name the request and a cause.
pub(super) async fn assert_cause(cluster: &mut Cluster, id: &str) {
    let worker = cluster.worker_daemon(0);
    let matches = |line: &str| line.contains(id) && line.contains("context: ");
    worker
        .wait_for_stderr(&format!("the cause of {id}"), matches)
        .await;
}

/// Chunked bodies of responses that are invalid from a byte on that follows `5\r\nhello\r\n`.
const BAD_CHUNKS: [&str; 16] = [
    "\r\n5\r\nhello\r\n0\r\n\r\n",
    "\r\n\r\n",
    ";a\r\n\r\n",
    ";\r\n\r\n",
    " \r\n\r\n",
    "-5\r\nhello\r\n0\r\n\r\n",
    "+5\r\nhello\r\n0\r\n\r\n",
    "0x5\r\nhello\r\n0\r\n\r\n",
    "5h\r\nhello\r\n0\r\n\r\n",
    "10000000000000005\r\nhello\r\n0\r\n\r\n",
    "5\nhello\r\n0\r\n\r\n",
    "5\r\nhello\n0\r\n\r\n",
    "4\r\nhello\r\n0\r\n\r\n",
    "6\r\nhello\r\n0\r\n\r\n",
    "0\n\n",
    "0\r\nA b: c\r\n\r\n",
];

#[tokio::test]
async fn an_invalid_chunk_of_a_response_cuts_it_off() {
    let (app, cluster) = start_default().await;
    let mut journal = Journal::default();
    let long_extension = format!("5;{}\r\nhello\r\n0\r\n\r\n", "e".repeat(100_000));
    let long_trailer = format!("0\r\nA: {}\r\n\r\n", "e".repeat(100_000));
    let all = BAD_CHUNKS
        .into_iter()
        .chain([&long_extension[..], &long_trailer]);
    for (n, bad) in all.enumerate() {
        let id = format!("chunk-{n}");
        println!("{id}: {:?}", &bad[..bad.len().min(40)]);
        let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL";
        let gate = format!("gate-{n}");
        let reply = Reply::new(ok("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n"))
            .wait(&gate)
            .send(format!("{bad}{evil}"));
        let mut client = ask(&app, &cluster, "GET", &id, reply).await;
        let head = raw_head(&mut client).await;
        assert!(
            head.starts_with(b"HTTP/1.1 200 "),
            "{}",
            head.escape_ascii()
        );
        app.release(&gate, 1);
        let rest = client.wire.read_to_end().await;
        let text = String::from_utf8_lossy(&rest).into_owned();
        assert!(text.starts_with("5\r\nhello\r\n"), "{bad:?}: {text:?}");
        assert!(
            !text.contains("\r\n0\r\n"),
            "{bad:?}: looks complete: {text:?}"
        );
        assert!(!text.contains("EVIL"), "{bad:?}: {text:?}");
        app.wait_closed(app.only(&id).connection).await;
        journal.cut_off(&id, 200, "bad_upstream_response");
    }
    journal.check(&cluster).await;
}

#[tokio::test]
async fn a_truncated_response_does_not_look_complete() {
    let (app, cluster) = start_default().await;
    let mut journal = Journal::default();
    for (n, (lines, body)) in [
        ("Content-Length: 10\r\n", "hello"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n"),
        ("Transfer-Encoding: chunked\r\n", "9\r\nhello"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n"),
        (
            "Transfer-Encoding: chunked\r\n",
            "5\r\nhello\r\n0\r\nA: b\r\n",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        for (end, reply) in [
            ("fin", Reply::new(ok(lines, body)).wait("end").close()),
            ("rst", Reply::new(ok(lines, body)).wait("end").reset()),
        ] {
            let id = format!("truncated-{n}-{end}");
            let mut client = ask(&app, &cluster, "GET", &id, reply).await;
            raw_head(&mut client).await;
            app.release("end", 1);
            let rest = client.wire.read_to_end().await;
            let text = String::from_utf8_lossy(&rest).into_owned();
            assert!(
                !text.contains("\r\n0\r\n"),
                "{id}: looks complete: {text:?}"
            );
            assert!(text.len() < 10 + 5, "{id}: {text:?}");
            journal.cut_off(&id, 200, "bad_upstream_response");
        }
    }
    journal.check(&cluster).await;
}

#[tokio::test]
async fn responses_without_content_announce_none_and_are_followed_by_the_next_response() {
    let (app, cluster) = start_default().await;
    let mut journal = Journal::default();
    let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL";
    for (n, (method, status, lines, body, length)) in [
        ("GET", 204, "", "", None),
        ("GET", 204, "Content-Length: 4\r\n", "", None),
        ("GET", 204, "Content-Length: 0\r\n", "", None),
        ("GET", 204, "Content-Length: 4\r\n", "body", None),
        ("GET", 204, "Content-Length: 5, 5\r\n", "", None),
        ("GET", 204, "Transfer-Encoding: chunked\r\n", "", None),
        (
            "GET",
            204,
            "Transfer-Encoding: chunked\r\n",
            "0\r\n\r\n",
            None,
        ),
        ("GET", 204, "Content-Length: 43\r\n", evil, None),
        ("GET", 304, "", "", None),
        ("GET", 304, "Content-Length: 4\r\n", "", Some("4")),
        ("GET", 304, "Content-Length: 04\r\n", "", Some("4")),
        ("GET", 304, "Transfer-Encoding: chunked\r\n", "", None),
        ("GET", 304, "Content-Length: 43\r\n", evil, Some("43")),
        ("HEAD", 200, "Content-Length: 4\r\n", "", Some("4")),
        ("HEAD", 200, "Content-Length: 4\r\n", "body", Some("4")),
        ("HEAD", 200, "Transfer-Encoding: chunked\r\n", "", None),
        ("HEAD", 200, "", "", None),
        ("HEAD", 204, "Content-Length: 4\r\n", "", None),
        ("HEAD", 404, "Content-Length: 43\r\n", evil, Some("43")),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("empty-{n}");
        println!("{id}: {method} {status} {lines:?} {body:?}");
        let bytes = format!("HTTP/1.1 {status} Status\r\n{lines}\r\n{body}");
        let mut client = ask(&app, &cluster, method, &id, Reply::new(bytes)).await;
        let head = raw_head(&mut client).await;
        let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
        assert!(text.starts_with(&format!("http/1.1 {status} ")), "{text}");
        let line = length.map(|length| format!("\r\ncontent-length: {length}\r\n"));
        match line {
            Some(line) => assert!(text.contains(&line), "{id}: {text}"),
            None => assert!(!text.contains("content-length"), "{id}: {text}"),
        }
        if status == 204 {
            assert!(!text.contains("transfer-encoding"), "{id}: {text}");
        }
        let next = format!("{id}-next");
        client
            .send(request("GET", "/apps/raw/y", &next, "", ""))
            .await;
        let answer = client.read_response("GET").await;
        assert_eq!((answer.status, &answer.text()[..]), (200, "ok"), "{id}");
        assert_eq!(answer.request_id(), next);
        journal.passed(&id, status);
        journal.passed(&next, 200);
    }
    app.assert_strict();
    journal.check(&cluster).await;
}

#[tokio::test]
async fn a_body_without_length_ends_with_the_connection_of_the_application() {
    let (app, cluster) = start_default().await;
    let mut journal = Journal::default();
    for (n, (version, lines)) in [
        ("1.1", ""),
        ("1.0", ""),
        ("1.1", "Transfer-Encoding: identity\r\n"),
        ("1.0", "Connection: keep-alive\r\n"),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("until-close-{n}");
        let bytes = format!("HTTP/{version} 200 OK\r\n{lines}\r\nhello");
        let mut client = ask(&app, &cluster, "GET", &id, Reply::new(bytes).close()).await;
        let answer = client.read_response("GET").await;
        assert_eq!((answer.status, &answer.text()[..]), (200, "hello"), "{id}");
        assert!(!answer.truncated);
        let next = format!("{id}-next");
        client
            .send(request("GET", "/apps/raw/y", &next, "", ""))
            .await;
        assert_eq!(client.read_response("GET").await.text(), "ok", "{id}");
        journal.passed(&id, 200);
        journal.passed(&next, 200);
    }
    let (answer, mut client) = send(
        &cluster,
        "GET /apps/raw/y HTTP/1.0\r\nHost: h.example\r\n\r\n",
    )
    .await;
    assert_eq!((answer.status, &answer.text()[..]), (200, "ok"));
    assert_eq!(client.closed().await, 0);
    journal.check(&cluster).await;
}
