//! WebSockets: the handshake, the tunnel and its end. Rules 15 and 16 of
//! docs/reference/request-id.md.

use std::collections::BTreeSet;

use app_proxy_tests::app::{Manual, RecordingApp};
use app_proxy_tests::cluster::{Cluster, free_address, own_address};
use app_proxy_tests::http1::{Client, Request, only_request_id};
use app_proxy_tests::wait::{eventually, within};
use app_proxy_tests::ws::{
    ACCEPT, BINARY, CLOSE, CONTINUATION, Frame, KEY, PING, PONG, TEXT, WebSocket, handshake,
};
use app_proxy_tests::{Checksum, REQUEST_ID, SESSION_COOKIE, is_generated_id, pattern};
use futures_util::{SinkExt, StreamExt};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::{number, session_id, start, start_default};

/// Both ends of a WebSocket to `/apps/<app>/manual/<name>`, with `name` as its request ID.
async fn pair(cluster: &Cluster, app: &RecordingApp, name: &str) -> (WebSocket, WebSocket) {
    let target = format!("/apps/notes/manual/{name}");
    let client = handshake(cluster.public(), &target, &[(REQUEST_ID, name)])
        .start()
        .await;
    let server = app.accept(name).await.upgrade().await;
    let client = WebSocket::finish_handshake(client).await.expect("a 101");
    (client, server)
}

/// A handshake in which `change` has been made to the header lines of a good one.
fn bent(cluster: &Cluster, method: &str, drop: &str, add: &[(&str, &str)]) -> Request<'static> {
    let good = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", KEY),
    ];
    let request = Request::to(cluster.public(), method, "/apps/notes/ws/echo").id("bent");
    let request = good
        .iter()
        .filter(|(name, _)| *name != drop)
        .fold(request, |request, (name, value)| {
            request.header(name, value)
        });
    add.iter().fold(request, |request, (name, value)| {
        request.header(name, value)
    })
}

#[tokio::test]
async fn a_websocket_goes_through_both_tiers() {
    let (app, cluster) = start_default().await;
    let mut socket = cluster
        .websocket("/apps/notes/ws/echo?x=1", &[(REQUEST_ID, "ws-through")])
        .await;
    assert_eq!(app.last().target, "/ws/echo?x=1");
    assert_eq!(app.last().request_id(), "ws-through");
    for text in ["one", "", "drei — €", &"long ".repeat(10_000)] {
        socket.send_text(text).await;
        assert_eq!(socket.frame().await, Frame::text(text));
    }
    assert_eq!(socket.close(1000).await, Some(1000));
}

#[tokio::test]
async fn a_common_websocket_client_works() {
    let (_app, cluster) = start_default().await;
    let url = format!("ws://{}/apps/notes/ws/echo", cluster.public());
    let mut request = url.into_client_request().unwrap();
    request
        .headers_mut()
        .insert("Sec-WebSocket-Protocol", "chat.v2".parse().unwrap());
    let connecting = tokio_tungstenite::connect_async(request);
    let (mut socket, answer) = within("a handshake", connecting).await.expect("a 101");
    assert!(is_generated_id(
        answer.headers()[REQUEST_ID].to_str().unwrap()
    ));
    assert_eq!(answer.headers()["Sec-WebSocket-Protocol"], "chat.v2");
    for n in 0..50 {
        socket
            .send(Message::text(format!("message {n}")))
            .await
            .unwrap();
        let back = within("an echo", socket.next()).await.unwrap().unwrap();
        assert_eq!(back, Message::text(format!("message {n}")));
    }
    socket.close(None).await.unwrap();
    while let Some(Ok(_)) = within("the end", socket.next()).await {}
}

#[tokio::test]
async fn an_invalid_handshake_is_rejected_before_it_is_forwarded() {
    let (app, cluster) = start_default().await;
    let short = "c2hvcnQ=";
    let cases = [
        (
            "no version",
            bent(&cluster, "GET", "Sec-WebSocket-Version", &[]),
        ),
        (
            "an old version",
            bent(
                &cluster,
                "GET",
                "Sec-WebSocket-Version",
                &[("Sec-WebSocket-Version", "8")],
            ),
        ),
        (
            "a new version",
            bent(
                &cluster,
                "GET",
                "Sec-WebSocket-Version",
                &[("Sec-WebSocket-Version", "14")],
            ),
        ),
        ("no key", bent(&cluster, "GET", "Sec-WebSocket-Key", &[])),
        (
            "an empty key",
            bent(
                &cluster,
                "GET",
                "Sec-WebSocket-Key",
                &[("Sec-WebSocket-Key", "")],
            ),
        ),
        (
            "a short key",
            bent(
                &cluster,
                "GET",
                "Sec-WebSocket-Key",
                &[("Sec-WebSocket-Key", short)],
            ),
        ),
        (
            "a key that is not base64",
            bent(
                &cluster,
                "GET",
                "Sec-WebSocket-Key",
                &[("Sec-WebSocket-Key", "!!!!")],
            ),
        ),
        (
            "two keys",
            bent(&cluster, "GET", "", &[("Sec-WebSocket-Key", KEY)]),
        ),
        ("a POST", bent(&cluster, "POST", "", &[])),
        ("a HEAD", bent(&cluster, "HEAD", "", &[])),
        ("a body", bent(&cluster, "GET", "", &[]).body("body")),
    ];
    for (what, request) in cases {
        let answer = request.send().await;
        assert_eq!(answer.status, 400, "{what}: {}", answer.text());
        assert_eq!(answer.request_id(), "bent", "{what}");
        if what != "a HEAD" {
            assert_eq!(answer.problem_code(), "bad_request", "{what}");
        }
        if what.ends_with("version") && what != "no version" {
            // RFC 6455, section 4.4: the versions that would do.
            assert_eq!(
                answer.headers.get("Sec-WebSocket-Version"),
                Some("13"),
                "{what}"
            );
        }
    }
    let mut chunked = bent(&cluster, "GET", "", &[("Transfer-Encoding", "chunked")])
        .start()
        .await;
    assert_eq!(chunked.read_response("GET").await.status, 400);
    assert_eq!(app.count(), 0, "{:?}", app.requests());
}

