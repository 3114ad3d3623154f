//! Answers before the end of a request.

use bytes::Bytes;
use h2::Reason;

use crate::support::client::{read, upload};
use crate::support::{H2, Server, Upstream};

/// Uploads without end until the stream is reset, and returns the reason of the reset.
async fn upload_until_reset(mut body: h2::SendStream<Bytes>) -> Reason {
    let piece = Bytes::from_static(&[b'u'; 64 * 1024]);
    while upload(&mut body, piece.clone()).await.is_ok() {}
    let reset = std::future::poll_fn(|cx| body.poll_reset(cx));
    reset.await.unwrap()
}

#[tokio::test]
async fn a_refusal_arrives_while_the_client_uploads() {
    let upstream = Upstream::bind();
    let server = Server::start(&upstream).await;
    let client = H2::connect(server.addr).await;
    for _ in 0..50 {
        let (response, body) = client.send(client.request("POST", "/refused"), false).await;
        let uploading = tokio::spawn(upload_until_reset(body));
        let answer = read(response).await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.text()), (413, "too large"));
        assert_eq!(uploading.await.unwrap(), Reason::NO_ERROR);
    }
}

#[tokio::test]
async fn a_body_that_grows_too_large_is_refused_with_an_answer() {
    let upstream = Upstream::bind();
    let server = Server::start(&upstream).await;
    let client = H2::connect(server.addr).await;
    for _ in 0..10 {
        let (response, body) = client.send(client.request("POST", "/limited"), false).await;
        let uploading = tokio::spawn(upload_until_reset(body));
        let mut hop = upstream.accept().await;
        let received = tokio::spawn(async move { hop.rest().await });
        let answer = read(response).await.unwrap();
        assert_eq!(answer.status, 413);
        assert_eq!(uploading.await.unwrap(), Reason::NO_ERROR);
        let received = received.await.unwrap();
        assert!(
            !received.ends_with(b"0\r\n\r\n"),
            "the request is incomplete"
        );
    }
}

#[tokio::test]
async fn an_early_answer_of_the_next_hop_arrives() {
    let upstream = Upstream::bind();
    let server = Server::start(&upstream).await;
    let client = H2::connect(server.addr).await;
    for _ in 0..10 {
        let (response, body) = client.send(client.request("POST", "/"), false).await;
        let uploading = tokio::spawn(upload_until_reset(body));
        let mut hop = upstream.accept().await;
        hop.head().await;
        hop.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
            .await;
        let answer = read(response).await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.text()), (403, "no"));
        assert_eq!(uploading.await.unwrap(), Reason::NO_ERROR);
    }
}

#[tokio::test]
async fn other_streams_go_on_after_an_early_answer() {
    let upstream = Upstream::bind();
    let server = Server::start(&upstream).await;
    upstream.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let client = H2::connect(server.addr).await;
    for _ in 0..40 {
        // The rest of each body is dropped, and given back to the window of the connection.
        let (response, body) = client.send(client.request("POST", "/refused"), false).await;
        let uploading = tokio::spawn(upload_until_reset(body));
        assert_eq!(read(response).await.unwrap().status, 413);
        uploading.await.unwrap();
    }
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
