//! Request heads on their way to HTTP/1.1, and response heads on their way back.

use http::StatusCode;

use crate::support::client::read;
use crate::support::frames::{Field, GOAWAY, HEADERS, get, with};
use crate::support::{H2, RawH2, Server, Upstream};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn a_request_becomes_one_of_http_1() {
    let upstream = Upstream::bind();
    let server = Server::start(&upstream).await;
    let client = H2::connect(server.addr).await;
    let request = client
        .request("GET", "/a?b=%41")
        .header("te", "trailers")
        .header("x-own", "caf\u{e9}")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .header("cookie", "c=3; d=4");
    let (response, _) = client.send(request, true).await;
    let mut hop = upstream.accept().await;
    let head = hop.head().await;
    hop.write(
        b"HTTP/1.1 200 Fine\r\nConnection: keep-alive, x-hop\r\nKeep-Alive: timeout=5\r\n\
        Upgrade: h2c\r\nProxy-Connection: close\r\nX-App: 1\r\nContent-Length: 2\r\n\r\nok",
    )
    .await;
    let lines: Vec<&str> = head.lines().collect();
    assert_eq!(lines[0], "GET /a?b=%41 HTTP/1.1");
    let host = format!("host: {}", server.addr);
    for line in [
        &*host,
        "cookie: a=1; b=2; c=3; d=4",
        "x-own: café",
        "te: trailers",
    ] {
        assert_eq!(
            lines.iter().filter(|own| **own == line).count(),
            1,
            "{line} in {head}"
        );
    }
    assert!(!head.contains("transfer-encoding") && !head.contains("content-length"));
    let answer = read(response).await.unwrap();
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, "ok"));
    assert_eq!(answer.headers["x-app"], "1");
    assert!(answer.headers.contains_key("date"));
    for name in ["connection", "keep-alive", "upgrade", "proxy-connection"] {
        assert!(!answer.headers.contains_key(name), "{name}");
    }
}

#[tokio::test]
async fn an_authority_wins_over_a_host_that_is_spelled_another_way() {
    let upstream = Upstream::bind();
    let server = Server::start(&upstream).await;
    let mut client = RawH2::connect(server.addr).await;
    client
        .request(1, &get(&[(b"host", b"APP.example:80")]))
        .await;
    let head = upstream.accept().await.head().await;
    let hosts: Vec<&str> = head
        .lines()
        .filter(|line| line.starts_with("host:"))
        .collect();
    assert_eq!(hosts, ["host: app.example"]);
}

#[tokio::test]
async fn a_host_stands_for_a_missing_authority() {
    let upstream = Upstream::bind();
    let server = Server::start(&upstream).await;
    let mut client = RawH2::connect(server.addr).await;
    let fields: [Field<'_>; 4] = [
        (b":method", b"GET"),
        (b":scheme", b"http"),
        (b":path", b"/x"),
        (b"host", b"app.example"),
    ];
    client.request(1, &fields).await;
    let head = upstream.accept().await.head().await;
    assert!(
        head.starts_with("GET /x HTTP/1.1\r\nhost: app.example\r\n"),
        "{head}"
    );
}

#[tokio::test]
async fn a_post_without_a_body_says_so() {
    let upstream = Upstream::bind();
    let server = Server::start(&upstream).await;
    let client = H2::connect(server.addr).await;
    let _response = client.send(client.request("POST", "/"), true).await;
    let head = upstream.accept().await.head().await;
    assert!(head.contains("content-length: 0\r\n"), "{head}");
}

#[tokio::test]
async fn responses_without_content_end_with_their_head() {
    for (method, response, length) in [
        (
            "HEAD",
            &b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"[..],
            Some("5"),
        ),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", None),
        (
            "GET",
            b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n",
            Some("7"),
        ),
        (
            "GET",
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            Some("0"),
        ),
    ] {
        let upstream = Upstream::bind();
        let server = Server::start(&upstream).await;
        upstream.answer(response);
        let mut client = RawH2::connect(server.addr).await;
        client.request(1, &with(0, method.as_bytes())).await;
        let head = client.read_until(HEADERS).await.unwrap();
        assert_eq!(head.flags & 1, 1, "{method}: END_STREAM");
        let client = H2::connect(server.addr).await;
        let (response, _) = client.send(client.request(method, "/"), true).await;
        let answer = read(response).await.unwrap();
        let received = answer.headers.get("content-length");
        assert_eq!(
            received.map(|value| value.to_str().unwrap()),
            length,
            "{method}"
        );
    }
}

