//! Framing of request bodies: lengths, transfer codings, chunks, trailers.

use app_proxy_tests::REQUEST_ID;

use super::support::{Journal, assert_refused, request, send, start_default};

/// A request that a fooled application would serve.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: h.example\r\nX-Backend-Request-ID: \
    smuggled\r\n\r\n";

#[tokio::test]
async fn a_length_is_one_number_or_the_request_is_refused() {
    let (app, cluster) = start_default().await;
    let mut journal = Journal::default();
    for (n, length) in ["5", "05", "0000000000000000000000005", " 5", "5 ", "\t5\t"]
        .into_iter()
        .enumerate()
    {
        let id = format!("length-{n}");
        let lines = format!("Content-Length:{length}\r\n");
        let (answer, _) = send(
            &cluster,
            request("POST", "/apps/raw/a", &id, &lines, "hello"),
        )
        .await;
        assert_eq!(answer.status, 200, "{length:?}");
        let seen = app.only(&id);
        assert_eq!(seen.values("Content-Length"), [b"5"], "{length:?}");
        assert_eq!((&seen.body[..], seen.whole), (&b"hello"[..], true));
        journal.passed(&id, 200);
    }
    let passed = app.count();
    for (n, lines) in [
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 05\r\n",
        "Content-Length: 5\r\nX: 1\r\ncontent-length: 6\r\n",
        "Content-Length: 0\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length:\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: 5,5\r\n",
        "Content-Length: 5,\r\n",
        "Content-Length: ,5\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length: 5;5\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: 5x\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 5.0\r\n",
        "Content-Length: 5e0\r\n",
        "Content-Length: \"5\"\r\n",
        "Content-Length: five\r\n",
        "Content-Length:\r\n",
        "Content-Length: \u{665}\r\n",
        "Content-Length: 18446744073709551616\r\n",
        "Content-Length: 18446744073709551621\r\n",
        "Content-Length: 99999999999999999999999999\r\n",
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("bad-length-{n}");
        let body = format!("hello{SMUGGLED}");
        for method in ["POST", "GET"] {
            let id = format!("{id}-{method}");
            println!("{id}: {lines:?}");
            let bytes = request(method, "/apps/raw/a", &id, lines, &body);
            assert_refused(send(&cluster, bytes).await, 400, "bad_request", &id).await;
            journal.refused(&id, 400, "bad_request");
        }
    }
    assert_eq!(app.count(), passed, "{:?}", app.requests());
    app.assert_strict();
    journal.check(&cluster).await;
}