#[tokio::test]
async fn an_http10_handshake_is_not_an_upgrade() {
    let (_app, cluster) = start_default().await;
    let answer = bent(&cluster, "GET", "", &[]).http10().send().await;
    assert_ne!(answer.status, 101);
    assert_eq!(answer.request_id(), "bent");
}

#[tokio::test]
async fn a_handshake_is_recognised_as_browsers_write_it() {
    let (_app, cluster) = start_default().await;
    let request = Request::to(cluster.public(), "GET", "/apps/notes/ws/echo")
        .header("upgrade", "WebSocket")
        .header("connection", "keep-alive, Upgrade")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", KEY);
    let mut socket = WebSocket::finish_handshake(request.start().await)
        .await
        .expect("a 101");
    assert_eq!(socket.close(1000).await, Some(1000));
}

#[tokio::test]
async fn all_headers_of_the_handshake_reach_the_application() {
    let (app, cluster) = start_default().await;
    let cookie = cluster
        .get("/apps/notes/echo")
        .send()
        .await
        .session_cookie()
        .unwrap();
    let cookies = format!("a=1; {SESSION_COOKIE}={cookie}; _xsrf=2|x");
    let extensions = "permessage-deflate; client_max_window_bits, x-own";
    let mut socket = cluster
        .websocket(
            "/apps/notes/ws/echo",
            &[
                ("Cookie", &cookies),
                ("Authorization", "token secret"),
                ("Origin", "https://a.example"),
                ("Sec-WebSocket-Protocol", "v1.kernel, v2"),
                ("Sec-WebSocket-Extensions", extensions),
                ("User-Agent", "test/1"),
                ("X-Multi", "a"),
                ("X-Multi", "b"),
            ],
        )
        .await;
    let seen = app.last();
    for (name, values) in [
        ("Cookie", vec!["a=1; _xsrf=2|x"]),
        ("Authorization", vec!["token secret"]),
        ("Origin", vec!["https://a.example"]),
        ("Sec-WebSocket-Protocol", vec!["v1.kernel, v2"]),
        ("Sec-WebSocket-Extensions", vec![extensions]),
        ("Sec-WebSocket-Version", vec!["13"]),
        ("Sec-WebSocket-Key", vec![KEY]),
        ("User-Agent", vec!["test/1"]),
        ("X-Multi", vec!["a", "b"]),
        ("Host", vec![socket_host(&cluster).as_str()]),
        ("X-Forwarded-For", vec!["127.0.0.1"]),
        ("X-Forwarded-Prefix", vec!["/apps/notes"]),
        ("X-Backend-Session-ID", vec![session_id(&cookie)]),
    ] {
        assert_eq!(seen.headers.all(name), values, "{name}");
    }
    assert!(seen.headers.lists("Connection", "upgrade"));
    assert!(seen.headers.lists("Upgrade", "websocket"));
    assert!(
        seen.headers
            .names()
            .all(|name| !name.to_ascii_lowercase().starts_with("x-app-proxy"))
    );
    assert_eq!(
        socket.head.headers.get("Sec-WebSocket-Protocol"),
        Some("v1.kernel")
    );
    socket.close(1000).await;
}

fn socket_host(cluster: &Cluster) -> String {
    cluster.public().to_string()
}

#[tokio::test]
async fn all_headers_of_the_101_reach_the_client() {
    let (app, cluster) = start_default().await;
    let waiting = handshake(cluster.public(), "/apps/notes/manual/headers", &[])
        .start()
        .await;
    let mut manual = app.accept("headers").await;
    manual
        .send(format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {ACCEPT}\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\
             Set-Cookie: a=1; Path=/\r\nX-Own: kept\r\n\r\n"
        ))
        .await;
    let socket = WebSocket::finish_handshake(waiting).await.expect("a 101");
    let headers = &socket.head.headers;
    assert_eq!(
        headers.get("Sec-WebSocket-Extensions"),
        Some("permessage-deflate")
    );
    assert_eq!(headers.get("X-Own"), Some("kept"));
    let cookies = headers.all("Set-Cookie");
    assert!(
        cookies.iter().any(|cookie| cookie.starts_with("a=1")),
        "{cookies:?}"
    );
    only_request_id(101, headers);
}

