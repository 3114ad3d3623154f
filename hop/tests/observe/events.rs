//! Events: those of an observer are the lines of the access log.

use crate::application::{self, close, frame};
use crate::client::{get, handshake, raw, read_until, request};
use crate::recorder::{Recorder, values};
use crate::tier::serve;

#[tokio::test]
async fn an_observer_sees_exactly_the_lines_of_the_access_log() {
    let recorder = Recorder::default();
    let tier = serve(application::start().await, recorder.policies()).await;
    let at = tier.address;

    for (path, status) in [
        ("/hello", 200),
        ("/nowhere", 502),
        ("/sse", 200),
        ("/download", 200),
    ] {
        assert_eq!(
            get(at, path, path.trim_start_matches('/')).await.status(),
            status,
            "{path}"
        );
    }
    assert_eq!(raw(at, request("/hello", "not valid")).await.status(), 200);
    assert_eq!(
        raw(at, "GET / HTTP/1.1\r\nno header\r\n\r\n")
            .await
            .status(),
        400
    );
    let client = [frame(1, b"one", true), frame(9, b"ping", true), close(true)].concat();
    raw(at, [handshake("socket").as_bytes(), &client].concat()).await;
    // Clients that leave: one within a stream, one before its answer.
    drop(read_until(at, &request("/endless", "left"), "data: 1").await);
    let mut silent = tokio::net::TcpStream::connect(at).await.unwrap();
    let bytes = request("/silent", "silent");
    tokio::io::AsyncWriteExt::write_all(&mut silent, bytes.as_bytes())
        .await
        .unwrap();
    drop(silent);

    let all = [
        "hello", "nowhere", "sse", "download", "socket", "left", "silent",
    ];
    let records = recorder
        .once(|records| all.iter().all(|id| records.has_ended(id)) && records.steps.len() == 9)
        .await;
    let sorted = |mut events: Vec<serde_json::Value>| {
        events.sort_by_key(ToString::to_string);
        events
    };
    let lines = tier.lines().iter().map(values).collect();
    // Two streams of HTTP, the WebSocket with three messages, and six requests.
    assert_eq!(records.events.len(), 2 * 2 + 2 + 3 + 6);
    assert_eq!(sorted(records.events), sorted(lines));
}

#[tokio::test]
async fn the_events_of_a_request_come_in_order() {
    let recorder = Recorder::default();
    let tier = serve(application::start().await, recorder.policies()).await;
    let at = tier.address;
    get(at, "/sse", "sse").await;
    let replaced = raw(at, request("/hello", "not valid")).await;
    let unparsable = raw(at, "GET / HTTP/1.1\r\nno header\r\n\r\n").await;
    let client = [frame(1, b"one", true), close(true)].concat();
    raw(at, [handshake("socket").as_bytes(), &client].concat()).await;
    recorder.after("socket").await;
    let steps = recorder.after(unparsable.id()).await.steps;
    assert_eq!(
        steps["sse"],
        ["stream_open", "stream", "data", "end", "stream_close"]
    );
    assert_eq!(steps[replaced.id()], ["id_replaced", "request"]);
    assert_eq!(steps[unparsable.id()], ["unparsable", "request"]);
    let socket = &steps["socket"];
    assert_eq!(socket[..3], ["stream_open", "stream", "data"]);
    assert_eq!(socket[socket.len() - 2..], ["end", "stream_close"]);
    assert_eq!(socket.iter().filter(|step| **step == "message").count(), 3);
}

#[tokio::test]
async fn the_metrics_count_the_same_events() {
    let recorder = Recorder::default();
    let tier = serve(application::start().await, recorder.policies()).await;
    let at = tier.address;
    let open = read_until(at, &request("/endless", "left"), "data: 1").await;
    assert!(
        tier.metrics()
            .contains("app_proxy_open_streams{tier=\"worker\"} 1")
    );
    drop(open);
    get(at, "/nowhere", "nowhere").await;
    raw(at, request("/hello", "not valid")).await;
    let unparsable = raw(at, "GET / HTTP/1.1\r\nno header\r\n\r\n").await;
    recorder.after("left").await;
    recorder.after(unparsable.id()).await;
    let metrics = tier.metrics();
    for line in [
        r#"app_proxy_open_streams{tier="worker"} 0"#,
        r#"app_proxy_requests_total{class="2xx",tier="worker"} 2"#,
        r#"app_proxy_requests_total{class="4xx",tier="worker"} 1"#,
        r#"app_proxy_requests_total{class="5xx",tier="worker"} 1"#,
        r#"app_proxy_request_id_replaced_total{reason="malformed",tier="worker"} 1"#,
        r#"app_proxy_unparsable_requests_total{tier="worker"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}
