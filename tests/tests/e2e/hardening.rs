//! Hostile and broken clients and applications do no harm.

use std::io::Write as _;

use app_proxy_tests::REQUEST_ID;
use app_proxy_tests::app::{RecordingApp, raw, respond};
use app_proxy_tests::cluster::Cluster;
use app_proxy_tests::http1::{Client, Response};
use app_proxy_tests::wait::within;
use app_proxy_tests::wire::Wire;
use serde_json::json;

use crate::{start, start_default};

/// All responses to bytes that are sent as they are, up to the end of the connection or of the
/// client's patience.
async fn responses_to(cluster: &Cluster, bytes: &[u8]) -> Vec<Response> {
    let mut client = cluster.client().await;
    let _ = client.wire.try_send(bytes).await;
    client.wire.finish().await;
    let mut all = Vec::new();
    while let Ok(answer) = client.try_read_response("GET").await {
        all.push(answer);
    }
    all
}

async fn assert_sound(cluster: &mut Cluster) {
    assert_eq!(cluster.get("/apps/api/echo").send().await.status, 200);
    let mut lines = cluster.coordinator().stderr();
    assert!(cluster.coordinator().try_status().is_none());
    for index in 0..1 {
        assert!(cluster.worker_daemon(index).try_status().is_none());
        lines.extend(cluster.worker_daemon(index).stderr());
    }
    let panics: Vec<_> = lines
        .iter()
        .filter(|line| line.contains("panicked"))
        .collect();
    assert!(panics.is_empty(), "{panics:?}");
}

/// Requests of which the next hop could read a part as a second request.
fn smuggling() -> Vec<(&'static str, String)> {
    let second = "GET /apps/api/smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
    let post = "POST /apps/api/echo HTTP/1.1\r\nHost: x\r\n";
    let length = second.len() + 5;
    vec![
        (
            "length and chunks",
            format!(
                "{post}Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n\
                 0\r\n\r\n{second}"
            ),
        ),
        (
            "chunks and a short length",
            format!(
                "{post}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n\
                 2e\r\n{second}\r\n0\r\n\r\n"
            ),
        ),
        (
            "two lengths",
            format!(
                "{post}Content-Length: 0\r\nContent-Length: {}\r\n\r\n{second}",
                second.len()
            ),
        ),
        (
            "a list of lengths",
            format!("{post}Content-Length: 0, {}\r\n\r\n{second}", second.len()),
        ),
        (
            "a negative length",
            format!("{post}Content-Length: -1\r\n\r\n{second}"),
        ),
        (
            "a signed length",
            format!("{post}Content-Length: +0\r\n\r\n{second}"),
        ),
        (
            "an unknown coding",
            format!("{post}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{second}"),
        ),
        (
            "chunked is not the last",
            format!("{post}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{second}"),
        ),
        (
            "chunked twice",
            format!(
                "{post}Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n{second}"
            ),
        ),
        (
            "a space before the colon",
            format!("{post}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{second}"),
        ),
        (
            "a folded line",
            format!(
                "{post}X: a\r\n Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n{second}"
            ),
        ),
        (
            "another spelling",
            format!(
                "{post}Content_Length: 0\r\nTransfer_Encoding: chunked\r\n\
                 Content-Length: {}\r\n\r\n{second}",
                second.len()
            ),
        ),
        (
            "a bare return",
            format!(
                "{post}X: a\rTransfer-Encoding: chunked\r\nContent-Length: {}\r\n\r\n{second}",
                second.len()
            ),
        ),
        (
            "a NUL",
            format!(
                "{post}X: a\0b\r\nContent-Length: {}\r\n\r\n{second}",
                second.len()
            ),
        ),
        (
            "a chunk that is too long",
            format!("{post}Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n{second}"),
        ),
        (
            "a chunk that is no number",
            format!("{post}Transfer-Encoding: chunked\r\n\r\nzz\r\n{second}"),
        ),
        (
            "HTTP/1.0 with chunks",
            format!(
                "{}Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n\r\n0\r\n\r\n{second}",
                post.replace("1.1", "1.0")
            ),
        ),
    ]
}