#[tokio::test]
async fn the_refusal_of_the_application_is_relayed_unchanged() {
    let (_app, cluster) = start_default().await;
    for status in [400, 401, 403, 404, 503] {
        let target = format!("/apps/notes/ws/refuse/{status}");
        let id = format!("refusal-{status}");
        let refusal = WebSocket::try_connect(cluster.public(), &target, &[(REQUEST_ID, &id)]).await;
        let answer = refusal.expect_err("a refusal");
        assert_eq!(answer.status, status);
        assert_eq!(answer.text(), "the application says no");
        assert_eq!(answer.headers.get("X-Refused-By"), Some("application"));
        assert_eq!(answer.request_id(), id);
        let lines = cluster
            .coordinator_log()
            .wait_for_count("lines of the refusal", 1, |line| {
                line["request_id"] == id.as_str()
            })
            .await;
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert_eq!(lines[0]["status"], status);
    }
}

#[tokio::test]
async fn an_answer_of_200_to_a_handshake_is_relayed() {
    let (_app, cluster) = start_default().await;
    let refusal = WebSocket::try_connect(cluster.public(), "/apps/notes/chunked/2", &[]).await;
    let answer = refusal.expect_err("no 101");
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (200, "chunk 1\nchunk 2\n")
    );
}

#[tokio::test]
async fn the_101_waits_for_the_applications() {
    let (app, cluster) = start_default().await;
    let mut client = handshake(cluster.public(), "/apps/notes/manual/waits", &[])
        .start()
        .await;
    let mut manual = app.accept("waits").await;
    // Had the client its 101 already, this refusal could not come as a response any more.
    manual
        .send("HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nwait")
        .await;
    assert_eq!(client.read_head().await.status(), 403);
    let client = handshake(
        cluster.public(),
        "/apps/notes/ws/gate/opens",
        &[(REQUEST_ID, "opens")],
    )
    .start()
    .await;
    app.wait_for_id("opens").await;
    assert!(client.wire.buffered().is_empty());
    app.release("opens", 1);
    let mut socket = WebSocket::finish_handshake(client).await.expect("a 101");
    socket.close(1000).await;
}

#[tokio::test]
async fn a_handshake_for_an_unknown_app_is_an_ordinary_error() {
    let dead = free_address(own_address());
    let (_app, cluster) = start(|builder| builder.app_at("gone", dead)).await;
    for (target, status, code) in [
        ("/apps/unknown/ws", 404, "app_not_found"),
        ("/apps/gone/ws", 502, "endpoint_unreachable"),
        ("/apps/notes/%zz", 400, "bad_request"),
    ] {
        let refusal =
            WebSocket::try_connect(cluster.public(), target, &[(REQUEST_ID, "nobody")]).await;
        let answer = refusal.expect_err("a refusal");
        assert_eq!(answer.status, status, "{target}");
        assert_eq!(answer.problem_code(), code, "{target}");
        assert_eq!(answer.request_id(), "nobody");
    }
}

#[tokio::test]
async fn an_unrequested_101_returns_502() {
    let (app, cluster) = start_default().await;
    let mut client = cluster.get("/apps/api/manual/unasked").start().await;
    let mut manual = app.accept("unasked").await;
    manual
        .send(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        )
        .await;
    manual.wire.finish().await;
    let answer = client.try_read_response("GET").await;
    if let Ok(answer) = answer {
        assert_eq!(answer.status, 502, "{}", answer.text());
    }
}

#[tokio::test]
async fn bytes_right_behind_the_101_reach_the_client() {
    let (_app, cluster) = start_default().await;
    for _ in 0..20 {
        let mut socket = cluster.websocket("/apps/notes/ws/early", &[]).await;
        assert_eq!(socket.frame().await.as_text(), "early");
        socket.send_text("late").await;
        assert_eq!(socket.frame().await.as_text(), "late");
        socket.close(1000).await;
    }
}

#[tokio::test]
async fn bytes_right_behind_the_handshake_reach_the_application() {
    let (app, cluster) = start_default().await;
    for n in 0..20 {
        let mut client = Client::connect(cluster.public()).await;
        let mut bytes = handshake(cluster.public(), "/apps/notes/manual/eager", &[]).bytes();
        let early = Frame::text(&format!("eager {n}")).masked([1, 2, 3, 4]);
        bytes.extend_from_slice(&early.encode());
        client.send(bytes).await;
        let mut server = app.accept("eager").await.upgrade().await;
        assert_eq!(server.frame().await, early);
        let mut socket = WebSocket::finish_handshake(client).await.expect("a 101");
        socket.send_text("then").await;
        assert_eq!(server.frame().await.as_text(), "then");
        server.send_text("back").await;
        assert_eq!(socket.frame().await.as_text(), "back");
    }
}

/// Frames of every kind that a client may send, and an invalid one.
fn zoo() -> Vec<Frame> {
    vec![
        Frame::text("one"),
        Frame::new(BINARY, pattern(125)),
        Frame::new(BINARY, pattern(126)),
        Frame::new(BINARY, pattern(65_535)),
        Frame::new(BINARY, pattern(65_536)),
        Frame::text("compressed?").with_rsv(4),
        Frame::text("reserved").with_rsv(7),
        Frame::new(TEXT, "frag").unfinished(),
        Frame::new(PING, "between"),
        Frame::new(CONTINUATION, "").unfinished(),
        Frame::new(PONG, ""),
        Frame::new(CONTINUATION, "ments"),
        Frame::new(3, "an opcode that nobody knows"),
        Frame::new(PING, pattern(125)),
        Frame::text(""),
    ]
}

