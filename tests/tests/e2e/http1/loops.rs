//! Apps whose endpoint is the proxy itself.

use app_proxy_tests::cluster::Cluster;
use app_proxy_tests::raw_app::RawApp;
use serde_json::json;

use super::support::{Journal, assert_problem, request, send, start_default};

/// A cluster with apps `loop` (kept paths) and `strip` whose endpoint is the coordinator.
async fn start_loop() -> (RawApp, Cluster) {
    let (app, cluster) = start_default().await;
    let own = json!([{"address": cluster.public().to_string()}]);
    for (name, path) in [("loop", "keep"), ("strip", "strip")] {
        let app = json!({"endpoints": own, "upstream_path": path, "affinity": "none"});
        cluster.put_app(name, &app).await;
    }
    (app, cluster)
}

#[tokio::test]
async fn a_loop_is_refused_at_the_first_return() {
    let (app, cluster) = start_loop().await;
    for (n, (method, target, lines, body)) in [
        ("GET", "/apps/loop/", "", ""),
        ("GET", "/apps/strip/apps/strip/x", "", ""),
        ("GET", "/apps/loop/", "Via: 1.1 varnish, 1.0 fred\r\n", ""),
        ("POST", "/apps/loop/", "Content-Length: 5\r\n", "hello"),
        ("GET", "/apps/strip/apps/loop/", "", ""),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("loop-{n}");
        let (answer, _) = send(&cluster, request(method, target, &id, lines, body)).await;
        assert_problem(&answer, 508, "loop_detected", &id);
        let hops = if n == 4 { 2 } else { 1 };
        let log = cluster.coordinator_log();
        let lines = log
            .wait_for_count(&id, hops + 1, |line| line["request_id"] == id)
            .await;
        assert_eq!(lines.len(), hops + 1, "{lines:?}");
        let refusals = lines.iter().filter(|line| line["error"] == "loop_detected");
        assert_eq!(refusals.count(), 1, "{lines:?}");
        assert!(lines.iter().all(|line| line["status"] == 508), "{lines:?}");
        let worker = cluster.worker_log(0);
        let lines = worker
            .wait_for_count(&id, hops, |line| line["request_id"] == id)
            .await;
        assert_eq!(lines.len(), hops, "{lines:?}");
    }
    assert_eq!(app.count(), 0);
}

#[tokio::test]
async fn a_loop_of_two_apps_ends_where_an_app_comes_again() {
    let (_app, cluster) = start_loop().await;
    let id = "two";
    let target = "/apps/strip/apps/loop/apps/strip/";
    let (answer, _) = send(&cluster, request("GET", target, id, "", "")).await;
    assert_problem(&answer, 508, "loop_detected", id);
}

#[tokio::test]
async fn a_handshake_in_a_loop_is_refused() {
    let (_app, cluster) = start_loop().await;
    let lines = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let (answer, _) = send(&cluster, request("GET", "/apps/loop/ws", "ws", lines, "")).await;
    assert_problem(&answer, 508, "loop_detected", "ws");
}

#[tokio::test]
async fn a_chain_of_different_apps_is_no_loop_and_via_names_each_hop() {
    let (app, cluster) = start_loop().await;
    let mut journal = Journal::default();
    let id = "direct";
    let (answer, _) = send(&cluster, request("GET", "/apps/raw/x", id, "", "")).await;
    assert_eq!(answer.status, 200);
    let own = app.only(id).value("Via").expect("a Via");
    assert!(own.starts_with("1.1 "), "{own}");
    journal.passed(id, 200);

    let id = "chained";
    let lines = "Via: 1.0 fred, 1.1 p.example (a comment)\r\n";
    let (answer, _) = send(
        &cluster,
        request("GET", "/apps/strip/apps/raw/x", id, lines, ""),
    )
    .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let via = app.only(id).values("Via").join(&b", "[..]);
    let via = String::from_utf8(via).unwrap();
    assert!(
        via.starts_with("1.0 fred, 1.1 p.example (a comment), 1.1 "),
        "{via}"
    );
    assert!(via.ends_with(&own), "{via} {own}");
    assert_eq!(via.split(", ").count(), 4, "{via}");

    // An application that calls another app, and passes all headers on.
    let id = "calls";
    let lines = format!("Via: {own}\r\n");
    let (answer, _) = send(&cluster, request("GET", "/apps/kept/x", id, &lines, "")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    journal.passed(id, 200);
    journal.check(&cluster).await;
}

#[tokio::test]
async fn a_foreign_via_is_no_loop() {
    let (app, cluster) = start_loop().await;
    let many = "1.1 hop, ".repeat(100);
    for (n, via) in [
        "1.1 varnish",
        "HTTP/1.1 proxy (App-Proxy)",
        "1.1 app-proxy",
        "1.1 app-proxy.raw",
        "1.1 raw",
        "",
        "garbage",
        ", , ,",
        "1.1 caf\u{e9}",
        &many,
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("foreign-{n}");
        let lines = format!("Via: {via}\r\n");
        let (answer, _) = send(&cluster, request("GET", "/apps/raw/x", &id, &lines, "")).await;
        assert_eq!(answer.status, 200, "{via}");
        app.only(&id);
    }
}