#[tokio::test]
async fn interim_responses_pass_and_an_unasked_100_does_not() {
    let upstream = Upstream::bind();
    let server = Server::start(&upstream).await;
    upstream.answer(
        b"HTTP/1.1 100 Continue\r\n\r\n\
        HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nContent-Length: 3\r\nConnection: close\r\n\
        \r\n\
        HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    );
    let client = H2::connect(server.addr).await;
    let (mut response, _) = client.send(client.request("GET", "/"), true).await;
    let interim = std::future::poll_fn(|cx| response.poll_informational(cx));
    let interim = interim.await.unwrap().unwrap();
    assert_eq!(interim.status(), 103);
    let names: Vec<&str> = interim.headers().keys().map(|name| name.as_str()).collect();
    assert_eq!(names, ["link"]);
    assert_eq!(read(response).await.unwrap().text(), "ok");
}

#[tokio::test]
async fn a_100_passes_to_a_client_that_waits_for_it() {
    let upstream = Upstream::bind();
    let server = Server::start(&upstream).await;
    let client = H2::connect(server.addr).await;
    let request = client
        .request("POST", "/")
        .header("expect", "100-continue")
        .header("content-length", "4");
    let (mut response, mut body) = client.send(request, false).await;
    let mut hop = upstream.accept().await;
    assert!(hop.head().await.contains("expect: 100-continue\r\n"));
    hop.write(b"HTTP/1.1 100 Continue\r\n\r\n").await;
    let interim = std::future::poll_fn(|cx| response.poll_informational(cx));
    assert_eq!(interim.await.unwrap().unwrap().status(), 100);
    body.send_data("text".into(), true).unwrap();
    assert_eq!(hop.bytes(4).await, b"text");
    hop.write(OK).await;
    assert_eq!(read(response).await.unwrap().status, 200);
}

/// Sends a request that the engine rejects, and returns its status and its text.
async fn rejected(fields: &[Field<'_>]) -> (u16, String) {
    let upstream = Upstream::bind();
    let server = Server::start(&upstream).await;
    let mut client = RawH2::connect(server.addr).await;
    let fields = [fields, &[(b"x-request-id", b"mine")]].concat();
    client.request(1, &fields).await;
    client.read_until(HEADERS).await.expect("an answer");
    let body = client.read().await.unwrap();
    let logged = server.gateway.logged();
    assert_eq!((logged.len(), &*logged[0].id), (1, "mine"));
    (logged[0].status, String::from_utf8(body.payload).unwrap())
}

/// Checks that each of these requests is answered with this status and this text.
async fn check(status: u16, cases: &[(Vec<Field<'_>>, &str)]) {
    for (fields, text) in cases {
        let (received, body) = rejected(fields).await;
        assert_eq!(received, status, "{body}");
        assert!(body.contains(text), "{body}");
    }
}

#[tokio::test]
async fn invalid_hosts_are_answered_with_the_id_of_the_client() {
    let long = [b'a'; 301];
    let mut nowhere = get(&[]);
    nowhere.remove(2);
    let own: Field<'_> = (b"host", b"app.example");
    let cases = [
        (nowhere, "neither :authority nor Host"),
        (get(&[(b"host", b"other.example")]), "different hosts"),
        (get(&[(b"host", b"app.example:8080")]), "different hosts"),
        (get(&[(b"host", b"")]), "different hosts"),
        (get(&[own, own]), "several Host"),
        (with(2, b"user@app.example"), "user information"),
        (with(2, &long), "host is too long"),
    ];
    check(400, &cases).await;
}

#[tokio::test]
async fn invalid_heads_are_answered_with_the_id_of_the_client() {
    let empty: Field<'_> = (b"content-length", b"0");
    let cases = [
        (with(3, b"?a"), "invalid form"),
        (with(3, b"*"), "invalid form"),
        (get(&[(b"content-length", b"")]), "not one number"),
        (get(&[empty, empty]), "several Content-Length"),
    ];
    check(400, &cases).await;
    let long = [b'M'; 33];
    check(501, &[(with(0, &long), "method is too long")]).await;
}

#[tokio::test]
async fn heads_beyond_a_limit_are_answered() {
    let path = [b"/".as_slice(), &[b'p'; 4096]].concat();
    let (status, body) = rejected(&with(3, &path)).await;
    assert_eq!(status, 414, "{body}");
    let many: Vec<Field<'_>> = (0..60).map(|_| (&b"x-a"[..], &b"1"[..])).collect();
    let (status, body) = rejected(&get(&many)).await;
    assert_eq!(status, 431, "{body}");
    let value = [b'v'; 17 * 1024];
    let (status, body) = rejected(&get(&[(b"x-long", &value)])).await;
    assert_eq!(status, 431, "{body}");
}

#[tokio::test]
async fn crumbs_of_a_cookie_count_as_one_line() {
    let upstream = Upstream::bind();
    let server = Server::start(&upstream).await;
    let mut client = RawH2::connect(server.addr).await;
    let crumbs: Vec<Field<'_>> = (0..60).map(|_| (&b"cookie"[..], &b"a=1"[..])).collect();
    client.request(1, &get(&crumbs)).await;
    let head = upstream.accept().await.head().await;
    assert_eq!(head.matches("cookie").count(), 1);
    assert_eq!(head.matches("a=1").count(), 60);
}

#[tokio::test]
async fn a_client_of_many_invalid_requests_opens_another_connection() {
    let upstream = Upstream::bind();
    let server = Server::start(&upstream).await;
    let mut client = RawH2::connect(server.addr).await;
    let fields = get(&[(b"host", b"other.example")]);
    for stream in 0..32 {
        client.request(stream * 2 + 1, &fields).await;
    }
    assert_eq!(client.read_until(GOAWAY).await.unwrap().code(), 0);
    assert!(server.gateway.logged().len() >= 32);
}

#[tokio::test]
async fn a_target_with_bytes_beyond_ascii_passes() {
    let upstream = Upstream::bind();
    let server = Server::start(&upstream).await;
    let mut client = RawH2::connect(server.addr).await;
    let fields = with(3, "/caf\u{e9}?q={a}|^".as_bytes());
    client.request(1, &fields).await;
    let mut hop = upstream.accept().await;
    let head = hop.head().await;
    assert!(head.starts_with("GET /café?q={a}|^ HTTP/1.1\r\n"), "{head}");
}