#[tokio::test]
async fn frames_pass_byte_for_byte_both_ways() {
    let (app, cluster) = start_default().await;
    let (mut client, mut server) = pair(&cluster, &app, "bytes").await;
    let mut sent = Vec::new();
    for (n, frame) in zoo().into_iter().enumerate() {
        let key = u8::try_from(n).unwrap();
        sent.extend_from_slice(&frame.masked([key, 0, 255, 7]).encode());
    }
    // Cut where no frame begins, so that headers arrive in pieces.
    let pieces = sent.clone();
    let sending = async {
        for piece in pieces.chunks(977) {
            client.wire.send(piece).await;
        }
    };
    let (received, ()) = tokio::join!(server.wire.take(sent.len()), sending);
    assert!(
        received.unwrap() == sent,
        "bytes were changed on the way to the application"
    );
    let mut back = Vec::new();
    for frame in zoo() {
        back.extend_from_slice(&frame.encode());
    }
    for byte in &back[..300] {
        server.wire.send([*byte]).await;
    }
    server.wire.send(&back[300..]).await;
    let received = within("the frames", client.wire.take(back.len()))
        .await
        .unwrap();
    assert!(
        received == back,
        "bytes were changed on the way to the client"
    );
}

#[tokio::test]
async fn bytes_that_are_no_frames_pass_unchanged() {
    let (app, cluster) = start_default().await;
    let (mut client, mut server) = pair(&cluster, &app, "noise").await;
    let noise = pattern(100_000);
    client.wire.send(&noise).await;
    assert!(
        within("the noise", server.wire.take(noise.len()))
            .await
            .unwrap()
            == noise
    );
    server.wire.send(&noise).await;
    assert!(
        within("the noise", client.wire.take(noise.len()))
            .await
            .unwrap()
            == noise
    );
}

#[tokio::test]
async fn a_frame_of_16_mib_passes_both_ways() {
    let (app, cluster) = start_default().await;
    let (mut client, mut server) = pair(&cluster, &app, "large").await;
    let size = 16 * 1024 * 1024;
    let frame = Frame::new(BINARY, pattern(size));
    let sum = Checksum::of(&frame.payload);
    let masked = frame.clone().masked([9, 8, 7, 6]);
    let ((), received) = tokio::join!(client.send(masked), server.frame());
    assert_eq!(received.payload.len(), size);
    assert!(Checksum::of(&received.payload) == sum);
    let ((), received) = tokio::join!(server.send(frame), client.frame());
    assert!(Checksum::of(&received.payload) == sum);
    client.send_text("still here").await;
    assert_eq!(server.frame().await.as_text(), "still here");
}

#[tokio::test]
async fn many_messages_keep_their_order() {
    let (_app, cluster) = start_default().await;
    let socket = cluster.websocket("/apps/notes/ws/echo", &[]).await;
    let count = 3_000;
    let mut bytes = Vec::new();
    for n in 0..count {
        bytes.extend_from_slice(&socket.encode(Frame::text(&format!("message {n}"))));
    }
    let (stream, buffered) = socket.wire.into_parts();
    assert!(buffered.is_empty());
    let (reading, mut writing) = stream.into_split();
    let writer = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        writing.write_all(&bytes).await.unwrap();
        writing
    });
    let mut reader = tokio::io::BufReader::new(reading);
    for n in 0..count {
        use tokio::io::AsyncReadExt;
        let expected = Frame::text(&format!("message {n}")).encode();
        let mut frame = vec![0; expected.len()];
        within("an echo", reader.read_exact(&mut frame))
            .await
            .unwrap();
        assert_eq!(frame, expected, "message {n}");
    }
    drop(writer.await.unwrap());
}

#[tokio::test]
async fn a_close_of_the_client_keeps_its_code_and_reason() {
    let (app, cluster) = start_default().await;
    for code in [1000, 1001, 3000, 4999] {
        let name = format!("client-closes-{code}");
        let (mut client, mut server) = pair(&cluster, &app, &name).await;
        let close = Frame::close(code, "the client is done").masked([1, 1, 2, 2]);
        client.send(close.clone()).await;
        assert_eq!(server.frame().await, close);
        let answer = Frame::close(code, "so be it");
        server.send(answer.clone()).await;
        server.wire.finish().await;
        assert_eq!(client.frame().await, answer);
        assert_eq!(client.next().await, None);
        client.wire.finish().await;
        assert_eq!(server.next().await, None);
        for log in [cluster.coordinator_log(), cluster.worker_log(0)] {
            let line = log.event(&name, "stream_close").await;
            assert_eq!(line["close_code"], code, "{line}");
            assert_eq!(line["closed_by"], "client", "{line}");
        }
    }
}