#[tokio::test]
async fn no_request_is_smuggled_past_the_coordinator() {
    let (app, mut cluster) = start_default().await;
    for (what, bytes) in smuggling() {
        let before = app.count();
        responses_to(&cluster, bytes.as_bytes()).await;
        // Whatever the application took for a request has to have been one to the coordinator as
        // well. (An identifier that is missing or doubled ends the test in `request_id`.)
        for request in &app.requests()[before..] {
            let line = cluster
                .coordinator_log()
                .request(request.request_id())
                .await;
            let path = format!("/apps/api{}", request.path());
            assert_eq!(line["path"], path, "{what}: {request:?}");
            assert_eq!(line["method"], request.method, "{what}: {request:?}");
        }
    }
    assert_sound(&mut cluster).await;
}

#[tokio::test]
async fn garbage_is_answered_or_dropped_and_does_no_harm() {
    let (app, mut cluster) = start_default().await;
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\x20";
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
    let long_line = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(2_000_000));
    let many = format!(
        "GET / HTTP/1.1\r\nHost: x\r\n{}\r\n",
        "A: b\r\n".repeat(5_000)
    );
    let inputs: [&[u8]; 10] = [
        hello,
        preface,
        b"\r\n\r\n\r\n\r\n",
        b"\0\0\0\0\0\0\0\0",
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\n: empty name\r\n\r\n",
        b"G\xffT /apps/api/echo HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /apps/api/\xff\xfe HTTP/1.1\r\nHost: \xff\r\n\r\n",
        long_line.as_bytes(),
        many.as_bytes(),
    ];
    for input in inputs {
        for answer in responses_to(&cluster, input).await {
            assert!(answer.status >= 400, "{answer:?}");
            assert!(answer.headers.all(REQUEST_ID).len() <= 1);
        }
    }
    assert_eq!(app.count(), 0, "{:?}", app.requests());
    assert_sound(&mut cluster).await;
}

#[tokio::test]
async fn garbage_on_the_h2c_listener_does_not_affect_other_clients() {
    let (_app, mut cluster) = start(app_proxy_tests::cluster::ClusterBuilder::h2c).await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        // The detection of HTTP/2 waits for 24 bytes.
        let mut client = Client::connect(cluster.h2c()).await;
        client.send("PRI").await;
        silent.push(client);
    }
    let mut broken = Client::connect(cluster.h2c()).await;
    broken
        .send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnot a frame at all, and more of it")
        .await;
    let client = cluster.h2_client().await;
    assert_eq!(client.get("/apps/api/echo", &[]).await.status, 200);
    drop(silent);
    assert_sound(&mut cluster).await;
}

