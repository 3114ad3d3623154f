//! Connections: half-closed clients, pipelined requests, connections that applications
//! authenticate, and connections that must not be used again.

use std::time::Duration;

use app_proxy_tests::raw_app::Reply;
use serde_json::json;

use super::support::{Journal, only_line, raw_head, request, start, start_default};

#[tokio::test]
async fn a_client_that_closes_its_sending_side_gets_its_answers() {
    let (app, cluster) = start_default().await;
    let mut journal = Journal::default();
    app.reply(
        "/slow",
        Reply::new("")
            .wait("slow")
            .send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    );
    app.reply(
        "/close",
        Reply::new("HTTP/1.1 200 OK\r\n\r\nok").wait("slow").close(),
    );
    let chunked = "Transfer-Encoding: chunked\r\n";
    for (n, (method, target, lines, body, count)) in [
        ("GET", "/apps/raw/a", "", "", 1),
        ("GET", "/apps/raw/a", "Connection: close\r\n", "", 1),
        ("POST", "/apps/raw/a", "Content-Length: 5\r\n", "hello", 1),
        ("POST", "/apps/raw/a", chunked, "5\r\nhello\r\n0\r\n\r\n", 1),
        ("GET", "/apps/raw/a", "", "", 5),
        ("GET", "/apps/raw/slow", "", "", 1),
        (
            "POST",
            "/apps/raw/slow",
            "Content-Length: 5\r\n",
            "hello",
            2,
        ),
        ("GET", "/apps/raw/close", "", "", 1),
    ]
    .into_iter()
    .enumerate()
    {
        let ids: Vec<String> = (0..count).map(|m| format!("half-{n}-{m}")).collect();
        let bytes: Vec<_> = ids
            .iter()
            .map(|id| request(method, target, id, lines, body))
            .collect();
        let mut client = cluster.client().await;
        client.send(bytes.concat()).await;
        client.wire.finish().await;
        for id in &ids {
            if target != "/apps/raw/a" {
                app.wait_for(id).await;
                app.release("slow", 1);
            }
            let answer = client.read_response(method).await;
            assert_eq!((answer.status, &answer.text()[..]), (200, "ok"), "{id}");
            assert_eq!(&answer.request_id(), id);
            assert!(app.only(id).whole, "{id}");
            journal.passed(id, 200);
        }
        assert_eq!(client.closed().await, 0, "{target}");
    }
    journal.check(&cluster).await;
}

#[tokio::test]
async fn an_answer_that_takes_too_long_for_a_half_closed_client_is_given_up() {
    let short = json!({"timeouts": {"half_closed": "200ms"}});
    let (app, cluster) = start(|builder| builder.coordinator(&short)).await;
    app.reply("/slow", Reply::new("").wait("never"));
    let mut client = cluster.client().await;
    client
        .send(request("GET", "/apps/raw/slow", "given-up", "", ""))
        .await;
    client.wire.finish().await;
    let seen = app.wait_for("given-up").await;
    client.closed().await;
    app.wait_closed(seen.connection).await;
    let line = only_line(&cluster.coordinator_log(), "given-up").await;
    assert_eq!(line["error"], "client_gone", "{line}");
    only_line(&cluster.worker_log(0), "given-up").await;
}