#[tokio::test]
async fn a_close_of_the_application_keeps_its_code_and_reason() {
    let (app, cluster) = start_default().await;
    for code in [1000, 1011, 4001] {
        let name = format!("app-closes-{code}");
        let (mut client, mut server) = pair(&cluster, &app, &name).await;
        let close = Frame::close(code, "the application is done");
        server.send(close.clone()).await;
        assert_eq!(client.frame().await, close);
        client.send(Frame::close(code, "")).await;
        assert_eq!(server.frame().await.close_code(), Some(code));
        server.wire.finish().await;
        assert_eq!(client.next().await, None);
        drop(client);
        for log in [cluster.coordinator_log(), cluster.worker_log(0)] {
            let line = log.event(&name, "stream_close").await;
            assert_eq!(line["close_code"], code, "{line}");
            assert!(
                line["closed_by"].is_string() && line["closed_by"] != "client",
                "{line}"
            );
        }
    }
}

#[tokio::test]
async fn a_close_frame_without_a_code_passes() {
    let (app, cluster) = start_default().await;
    let (mut client, mut server) = pair(&cluster, &app, "codeless").await;
    client.send(Frame::new(CLOSE, "")).await;
    assert_eq!(server.frame().await.payload, b"");
    server.send(Frame::new(CLOSE, "")).await;
    server.wire.finish().await;
    assert_eq!(client.frame().await, Frame::new(CLOSE, ""));
    assert_eq!(client.next().await, None);
    drop(client);
    cluster
        .coordinator_log()
        .event("codeless", "stream_close")
        .await;
}

#[tokio::test]
async fn the_clients_end_is_passed_on_while_the_application_goes_on() {
    let (app, cluster) = start_default().await;
    let (mut client, mut server) = pair(&cluster, &app, "half-client").await;
    client.send_text("last words").await;
    client.wire.finish().await;
    assert_eq!(server.frame().await.as_text(), "last words");
    assert_eq!(server.next().await, None, "the application sees the end");
    for n in 0..3 {
        server.send_text(&format!("answer {n}")).await;
        assert_eq!(client.frame().await.as_text(), format!("answer {n}"));
    }
    server.wire.finish().await;
    assert_eq!(client.next().await, None);
    cluster
        .worker_log(0)
        .event("half-client", "stream_close")
        .await;
}

#[tokio::test]
async fn the_applications_end_is_passed_on_while_the_client_goes_on() {
    let (app, cluster) = start_default().await;
    let (mut client, mut server) = pair(&cluster, &app, "half-app").await;
    server.send_text("last words").await;
    server.wire.finish().await;
    assert_eq!(client.frame().await.as_text(), "last words");
    assert_eq!(client.next().await, None, "the client sees the end");
    for n in 0..3 {
        client.send_text(&format!("answer {n}")).await;
        assert_eq!(server.frame().await.as_text(), format!("answer {n}"));
    }
    client.wire.finish().await;
    assert_eq!(server.next().await, None);
    cluster
        .worker_log(0)
        .event("half-app", "stream_close")
        .await;
}

/// Regression: a reset right behind the 101 was logged as a failure of the proxy, without an
/// opening and a close.
#[tokio::test]
async fn a_client_that_vanishes_ends_the_tunnel_once() {
    let (app, cluster) = start_default().await;
    let (client, mut server) = pair(&cluster, &app, "vanishes").await;
    client.wire.reset();
    assert_eq!(server.next().await, None);
    drop(server);
    for log in [cluster.coordinator_log(), cluster.worker_log(0)] {
        log.event("vanishes", "stream_close").await;
        let closes = log.of_request("vanishes");
        assert_eq!(closes.len(), 2, "one opening, one close: {closes:?}");
    }
}

#[tokio::test]
async fn an_application_that_vanishes_ends_the_tunnel_once() {
    let (app, cluster) = start_default().await;
    let (mut client, server) = pair(&cluster, &app, "app-vanishes").await;
    server.wire.reset();
    while client.next().await.is_some() {}
    drop(client);
    for log in [cluster.coordinator_log(), cluster.worker_log(0)] {
        log.event("app-vanishes", "stream_close").await;
        assert_eq!(log.of_request("app-vanishes").len(), 2);
    }
}

#[tokio::test]
async fn a_worker_that_dies_ends_the_clients_websocket() {
    let (app, mut cluster) = start_default().await;
    let (mut client, _server) = pair(&cluster, &app, "worker-dies").await;
    cluster.kill_worker(0);
    while client.next().await.is_some() {}
    drop(client);
    cluster
        .coordinator_log()
        .event("worker-dies", "stream_close")
        .await;
}

#[tokio::test]
async fn an_idle_websocket_is_closed_after_the_configured_time() {
    let (app, cluster) =
        start(|builder| builder.coordinator(&json!({"websocket": {"idle": "1s"}}))).await;
    let (mut client, mut server) = pair(&cluster, &app, "idle").await;
    client.send_text("then nothing").await;
    server.frame().await;
    while client.next().await.is_some() {}
    while server.next().await.is_some() {}
    drop((client, server));
    for log in [cluster.coordinator_log(), cluster.worker_log(0)] {
        log.event("idle", "stream_close").await;
    }
    let line = cluster
        .coordinator_log()
        .event("idle", "stream_close")
        .await;
    assert!(number(&line, "duration_ms") >= 1000, "{line}");
    assert_ne!(line["closed_by"], "client", "{line}");
}

