//! Bodies and trailers, in both directions.

use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, HeaderValue};
use tokio::time::sleep;

use crate::support::client::{read, reason, upload};
use crate::support::frames::{
    DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, block, frame, get,
};
use crate::support::{H2, RawH2, Server, Upstream, until};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn a_body_with_a_length_keeps_it() {
    let upstream = Upstream::bind();
    let server = Server::start(&upstream).await;
    let client = H2::connect(server.addr).await;
    let request = client
        .request("POST", "/")
        .header("content-length", "0300000");
    let (response, mut body) = client.send(request, false).await;
    let content: Bytes = (0..300_000u32).map(|n| n as u8).collect();
    let sent = content.clone();
    let sender = tokio::spawn(async move {
        upload(&mut body, sent).await.unwrap();
        body.send_data(Bytes::new(), true).unwrap();
        body
    });
    let mut hop = upstream.accept().await;
    let head = hop.head().await;
    assert!(head.contains("content-length: 300000\r\n"), "{head}");
    assert_eq!(hop.bytes(300_000).await, content);
    hop.write(OK).await;
    assert_eq!(read(response).await.unwrap().text(), "ok");
    sender.await.unwrap();
}

#[tokio::test]
async fn a_body_without_length_becomes_chunked_and_its_trailers_pass() {
    let upstream = Upstream::bind();
    let server = Server::start(&upstream).await;
    let client = H2::connect(server.addr).await;
    let request = client.request("POST", "/").header("trailer", "x-sum");
    let (response, mut body) = client.send(request, false).await;
    body.send_data("hello".into(), false).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("7"));
    trailers.insert("x-forwarded-for", HeaderValue::from_static("10.0.0.1"));
    trailers.insert("content-length", HeaderValue::from_static("1"));
    body.send_trailers(trailers).unwrap();
    let mut hop = upstream.accept().await;
    assert!(hop.head().await.contains("transfer-encoding: chunked\r\n"));
    let expected = b"5\r\nhello\r\n0\r\nx-sum: 7\r\n\r\n";
    assert_eq!(hop.bytes(expected.len()).await, expected);
    hop.write(OK).await;
    assert_eq!(read(response).await.unwrap().status, 200);
}

#[tokio::test]
async fn trailers_of_a_response_pass() {
    let upstream = Upstream::bind();
    let server = Server::start(&upstream).await;
    upstream.answer(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
        5\r\nhello\r\n0\r\nGrpc-Status: 0\r\n\r\n",
    );
    let client = H2::connect(server.addr).await;
    let request = client.request("GET", "/").header("te", "trailers");
    let (response, _) = client.send(request, true).await;
    let answer = read(response).await.unwrap();
    assert_eq!(answer.text(), "hello");
    assert_eq!(answer.trailers.unwrap()["grpc-status"], "0");
}

#[tokio::test]
async fn a_large_response_passes_whole() {
    let upstream = Upstream::bind();
    let server = Server::start(&upstream).await;
    let client = H2::connect(server.addr).await;
    let (response, _) = client.send(client.request("GET", "/"), true).await;
    let mut hop = upstream.accept().await;
    hop.head().await;
    let content: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    hop.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n")
        .await;
    let reader = tokio::spawn(read(response));
    hop.write(&content).await;
    assert!(reader.await.unwrap().unwrap().body == content);
}

#[tokio::test]
async fn a_truncated_response_is_a_reset() {
    let upstream = Upstream::bind();
    let server = Server::start(&upstream).await;
    let client = H2::connect(server.addr).await;
    let (response, _) = client.send(client.request("GET", "/"), true).await;
    let mut hop = upstream.accept().await;
    hop.head().await;
    hop.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        .await;
    drop(hop);
    assert_eq!(reason(read(response).await), Reason::INTERNAL_ERROR);
}

/// Sends a POST with this `Content-Length` and these DATA frames, and returns what the next hop
/// got of it until the connection was closed.
async fn lie(length: &[u8], frames: &[(&[u8], bool)]) -> Vec<u8> {
    let upstream = Upstream::bind();
    let server = Server::start(&upstream).await;
    let mut client = RawH2::connect(server.addr).await;
    let mut fields = get(&[(b"content-length", length)]);
    fields[0].1 = b"POST";
    client
        .send(&frame(HEADERS, END_HEADERS, 1, &block(&fields)))
        .await;
    let received = tokio::spawn(async move {
        tokio::select! {
            mut hop = upstream.accept() => {
                hop.head().await;
                hop.rest().await
            }
            () = sleep(Duration::from_millis(300)) => b"no request".to_vec(),
        }
    });
    for (data, end) in frames {
        // Each frame arrives on its own.
        sleep(Duration::from_millis(20)).await;
        client.send(&frame(DATA, u8::from(*end), 1, data)).await;
    }
    let reset = client.read_until(RST_STREAM).await.unwrap();
    assert_eq!((reset.stream, reset.code()), (1, 1), "PROTOCOL_ERROR");
    let gateway = &server.gateway;
    until("a line of the log", || !gateway.logged().is_empty()).await;
    received.await.unwrap()
}

#[tokio::test]
async fn a_length_that_is_wrong_never_becomes_a_complete_request() {
    assert_eq!(lie(b"0", &[(b"x", true)]).await, b"no request");
    assert_eq!(lie(b"0", &[(b"x", false)]).await, b"no request");
    assert_eq!(lie(b"2", &[(b"a", true)]).await, b"");
    assert_eq!(lie(b"2", &[(b"a", false), (b"", true)]).await, b"a");
    // The last piece is held back until the end of the stream.
    assert_eq!(lie(b"2", &[(b"ab", false), (b"c", true)]).await, b"");
    assert_eq!(lie(b"3", &[(b"ab", false), (b"cd", true)]).await, b"ab");
    assert_eq!(
        lie(b"3", &[(b"ab", false), (b"c", false), (b"d", false)]).await,
        b"ab"
    );
}

#[tokio::test]
async fn an_empty_body_that_ends_later_is_awaited() {
    let upstream = Upstream::bind();
    let server = Server::start(&upstream).await;
    let client = H2::connect(server.addr).await;
    let request = client.request("POST", "/").header("content-length", "0");
    let (response, mut body) = client.send(request, false).await;
    body.send_data(Bytes::new(), true).unwrap();
    let mut hop = upstream.accept().await;
    assert!(hop.head().await.contains("content-length: 0\r\n"));
    hop.write(OK).await;
    assert_eq!(read(response).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_body_that_ends_with_an_empty_frame_is_complete() {
    let upstream = Upstream::bind();
    let server = Server::start(&upstream).await;
    let mut client = RawH2::connect(server.addr).await;
    let mut fields = get(&[(b"content-length", b"4")]);
    fields[0].1 = b"POST";
    client
        .send(&frame(HEADERS, END_HEADERS, 1, &block(&fields)))
        .await;
    client.send(&frame(DATA, 0, 1, b"text")).await;
    client.send(&frame(DATA, END_STREAM, 1, b"")).await;
    let mut hop = upstream.accept().await;
    hop.head().await;
    assert_eq!(hop.bytes(4).await, b"text");
}