#[tokio::test]
async fn a_client_that_stalls_in_its_head_is_disconnected() {
    let short = json!({"timeouts": {"client_read": "500ms"}});
    let (_app, mut cluster) = start(|builder| builder.coordinator(&short)).await;
    let mut client = cluster.client().await;
    client
        .send("GET /apps/api/echo HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        .await;
    client.closed().await;
    assert_sound(&mut cluster).await;
}

#[tokio::test]
async fn many_slow_clients_do_not_keep_others_from_being_served() {
    let (_app, mut cluster) = start_default().await;
    let mut slow = Vec::new();
    for n in 0..200 {
        let mut client = cluster.client().await;
        let text = if n % 2 == 0 {
            "GET /apps/api/echo HTTP/1.1\r\nHost: x\r\nX-Slow: "
        } else {
            "POST /apps/api/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nonly this"
        };
        client.send(text).await;
        slow.push(client);
    }
    for _ in 0..20 {
        assert_eq!(cluster.get("/apps/api/echo").send().await.status, 200);
    }
    drop(slow);
    assert_sound(&mut cluster).await;
}

#[tokio::test]
async fn an_unused_connection_is_closed_after_its_time() {
    let short = json!({"timeouts": {"keepalive": "1s"}});
    let (_app, cluster) = start(|builder| builder.coordinator(&short)).await;
    let mut client = cluster.client().await;
    assert_eq!(client.get("/apps/api/echo").send().await.status, 200);
    assert_eq!(client.closed().await, 0);
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_disconnected() {
    let short = json!({"timeouts": {"client_write": "1s"}});
    let (app, cluster) = start(|builder| builder.coordinator(&short)).await;
    let client = cluster
        .get("/apps/api/bytes/100000000")
        .id("accepts-nothing")
        .start()
        .await;
    client.wire.shrink_receive_buffer();
    app.wait_for_id("accepts-nothing").await;
    let line = cluster.coordinator_log().request("accepts-nothing").await;
    assert!(line["error"].is_string(), "{line}");
    drop(client);
}

#[tokio::test]
async fn large_but_honest_heads_pass() {
    let (app, cluster) = start_default().await;
    let request = (0..100).fold(cluster.get("/apps/api/echo"), |request, n| {
        request.header(&format!("X-Header-{n}"), &"v".repeat(300))
    });
    assert_eq!(request.send().await.status, 200);
    let seen = app.last();
    for n in 0..100 {
        assert_eq!(
            seen.headers.all(&format!("X-Header-{n}")),
            ["v".repeat(300)]
        );
    }
    let long = format!("/apps/api/echo/{}?{}", "p".repeat(8_000), "q".repeat(8_000));
    assert_eq!(cluster.get(&long).send().await.status, 200);
    let cookie = format!("big={}", "c".repeat(16_000));
    assert_eq!(
        cluster
            .get("/apps/notes/echo")
            .header("Cookie", &cookie)
            .send()
            .await
            .status,
        200
    );
    assert_eq!(app.last().headers.all("Cookie"), [cookie]);
}

#[tokio::test]
async fn large_heads_of_an_application_pass() {
    let (app, cluster) = start_default().await;
    let mut client = cluster.get("/apps/api/manual/large-head").start().await;
    let mut manual = app.accept("large-head").await;
    let mut text = String::from("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n");
    for n in 0..100 {
        text.push_str(&format!("X-Header-{n}: {}\r\n", "v".repeat(300)));
    }
    text.push_str("\r\nok");
    manual.send(text).await;
    let answer = client.read_response("GET").await;
    assert_eq!(answer.text(), "ok");
    assert_eq!(
        answer.headers.get("X-Header-99"),
        Some("v".repeat(300).as_str())
    );
}

#[tokio::test]
async fn an_application_cannot_set_headers_of_the_proxy() {
    let (app, cluster) = start_default().await;
    let target = respond(
        200,
        &[
            ("X-Backend-Session", "evil.mac"),
            ("X-Backend-Session-ID", "evil"),
            ("X-App-Proxy-Token", "evil"),
            ("X-Backend-Request-ID", "evil"),
        ],
        "",
    );
    let answer = cluster.get(&format!("/apps/api{target}")).send().await;
    assert_eq!(app.count(), 1);
    assert!(
        !format!("{:?}", answer.headers).contains("evil"),
        "{:?}",
        answer.headers
    );
}

#[tokio::test]
async fn a_response_with_length_and_chunks_is_handled_safely() {
    let (_app, mut cluster) = start_default().await;
    let data = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n\
        5\r\nhello\r\n0\r\n\r\n";
    let answer = cluster
        .get(&format!("/apps/api{}", raw(data, "close")))
        .send()
        .await;
    assert!(
        (answer.status, answer.text().as_str()) == (200, "hello") || answer.status == 502,
        "{answer:?}"
    );
    let framings = usize::from(answer.headers.has("Content-Length"))
        + usize::from(answer.headers.has("Transfer-Encoding"));
    assert_eq!(framings, 1, "{:?}", answer.headers);
    assert_sound(&mut cluster).await;
}

#[tokio::test]
async fn unsolicited_bytes_of_an_application_are_handled_safely() {
    // The server sends an unsolicited response: a connection with such bytes must not be used.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut wire = Wire::new(stream);
                while let Ok(Some(_)) = wire.take_through(b"\r\n\r\n").await {
                    let honest = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhonest";
                    let forged = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged";
                    let _ = wire.try_send(honest.as_bytes()).await;
                    let _ = wire.try_send(forged.as_bytes()).await;
                }
            });
        }
    });
    let cluster = Cluster::builder()
        .app_with("liar", addr, &json!({"affinity": "none"}))
        .start()
        .await;
    for _ in 0..10 {
        let answer = cluster.get("/apps/liar/").send().await;
        assert!(
            answer.text() == "honest" || answer.status == 502,
            "{}",
            answer.text()
        );
    }
    server.abort();
}

#[tokio::test]
async fn headers_with_line_breaks_cannot_be_injected() {
    let (app, mut cluster) = start_default().await;
    let mut client = cluster.client().await;
    client
        .send("GET /apps/api/echo HTTP/1.1\r\nHost: x\r\nX-A: b\nX-Injected: c\r\n\r\n")
        .await;
    if let Ok(answer) = client.try_read_response("GET").await
        && answer.status == 200
    {
        // A bare line feed may end a line (RFC 9112, section 2.2), but it may not arrive inside a
        // value.
        assert!(
            app.last()
                .headers
                .0
                .iter()
                .all(|(_, value)| !value.contains('\n'))
        );
    }
    assert_sound(&mut cluster).await;
}

