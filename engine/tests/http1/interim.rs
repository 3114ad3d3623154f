//! Interim responses and expectations.

use tokio::io::AsyncWriteExt;

use crate::support::{Proxy, answer_all, read_to};

const INTERIM: &str = "HTTP/1.1 100 Continue\r\n\r\n\
     HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 0\r\n\r\n\
     HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone";

#[tokio::test]
async fn interim_responses_pass_without_framing_and_unasked_ones_do_not() {
    let proxy = Proxy::start(|stream, _| answer_all(stream, INTERIM)).await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let response = client.read_to("done").await;
    let interim = response
        .split("\r\n\r\n")
        .next()
        .unwrap()
        .to_ascii_lowercase();
    assert!(interim.starts_with("http/1.1 103 "), "{response}");
    assert!(interim.contains("link: </a>"), "{response}");
    assert!(!interim.contains("content-length"), "{response}");
}

#[tokio::test]
async fn http_1_0_gets_no_interim_response() {
    let proxy = Proxy::start(|stream, _| answer_all(stream, INTERIM)).await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.0\r\n\r\n").await;
    assert!(client.read_all().await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn more_than_32_interim_responses_are_refused() {
    let proxy = Proxy::start(|mut stream, _| async move {
        read_to(&mut stream, "\r\n\r\n").await;
        let interim = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(33);
        let _ = stream.write_all(interim.as_bytes()).await;
    })
    .await;
    let mut client = proxy.client().await;
    client
        .send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await;
    let response = client.read_all().await;
    assert_eq!(response.matches(" 103 ").count(), 32);
    assert_eq!(response.matches(" 502 ").count(), 1);
}

#[tokio::test]
async fn an_expectation_is_passed_on_and_its_100_comes_back() {
    let proxy = Proxy::start(|mut stream, _| async move {
        let head = read_to(&mut stream, "\r\n\r\n").await;
        assert!(
            head.to_ascii_lowercase().contains("expect: 100-continue"),
            "{head}"
        );
        stream
            .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
            .await
            .unwrap();
        read_to(&mut stream, "body").await;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .await
            .unwrap();
    })
    .await;
    let mut client = proxy.client().await;
    client
        .send("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        .await;
    assert!(
        client
            .read_to("\r\n\r\n")
            .await
            .starts_with("HTTP/1.1 100 ")
    );
    client.send("body").await;
    assert!(client.read_to("ok").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn an_expectation_that_is_refused_closes_the_connection() {
    let proxy = Proxy::start(|mut stream, _| async move {
        read_to(&mut stream, "\r\n\r\n").await;
        stream
            .write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
            .await
            .unwrap();
    })
    .await;
    let mut client = proxy.client().await;
    client
        .send("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        .await;
    let response = client.read_all().await.to_ascii_lowercase();
    assert!(response.starts_with("http/1.1 413 "), "{response}");
    assert!(response.contains("connection: close"), "{response}");
}
