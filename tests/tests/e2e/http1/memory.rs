//! Memory and back-pressure: connections that are silent, wait, or do not read.
//!
//! The bounds are generous, five times what is measured, so that they find a leak or a buffer for
//! each connection, and nothing else.

use std::time::Duration;

use app_proxy_tests::cluster::Cluster;
use app_proxy_tests::http1::Client;
use app_proxy_tests::raw_app::Reply;
use app_proxy_tests::wait::eventually;
use serde_json::json;

use super::support::{request, send, start};

const KIB: u64 = 1024;

/// The resident memory of both tiers, in bytes.
fn memory(cluster: &mut Cluster) -> [u64; 2] {
    [cluster.coordinator().pid(), cluster.worker_daemon(0).pid()].map(|pid| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.unwrap().trim().trim_end_matches(" kB").parse::<u64>();
        number.unwrap() * KIB
    })
}

/// Has both tiers allocate what they keep for later anyway.
async fn warm_up(cluster: &Cluster) {
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(cluster.client().await);
    }
    for client in &mut clients {
        client
            .send(request("GET", "/apps/raw/warm", "warm", "", ""))
            .await;
    }
    for client in &mut clients {
        client.read_response("GET").await;
    }
}

/// Asserts that `count` connections cost at most `most` bytes each, at each tier.
fn assert_cost(what: &str, before: [u64; 2], after: [u64; 2], count: usize, most: [u64; 2]) {
    for (tier, n) in [("coordinator", 0), ("worker", 1)] {
        let each = after[n].saturating_sub(before[n]) / count as u64;
        println!("{what}: {:.1} KiB at the {tier}", each as f64 / KIB as f64);
        assert!(each <= most[n], "{what}: {each} bytes each at the {tier}");
    }
}

#[tokio::test]
async fn a_silent_connection_costs_little() {
    let (_app, mut cluster) = start(|builder| builder).await;
    warm_up(&cluster).await;
    let before = memory(&mut cluster);
    let mut clients = Vec::new();
    for _ in 0..500 {
        clients.push(cluster.client().await);
    }
    // The last one is served, so the others were accepted.
    let (answer, _) = send(&cluster, request("GET", "/apps/raw/x", "last", "", "")).await;
    assert_eq!(answer.status, 200);
    let after = memory(&mut cluster);
    assert_cost(
        "a silent connection",
        before,
        after,
        clients.len(),
        [30 * KIB, 2 * KIB],
    );
}

#[tokio::test]
async fn a_request_that_waits_for_its_application_costs_little() {
    let (app, mut cluster) = start(|builder| builder).await;
    app.reply(
        "/wait",
        Reply::new("")
            .wait("go")
            .send("HTTP/1.1 204 No Content\r\n\r\n"),
    );
    warm_up(&cluster).await;
    let before = memory(&mut cluster);
    let mut clients = Vec::new();
    for n in 0..200 {
        let mut client = cluster.client().await;
        let id = format!("wait-{n}");
        client
            .send(request("GET", "/apps/raw/wait", &id, "", ""))
            .await;
        clients.push(client);
    }
    eventually("all requests at the application", || {
        (app.count() >= 20 + clients.len()).then_some(())
    })
    .await;
    let after = memory(&mut cluster);
    assert_cost(
        "a waiting request",
        before,
        after,
        clients.len(),
        [80 * KIB, 80 * KIB],
    );
    app.release("go", clients.len());
    for client in &mut clients {
        assert_eq!(client.read_response("GET").await.status, 204);
    }
}

/// Starts downloads that nothing reads, and waits until no more of them is sent.
async fn stall(
    app: &app_proxy_tests::raw_app::RawApp,
    cluster: &Cluster,
    count: usize,
) -> Vec<Client> {
    let mut clients = Vec::new();
    for n in 0..count {
        let mut client = cluster.client().await;
        client.wire.shrink_receive_buffer();
        let id = format!("stalled-{n}");
        client
            .send(request("GET", "/apps/raw/large", &id, "", ""))
            .await;
        clients.push(client);
    }
    let mut last = (0, 0);
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let sent = app.sent();
        last = if sent == last.0 {
            (sent, last.1 + 1)
        } else {
            (sent, 0)
        };
        if last.1 >= 5 && app.count() >= count {
            return clients;
        }
    }
}

