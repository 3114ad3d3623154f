//! The protocol of a connection without TLS.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::frames::{HEADERS, PREFACE, SETTINGS, block, frame, get};
use crate::support::{RawH2, Server, TestGateway, Upstream, within};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

async fn server() -> Server {
    let upstream = Upstream::bind();
    let server = Server::start(&upstream).await;
    upstream.answer(OK);
    server
}

/// Reads until `end` was received, or the connection ends.
async fn read_to(stream: &mut TcpStream, end: &str) -> String {
    let mut received = Vec::new();
    within("a response", async {
        while !String::from_utf8_lossy(&received).ends_with(end) {
            if stream.read_buf(&mut received).await.unwrap_or(0) == 0 {
                break;
            }
        }
    })
    .await;
    String::from_utf8_lossy(&received).into_owned()
}

#[tokio::test]
async fn http_1_is_served_from_its_first_byte() {
    let server = server().await;
    for request in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "P / HTTP/1.1\r\nHost:a\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(server.addr).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        assert!(
            read_to(&mut stream, "ok")
                .await
                .starts_with("HTTP/1.1 200 OK\r\n")
        );
    }
}

#[tokio::test]
async fn either_protocol_may_arrive_byte_by_byte() {
    let server = server().await;
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for byte in b"PRIVATE / HTTP/1.1\r\nHost: a\r\n\r\n" {
        stream.write_all(&[*byte]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(
        read_to(&mut stream, "ok")
            .await
            .starts_with("HTTP/1.1 200 OK\r\n")
    );

    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let request = frame(HEADERS, 5, 1, &block(&get(&[])));
    let bytes = [PREFACE, &frame(SETTINGS, 0, 0, &[]), &request].concat();
    for byte in bytes {
        stream.write_all(&[byte]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut client = RawH2 { stream };
    assert_eq!(client.read_until(0).await.unwrap().payload, b"ok");
}

#[tokio::test]
async fn a_preface_with_its_first_request_is_read_at_once() {
    let server = server().await;
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    let request = frame(HEADERS, 5, 1, &block(&get(&[])));
    let bytes = [PREFACE, &frame(SETTINGS, 0, 0, &[]), &request].concat();
    stream.write_all(&bytes).await.unwrap();
    let mut client = RawH2 { stream };
    assert_eq!(client.read_until(0).await.unwrap().payload, b"ok");
}

#[tokio::test]
async fn a_beginning_of_the_preface_is_http_1() {
    let server = server().await;
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nXX").await.unwrap();
    let answer = read_to(&mut stream, "nothing").await;
    assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_silent_connection_is_told_that_its_time_is_over() {
    for sent in [&b""[..], b"PRI *"] {
        let upstream = Upstream::bind();
        let mut gateway = TestGateway::new(upstream.path());
        gateway.timeouts.read = Duration::from_millis(100);
        let server = Server::with(gateway, None).await;
        let mut stream = TcpStream::connect(server.addr).await.unwrap();
        stream.write_all(sent).await.unwrap();
        let answer = read_to(&mut stream, "nothing").await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
}

#[tokio::test]
async fn a_first_request_may_be_late_by_a_second_in_a_drain() {
    let server = server().await;
    server.gateway.closing.store(true, Ordering::Relaxed);
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    assert!(
        read_to(&mut stream, "ok")
            .await
            .starts_with("HTTP/1.1 200 OK\r\n")
    );
    let mut silent = TcpStream::connect(server.addr).await.unwrap();
    assert_eq!(read_to(&mut silent, "nothing").await, "");
}
