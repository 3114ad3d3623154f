//! Connections to next hops: kept, broken, private.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Proxy, read_to};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn a_request_with_a_body_is_repeated_when_a_kept_connection_breaks() {
    let proxy = Proxy::start(|mut stream, number| async move {
        read_to(&mut stream, "\r\n\r\n").await;
        if number == 0 {
            stream.write_all(OK).await.unwrap();
            // Closes the kept connection while the next request is under way.
            let mut one = [0];
            let _ = stream.read(&mut one).await;
            socket2_linger(&stream);
            return;
        }
        read_to(&mut stream, "body").await;
        stream.write_all(OK).await.unwrap();
    })
    .await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.read_to("ok").await;
    client
        .send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody")
        .await;
    let response = client.read_to("ok").await;
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
}

/// Has the connection reset when it is dropped.
fn socket2_linger(stream: &tokio::net::TcpStream) {
    #[allow(deprecated)]
    stream.set_linger(Some(std::time::Duration::ZERO)).unwrap();
}

#[tokio::test]
async fn bytes_that_nothing_asked_for_end_a_kept_connection() {
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    let proxy = Proxy::start(move |mut stream, _| {
        count.fetch_add(1, Ordering::Relaxed);
        async move {
            loop {
                read_to(&mut stream, "\r\n\r\n").await;
                stream.write_all(OK).await.unwrap();
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL")
                    .await
                    .unwrap();
            }
        }
    })
    .await;
    for _ in 0..3 {
        let mut client = proxy.client().await;
        client
            .send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .await;
        assert!(client.read_all().await.ends_with("\r\n\r\nok"));
        // The bytes arrive before the next request.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(connections.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn a_connection_that_was_authenticated_belongs_to_its_client() {
    let proxy = Proxy::start(|mut stream, _| async move {
        let mut user = "nobody";
        loop {
            let head = read_to(&mut stream, "\r\n\r\n").await.to_ascii_lowercase();
            if head.contains("authorization: ntlm") {
                user = "alice";
            }
            let body = format!("hello {user}!");
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await;
    let mut alice = proxy.client().await;
    alice
        .send("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: NTLM abc\r\n\r\n")
        .await;
    assert!(alice.read_to("!").await.ends_with("hello alice!"));
    let mut bob = proxy.client().await;
    bob.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(bob.read_to("!").await.ends_with("hello nobody!"));
    alice.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(alice.read_to("!").await.ends_with("hello alice!"));
}

#[tokio::test]
async fn a_next_hop_that_refuses_connections_is_reported() {
    let proxy = Proxy::start_with(
        |_, _| async {},
        |gateway| gateway.upstream_read = Some(std::time::Duration::from_millis(50)),
    )
    .await;
    let mut client = proxy.client().await;
    client
        .send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await;
    assert!(client.read_all().await.starts_with("HTTP/1.1 502 "));
}
