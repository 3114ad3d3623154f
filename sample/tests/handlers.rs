//! Tests of the sample application on a free port, without the proxy.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may stop at what it did not expect"
)]

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use futures::{SinkExt, StreamExt};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

const ID: &str = "sample-test:1";

async fn start() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = axum::serve(listener, app_proxy_sample::routes::router()).into_future();
    tokio::spawn(serving);
    address
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: header::HeaderName) -> &str {
        self.headers[name].to_str().unwrap()
    }

    fn text(&self) -> &str {
        str::from_utf8(&self.body).unwrap()
    }
}

async fn open(address: SocketAddr, request: Request<Body>) -> hyper::Response<Incoming> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender.send_request(request).await.unwrap()
}

async fn send(address: SocketAddr, request: Request<Body>) -> Answer {
    let (head, body) = open(address, request).await.into_parts();
    Answer {
        status: head.status,
        headers: head.headers,
        body: body.collect().await.unwrap().to_bytes().into(),
    }
}

fn request(method: Method, path: &str) -> axum::http::request::Builder {
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "sample.test")
        .header("X-Backend-Request-ID", ID)
}

async fn get(address: SocketAddr, path: &str) -> Answer {
    send(
        address,
        request(Method::GET, path).body(Body::empty()).unwrap(),
    )
    .await
}

#[tokio::test]
async fn pages_show_the_request_id_that_arrived() {
    let address = start().await;
    for path in ["/", "/hello"] {
        let answer = get(address, path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        let shown = format!(r#"<code id="request-id">{ID}</code>"#);
        assert!(answer.text().contains(&shown), "{path}");
        assert!(!answer.text().contains("{{"), "{path} has an unfilled mark");
    }
}

#[tokio::test]
async fn links_in_pages_are_relative() {
    let address = start().await;
    for path in ["/", "/hello"] {
        let answer = get(address, path).await;
        for absolute in [r#"href="/"#, r#"action="/"#, r#"src="/"#, r#"("/"#] {
            assert!(
                !answer.text().contains(absolute),
                "{path} contains {absolute}"
            );
        }
    }
}

#[tokio::test]
async fn page_without_the_proxy_reports_the_missing_request_id() {
    let address = start().await;
    let request = Request::get("/").body(Body::empty()).unwrap();
    let answer = send(address, request).await;
    assert!(
        answer
            .text()
            .contains(r#"<code id="request-id">none</code>"#)
    );
}

#[tokio::test]
async fn hostile_request_id_is_escaped() {
    let address = start().await;
    let request = Request::get("/hello")
        .header("X-Backend-Request-ID", "<script>alert(1)</script>\u{e9}")
        .body(Body::empty())
        .unwrap();
    let answer = send(address, request).await;
    assert!(!answer.text().contains("<script>"));
    assert!(answer.text().contains("&lt;script&gt;"));
}

#[tokio::test]
async fn login_sets_the_cookie_and_redirects_to_an_absolute_path() {
    let address = start().await;
    let form = request(Method::POST, "/login")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from("user=Ada+%3CLovelace%3E%3B"))
        .unwrap();
    let answer = send(address, form).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    assert_eq!(answer.header(header::LOCATION), "/hello");
    let (cookie, attributes) = answer.header(header::SET_COOKIE).split_once(';').unwrap();
    assert!(attributes.contains("Path=/"));

    let hello = request(Method::GET, "/hello")
        .header(header::COOKIE, format!("other=1; {cookie}"))
        .body(Body::empty())
        .unwrap();
    let answer = send(address, hello).await;
    assert!(answer.text().contains("Hello, Ada &lt;Lovelace&gt;;"));
}

#[tokio::test]
async fn login_without_a_name_is_a_guest() {
    let address = start().await;
    for (method, path) in [(Method::GET, "/login?user="), (Method::POST, "/login")] {
        let answer = send(address, request(method, path).body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{path}");
        assert!(
            answer
                .header(header::SET_COOKIE)
                .starts_with("sample_user=guest;")
        );
    }
}

#[tokio::test]
async fn echo_tells_the_request_as_it_arrived() {
    let address = start().await;
    let request = request(Method::PUT, "/api/echo?x=1&y=%20")
        .header("X-Twice", "a")
        .header("X-Twice", "b")
        .body(Body::from("twelve bytes"))
        .unwrap();
    let answer = send(address, request).await;
    let told: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(told["request_id"], ID);
    assert_eq!(told["method"], "PUT");
    assert_eq!(told["path"], "/api/echo");
    assert_eq!(told["query"], "x=1&y=%20");
    assert_eq!(told["headers"]["x-twice"], json!(["a", "b"]));
    assert_eq!(told["headers"]["x-backend-request-id"], json!([ID]));
    assert_eq!(told["body_bytes"], 12);
}

#[tokio::test]
async fn status_is_the_requested_one() {
    let address = start().await;
    for (asked, got) in [
        (204, 204),
        (304, 304),
        (404, 404),
        (503, 503),
        (101, 400),
        (600, 400),
    ] {
        let answer = get(address, &format!("/status/{asked}")).await;
        assert_eq!(answer.status.as_u16(), got, "/status/{asked}");
    }
}

#[tokio::test]
async fn big_answer_has_the_requested_length() {
    let address = start().await;
    for bytes in [0, 1, 65536, 1_000_001] {
        let answer = get(address, &format!("/big?bytes={bytes}")).await;
        assert_eq!(answer.body.len(), bytes);
        assert_eq!(answer.header(header::CONTENT_LENGTH), bytes.to_string());
    }
}

#[tokio::test]
async fn slow_answer_tells_its_delay() {
    let address = start().await;
    let answer = get(address, "/slow?ms=1").await;
    assert_eq!(answer.text(), format!("after 1 ms (request ID {ID})\n"));
}

#[tokio::test]
async fn unknown_page_is_404() {
    let address = start().await;
    assert_eq!(get(address, "/nowhere").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn events_come_one_by_one_with_the_request_id() {
    let address = start().await;
    let request = request(Method::GET, "/events?ms=1")
        .body(Body::empty())
        .unwrap();
    let response = open(address, request).await;
    assert_eq!(
        response.headers()[header::CONTENT_TYPE],
        "text/event-stream"
    );
    let mut stream = response.into_body().into_data_stream();
    let mut text = String::new();
    while text.matches("\n\n").count() < 3 {
        let chunk = timeout(Duration::from_secs(10), stream.next()).await;
        text.push_str(str::from_utf8(&chunk.unwrap().unwrap().unwrap()).unwrap());
    }
    let event = format!("id: 3\ndata: {}\n\n", json!({"n": 3, "request_id": ID}));
    assert!(text.contains(&event), "{text}");
}

#[tokio::test]
async fn websocket_tells_the_request_id_and_then_echoes() {
    let address = start().await;
    let mut request = format!("ws://{address}/ws").into_client_request().unwrap();
    request
        .headers_mut()
        .insert("X-Backend-Request-ID", ID.parse().unwrap());
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut socket, _) = tokio_tungstenite::client_async(request, stream)
        .await
        .unwrap();

    let greeting = socket.next().await.unwrap().unwrap();
    let greeting: Value = serde_json::from_str(greeting.to_text().unwrap()).unwrap();
    assert_eq!(greeting["request_id"], ID);
    for message in [
        Message::text("text"),
        Message::binary(vec![0; 1 << 20]),
        Message::text(""),
    ] {
        socket.send(message.clone()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), message);
    }
    socket.close(None).await.unwrap();
    assert!(socket.next().await.unwrap().unwrap().is_close());
}
