//! Connections of clients: requests one after the other, ends, time limits.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::AsyncWriteExt;

use crate::support::{Proxy, answer_all, read_to};

const HELLO: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-SpElt: 1\r\n\r\nhello";

#[tokio::test]
async fn the_phases_come_in_pingoras_order() {
    let proxy = Proxy::start(|stream, _| answer_all(stream, HELLO)).await;
    let mut client = proxy.client().await;
    client
        .send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await;
    client.read_all().await;
    let phases = proxy.gateway.phases.lock().unwrap().clone();
    assert_eq!(
        phases,
        [
            "early_request_filter",
            "request_filter",
            "upstream_peer",
            "connected_to_upstream",
            "upstream_request_filter",
            "request_body_filter",
            "upstream_response_filter",
            "response_filter",
            "response_body_filter",
            "logging",
        ]
    );
}

#[tokio::test]
async fn a_response_keeps_the_spelling_of_its_names() {
    let proxy = Proxy::start(|stream, _| answer_all(stream, HELLO)).await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let response = client.read_to("hello").await;
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
    for line in [
        "\r\nX-SpElt: 1\r\n",
        "\r\nContent-Length: 5\r\n",
        "\r\nX-Added: 1\r\n",
    ] {
        assert!(response.contains(line), "{line} in {response}");
    }
    assert!(response.contains("\r\nDate: "), "{response}");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let proxy = Proxy::start(|mut stream, _| async move {
        loop {
            let head = read_to(&mut stream, "\r\n\r\n").await;
            let path = head.split(' ').nth(1).unwrap().to_owned();
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}",
                path.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await;
    let mut client = proxy.client().await;
    client
        .send(
            "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n\
             POST /own HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\
             GET /3 HTTP/1.1\r\nHost: a\r\n\r\n",
        )
        .await;
    client.read_to("/1").await;
    client.read_to("own").await;
    client.read_to("/3").await;
}

#[tokio::test]
async fn a_half_closed_client_gets_its_answer() {
    let proxy = Proxy::start(|stream, _| answer_all(stream, HELLO)).await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.0.shutdown().await.unwrap();
    assert!(client.read_all().await.ends_with("hello"));
}

#[tokio::test]
async fn a_half_closed_client_gets_the_answers_of_all_that_it_sent() {
    let proxy = Proxy::start(|stream, _| answer_all(stream, HELLO)).await;
    let mut client = proxy.client().await;
    let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    client.send(request.repeat(3)).await;
    client.0.shutdown().await.unwrap();
    assert_eq!(client.read_all().await.matches("hello").count(), 3);
}

#[tokio::test]
async fn a_half_closed_client_is_given_up_in_time() {
    let proxy = Proxy::start_with(
        |mut stream, _| async move {
            read_to(&mut stream, "\r\n\r\n").await;
            std::future::pending::<()>().await;
        },
        |gateway| gateway.timeouts.half_closed = Duration::from_millis(50),
    )
    .await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.0.shutdown().await.unwrap();
    client.read_all().await;
}

#[tokio::test]
async fn an_invalid_head_is_answered_and_logged_once() {
    let proxy = Proxy::start(|stream, _| answer_all(stream, HELLO)).await;
    let mut client = proxy.client().await;
    client.send("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(client.read_all().await.starts_with("HTTP/1.1 400 "));
    let phases = proxy.gateway.phases.lock().unwrap().clone();
    assert_eq!(phases, ["fail_to_proxy", "logging"]);
}

#[tokio::test]
async fn a_slow_head_and_a_silent_connection_get_408() {
    let proxy = Proxy::start_with(
        |stream, _| answer_all(stream, HELLO),
        |gateway| gateway.timeouts.read = Duration::from_millis(50),
    )
    .await;
    for start in ["", "GET / HTTP/1.1\r\nHo"] {
        let mut client = proxy.client().await;
        client.send(start).await;
        assert!(
            client.read_all().await.starts_with("HTTP/1.1 408 "),
            "{start:?}"
        );
    }
}

#[tokio::test]
async fn an_idle_connection_closes_without_a_word() {
    let proxy = Proxy::start_with(
        |stream, _| answer_all(stream, HELLO),
        |gateway| gateway.timeouts.keepalive = Duration::from_millis(50),
    )
    .await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(client.read_all().await.ends_with("hello"));
}

/// Regression: the empty line that some clients send behind a body was answered 400 at the end of
/// the connection, and 408 while it was idle.
#[tokio::test]
async fn an_empty_line_behind_a_request_is_not_a_request() {
    let proxy = Proxy::start_with(
        |stream, _| answer_all(stream, HELLO),
        |gateway| {
            gateway.timeouts.read = Duration::from_millis(50);
            gateway.timeouts.keepalive = Duration::from_millis(100);
        },
    )
    .await;
    for ends in [true, false] {
        let mut client = proxy.client().await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n\r\n").await;
        if ends {
            client.0.shutdown().await.unwrap();
        }
        assert!(client.read_all().await.ends_with("hello"), "{ends}");
    }
}

#[tokio::test]
async fn http_1_0_keeps_its_connection_only_if_it_asks() {
    let proxy = Proxy::start(|stream, _| answer_all(stream, HELLO)).await;
    let mut client = proxy.client().await;
    client
        .send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        .await;
    let first = client.read_to("hello").await;
    assert!(
        first
            .to_ascii_lowercase()
            .contains("connection: keep-alive"),
        "{first}"
    );
    client.send("GET / HTTP/1.0\r\n\r\n").await;
    assert!(client.read_all().await.ends_with("hello"));
}

#[tokio::test]
async fn a_process_that_ends_closes_connections_after_their_response() {
    let proxy = Proxy::start(|stream, _| answer_all(stream, HELLO)).await;
    proxy.gateway.closing.store(true, Ordering::Relaxed);
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    // The response itself does not say so in this gateway; the idle connection closes.
    assert!(client.read_all().await.ends_with("hello"));
}