#[tokio::test]
async fn traffic_in_either_direction_keeps_a_websocket_open() {
    let (app, cluster) =
        start(|builder| builder.coordinator(&json!({"websocket": {"idle": "1s"}}))).await;
    let (mut client, mut server) = pair(&cluster, &app, "busy").await;
    let begin = std::time::Instant::now();
    // Only the application speaks, well beyond the idle time.
    while begin.elapsed() < std::time::Duration::from_millis(2500) {
        server.send(Frame::new(PING, "")).await;
        assert_eq!(client.frame().await.opcode, PING);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(cluster.coordinator_log().of_request("busy").len(), 1);
}

#[tokio::test]
async fn rule_15_opening_and_close_are_logged_under_the_handshakes_identifier() {
    let (_app, cluster) = start_default().await;
    let mut socket = cluster
        .websocket("/apps/notes/ws/push/2", &[(REQUEST_ID, "rule-15")])
        .await;
    for log in [cluster.coordinator_log(), cluster.worker_log(0)] {
        let open = log.event("rule-15", "stream_open").await;
        assert_eq!(open["kind"], "websocket");
        assert_eq!(open["status"], 101);
        assert_eq!(open["app"], "notes");
        assert_eq!(
            log.of_request("rule-15").len(),
            1,
            "closed while it is open"
        );
    }
    for n in 1..=2 {
        assert_eq!(socket.frame().await.as_text(), format!("push {n}"));
    }
    for n in 0..3 {
        socket.send_text(&format!("message {n}")).await;
        socket.frame().await;
    }
    socket.send(Frame::new(PING, "not a message")).await;
    socket.frame().await;
    assert_eq!(socket.close(4321).await, Some(4321));
    drop(socket);
    for (tier, log) in [
        ("coordinator", cluster.coordinator_log()),
        ("worker", cluster.worker_log(0)),
    ] {
        let line = log.event("rule-15", "stream_close").await;
        assert_eq!(line["tier"], tier);
        assert_eq!(line["kind"], "websocket");
        assert_eq!(
            (number(&line, "messages_in"), number(&line, "messages_out")),
            (3, 5),
            "{line}"
        );
        assert_eq!(line["close_code"], 4321);
        assert_eq!(line["closed_by"], "client");
        assert!(number(&line, "bytes_in") >= 3 * (6 + 9), "{line}");
        assert!(number(&line, "bytes_out") >= 5 * (2 + 6), "{line}");
        assert!(line["duration_ms"].is_number(), "{line}");
        assert!(line["session_id"].is_string(), "{line}");
        let lines = log.of_request("rule-15");
        let events: Vec<_> = lines
            .iter()
            .map(|line| line["event"].as_str().unwrap())
            .collect();
        assert_eq!(events, ["stream_open", "stream_close"], "{tier}");
    }
}

#[tokio::test]
async fn rule_15_a_generated_identifier_lives_as_long_as_the_websocket() {
    let (app, cluster) = start_default().await;
    let mut socket = cluster.websocket("/apps/notes/ws/echo", &[]).await;
    let id = only_request_id(101, &socket.head.headers);
    assert!(is_generated_id(&id));
    assert_eq!(app.last().request_id(), id);
    // Headers within frames are payload, whatever their content.
    socket
        .send_text("X-Backend-Request-ID: other\r\n\r\n")
        .await;
    socket.frame().await;
    socket.close(1000).await;
    drop(socket);
    for log in [cluster.coordinator_log(), cluster.worker_log(0)] {
        log.event(&id, "stream_open").await;
        log.event(&id, "stream_close").await;
    }
}

fn message_ids(lines: &[Value]) -> BTreeSet<(String, String)> {
    let text = |line: &Value, field: &str| line[field].as_str().unwrap_or_default().to_owned();
    lines
        .iter()
        .map(|line| (text(line, "message_id"), text(line, "direction")))
        .collect()
}

#[tokio::test]
async fn rule_16_messages_have_the_same_identifiers_at_both_tiers() {
    let on = json!({"websocket": {"message_ids": true}});
    let (app, cluster) = start(|builder| builder.coordinator(&on).worker(&on)).await;
    let (mut client, mut server) = pair(&cluster, &app, "rule-16").await;
    client.send_text("c1").await;
    let fragments = [
        Frame::new(TEXT, "c2 ").unfinished(),
        Frame::new(PING, "no message"),
        Frame::new(CONTINUATION, "goes ").unfinished(),
        Frame::new(CONTINUATION, "on"),
    ];
    for frame in fragments {
        client.send(frame).await;
    }
    client
        .send(Frame::new(BINARY, pattern(70_000)).with_rsv(4))
        .await;
    server.send_text("s1").await;
    server.send(Frame::new(BINARY, "").unfinished()).await;
    server.send(Frame::new(PONG, "")).await;
    server.send(Frame::new(CONTINUATION, "")).await;
    for _ in 0..6 {
        server.frame().await;
    }
    for _ in 0..4 {
        client.frame().await;
    }
    client.send(Frame::close(1000, "")).await;
    server.frame().await;
    server.send(Frame::close(1000, "")).await;
    server.wire.finish().await;
    drop(client);
    let expected = ["#c1", "#c2", "#c3", "#s1", "#s2"].map(|end| format!("rule-16{end}"));
    let mut tiers = Vec::new();
    for log in [cluster.coordinator_log(), cluster.worker_log(0)] {
        let close = log.event("rule-16", "stream_close").await;
        assert_eq!(
            (
                number(&close, "messages_in"),
                number(&close, "messages_out")
            ),
            (3, 2)
        );
        let lines = log.select(|line| line["event"] == "message");
        assert!(lines.iter().all(|line| line["request_id"] == "rule-16"));
        assert_eq!(lines.len(), 5, "{lines:?}");
        tiers.push(message_ids(&lines));
    }
    assert_eq!(tiers[0], tiers[1]);
    let ids: Vec<_> = tiers[0].iter().map(|(id, _)| id.clone()).collect();
    assert_eq!(ids, expected);
    let directions: Vec<_> = tiers[0].iter().map(|(_, direction)| direction).collect();
    assert!(
        directions[..3]
            .iter()
            .all(|direction| *direction == directions[0])
    );
    assert!(
        directions[3..]
            .iter()
            .all(|direction| *direction == directions[3])
    );
    assert!(
        !directions[0].is_empty() && directions[0] != directions[3],
        "{directions:?}"
    );
}

#[tokio::test]
async fn rule_16_messages_are_not_logged_unless_enabled() {
    let (_app, cluster) = start_default().await;
    let mut socket = cluster
        .websocket("/apps/notes/ws/echo", &[(REQUEST_ID, "quiet")])
        .await;
    socket.send_text("hello").await;
    socket.frame().await;
    socket.close(1000).await;
    drop(socket);
    for log in [cluster.coordinator_log(), cluster.worker_log(0)] {
        log.event("quiet", "stream_close").await;
        assert!(log.select(|line| line["event"] == "message").is_empty());
    }
}

#[tokio::test]
async fn rule_16_messages_of_many_sizes_and_splits_are_counted_alike() {
    let on = json!({"websocket": {"message_ids": true}});
    let (app, cluster) = start(|builder| builder.coordinator(&on).worker(&on)).await;
    let (mut client, mut server) = pair(&cluster, &app, "splits").await;
    let sizes = [0, 1, 125, 126, 127, 65_535, 65_536, 3, 200_000, 7];
    let mut bytes = Vec::new();
    for size in sizes {
        bytes.extend_from_slice(&client.encode(Frame::new(BINARY, pattern(size))));
    }
    let sending = async {
        let mut rest = bytes.as_slice();
        let mut length = 1;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(length.min(rest.len()));
            client.wire.send(piece).await;
            rest = after;
            length = length * 2 % 4_099 + 1;
        }
    };
    let receiving = async {
        for size in sizes {
            assert_eq!(server.frame().await.payload.len(), size);
        }
    };
    tokio::join!(sending, receiving);
    drop((client, server));
    for log in [cluster.coordinator_log(), cluster.worker_log(0)] {
        let close = log.event("splits", "stream_close").await;
        assert_eq!(number(&close, "messages_in"), sizes.len() as u64);
        let lines = log.select(|line| line["event"] == "message");
        assert_eq!(lines.len(), sizes.len());
    }
}

