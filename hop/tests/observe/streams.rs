//! The bytes of streams: an observer sees those that the client got, and changes none.

use app_proxy_hop::exchange::Policies;
use app_proxy_hop::observe::{Event, Observe, StreamObserver};
use app_proxy_hop::streams::CloseReason;
use app_proxy_hop::tunnel::Direction;
use tokio::io::AsyncReadExt;

use crate::application::{self, MEBIBYTE, chunk, close, frame, messages, pieces};
use crate::client::{get, handshake, raw, read_until, request, response};
use crate::recorder::Recorder;
use crate::tier::serve;

#[tokio::test]
async fn an_observer_of_a_response_sees_what_the_client_got() {
    let recorder = Recorder::default();
    let tier = serve(application::start().await, recorder.policies()).await;
    for (path, id) in [("/sse", "sse"), ("/grpc", "grpc"), ("/ndjson", "ndjson")] {
        let got = get(tier.address, path, id).await.body();
        assert!(got == pieces().concat(), "{path}");
        let records = recorder.after(id).await;
        assert!(records.from_server[id] == got, "{path}");
        assert!(!records.from_client.contains_key(id), "{path}");
    }
}

#[tokio::test]
async fn an_observer_of_a_response_sees_the_body_of_the_request_that_follows_its_header() {
    let recorder = Recorder::default();
    let tier = serve(application::start().await, recorder.policies()).await;
    let request = request("/echo", "echo").replace("GET", "POST");
    let request = request.replace("\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut client = read_until(tier.address, &request, "\r\n\r\n").await;
    for piece in pieces() {
        chunk(&mut client, &piece).await.unwrap();
    }
    chunk(&mut client, b"").await.unwrap();
    let mut got = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    client.read_to_end(&mut got).await.unwrap();
    assert!(response(got).body() == pieces().concat());
    let records = recorder.after("echo").await;
    assert!(records.from_client["echo"] == pieces().concat());
    assert!(records.from_server["echo"] == pieces().concat());
}

#[tokio::test]
async fn an_observer_of_a_websocket_sees_both_directions_with_their_frames() {
    let recorder = Recorder::default();
    let tier = serve(application::start().await, recorder.policies()).await;
    // The first frames arrive right behind the handshakes.
    let large: Vec<u8> = (0..MEBIBYTE).map(|at| (at % 241) as u8).collect();
    let sent = [frame(1, b"hi", true), frame(2, &large, true), close(true)].concat();
    let all = [handshake("socket").as_bytes(), &sent].concat();
    let got = raw(tier.address, all).await;
    assert_eq!(got.status(), 101);
    assert!(got.rest == [messages(), close(false)].concat());
    let records = recorder.after("socket").await;
    assert!(records.from_server["socket"] == got.rest);
    assert!(records.from_client["socket"] == sent);
}

#[tokio::test]
async fn the_close_frames_of_the_tier_are_seen_too() {
    let recorder = Recorder::default();
    let tier = serve(application::start().await, recorder.policies()).await;
    let mut client = read_until(tier.address, &handshake("socket"), "hello").await;
    let mut got = b"\x81\x05hello".to_vec();
    got.resize(messages().len(), 0);
    client.read_exact(&mut got[7..]).await.unwrap();
    assert_eq!(
        tier.streams
            .close_where(CloseReason::SessionDeleted, |_| true),
        1
    );
    client.read_to_end(&mut got).await.unwrap();
    assert!(String::from_utf8_lossy(&got).ends_with("the session was deleted"));
    let records = recorder.after("socket").await;
    assert!(records.from_server["socket"] == got);
    let to_application = &records.from_client["socket"];
    assert_eq!(to_application[..2], [0x88, 0x80 | 25]);
}

#[tokio::test]
async fn requests_and_long_downloads_have_no_observer_of_a_stream() {
    let recorder = Recorder::default();
    let tier = serve(application::start().await, recorder.policies()).await;
    for path in ["/hello", "/download", "/nowhere"] {
        get(tier.address, path, &path[1..]).await;
        let records = recorder.after(&path[1..]).await;
        assert_eq!(records.steps[&path[1..]], ["request"], "{path}");
    }
}

/// Panics wherever it can.
struct Panicking;

impl Observe for Panicking {
    fn event(&self, event: &Event<'_>) {
        panic!("at {}", event.kind().as_str());
    }

    fn stream(&self, opened: &Event<'_>) -> Option<Box<dyn StreamObserver>> {
        assert_ne!(opened.path(), "/grpc");
        Some(Box::new(Self))
    }
}

impl StreamObserver for Panicking {
    fn data(&mut self, _from: Direction, bytes: &[u8]) {
        panic!("at {} bytes", bytes.len());
    }
}

impl Drop for Panicking {
    fn drop(&mut self) {
        panic!("in its drop");
    }
}

#[tokio::test]
async fn a_panic_of_an_observer_breaks_neither_streams_nor_the_log() {
    let recorder = Recorder::default();
    let mut policies = Policies::default();
    policies.observers.add(Panicking);
    policies.observers.add(recorder.clone());
    // Never dropped, since its drop panics.
    std::mem::forget(policies.clone());
    let tier = serve(application::start().await, policies).await;
    for (path, id) in [("/hello", "hello"), ("/sse", "sse"), ("/grpc", "grpc")] {
        let got = get(tier.address, path, id).await;
        assert_eq!(got.status(), 200, "{path}");
        let records = recorder.after(id).await;
        if path != "/hello" {
            assert!(got.body() == pieces().concat(), "{path}");
            assert!(records.from_server[id] == got.body(), "{path}");
        }
    }
    let sent = close(true);
    let all = [handshake("socket").as_bytes(), &sent].concat();
    let got = raw(tier.address, all).await;
    assert!(got.rest == [messages(), close(false)].concat());
    let records = recorder.after("socket").await;
    assert!(records.from_server["socket"] == got.rest);
    assert_eq!(tier.lines().len(), records.events.len());
}
