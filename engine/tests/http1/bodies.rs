//! Bodies in both directions.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Proxy, answer_all, read_to};

#[tokio::test]
async fn a_chunked_body_passes_with_its_trailers() {
    let proxy = Proxy::start(|mut stream, _| async move {
        let head = read_to(&mut stream, "\r\n\r\n").await.to_ascii_lowercase();
        assert!(head.contains("transfer-encoding: chunked"), "{head}");
        assert!(head.contains("te: trailers"), "{head}");
        let body = read_to(&mut stream, "0\r\nx-sum: 1\r\n\r\n").await;
        assert_eq!(body, "5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n");
        stream
            .write_all(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                  3\r\nabc\r\n0\r\nX-After: 2\r\n\r\n",
            )
            .await
            .unwrap();
    })
    .await;
    let mut client = proxy.client().await;
    client
        .send(
            "POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\
             Transfer-Encoding: chunked\r\n\r\n5;ext=1\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
        )
        .await;
    let response = client.read_to("0\r\nx-after: 2\r\n\r\n").await;
    assert!(response.contains("\r\n\r\n3\r\nabc\r\n0\r\n"), "{response}");
}

#[tokio::test]
async fn a_body_until_close_becomes_chunked_and_http_1_0_reads_to_the_end() {
    let proxy = Proxy::start(|mut stream, _| async move {
        read_to(&mut stream, "\r\n\r\n").await;
        stream
            .write_all(b"HTTP/1.0 200 OK\r\n\r\nall")
            .await
            .unwrap();
    })
    .await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.read_to("3\r\nall\r\n0\r\n\r\n").await;
    let mut old = proxy.client().await;
    old.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        .await;
    let response = old.read_all().await;
    assert!(response.ends_with("\r\n\r\nall"), "{response}");
}

#[tokio::test]
async fn responses_without_a_body_leave_the_connection_open() {
    for (method, answer, kept) in [
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
            "content-length: 9",
        ),
        (
            "GET",
            "HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\n",
            "",
        ),
        (
            "GET",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
            "content-length: 9",
        ),
    ] {
        let proxy = Proxy::start(move |stream, _| answer_all(stream, answer)).await;
        let mut client = proxy.client().await;
        for _ in 0..2 {
            client
                .send(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"))
                .await;
            let head = client.read_to("\r\n\r\n").await.to_ascii_lowercase();
            assert!(head.contains(kept), "{head}");
            assert_eq!(kept.is_empty(), !head.contains("content-length"), "{head}");
        }
    }
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_body_reaches_the_client() {
    let proxy = Proxy::start(|mut stream, _| async move {
        read_to(&mut stream, "\r\n\r\n").await;
        stream
            .write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
    })
    .await;
    let mut client = proxy.client().await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\n\r\n")
        .await;
    let (mut read, mut write) = client.0.split();
    let sending = async {
        // The proxy reads for a while, and then closes.
        while write.write_all(&[0; 65536]).await.is_ok() {}
    };
    let receiving = async {
        let mut all = Vec::new();
        let _ = read.read_to_end(&mut all).await;
        String::from_utf8(all).unwrap()
    };
    let response = tokio::select! {
        response = receiving => response,
        () = sending => panic!("the connection was reset"),
    };
    assert!(response.starts_with("HTTP/1.1 403 "), "{response}");
    assert!(response.ends_with("no"), "{response}");
}

#[tokio::test]
async fn a_body_that_breaks_off_is_not_completed() {
    for answer in [
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
    ] {
        let proxy = Proxy::start(move |mut stream, _| async move {
            read_to(&mut stream, "\r\n\r\n").await;
            stream.write_all(answer.as_bytes()).await.unwrap();
        })
        .await;
        let mut client = proxy.client().await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let response = client.read_all().await;
        assert!(response.contains("hello"), "{response}");
        assert!(!response.ends_with("0\r\n\r\n"), "{response}");
    }
}

#[tokio::test]
async fn a_client_that_reads_nothing_stops_the_next_hop() {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let proxy = Proxy::start(move |mut stream, _| {
        let count = Arc::clone(&count);
        async move {
            read_to(&mut stream, "\r\n\r\n").await;
            let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n";
            stream.write_all(head).await.unwrap();
            while let Ok(n) = stream.write(&[0; 65536]).await {
                count.fetch_add(n, Ordering::Relaxed);
            }
        }
    })
    .await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut before = usize::MAX;
    while before != sent.load(Ordering::Relaxed) {
        before = sent.load(Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // What the systems' buffers hold, and one piece.
    assert!(before < 30_000_000, "{before}");
    assert!(before > 0);
}

#[tokio::test]
async fn an_invalid_chunk_is_answered_with_400() {
    let proxy = Proxy::start(|mut stream, _| async move {
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all).await;
    })
    .await;
    for body in ["\r\n\r\n", ";a\r\n\r\n", "5\nhello\r\n0\r\n\r\n", "g\r\n"] {
        let mut client = proxy.client().await;
        client
            .send(format!(
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}"
            ))
            .await;
        let response = client.read_all().await;
        assert!(
            response.starts_with("HTTP/1.1 400 "),
            "{body:?}: {response}"
        );
    }
}