#[tokio::test]
async fn a_client_that_resets_its_connection_ends_its_request() {
    let (app, cluster) = start_default().await;
    app.reply("/slow", Reply::new("").wait("never"));
    let mut client = cluster.client().await;
    client
        .send(request("GET", "/apps/raw/slow", "reset", "", ""))
        .await;
    let seen = app.wait_for("reset").await;
    client.wire.reset();
    app.wait_closed(seen.connection).await;
    for log in [cluster.coordinator_log(), cluster.worker_log(0)] {
        let line = only_line(&log, "reset").await;
        assert_eq!(line["error"], "client_gone", "{line}");
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_and_not_beyond_a_close() {
    let (app, cluster) = start_default().await;
    let mut journal = Journal::default();
    for path in ["/1", "/2", "/3", "/4"] {
        app.reply(path, Reply::ok(path));
    }
    let body = "Content-Length: 5\r\n";
    let bytes = [
        request("GET", "/apps/raw/1", "p1", "", ""),
        request("POST", "/apps/raw/2", "p2", body, "hello"),
        request("GET", "/apps/unknown/", "p-unknown", "", ""),
        request(
            "POST",
            "/apps/raw/3",
            "p3",
            "Transfer-Encoding: chunked\r\n",
            "0\r\n\r\n",
        ),
        request("GET", "/apps/raw/4", "p4", "Connection: close\r\n", ""),
        request("GET", "/apps/raw/5", "p5", "", ""),
    ];
    let mut client = cluster.client().await;
    client.send(bytes.concat()).await;
    for (id, status, text) in [
        ("p1", 200, "/1"),
        ("p2", 200, "/2"),
        ("p-unknown", 404, ""),
        ("p3", 200, "/3"),
        ("p4", 200, "/4"),
    ] {
        let answer = client.read_response("GET").await;
        assert_eq!((answer.status, &answer.request_id()[..]), (status, id));
        if status == 200 {
            assert_eq!(answer.text(), text);
            journal.passed(id, 200);
        } else {
            journal.refused(id, status, "app_not_found");
        }
    }
    assert_eq!(client.closed().await, 0);
    assert!(app.with_id("p5").is_empty());
    journal.check(&cluster).await;
}

#[tokio::test]
async fn a_connection_with_bytes_that_nothing_asked_for_is_not_used_again() {
    let (app, cluster) = start(|builder| builder.threads(1)).await;
    let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL";
    let honest = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    let replies = [
        Reply::new(format!("{honest}{evil}")),
        Reply::new(honest).wait("later").send(evil),
        Reply::new(format!("{chunked}{evil}")),
        Reply::new(format!("{honest}\r\n")),
        Reply::new(format!("{honest}HTTP/1.1 103 Early\r\n\r\n")),
        Reply::new(format!("{honest}\0")),
    ];
    for (n, reply) in replies.into_iter().enumerate() {
        app.reply("/evil", reply);
        let mut client = cluster.client().await;
        let id = format!("evil-{n}");
        client
            .send(request("GET", "/apps/raw/evil", &id, "", ""))
            .await;
        assert_eq!(client.read_response("GET").await.text(), "ok");
        // The connection is kept, until the bytes come.
        app.release("later", 1);
        let connection = app.only(&id).connection;
        for m in 0..3 {
            let id = format!("after-{n}-{m}");
            client
                .send(request("GET", "/apps/raw/honest", &id, "", ""))
                .await;
            let answer = client.read_response("GET").await;
            assert_eq!((answer.status, &answer.text()[..]), (200, "ok"), "{n}");
            assert_eq!(answer.request_id(), id);
            if n != 1 {
                assert_ne!(app.only(&id).connection, connection, "{n}");
            }
        }
    }
    app.assert_strict();
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_request_ends_its_connection_to_the_application() {
    let (app, cluster) = start(|builder| builder.threads(1)).await;
    let refusal = "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno";
    app.reply("/early", Reply::early(refusal));
    let mut journal = Journal::default();
    for (n, (lines, sent, rest)) in [
        ("Content-Length: 10\r\n", "12345", "67890"),
        ("Content-Length: 200000\r\n", "12345", ""),
        (
            "Transfer-Encoding: chunked\r\n",
            "5\r\nhello\r\n",
            "0\r\n\r\n",
        ),
        ("Content-Length: 10\r\nExpect: 100-continue\r\n", "", ""),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("early-{n}");
        let mut client = cluster.client().await;
        client
            .send(request("POST", "/apps/raw/early", &id, lines, sent))
            .await;
        let answer = client.read_response("POST").await;
        assert_eq!((answer.status, &answer.text()[..]), (403, "no"), "{lines}");
        assert!(answer.interim.is_empty());
        if !answer.headers.lists("Connection", "close") {
            client.send(rest).await;
            let next = format!("next-{n}");
            client
                .send(request("GET", "/apps/raw/b", &next, "", ""))
                .await;
            assert_eq!(client.read_response("GET").await.text(), "ok", "{lines}");
            journal.passed(&next, 200);
        }
        let early = app.only(&id);
        app.wait_closed(early.connection).await;
        let other = format!("other-{n}");
        let mut client = cluster.client().await;
        client
            .send(request("GET", "/apps/raw/b", &other, "", ""))
            .await;
        assert_eq!(client.read_response("GET").await.text(), "ok", "{lines}");
        assert_ne!(app.only(&other).connection, early.connection, "{lines}");
        journal.passed(&other, 200);
        journal.passed(&id, 403);
    }
    app.assert_strict();
    journal.check(&cluster).await;
}

#[tokio::test]
async fn a_client_that_sends_a_large_body_to_an_early_answer_can_read_it() {
    let (app, cluster) = start_default().await;
    let refusal = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno";
    app.reply("/early", Reply::early(refusal).wait("never"));
    let lines = "Content-Length: 30000000\r\n";
    let body = "b".repeat(30_000_000);
    let mut client = cluster.client().await;
    let bytes = request("POST", "/apps/raw/early", "large", lines, &body);
    // The rest of the body is dropped.
    let _ = client.wire.try_send(&bytes).await;
    let head = raw_head(&mut client).await;
    assert!(
        head.starts_with(b"HTTP/1.1 413 "),
        "{}",
        head.escape_ascii()
    );
    assert_eq!(client.closed().await, 2);
    for log in [cluster.coordinator_log(), cluster.worker_log(0)] {
        let line = only_line(&log, "large").await;
        assert_eq!(line["status"], 413, "{line}");
        assert!(line["error"].is_null(), "{line}");
    }
}

#[tokio::test]
async fn an_upload_without_a_pause_does_not_delay_an_early_answer() {
    let (app, cluster) = start_default().await;
    let refusal = "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno";
    app.reply("/early", Reply::early(refusal).read_body());
    let size = 1 << 30;
    let lines = format!("Content-Length: {size}\r\n");
    let mut client = cluster.client().await;
    client
        .send(request("POST", "/apps/raw/early", "steady", &lines, ""))
        .await;
    let piece = vec![b'b'; 64 << 10];
    let mut sent = 0;
    while sent < size && client.wire.buffered().is_empty() {
        if client.wire.try_send(&piece).await.is_err() {
            break;
        }
        sent += piece.len();
        let _ = tokio::time::timeout(Duration::ZERO, client.wire.fill()).await;
    }
    assert!(sent < size / 4, "the answer came after {sent} bytes");
    let answer = client.read_response("POST").await;
    assert_eq!((answer.status, &answer.text()[..]), (403, "no"));
}

#[tokio::test]
async fn an_http_1_0_client_keeps_its_connection_only_if_it_says_so() {
    let (_app, cluster) = start_default().await;
    let ask = "GET /apps/raw/a HTTP/1.0\r\nHost: h.example\r\n";
    let mut client = cluster.client().await;
    for _ in 0..2 {
        client
            .send(format!("{ask}Connection: Keep-Alive\r\n\r\n"))
            .await;
        let answer = client.read_response("GET").await;
        assert_eq!(answer.text(), "ok");
        assert!(
            answer.headers.lists("Connection", "keep-alive"),
            "{answer:?}"
        );
    }
    for lines in [
        "",
        "Connection: close\r\n",
        "Connection: close, keep-alive\r\n",
    ] {
        let mut client = cluster.client().await;
        client.send(format!("{ask}{lines}\r\n")).await;
        assert_eq!(client.read_response("GET").await.text(), "ok");
        assert_eq!(client.closed().await, 0, "{lines}");
    }
    // Without a Host, and without one that counts, it reaches no app of a host.
    let mut client = cluster.client().await;
    client.send("GET /apps/raw/a HTTP/1.0\r\n\r\n").await;
    assert_eq!(client.read_response("GET").await.text(), "ok");
}