#[tokio::test]
async fn a_stalled_download_stops_its_application_and_costs_little() {
    let (app, mut cluster) = start(|builder| builder).await;
    const SIZE: u64 = 50_000_000;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n");
    app.reply("/large", Reply::new(head).send_zeros(SIZE));
    warm_up(&cluster).await;
    let before = memory(&mut cluster);
    let clients = stall(&app, &cluster, 100).await;
    let after = memory(&mut cluster);
    let sent = app.sent() / clients.len() as u64;
    println!("a stalled download: {} KiB were sent", sent / KIB);
    // What the kernel buffers on three connections, and not the tiers.
    assert!(sent < SIZE / 2, "{sent} bytes each");
    assert_cost(
        "a stalled download",
        before,
        after,
        clients.len(),
        [320 * KIB, 320 * KIB],
    );
    // All others are served.
    let (answer, _) = send(&cluster, request("GET", "/apps/raw/x", "other", "", "")).await;
    assert_eq!(answer.status, 200);
    drop(clients);
    eventually("the application to be left", || {
        let lines = cluster
            .worker_log(0)
            .select(|line| line["error"] == "client_gone");
        (lines.len() == 100).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_stalled_upload_stops_its_client_and_costs_little() {
    let (app, mut cluster) = start(|builder| builder).await;
    app.reply("/upload", Reply::default().wait("never"));
    warm_up(&cluster).await;
    let before = memory(&mut cluster);
    let mut clients = Vec::new();
    let piece = vec![b'u'; 64 << 10];
    let mut sent = 0_u64;
    for n in 0..50 {
        let mut client = cluster.client().await;
        let id = format!("upload-{n}");
        let lines = "Content-Length: 50000000\r\n";
        client
            .send(request("POST", "/apps/raw/upload", &id, lines, ""))
            .await;
        app.wait_for(&id).await;
        let sending = async {
            while client.wire.try_send(&piece).await.is_ok() {
                sent += piece.len() as u64;
            }
        };
        let _ = tokio::time::timeout(Duration::from_millis(100), sending).await;
        clients.push(client);
    }
    let after = memory(&mut cluster);
    let each = sent / clients.len() as u64;
    println!("a stalled upload: {} KiB were sent", each / KIB);
    assert!(each < 25_000_000, "{each} bytes each");
    assert_cost(
        "a stalled upload",
        before,
        after,
        clients.len(),
        [320 * KIB, 320 * KIB],
    );
}

#[tokio::test]
async fn a_slow_head_and_a_slow_body_cost_little_and_end() {
    let limits = json!({"timeouts": {"client_read": "2s"}});
    let (app, mut cluster) = start(|builder| builder.coordinator(&limits)).await;
    warm_up(&cluster).await;
    let before = memory(&mut cluster);
    let mut clients = Vec::new();
    for n in 0..200 {
        let mut client = cluster.client().await;
        let id = format!("slow-{n}");
        let head = request("POST", "/apps/raw/x", &id, "Content-Length: 100\r\n", "x");
        let cut = if n % 2 == 0 { head.len() } else { 60 };
        client.send(&head[..cut]).await;
        clients.push(client);
    }
    eventually("half of the requests at the application", || {
        (app.count() >= 20 + clients.len() / 2).then_some(())
    })
    .await;
    let after = memory(&mut cluster);
    assert_cost(
        "a slow request",
        before,
        after,
        clients.len(),
        [80 * KIB, 80 * KIB],
    );
    for client in &mut clients {
        assert_eq!(client.read_response("POST").await.status, 408);
    }
}