#[tokio::test]
async fn a_transfer_coding_other_than_chunked_once_is_refused() {
    let (app, cluster) = start_default().await;
    let mut journal = Journal::default();
    for (n, coding) in ["chunked", "Chunked", "CHUNKED", " chunked \t"]
        .into_iter()
        .enumerate()
    {
        let id = format!("coding-{n}");
        let lines = format!("Transfer-Encoding: {coding}\r\n");
        let bytes = request(
            "POST",
            "/apps/raw/a",
            &id,
            &lines,
            "5\r\nhello\r\n0\r\n\r\n",
        );
        let (answer, _) = send(&cluster, bytes).await;
        assert_eq!(answer.status, 200, "{coding:?}");
        assert_eq!(app.only(&id).body, b"hello");
        assert_eq!(app.only(&id).values("Transfer-Encoding"), [b"chunked"]);
        journal.passed(&id, 200);
    }
    let passed = app.count();
    for (n, (status, lines)) in [
        (501, "Transfer-Encoding: gzip, chunked\r\n"),
        (501, "Transfer-Encoding: gzip,chunked\r\n"),
        (501, "Transfer-Encoding: cow, chunked\r\n"),
        (
            501,
            "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
        ),
        (501, "Transfer-Encoding: identity, chunked\r\n"),
        (501, "Transfer-Encoding: gzip\r\n"),
        (501, "Transfer-Encoding: identity\r\n"),
        (501, "Transfer-Encoding: xchunked\r\n"),
        (501, "Transfer-Encoding: deflate;q=0.5, chunked\r\n"),
        (400, "Transfer-Encoding: chunked, gzip\r\n"),
        (400, "Transfer-Encoding: chunked, identity\r\n"),
        (400, "Transfer-Encoding: chunked, chunked\r\n"),
        (
            400,
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        ),
        (400, "Transfer-Encoding: ,chunked\r\n"),
        (400, "Transfer-Encoding: chunked,\r\n"),
        (400, "Transfer-Encoding: chunked;a=b\r\n"),
        (400, "Transfer-Encoding: \"chunked\"\r\n"),
        (400, "Transfer-Encoding: chun ked\r\n"),
        (400, "Transfer-Encoding: chunked\x0b\r\n"),
        (400, "Transfer-Encoding:\r\n"),
        (400, "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
        (400, "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
        (400, "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n"),
        (400, "Transfer-Encoding: gzip\r\nContent-Length: 5\r\n"),
        (400, "Transfer-Encoding : chunked\r\n"),
        (400, "Transfer-Encoding\t: chunked\r\n"),
        (400, " Transfer-Encoding: chunked\r\n"),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("bad-coding-{n}");
        println!("{id}: {lines:?}");
        let body = format!("5\r\nhello\r\n0\r\n\r\n{SMUGGLED}");
        let bytes = request("POST", "/apps/raw/a", &id, lines, &body);
        let code = if status == 501 {
            "not_implemented"
        } else {
            "bad_request"
        };
        assert_refused(send(&cluster, bytes).await, status, code, &id).await;
        journal.refused(&id, status, code);
    }
    let id = "coding-http10";
    let bytes = format!(
        "POST /apps/raw/a HTTP/1.0\r\nHost: h.example\r\n{REQUEST_ID}: {id}\r\n\
         Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    );
    assert_refused(send(&cluster, bytes).await, 400, "bad_request", id).await;
    journal.refused(id, 400, "bad_request");
    assert_eq!(app.count(), passed, "{:?}", app.requests());
    app.assert_strict();
    journal.check(&cluster).await;
}

/// Chunked bodies that are invalid from a byte on that follows `5\r\nhello\r\n`.
const BAD_CHUNKS: [&str; 34] = [
    // Sizes without a digit.
    "\r\n5\r\nhello\r\n0\r\n\r\n",
    "\r\n\r\n",
    ";a\r\n\r\n",
    ";\r\n\r\n",
    ";a=b\r\n\r\n",
    " \r\n\r\n",
    "\t\r\n\r\n",
    // Sizes that are no number of one to sixteen digits.
    "+5\r\nhello\r\n0\r\n\r\n",
    "-5\r\nhello\r\n0\r\n\r\n",
    "-0\r\n\r\n",
    "0x5\r\nhello\r\n0\r\n\r\n",
    "x5\r\nhello\r\n0\r\n\r\n",
    "5h\r\nhello\r\n0\r\n\r\n",
    "g\r\nhello\r\n0\r\n\r\n",
    "5 5\r\nhello\r\n0\r\n\r\n",
    " 5\r\nhello\r\n0\r\n\r\n",
    "5,\r\nhello\r\n0\r\n\r\n",
    "\"5\"\r\nhello\r\n0\r\n\r\n",
    "00000000000000005\r\nhello\r\n0\r\n\r\n",
    "10000000000000005\r\nhello\r\n0\r\n\r\n",
    "ffffffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    // Lines that do not end with CRLF.
    "5\nhello\r\n0\r\n\r\n",
    "5\rhello\r\n0\r\n\r\n",
    "5\r\rhello\r\n0\r\n\r\n",
    "5;a\nb\r\nhello\r\n0\r\n\r\n",
    "5;a\rb\r\nhello\r\n0\r\n\r\n",
    "5;a\0b\r\nhello\r\n0\r\n\r\n",
    "0\n\n",
    "0\r\n\n",
    "0\r\nA: b\n\r\n",
    // Chunks that are shorter or longer than their size.
    "4\r\nhello\r\n0\r\n\r\n",
    "6\r\nhello\r\n0\r\n\r\n",
    "5\r\nhello0\r\n\r\n",
    "5\r\nhello\n0\r\n\r\n",
];

#[tokio::test]
async fn an_invalid_chunk_ends_the_request_and_its_connection() {
    let (app, cluster) = start_default().await;
    let mut journal = Journal::default();
    for (n, bad) in BAD_CHUNKS.into_iter().enumerate() {
        let id = format!("chunk-{n}");
        println!("{id}: {bad:?}");
        let body = format!("5\r\nhello\r\n{bad}{SMUGGLED}");
        let lines = "Transfer-Encoding: chunked\r\n";
        let bytes = request("POST", "/apps/raw/a", &id, lines, &body);
        assert_refused(send(&cluster, bytes).await, 400, "bad_request", &id).await;
        journal.refused_late(&id, 400, "bad_request");

        // The same once the application has the head.
        let id = format!("late-chunk-{n}");
        let mut client = cluster.client().await;
        let start = request("POST", "/apps/raw/a", &id, lines, "5\r\nhello\r\n");
        client.send(start).await;
        app.wait_for(&id).await;
        client.send(format!("{bad}{SMUGGLED}")).await;
        let answer = client.read_response("POST").await;
        assert_refused((answer, client), 400, "bad_request", &id).await;
        assert!(!app.only(&id).whole, "{bad:?}: {:?}", app.only(&id));
        journal.cut_off_by_client(&id, 400, "bad_request");
    }
    for request in app.requests() {
        assert!(!request.whole, "{request:?}");
        assert!(b"hello".starts_with(&request.body[..]), "{request:?}");
    }
    app.assert_strict();
    journal.check(&cluster).await;
    assert!(app.with_id("smuggled").is_empty());
}

#[tokio::test]
async fn valid_chunks_pass_whatever_their_sizes_and_extensions_are() {
    let (app, cluster) = start_default().await;
    let mut journal = Journal::default();
    let hex = "abcdefghijklmnopqrstuvwxyz";
    for (n, (body, expected)) in [
        ("0\r\n\r\n", ""),
        ("000\r\n\r\n", ""),
        ("0000000000000000\r\n\r\n", ""),
        ("5\r\nhello\r\n0\r\n\r\n", "hello"),
        ("05\r\nhello\r\n0\r\n\r\n", "hello"),
        ("0000000000000005\r\nhello\r\n0\r\n\r\n", "hello"),
        ("1a\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\n\r\n", hex),
        ("1A\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\n\r\n", hex),
        ("5;a\r\nhello\r\n0\r\n\r\n", "hello"),
        ("5;a=b;c=\"d;e\"\r\nhello\r\n0;f\r\n\r\n", "hello"),
        ("5 ; a = b\r\nhello\r\n0\r\n\r\n", "hello"),
        ("2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", "hello"),
        ("7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n", "\r\n0\r\n\r\n"),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("good-chunk-{n}");
        let lines = "Transfer-Encoding: chunked\r\n";
        let bytes = request("POST", "/apps/raw/a", &id, lines, body);
        // A second request shows that the first one ended where it should.
        let next = request("GET", "/apps/raw/b", &format!("{id}-next"), "", "");
        let mut client = cluster.client().await;
        client.send([bytes, next].concat()).await;
        for id in [id.clone(), format!("{id}-next")] {
            let answer = client.read_response("POST").await;
            assert_eq!(answer.status, 200, "{body:?}");
            assert_eq!(answer.request_id(), id);
            journal.passed(&id, 200);
        }
        let seen = app.only(&id);
        assert_eq!(seen.body, expected.as_bytes(), "{body:?}");
        assert!(seen.whole);
    }
    app.assert_strict();
    journal.check(&cluster).await;
}

#[tokio::test]
async fn long_extensions_and_trailers_are_refused_with_an_answer() {
    let (app, cluster) = start_default().await;
    let mut journal = Journal::default();
    let long = "e".repeat(1_000_000);
    let many_lines: String = (0..200).map(|n| format!("T-{n}: v\r\n")).collect();
    for (n, body) in [
        format!("5;{long}\r\nhello\r\n0\r\n\r\n"),
        format!("5;a=\"{long}\"\r\nhello\r\n0\r\n\r\n"),
        format!("5\r\nhello\r\n0;{long}\r\n\r\n"),
        format!("5\r\nhello\r\n0\r\nA: {long}\r\n\r\n"),
        format!("5\r\nhello\r\n0\r\n{long}: b\r\n\r\n"),
        format!("5\r\nhello\r\n0\r\n{many_lines}\r\n"),
        format!("{}5\r\nhello\r\n0\r\n\r\n", "0".repeat(1_000_000)),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("long-{n}");
        let lines = "Transfer-Encoding: chunked\r\n";
        let bytes = request("POST", "/apps/raw/a", &id, lines, &body);
        let answered = send(&cluster, bytes).await;
        println!("{id}: {}", answered.0.status);
        assert_refused(answered, 400, "bad_request", &id).await;
        assert!(app.with_id(&id).iter().all(|seen| !seen.whole), "{id}");
        journal.refused_late(&id, 400, "bad_request");
    }
    app.assert_strict();
    journal.check(&cluster).await;
}

#[tokio::test]
async fn trailers_that_would_change_the_head_do_not_reach_the_application() {
    let (app, cluster) = start_default().await;
    let id = "trailers";
    let body = "5\r\nhello\r\n0\r\nX-Checksum: abc\r\nContent-Length: 9\r\nTransfer-Encoding: \
        chunked\r\nHost: evil.example\r\nX-Backend-Request-ID: evil\r\nX-Backend-User: evil\r\n\
        X-App-Proxy-Token: evil\r\nX_Backend_User: evil\r\nX-Forwarded-For: 192.0.2.9\r\n\
        Authorization: Basic evil\r\nCookie: a=evil\r\nConnection: close\r\nTE: x\r\n\r\n";
    let lines = "Transfer-Encoding: chunked\r\nTrailer: X-Checksum\r\n";
    let (answer, _) = send(&cluster, request("POST", "/apps/raw/a", id, lines, body)).await;
    assert_eq!(answer.status, 200);
    let seen = app.only(id);
    assert_eq!(seen.body, b"hello");
    for trailer in &seen.trailers {
        let text = String::from_utf8_lossy(trailer).to_ascii_lowercase();
        assert!(text.starts_with("x-checksum:"), "{text}");
    }
    app.assert_strict();
}

#[tokio::test]
async fn a_body_that_ends_early_never_looks_whole() {
    let (app, cluster) = start_default().await;
    for (n, (lines, body)) in [
        ("Content-Length: 10\r\n", "hello"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhel"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n"),
        (
            "Transfer-Encoding: chunked\r\n",
            "5\r\nhello\r\n0\r\nA: b\r\n",
        ),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0"),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("early-end-{n}");
        let mut client = cluster.client().await;
        client
            .send(request("POST", "/apps/raw/a", &id, lines, body))
            .await;
        let seen = app.wait_for(&id).await;
        client.wire.finish().await;
        app.wait_closed(seen.connection).await;
        let seen = app.only(&id);
        assert!(!seen.whole, "{lines:?} {body:?}: {seen:?}");
        for log in [cluster.coordinator_log(), cluster.worker_log(0)] {
            let line = super::support::only_line(&log, &id).await;
            assert_eq!(line["error"], "client_gone", "{line}");
        }
    }
    app.assert_strict();
}