async fn assert_drained(mut client: WebSocket, mut server: WebSocket) {
    for (end, socket) in [("client", &mut client), ("application", &mut server)] {
        let mut code = None;
        while let Some(frame) = socket.next().await {
            code = code.or(frame.close_code());
            if code.is_some() {
                // A good end answers a close with a close.
                let _ = socket.try_send(Frame::close(1001, "")).await;
            }
        }
        assert_eq!(code, Some(1001), "at the {end}");
    }
}

#[tokio::test]
async fn a_coordinator_that_stops_closes_websockets_with_1001_at_both_ends() {
    let drain = json!({"drain": {"streams": "200ms"}});
    let (app, mut cluster) = start(|builder| builder.coordinator(&drain)).await;
    let (client, server) = pair(&cluster, &app, "drained").await;
    cluster.coordinator().signal(Signal::SIGTERM);
    assert_drained(client, server).await;
    assert_eq!(cluster.coordinator().ended().await.code(), Some(0));
    let line = cluster
        .coordinator_log()
        .event("drained", "stream_close")
        .await;
    assert_eq!(line["close_code"], 1001, "{line}");
    assert_ne!(line["closed_by"], "client", "{line}");
    assert_eq!(cluster.coordinator_log().of_request("drained").len(), 2);
    cluster.worker_log(0).event("drained", "stream_close").await;
}

#[tokio::test]
async fn a_worker_that_stops_closes_websockets_with_1001_at_both_ends() {
    let drain = json!({"drain": {"streams": "200ms"}});
    let (app, mut cluster) = start(|builder| builder.worker(&drain)).await;
    let (client, server) = pair(&cluster, &app, "drained").await;
    cluster.worker_daemon(0).signal(Signal::SIGTERM);
    assert_drained(client, server).await;
    assert_eq!(cluster.worker_daemon(0).ended().await.code(), Some(0));
    let line = cluster.worker_log(0).event("drained", "stream_close").await;
    assert_eq!(line["close_code"], 1001, "{line}");
    cluster
        .coordinator_log()
        .event("drained", "stream_close")
        .await;
}

