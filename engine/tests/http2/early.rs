//! Answers before the end of a request.

use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use tokio::task::JoinHandle;

use crate::support::client::{read, upload};
use crate::support::frames::{DATA, END_STREAM, HEADERS, PING, RST_STREAM, frame, with};
use crate::support::{H2, RawH2, Server, Upstream};

/// Uploads without end until the stream is reset, and returns the reason of the reset.
async fn upload_until_reset(mut body: h2::SendStream<Bytes>) -> Reason {
    let piece = Bytes::from_static(&[b'u'; 64 * 1024]);
    while upload(&mut body, piece.clone()).await.is_ok() {}
    let reset = std::future::poll_fn(|cx| body.poll_reset(cx));
    reset.await.unwrap()
}

/// Waits until the uploads were reset without an error.
async fn all_reset(uploads: Vec<JoinHandle<Reason>>) {
    for upload in uploads {
        assert_eq!(upload.await.unwrap(), Reason::NO_ERROR);
    }
}

#[tokio::test]
async fn a_refusal_arrives_while_the_client_uploads() {
    let upstream = Upstream::bind();
    let server = Server::start(&upstream).await;
    let client = H2::connect(server.addr).await;
    let mut uploads = Vec::new();
    for _ in 0..20 {
        let (response, body) = client.send(client.request("POST", "/refused"), false).await;
        let uploading = tokio::spawn(upload_until_reset(body));
        let answer = read(response).await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.text()), (413, "too large"));
        uploads.push(uploading);
    }
    all_reset(uploads).await;
}

#[tokio::test]
async fn a_body_that_grows_too_large_is_refused_with_an_answer() {
    let upstream = Upstream::bind();
    let server = Server::start(&upstream).await;
    let client = H2::connect(server.addr).await;
    let mut uploads = Vec::new();
    for _ in 0..10 {
        let (response, body) = client.send(client.request("POST", "/limited"), false).await;
        let uploading = tokio::spawn(upload_until_reset(body));
        let mut hop = upstream.accept().await;
        let received = tokio::spawn(async move { hop.rest().await });
        let answer = read(response).await.unwrap();
        assert_eq!(answer.status, 413);
        uploads.push(uploading);
        let received = received.await.unwrap();
        assert!(
            !received.ends_with(b"0\r\n\r\n"),
            "the request is incomplete"
        );
    }
    all_reset(uploads).await;
}

#[tokio::test]
async fn an_early_answer_of_the_next_hop_arrives() {
    let upstream = Upstream::bind();
    let server = Server::start(&upstream).await;
    let client = H2::connect(server.addr).await;
    let mut uploads = Vec::new();
    for _ in 0..10 {
        let (response, body) = client.send(client.request("POST", "/"), false).await;
        let uploading = tokio::spawn(upload_until_reset(body));
        let mut hop = upstream.accept().await;
        hop.head().await;
        hop.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
            .await;
        let answer = read(response).await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.text()), (403, "no"));
        uploads.push(uploading);
    }
    all_reset(uploads).await;
}

/// Regression: curl 7.88 drops an answer that a reset follows at once.
#[tokio::test]
async fn an_early_answer_is_read_before_the_stream_is_reset() {
    let upstream = Upstream::bind();
    let server = Server::start(&upstream).await;
    let mut client = RawH2::connect(server.addr).await;
    let mut fields = with(3, b"/refused");
    fields[0].1 = b"POST";
    client.head(1, &fields, 0).await;
    client.send(&frame(DATA, 0, 1, b"first")).await;
    let answer = client.read_until(DATA).await.unwrap();
    assert_eq!(
        (answer.flags & END_STREAM, &*answer.payload),
        (1, &b"too large"[..])
    );
    let pause = tokio::time::timeout(Duration::from_millis(500), client.read());
    assert_eq!(pause.await.ok(), None, "nothing follows the answer at once");
    let reset = client.read_until(RST_STREAM).await.unwrap();
    assert_eq!((reset.stream, reset.code()), (1, 0), "NO_ERROR");
    // A request that ends in time is not reset.
    client.head(3, &fields, 0).await;
    client.read_until(HEADERS).await.unwrap();
    client.send(&frame(DATA, END_STREAM, 3, b"last")).await;
    client.send(&frame(PING, 0, 0, &[1; 8])).await;
    while let Some(frame) = client.read().await {
        assert_ne!(frame.kind, RST_STREAM);
        if frame.kind == PING {
            break;
        }
    }
}

#[tokio::test]
async fn other_streams_go_on_after_an_early_answer() {
    let upstream = Upstream::bind();
    let server = Server::start(&upstream).await;
    upstream.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let client = H2::connect(server.addr).await;
    let mut uploads = Vec::new();
    for _ in 0..20 {
        // The rest of each body is dropped, and given back to the window of the connection.
        let (response, body) = client.send(client.request("POST", "/refused"), false).await;
        let uploading = tokio::spawn(upload_until_reset(body));
        assert_eq!(read(response).await.unwrap().status, 413);
        uploads.push(uploading);
    }
    all_reset(uploads).await;
    let request = client
        .request("POST", "/")
        .header("content-length", "100000");
    let (response, mut body) = client.send(request, false).await;
    upload(&mut body, Bytes::from_static(&[b'x'; 100_000]))
        .await
        .unwrap();
    body.send_data(Bytes::new(), true).unwrap();
    assert_eq!(read(response).await.unwrap().text(), "ok");
}
