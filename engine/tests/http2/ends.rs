//! The end of streams and of connections.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;

use crate::support::client::{read, upload};
use crate::support::frames::{DATA, GOAWAY, PING, RST_STREAM, frame, get, with};
use crate::support::{H2, RawH2, Server, TestGateway, Upstream, until, within};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Waits until the gateway has logged a client that left.
async fn logged_as_reset(gateway: &TestGateway) {
    until("the log", || !gateway.logged().is_empty()).await;
    let logged = gateway.logged().remove(0);
    assert!(logged.error.is_some(), "{logged:?}");
}

#[tokio::test]
async fn a_reset_before_the_response_reaches_the_next_hop() {
    let upstream = Upstream::bind();
    let server = Server::start(&upstream).await;
    let client = H2::connect(server.addr).await;
    let (response, mut body) = client.send(client.request("GET", "/"), true).await;
    let mut hop = upstream.accept().await;
    hop.head().await;
    body.send_reset(Reason::CANCEL);
    assert_eq!(hop.rest().await, b"");
    drop(response);
    logged_as_reset(&server.gateway).await;
}

#[tokio::test]
async fn a_reset_within_the_response_reaches_the_next_hop() {
    let upstream = Upstream::bind();
    let server = Server::start(&upstream).await;
    let client = H2::connect(server.addr).await;
    let (response, mut body) = client.send(client.request("GET", "/"), true).await;
    let mut hop = upstream.accept().await;
    hop.head().await;
    hop.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n")
        .await;
    let mut response = response.await.unwrap().into_body();
    assert_eq!(response.data().await.unwrap().unwrap(), "hi");
    body.send_reset(Reason::CANCEL);
    assert_eq!(hop.rest().await, b"");
    logged_as_reset(&server.gateway).await;
}

#[tokio::test]
async fn a_reset_of_an_upload_that_nobody_reads_reaches_the_next_hop() {
    let upstream = Upstream::bind();
    let server = Server::start(&upstream).await;
    let client = H2::connect(server.addr).await;
    let (_response, mut body) = client.send(client.request("POST", "/"), false).await;
    let mut hop = upstream.accept().await;
    let piece = Bytes::from_static(&[b'u'; 64 * 1024]);
    while let Ok(sent) =
        tokio::time::timeout(Duration::from_millis(300), upload(&mut body, piece.clone())).await
    {
        sent.unwrap();
    }
    body.send_reset(Reason::CANCEL);
    logged_as_reset(&server.gateway).await;
    assert!(!hop.rest().await.ends_with(b"0\r\n\r\n"));
}

#[tokio::test]
async fn a_client_that_disconnects_ends_its_exchanges() {
    let upstream = Upstream::bind();
    let server = Server::start(&upstream).await;
    let client = H2::connect(server.addr).await;
    let (_response, _) = client.send(client.request("GET", "/"), true).await;
    let mut hop = upstream.accept().await;
    hop.head().await;
    client.driver.abort();
    assert_eq!(hop.rest().await, b"");
    logged_as_reset(&server.gateway).await;
}

/// Sends a request, begins a drain by `begin`, and checks that the response still arrives, after
/// which the connection ends.
async fn drain(begin: impl FnOnce(&Server)) {
    let upstream = Upstream::bind();
    let server = Server::start(&upstream).await;
    let mut client = H2::connect(server.addr).await;
    let (response, _) = client.send(client.request("GET", "/"), true).await;
    let mut hop = upstream.accept().await;
    hop.head().await;
    begin(&server);
    if server.gateway.closing.load(Ordering::Relaxed) {
        // The owner of the gateway wakes connections; here, another request does.
        let (_cancelled, _) = client.send(client.request("GET", "/wake"), true).await;
    }
    let refused = within("a refusal of new streams", async {
        loop {
            if let Err(e) = client.sender.clone().ready().await {
                return e;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(refused.await.is_go_away());
    hop.write(OK).await;
    assert_eq!(read(response).await.unwrap().text(), "ok");
    within("the end of the connection", &mut client.driver)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_process_that_ends_completes_responses_and_closes_connections() {
    drain(|server| {
        server.shutdown.send_replace(true);
    })
    .await;
}

#[tokio::test]
async fn a_gateway_that_closes_connections_completes_responses() {
    drain(|server| server.gateway.closing.store(true, Ordering::Relaxed)).await;
}

#[tokio::test]
async fn a_connection_without_streams_ends_after_its_idle_time() {
    let upstream = Upstream::bind();
    let gateway = TestGateway::new(upstream.path());
    let server = Server::with(gateway, Some(Duration::from_millis(200))).await;
    let mut client = H2::connect(server.addr).await;
    let (response, _) = client.send(client.request("GET", "/"), true).await;
    let mut hop = upstream.accept().await;
    hop.head().await;
    // An exchange that waits is not idle.
    tokio::time::sleep(Duration::from_millis(500)).await;
    hop.write(OK).await;
    assert_eq!(read(response).await.unwrap().text(), "ok");
    within("the end of the connection", &mut client.driver)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn an_idle_client_that_does_not_answer_is_disconnected() {
    let server = Server::with(
        TestGateway::new(Upstream::bind().path()),
        Some(Duration::from_millis(50)),
    )
    .await;
    let mut client = RawH2::connect(server.addr).await;
    let first = client.read_until(GOAWAY).await.unwrap();
    assert_eq!(first.code(), 0);
    assert!(client.read_until(GOAWAY).await.is_some(), "the last stream");
    assert!(client.read().await.is_none(), "the end of the connection");
}

#[tokio::test]
async fn a_request_that_crosses_the_goaway_is_served() {
    let upstream = Upstream::bind();
    let server = Server::with(
        TestGateway::new(upstream.path()),
        Some(Duration::from_millis(50)),
    )
    .await;
    upstream.answer(OK);
    let mut client = RawH2::connect(server.addr).await;
    client.read_until(GOAWAY).await.unwrap();
    client.request(1, &get(&[])).await;
    let mut frames = Vec::new();
    while let Some(frame) = client.read().await {
        if frame.kind == PING {
            client.send(&self::frame(PING, 1, 0, &frame.payload)).await;
        }
        frames.push(frame);
    }
    let data = frames.iter().find(|frame| frame.kind == DATA);
    assert_eq!(data.unwrap().payload, b"ok");
    let last = frames.iter().rfind(|frame| frame.kind == GOAWAY);
    assert_eq!(last.unwrap().payload[..4], [0, 0, 0, 1], "the last stream");
}

#[tokio::test]
async fn a_client_that_resets_streams_at_once_begins_no_more_work_than_streams_may_be_open() {
    let upstream = Upstream::bind();
    let server = Server::start(&upstream).await;
    let mut client = RawH2::connect(server.addr).await;
    let fields = with(3, b"/held");
    let cancel = 8_u32.to_be_bytes();
    // h2 lets 20 more wait, and then ends the connection.
    for number in 0..121 {
        let stream = number * 2 + 1;
        client.request(stream, &fields).await;
        // Each on its own, so that h2 has accepted the stream before.
        tokio::time::sleep(Duration::from_millis(2)).await;
        client.send(&frame(RST_STREAM, 0, stream, &cancel)).await;
    }
    let end = client.read_until(GOAWAY).await.unwrap();
    assert_eq!(end.code(), 11, "ENHANCE_YOUR_CALM");
    assert_eq!(server.gateway.held.load(Ordering::Relaxed), 100);
}