#[tokio::test]
async fn hundreds_of_parallel_requests_all_get_their_own_answer() {
    let (_app, mut cluster) = start(|builder| builder.workers(1)).await;
    let mut tasks = Vec::new();
    for n in 0..300 {
        let request = cluster
            .get(&format!("/apps/notes/echo?n={n}"))
            .id(&format!("parallel-{n}"));
        tasks.push(tokio::spawn(async move { (n, request.send().await) }));
    }
    for task in tasks {
        let (n, answer) = within("an answer", task).await.unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.request_id(), format!("parallel-{n}"));
        assert_eq!(answer.json()["target"], format!("/echo?n={n}"));
    }
    assert_sound(&mut cluster).await;
}

#[tokio::test]
async fn a_flood_of_aborted_connections_leaks_no_descriptors() {
    let (_app, mut cluster) = start_default().await;
    let pid = cluster.coordinator().pid();
    let open = || {
        std::fs::read_dir(format!("/proc/{pid}/fd"))
            .unwrap()
            .count()
    };
    for n in 0..300 {
        let mut stream = std::net::TcpStream::connect(cluster.public()).unwrap();
        if n % 3 != 0 {
            let text = "GET /apps/api/echo HTTP/1.1\r\nHost: x\r\n\r\n";
            let cut = if n % 3 == 1 { text.len() } else { 20 };
            stream.write_all(&text.as_bytes()[..cut]).unwrap();
        }
        drop(stream);
    }
    assert_sound(&mut cluster).await;
    app_proxy_tests::wait::eventually("the descriptors to be closed", || {
        (open() < 150).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_websocket_flood_of_small_frames_is_survived() {
    let (_app, mut cluster) = start_default().await;
    let mut socket = cluster.websocket("/apps/notes/ws/echo", &[]).await;
    let mut bytes = Vec::new();
    for _ in 0..2_000 {
        bytes.extend_from_slice(&socket.encode(app_proxy_tests::ws::Frame::text("")));
    }
    socket.wire.send(&bytes).await;
    for _ in 0..2_000 {
        assert_eq!(socket.frame().await.payload, b"");
    }
    socket.close(1000).await;
    assert_sound(&mut cluster).await;
}

#[tokio::test]
async fn a_health_check_that_hangs_takes_the_worker_out() {
    // A worker that accepts connections and does not respond.
    let dead = std::net::TcpListener::bind((app_proxy_tests::cluster::own_address(), 0)).unwrap();
    let app = RecordingApp::start().await;
    let cluster = Cluster::builder()
        .workers(0)
        .app_at("notes", app.addr())
        .coordinator(&json!({
            "workers": [{"id": "mute", "address": dead.local_addr().unwrap().to_string()}],
            "health_check": {"interval": "100ms", "timeout": "200ms", "unhealthy_after": 2},
        }))
        .start_unready()
        .await;
    cluster.wait_health("mute", false).await;
    let answer = cluster.get("/apps/notes/echo").send().await;
    assert_eq!(answer.status, 503);
}

/// Regression: the time limit of an HTTP/1.1 header block ended HTTP/2 connections, whose reads
/// look like a header block that never ends.
#[tokio::test]
async fn an_http2_connection_outlives_the_time_limit_of_a_header_block() {
    let short = json!({"timeouts": {"client_read": "300ms"}});
    let (_app, cluster) = start(|builder| builder.h2c().coordinator(&short)).await;
    let client = cluster.h2_client().await;
    let begin = std::time::Instant::now();
    while begin.elapsed() < std::time::Duration::from_millis(1000) {
        assert_eq!(client.get("/apps/api/echo", &[]).await.status, 200);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// Regression: the same limit must not end a connection that waits for its next request.
#[tokio::test]
async fn a_connection_between_two_requests_outlives_the_time_limit_of_a_header_block() {
    let short = json!({"timeouts": {"client_read": "300ms", "keepalive": "20s"}});
    let (_app, cluster) = start(|builder| builder.coordinator(&short)).await;
    let mut client = cluster.client().await;
    for method in ["GET", "POST", "GET"] {
        let request = client.request(method, "/apps/api/echo");
        let request = if method == "POST" {
            request.body("a body")
        } else {
            request
        };
        assert_eq!(request.send().await.status, 200);
        tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    }
}