#[tokio::test]
async fn a_close_frame_of_the_drain_is_not_put_into_the_middle_of_a_message() {
    let drain = json!({"drain": {"streams": "200ms"}});
    let (app, mut cluster) = start(|builder| builder.coordinator(&drain)).await;
    let (mut client, mut server) = pair(&cluster, &app, "unfinished").await;
    // The application has sent the head and a part of a frame when the drain begins.
    let frame = Frame::new(BINARY, pattern(1000)).encode();
    server.wire.send(&frame[..500]).await;
    within("the first half", client.wire.take(500))
        .await
        .unwrap();
    cluster.coordinator().signal(Signal::SIGTERM);
    let rest = client.wire.read_to_end().await;
    assert!(
        rest.is_empty() || frame[500..].starts_with(&rest[..rest.len().min(500)]),
        "a close frame in the payload of another frame: {rest:?}"
    );
    assert_eq!(cluster.coordinator().ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_the_application() {
    let (app, cluster) = start_default().await;
    let waiting = handshake(cluster.public(), "/apps/notes/manual/pressure", &[])
        .start()
        .await;
    let manual: Manual = app.accept("pressure").await;
    let server = manual.upgrade().await;
    let client = WebSocket::finish_handshake(waiting).await.expect("a 101");
    client.wire.shrink_receive_buffer();
    let total = 96 * 1024 * 1024_usize;
    let sent = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = std::sync::Arc::clone(&sent);
    let (mut stream, _) = server.wire.into_parts();
    let block = pattern(64 * 1024);
    let expected = Frame::new(BINARY, &block).encode();
    let writer = tokio::spawn({
        let frame = expected.clone();
        async move {
            use tokio::io::AsyncWriteExt;
            while counter.load(std::sync::atomic::Ordering::SeqCst) < total {
                if stream.write_all(&frame).await.is_err() {
                    break;
                }
                counter.fetch_add(block.len(), std::sync::atomic::Ordering::SeqCst);
            }
            stream
        }
    });
    // The sender is stopped when the count stays the same; the kernel's buffers hold far less
    // than the total.
    let (mut last, mut still) = (0, 0);
    eventually("the application to be stopped", || {
        let now = sent.load(std::sync::atomic::Ordering::SeqCst);
        still = if now == last { still + 1 } else { 0 };
        last = now;
        (still > 100).then_some(())
    })
    .await;
    let stopped_at = sent.load(std::sync::atomic::Ordering::SeqCst);
    assert!(
        stopped_at < total / 2,
        "{stopped_at} bytes were taken for a client that reads nothing"
    );
    let mut client = client;
    for _ in 0..200 {
        let frame = within("a frame", client.wire.take(expected.len()))
            .await
            .unwrap();
        assert!(frame == expected);
    }
    drop(client);
    drop(within("the writer to end", writer).await.unwrap());
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn an_idle_websocket_owns_no_buffer() {
    let (_app, mut cluster) = start_default().await;
    let mut sockets = Vec::new();
    let mut before = (0, 0);
    for n in 0..500 {
        let mut socket = cluster.websocket("/apps/notes/ws/echo", &[]).await;
        socket.send_text(&"x".repeat(20_000)).await;
        socket.frame().await;
        sockets.push(socket);
        if n == 99 {
            before = (
                resident_kib(cluster.coordinator().pid()),
                resident_kib(cluster.worker_daemon(0).pid()),
            );
        }
    }
    let after = (
        resident_kib(cluster.coordinator().pid()),
        resident_kib(cluster.worker_daemon(0).pid()),
    );
    // Pingora's own read buffer alone would be 64 KiB for each.
    for (before, after) in [(before.0, after.0), (before.1, after.1)] {
        let each = after.saturating_sub(before) / 400;
        assert!(each < 48, "{each} KiB for each idle WebSocket");
    }
}

#[tokio::test]
async fn ten_websockets_of_one_session_are_independent() {
    let (_app, cluster) = start_default().await;
    let cookie = cluster
        .get("/apps/notes/echo")
        .send()
        .await
        .session_cookie()
        .unwrap();
    let header = format!("{SESSION_COOKIE}={cookie}");
    let mut sockets = Vec::new();
    for n in 0..10 {
        let id = format!("many-{n}");
        let headers = [("Cookie", header.as_str()), (REQUEST_ID, id.as_str())];
        sockets.push(cluster.websocket("/apps/notes/ws/echo", &headers).await);
    }
    for (n, socket) in sockets.iter_mut().enumerate() {
        socket.send_text(&format!("to {n}")).await;
    }
    for (n, socket) in sockets.iter_mut().enumerate().rev() {
        assert_eq!(socket.frame().await.as_text(), format!("to {n}"));
    }
    for socket in &mut sockets {
        assert_eq!(socket.close(1000).await, Some(1000));
    }
    drop(sockets);
    for n in 0..10 {
        let line = cluster
            .coordinator_log()
            .event(&format!("many-{n}"), "stream_close")
            .await;
        assert_eq!(line["session_id"], session_id(&cookie));
    }
}
