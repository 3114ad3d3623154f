//! Requests that do not arrive in time, or not whole.

use std::time::Duration;

use app_proxy_tests::REQUEST_ID;
use app_proxy_tests::http1::Client;
use serde_json::json;

use super::support::{Journal, assert_refused, head, request, send, start, start_default};

#[tokio::test]
async fn a_head_that_does_not_arrive_in_time_is_answered() {
    let short = json!({"timeouts": {"client_read": "300ms"}});
    let (app, cluster) = start(|builder| builder.coordinator(&short)).await;
    let mut journal = Journal::default();
    for (n, part) in ["", "\r\nX-Slow", "\r\nX-Slow: 1\r\n", "\r\nX-Slow: 1\r\n\r"]
        .into_iter()
        .enumerate()
    {
        let id = format!("slow-{n}");
        let bytes = format!(
            "GET /apps/raw/a HTTP/1.1\r\nHost: h.example\r\n{REQUEST_ID}: {id}\r\nX-First: 1{part}"
        );
        assert_refused(send(&cluster, bytes).await, 408, "request_timeout", &id).await;
        journal.refused(&id, 408, "request_timeout");
    }
    for part in [
        "",
        "G",
        "GET /apps",
        "GET /apps/raw/a HTTP/1.1\r\nHost: h.ex",
        "\r\n",
    ] {
        let (answer, client) = send(&cluster, part).await;
        let id = answer.request_id();
        assert_refused((answer, client), 408, "request_timeout", &id).await;
        journal.refused(&id, 408, "request_timeout");
    }
    // Byte by byte, each of them in time.
    let mut client = cluster.client().await;
    for byte in request("GET", "/apps/raw/a", "dripped", "", "").repeat(10) {
        if client.wire.try_send(&[byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        if answered(&mut client).await {
            break;
        }
    }
    let answer = client.read_response("GET").await;
    assert_eq!(answer.status, 408);
    assert_eq!(app.count(), 0);
    journal.check(&cluster).await;
}

/// Returns whether bytes have arrived.
async fn answered(client: &mut Client) -> bool {
    let read = tokio::time::timeout(Duration::ZERO, client.wire.fill()).await;
    read.is_ok()
}

#[tokio::test]
async fn a_body_that_does_not_arrive_in_time_is_answered_with_408() {
    let short = json!({"timeouts": {"client_read": "300ms"}});
    let (app, cluster) = start(|builder| builder.coordinator(&short)).await;
    let mut journal = Journal::default();
    for (n, (lines, body)) in [
        ("Content-Length: 10\r\n", ""),
        ("Content-Length: 10\r\n", "123456789"),
        ("Transfer-Encoding: chunked\r\n", ""),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n"),
        (
            "Transfer-Encoding: chunked\r\n",
            "5\r\nhello\r\n0\r\nA: b\r\n",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("slow-body-{n}");
        let answered = send(&cluster, request("POST", "/apps/raw/a", &id, lines, body)).await;
        assert_refused(answered, 408, "request_timeout", &id).await;
        assert!(!app.only(&id).whole);
        journal.refused_late(&id, 408, "request_timeout");
    }
    journal.check(&cluster).await;
}

#[tokio::test]
async fn a_request_that_ends_within_its_head_is_refused() {
    let (app, cluster) = start_default().await;
    let id = "ends";
    let whole = head("GET /apps/raw/a HTTP/1.1", id, "X-Last: 1\r\n", "");
    let mut client = cluster.client().await;
    client.send(&whole[..whole.len() - 2]).await;
    client.wire.finish().await;
    let answer = client.read_response("GET").await;
    assert_refused((answer, client), 400, "bad_request", id).await;
    assert_eq!(app.count(), 0);
    let mut journal = Journal::default();
    journal.refused(id, 400, "bad_request");
    journal.check(&cluster).await;
}
