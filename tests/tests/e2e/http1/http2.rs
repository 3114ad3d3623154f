//! Requests of HTTP/2 on their way to an application that speaks HTTP/1.1.

use std::future::poll_fn;

use app_proxy_tests::REQUEST_ID;
use app_proxy_tests::cluster::{Cluster, ClusterBuilder};
use app_proxy_tests::raw_app::Reply;
use app_proxy_tests::wait::within;
use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use tokio::net::TcpStream;

use super::support::{request, send, start};

async fn connect(cluster: &Cluster) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(cluster.h2c()).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    sender.ready().await.unwrap()
}

fn post(id: &str, length: Option<&str>) -> Request<()> {
    let mut request = Request::post("http://h.example/apps/raw/x").header(REQUEST_ID, id);
    if let Some(length) = length {
        request = request.header("content-length", length);
    }
    request.body(()).unwrap()
}

#[tokio::test]
async fn a_body_that_differs_from_its_length_never_looks_whole() {
    let (app, cluster) = start(ClusterBuilder::h2c).await;
    for (n, (length, pieces, ends)) in [
        ("0", &["hello"][..], true),
        ("0", &["hello"], false),
        ("5", &["hell"], true),
        ("5", &["hel", "l"], true),
        ("5", &["hello!"], true),
        ("5", &["hello", "!"], true),
        ("5", &["hello", "!"], false),
        ("1000000", &["hello"], true),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("differs-{n}");
        println!("{id}: {length} {pieces:?}");
        let mut sender = connect(&cluster).await;
        let (response, mut stream) = sender.send_request(post(&id, Some(length)), false).unwrap();
        for (m, piece) in pieces.iter().enumerate() {
            let is_last = ends && m + 1 == pieces.len();
            let _ = stream.send_data(Bytes::from_static(piece.as_bytes()), is_last);
            tokio::task::yield_now().await;
        }
        // The stream is reset, or answered with an error.
        if let Ok(response) = within("the end of the stream", response).await {
            assert_eq!(response.status(), 400, "{length} {pieces:?}");
        }
        for request in app.with_id(&id) {
            app.wait_closed(request.connection).await;
        }
        for request in app.with_id(&id) {
            assert!(!request.whole, "{length} {pieces:?}: {request:?}");
        }
    }
    app.assert_strict();
    let (answer, _) = send(&cluster, request("GET", "/apps/raw/y", "after", "", "")).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_body_of_its_length_passes_with_one_framing() {
    let (app, cluster) = start(ClusterBuilder::h2c).await;
    for (n, (length, pieces)) in [
        (None, &["hello"][..]),
        (None, &["he", "", "llo"]),
        (Some("5"), &["hello"]),
        (Some("5"), &["he", "llo", ""]),
        (Some("05"), &["hello"]),
        (Some("0"), &[""]),
        (None, &[""]),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("same-{n}");
        let mut sender = connect(&cluster).await;
        let (response, mut stream) = sender.send_request(post(&id, length), false).unwrap();
        for (m, piece) in pieces.iter().enumerate() {
            let piece = Bytes::from_static(piece.as_bytes());
            stream.send_data(piece, m + 1 == pieces.len()).unwrap();
        }
        let response = within("a response", response).await;
        if length == Some("05") && response.is_err() {
            continue;
        }
        assert_eq!(response.unwrap().status(), 200, "{length:?} {pieces:?}");
        let seen = app.only(&id);
        assert_eq!(seen.body, pieces.concat().as_bytes());
        assert!(seen.whole);
    }
    app.assert_strict();
}

#[tokio::test]
async fn headers_of_a_connection_make_a_request_malformed() {
    let (app, cluster) = start(ClusterBuilder::h2c).await;
    for (name, value) in [
        ("transfer-encoding", "chunked"),
        ("connection", "close"),
        ("connection", "x-private"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "close"),
        ("upgrade", "websocket"),
    ] {
        let mut sender = connect(&cluster).await;
        let request = Request::get("http://h.example/apps/raw/x")
            .header(name, value)
            .header(REQUEST_ID, name)
            .body(())
            .unwrap();
        // The client's library may refuse it itself.
        if let Ok((response, _)) = sender.send_request(request, true)
            && let Ok(response) = within("the end of the stream", response).await
        {
            assert_eq!(response.status(), 400, "{name}");
        }
        assert!(app.with_id(name).is_empty(), "{name}");
    }
}

#[tokio::test]
async fn the_authority_wins_over_host_and_cookies_are_one() {
    let (app, cluster) = start(ClusterBuilder::h2c).await;
    let mut sender = connect(&cluster).await;
    let request = Request::get("http://pub.example/apps/raw/x")
        .header("host", "pub.example")
        .header("cookie", "a=1")
        .header("cookie", "b=2; c=3")
        .header(REQUEST_ID, "authority")
        .body(())
        .unwrap();
    let (response, _) = sender.send_request(request, true).unwrap();
    assert_eq!(within("a response", response).await.unwrap().status(), 200);
    let seen = app.only("authority");
    assert_eq!(seen.values("Host"), [b"pub.example"]);
    assert_eq!(seen.value("Cookie").as_deref(), Some("a=1; b=2; c=3"));
    let mut sender = sender.ready().await.unwrap();
    let request = Request::get("http://pub.example/apps/raw/x")
        .header("host", "other.example")
        .header(REQUEST_ID, "contradicts")
        .body(())
        .unwrap();
    let (response, _) = sender.send_request(request, true).unwrap();
    match within("the end of the stream", response).await {
        Ok(response) if response.status() == 200 => {
            assert_eq!(app.only("contradicts").values("Host"), [b"pub.example"]);
        }
        Ok(response) => assert_eq!(response.status(), 400),
        Err(_) => assert!(app.with_id("contradicts").is_empty()),
    }
}

#[tokio::test]
async fn interim_responses_and_trailers_pass_and_lose_what_frames_a_message() {
    let (app, cluster) = start(ClusterBuilder::h2c).await;
    app.reply(
        "/x",
        Reply::new(
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 0\r\nSet-Cookie: a=b\r\n\
             Connection: close\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
             5\r\nhello\r\n0\r\nX-Sum: 1\r\nSet-Cookie: a=b\r\nX-Backend-Request-ID: evil\r\n\r\n",
        ),
    );
    let mut sender = connect(&cluster).await;
    let request = Request::get("http://h.example/apps/raw/x")
        .header("te", "trailers")
        .header(REQUEST_ID, "hints")
        .body(())
        .unwrap();
    let (mut response, _) = sender.send_request(request, true).unwrap();
    let first = poll_fn(|cx| response.poll_informational(cx));
    if let Some(Ok(hints)) = within("an interim response", first).await {
        let names: Vec<_> = hints
            .headers()
            .keys()
            .map(http::HeaderName::as_str)
            .collect();
        assert_eq!(names, ["link"], "{hints:?}");
    } else {
        panic!("no interim response");
    }
    let response = within("a response", response).await.unwrap();
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    let mut text = Vec::new();
    while let Some(piece) = within("the body", body.data()).await {
        text.extend_from_slice(&piece.unwrap());
    }
    assert_eq!(text, b"hello");
    let trailers = within("the trailers", body.trailers()).await.unwrap();
    let trailers = trailers.expect("trailers");
    let names: Vec<_> = trailers.keys().map(http::HeaderName::as_str).collect();
    assert_eq!(names, ["x-sum"], "{trailers:?}");
}
