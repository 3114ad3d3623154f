//! Requests for another protocol.

use app_proxy_tests::ws::accept_for;

use super::support::{Journal, assert_problem, assert_refused, request, send, start_default};
use app_proxy_tests::raw_app::Reply;

const HANDSHAKE: &str =
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";

fn switching(key: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        accept_for(key)
    )
}

#[tokio::test]
async fn a_key_is_sixteen_bytes_in_base64_whatever_its_last_bits_are() {
    let (app, cluster) = start_default().await;
    for (n, key) in [
        "AQIDBAUGBwgJCgsMDQ4PEA==",
        // The example of RFC 6455, section 4.1.
        "AQIDBAUGBwgJCgsMDQ4PEC==",
        "AQIDBAUGBwgJCgsMDQ4PEP==",
        "dGhlIHNhbXBsZSBub25jZQ==",
        "////////////////////////"[..22].to_owned().leak(),
    ]
    .map(|key| {
        if key.len() == 22 {
            format!("{key}==")
        } else {
            key.to_owned()
        }
    })
    .iter()
    .enumerate()
    {
        let id = format!("key-{n}");
        app.reply("/ws", Reply::new(switching(key)).close());
        let lines = format!("{HANDSHAKE}Sec-WebSocket-Key: {key}\r\n");
        let bytes = request("GET", "/apps/raw/ws", &id, &lines, "");
        let mut client = cluster.client().await;
        client.send(bytes).await;
        let head = client.read_head().await;
        assert_eq!(head.status(), 101, "{key}");
        let accept = head.headers.get("Sec-WebSocket-Accept");
        assert_eq!(accept, Some(&accept_for(key)[..]), "{key}");
        assert_eq!(app.only(&id).value("Sec-WebSocket-Key").as_ref(), Some(key));
    }
    let mut journal = Journal::default();
    for (n, key) in [
        "",
        "AQIDBAUGBwgJCgsMDQ4PEC",
        "AQIDBAUGBwgJCgsMDQ4PEC=",
        "AQIDBAUGBwgJCgsMDQ4PEBE=",
        "AQIDBAUGBwgJCgsMDQ4P",
        "AQIDBAUGBwgJCgsMDQ4PE-==",
        "AQIDBAUGBwgJCgsMDQ4PE===",
        "AQIDBAUGBwgJCgsM DQ4PEA==",
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("bad-key-{n}");
        println!("{id}: {key:?}");
        let lines = format!("{HANDSHAKE}Sec-WebSocket-Key: {key}\r\n");
        let bytes = request("GET", "/apps/raw/ws", &id, &lines, "");
        assert_refused(send(&cluster, bytes).await, 400, "bad_request", &id).await;
        assert!(app.with_id(&id).is_empty());
        journal.refused(&id, 400, "bad_request");
    }
    journal.check(&cluster).await;
}

#[tokio::test]
async fn a_handshake_with_a_body_is_refused() {
    let (app, cluster) = start_default().await;
    let mut journal = Journal::default();
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for (n, (lines, body)) in [
        ("Content-Length: 5\r\n", "hello"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ("Expect: 100-continue\r\nContent-Length: 5\r\n", ""),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("with-body-{n}");
        let lines = format!("{HANDSHAKE}{key}{lines}");
        let bytes = request("GET", "/apps/raw/ws", &id, &lines, body);
        assert_refused(send(&cluster, bytes).await, 400, "bad_request", &id).await;
        journal.refused(&id, 400, "bad_request");
    }
    assert_eq!(app.count(), 0);
    journal.check(&cluster).await;
}

#[tokio::test]
async fn a_request_for_another_protocol_is_served_without_it() {
    let (app, cluster) = start_default().await;
    let mut journal = Journal::default();
    for (n, lines) in [
        "Connection: Upgrade\r\nUpgrade: tcp\r\n",
        "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\n",
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
        "Connection: Upgrade\r\nUpgrade: TLS/1.2\r\n",
        "Upgrade: tcp\r\n",
        "Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 5\r\n",
        "Connection: Upgrade\r\nUpgrade: tcp\r\nTransfer-Encoding: chunked\r\n",
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("other-{n}");
        let body = match n {
            5 => "hello",
            6 => "5\r\nhello\r\n0\r\n\r\n",
            _ => "",
        };
        let bytes = request("POST", "/apps/raw/a", &id, lines, body);
        let (answer, client) = send(&cluster, bytes).await;
        // An upgrade with a body may be refused: whose bytes would follow it?
        if !body.is_empty() && answer.status == 400 {
            assert_refused((answer, client), 400, "bad_request", &id).await;
            assert!(app.with_id(&id).is_empty());
            journal.refused(&id, 400, "bad_request");
            continue;
        }
        assert_eq!((answer.status, &answer.text()[..]), (200, "ok"), "{lines}");
        let seen = app.only(&id);
        for name in ["Upgrade", "HTTP2-Settings"] {
            assert!(seen.values(name).is_empty(), "{lines}: {seen:?}");
        }
        assert_eq!(seen.body.len(), if body.is_empty() { 0 } else { 5 });
        journal.passed(&id, 200);
    }
    app.assert_strict();
    journal.check(&cluster).await;
}

#[tokio::test]
async fn interim_responses_before_a_101_and_a_refusal_are_clean() {
    let (app, cluster) = start_default().await;
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    let lines = format!("{HANDSHAKE}Sec-WebSocket-Key: {key}\r\n");
    let hints = "HTTP/1.1 103 Early Hints\r\nContent-Length: 0\r\nSet-Cookie: a=b\r\n\r\n";
    app.reply(
        "/ws",
        Reply::new(format!("{hints}{}", switching(key))).close(),
    );
    let mut client = cluster.client().await;
    client
        .send(request("GET", "/apps/raw/ws", "hints", &lines, ""))
        .await;
    let mut head = client.read_head().await;
    while head.status() == 103 {
        assert!(
            !head.headers.has("Content-Length") && !head.headers.has("Set-Cookie"),
            "{head:?}"
        );
        head = client.read_head().await;
    }
    assert_eq!(head.status(), 101);
    assert!(!head.headers.has("Content-Length"), "{head:?}");

    let many = hints.repeat(40);
    app.reply(
        "/ws",
        Reply::new(format!("{many}{}", switching(key))).close(),
    );
    let (answer, _) = send(&cluster, request("GET", "/apps/raw/ws", "many", &lines, "")).await;
    assert_problem(&answer, 502, "bad_upstream_response", "many");
}

#[tokio::test]
async fn a_101_with_framing_or_without_upgrade_does_no_harm() {
    let (app, cluster) = start_default().await;
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    let lines = format!("{HANDSHAKE}Sec-WebSocket-Key: {key}\r\n");
    for (n, more) in ["Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"]
        .into_iter()
        .enumerate()
    {
        let id = format!("framed-{n}");
        let answer = switching(key).replace("\r\n\r\n", &format!("\r\n{more}\r\n"));
        app.reply("/ws", Reply::new(answer).close());
        let mut client = cluster.client().await;
        client
            .send(request("GET", "/apps/raw/ws", &id, &lines, ""))
            .await;
        let head = client.read_head().await;
        assert_eq!(head.status(), 101, "{more}");
        assert!(!head.headers.has("Content-Length"), "{head:?}");
        assert!(!head.headers.has("Transfer-Encoding"), "{head:?}");
    }
}
