//! The pool of workers and the endpoints behind them: selection, health, failover and the table
//! that workers follow.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use app_proxy_tests::app::RecordingApp;
use app_proxy_tests::cluster::{Cluster, free_address, own_address};
use app_proxy_tests::http1::Request;
use app_proxy_tests::wait::eventually_async;
use app_proxy_tests::{Checksum, pattern};
use serde_json::json;

use crate::{number, session_id, start, start_default};

async fn worker_of(cluster: &Cluster, id: &str) -> String {
    let line = cluster.coordinator_log().request(id).await;
    line["worker"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn requests_without_a_session_spread_over_the_workers() {
    let (_app, cluster) = start(|builder| builder.workers(2)).await;
    let mut used = HashSet::new();
    for n in 0..40 {
        let id = format!("spread-{n}");
        cluster.get("/apps/api/echo").id(&id).send().await;
        used.insert(worker_of(&cluster, &id).await);
    }
    assert_eq!(used.len(), 2, "{used:?}");
}

#[tokio::test]
async fn a_second_worker_is_tried_when_the_first_is_unreachable() {
    let never_checked = json!({"health_check": {"interval": "1h"}});
    let (app, mut cluster) = start(|builder| builder.workers(2).coordinator(&never_checked)).await;
    cluster.kill_worker(1);
    let mut failed_over = 0;
    for n in 0..30 {
        let id = format!("second-{n}");
        let answer = cluster.get("/apps/notes/echo").id(&id).send().await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(app.with_id(&id).len(), 1);
        let line = cluster.coordinator_log().request(&id).await;
        assert_eq!(
            (&line["worker"], &line["status"]),
            (&json!("w1"), &json!(200))
        );
        failed_over += usize::from(number(&line, "attempts") == 2);
        assert!(answer.session_cookie().is_some());
    }
    assert!(failed_over > 0, "the dead worker was never selected");
    // The session has moved with its request: the next request is sent to the live worker at once.
    let cookie = cluster
        .get("/apps/notes/echo")
        .send()
        .await
        .session_cookie()
        .unwrap();
    cluster
        .get("/apps/notes/echo")
        .session(&cookie)
        .id("pinned")
        .send()
        .await;
    let line = cluster.coordinator_log().request("pinned").await;
    assert_eq!(
        (&line["worker"], number(&line, "attempts")),
        (&json!("w1"), 1)
    );
}

#[tokio::test]
async fn a_body_survives_the_second_attempt() {
    let never_checked = json!({"health_check": {"interval": "1h"}});
    let (_app, mut cluster) = start(|builder| builder.workers(2).coordinator(&never_checked)).await;
    cluster.kill_worker(0);
    let body = pattern(500_000);
    for n in 0..20 {
        let answer = cluster
            .request("POST", "/apps/api/echo")
            .id(&format!("body-{n}"))
            .body(&body)
            .send()
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.json()["body_sum"], Checksum::of(&body).value());
    }
    let lines = cluster.coordinator_log().lines();
    assert!(lines.iter().any(|line| line["attempts"] == 2));
}

#[tokio::test]
async fn a_websocket_is_retried_at_a_second_worker() {
    let never_checked = json!({"health_check": {"interval": "1h"}});
    let (app, mut cluster) = start(|builder| builder.workers(2).coordinator(&never_checked)).await;
    cluster.kill_worker(0);
    for n in 0..20 {
        let id = format!("ws-second-{n}");
        let mut socket = cluster
            .websocket("/apps/api/ws/echo", &[("X-Backend-Request-ID", &id)])
            .await;
        assert_eq!(app.with_id(&id).len(), 1);
        assert_eq!(socket.close(1000).await, Some(1000));
        let line = cluster.coordinator_log().event(&id, "stream_close").await;
        assert_eq!(line["worker"], "w2");
    }
    let lines = cluster.coordinator_log().lines();
    assert!(lines.iter().any(|line| line["attempts"] == 2));
}

#[tokio::test]
async fn an_unhealthy_worker_gets_no_requests_until_it_recovers() {
    let (_app, mut cluster) = start(|builder| builder.workers(2)).await;
    cluster.kill_worker(0);
    cluster.wait_health("w1", false).await;
    for n in 0..10 {
        let id = format!("without-{n}");
        cluster.get("/apps/api/echo").id(&id).send().await;
        let line = cluster.coordinator_log().request(&id).await;
        assert_eq!(
            (&line["worker"], number(&line, "attempts")),
            (&json!("w2"), 1)
        );
    }
    cluster.restart_worker(0).await;
    cluster.wait_health("w1", true).await;
    let (cluster, n) = (&cluster, std::cell::Cell::new(0));
    eventually_async("the worker to be used again", || async {
        n.set(n.get() + 1);
        let id = format!("again-{}", n.get());
        cluster.get("/apps/api/echo").id(&id).send().await;
        (worker_of(cluster, &id).await == "w1").then_some(())
    })
    .await;
}

#[tokio::test]
async fn without_a_healthy_worker_requests_get_503() {
    let (_app, mut cluster) = start_default().await;
    cluster.kill_worker(0);
    cluster.wait_health("w1", false).await;
    for target in ["/apps/notes/echo", "/apps/api/echo"] {
        let answer = cluster.get(target).id("nobody").send().await;
        assert_eq!(answer.status, 503);
        assert_eq!(answer.problem_code(), "no_worker_available");
        let after: u64 = answer.headers.get("Retry-After").unwrap().parse().unwrap();
        assert!(after > 0);
        assert_eq!(answer.request_id(), "nobody");
    }
    cluster.restart_worker(0).await;
    cluster.wait_health("w1", true).await;
    assert_eq!(cluster.get("/apps/notes/echo").send().await.status, 200);
}

#[tokio::test]
async fn a_worker_that_dies_during_a_request_causes_a_502() {
    let (app, mut cluster) = start_default().await;
    let mut client = cluster.get("/apps/api/gate/never").id("torn").start().await;
    app.wait_for_id("torn").await;
    cluster.kill_worker(0);
    let answer = client.read_response("GET").await;
    assert_eq!(answer.status, 502);
    assert_eq!(answer.request_id(), "torn");
    let line = cluster.coordinator_log().request("torn").await;
    assert_eq!(
        (&line["status"], &line["worker"]),
        (&json!(502), &json!("w1"))
    );
    assert!(line["error"].is_string(), "{line}");
    assert_eq!(app.with_id("torn").len(), 1);
}

#[tokio::test]
async fn a_request_that_reached_the_application_is_not_sent_twice() {
    let (app, mut cluster) = start(|builder| builder.workers(2)).await;
    let cookie = cluster
        .get("/apps/notes/echo")
        .send()
        .await
        .session_cookie()
        .unwrap();
    let record = cluster.session(session_id(&cookie)).await;
    let index = cluster.index_of(record["worker"].as_str().unwrap());
    let mut client = cluster
        .request("POST", "/apps/notes/gate/never")
        .session(&cookie)
        .id("once")
        .body("pay")
        .start()
        .await;
    app.wait_for_id("once").await;
    cluster.kill_worker(index);
    let answer = client.read_response("POST").await;
    assert_eq!(answer.status, 502, "{}", answer.text());
    assert_eq!(app.with_id("once").len(), 1, "a POST was repeated");
}

#[tokio::test]
async fn a_worker_that_is_stopped_loses_no_request() {
    let (_app, mut cluster) = start(|builder| builder.workers(2)).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut load = Vec::new();
    for task in 0..4 {
        let (stop, public) = (Arc::clone(&stop), cluster.public());
        load.push(tokio::spawn(async move {
            let mut served = 0_usize;
            while !stop.load(Ordering::Relaxed) {
                let answer = Request::to(public, "GET", "/apps/api/echo")
                    .id(&format!("drained-{task}-{served}"))
                    .send()
                    .await;
                assert_eq!(answer.status, 200, "{}", answer.text());
                served += 1;
            }
            served
        }));
    }
    for _ in 0..2 {
        cluster
            .coordinator_log()
            .wait_for_line("a request at w1", |line| line["worker"] == "w1")
            .await;
        cluster.stop_worker(0).await;
        cluster.wait_health("w1", false).await;
        cluster.restart_worker(0).await;
        cluster.wait_health("w1", true).await;
    }
    stop.store(true, Ordering::Relaxed);
    for task in load {
        assert!(task.await.expect("no request failed") > 0);
    }
}

#[tokio::test]
async fn a_session_stays_at_its_endpoint() {
    let first = RecordingApp::start().await;
    let second = RecordingApp::start().await;
    let endpoints = json!({"endpoints": [
        {"address": first.addr().to_string()},
        {"address": second.addr().to_string(), "weight": 1},
    ]});
    let cluster = Cluster::builder()
        .workers(2)
        .app_with("pair", first.addr(), &endpoints)
        .start()
        .await;
    for _ in 0..20 {
        let before = (first.count(), second.count());
        let cookie = cluster
            .get("/apps/pair/echo")
            .send()
            .await
            .session_cookie()
            .unwrap();
        for _ in 0..4 {
            cluster.get("/apps/pair/echo").session(&cookie).send().await;
        }
        let more = (first.count() - before.0, second.count() - before.1);
        assert!(more == (5, 0) || more == (0, 5), "{more:?}");
    }
    assert!(
        first.count() > 0 && second.count() > 0,
        "one endpoint is never used"
    );
}

#[tokio::test]
async fn without_a_session_the_less_loaded_endpoint_is_selected() {
    let first = RecordingApp::start().await;
    let second = RecordingApp::start().await;
    let more = json!({"affinity": "none", "endpoints": [
        {"address": first.addr().to_string()},
        {"address": second.addr().to_string()},
    ]});
    let cluster = Cluster::builder()
        .app_with("pair", first.addr(), &more)
        .start()
        .await;
    // Held requests make one endpoint busier each time, so that the next has to go to the other.
    let mut held = Vec::new();
    for n in 1..=10 {
        held.push(cluster.get("/apps/pair/gate/all").start().await);
        app_proxy_tests::wait::eventually("the request at an endpoint", || {
            (first.count() + second.count() == n).then_some(())
        })
        .await;
        assert!(first.count().abs_diff(second.count()) <= 1);
    }
    first.release("all", 10);
    second.release("all", 10);
    for client in &mut held {
        assert_eq!(client.read_response("GET").await.status, 200);
    }
    // An endpoint that answers with errors at once is not busy; all that counts is that both are
    // still in use.
    assert_eq!((first.count(), second.count()), (5, 5));
}

#[tokio::test]
async fn workers_and_coordinator_can_talk_over_unix_sockets() {
    let (app, cluster) = start(|builder| builder.unix_workers().workers(2)).await;
    let answer = cluster.get("/apps/notes/echo").id("unix-1").send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.request_id(), "unix-1");
    let body = pattern(200_000);
    let answer = cluster
        .request("POST", "/apps/api/echo")
        .body(&body)
        .send()
        .await;
    assert_eq!(answer.json()["body_sum"], Checksum::of(&body).value());
    let mut socket = cluster.websocket("/apps/notes/ws/echo", &[]).await;
    socket.send_text("over unix").await;
    assert_eq!(socket.frame().await.as_text(), "over unix");
    socket.close(1000).await;
    assert_eq!(app.count(), 3);
}

#[tokio::test]
async fn the_pool_is_listed_with_its_health() {
    let (_app, mut cluster) = start(|builder| builder.workers(2)).await;
    cluster.kill_worker(1);
    cluster.wait_health("w2", false).await;
    let all = cluster.admin_json("/api/v1/workers").await;
    let workers = all["items"].as_array().unwrap();
    assert_eq!(workers.len(), 2);
    for (n, worker) in workers.iter().enumerate() {
        assert_eq!(worker["id"], format!("w{}", n + 1));
        assert_eq!(worker["address"], cluster.worker(n).address);
        assert_eq!(worker["weight"], 1);
        assert_eq!(worker["healthy"], n == 0);
    }
}

#[tokio::test]
async fn workers_follow_a_coordinator_that_came_back_with_another_table() {
    let (app, mut cluster) = start(|builder| builder.workers(2)).await;
    assert_eq!(cluster.get("/apps/api/echo").send().await.status, 200);
    cluster.kill_coordinator();
    let endpoints = json!([{"address": app.addr().to_string()}]);
    cluster.patch_coordinator_config(&json!({"coordinator": {"apps": [
        {"name": "fresh", "affinity": "none", "endpoints": endpoints},
        {"name": "notes", "upstream_path": "keep", "endpoints": endpoints},
    ]}}));
    cluster.restart_coordinator().await;
    for n in 0..20 {
        // No worker may answer from the table that it had before.
        let answer = cluster
            .get("/apps/fresh/echo")
            .id(&format!("fresh-{n}"))
            .send()
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let answer = cluster.get("/apps/notes/echo").send().await;
        assert_eq!(answer.json()["target"], "/apps/notes/echo");
    }
    assert_eq!(cluster.get("/apps/api/echo").send().await.status, 404);
}

#[tokio::test]
async fn a_worker_serves_from_memory_when_its_coordinator_is_gone() {
    let (app, mut cluster) = start_default().await;
    cluster.kill_coordinator();
    let addr = cluster.worker(0).address.parse().unwrap();
    for n in 0..5 {
        let answer = Request::to(addr, "GET", "/proxy/api/echo")
            .header("X-App-Proxy-Token", &cluster.worker_token())
            .id(&format!("orphan-{n}"))
            .send()
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!(app.count(), 5);
    assert_eq!(
        Request::to(addr, "GET", "/healthz").send().await.status,
        200
    );
}

#[tokio::test]
async fn a_worker_without_a_table_is_not_healthy() {
    let cluster = Cluster::builder()
        .worker(&json!({"coordinators": [format!("http://{}", free_address(own_address()))]}))
        .start_unready()
        .await;
    let addr = cluster.worker(0).address.parse().unwrap();
    assert_eq!(
        Request::to(addr, "GET", "/healthz").send().await.status,
        503
    );
    let admin = cluster.worker(0).admin;
    assert_eq!(
        Request::to(admin, "GET", "/healthz").send().await.status,
        200
    );
    assert_eq!(
        Request::to(admin, "GET", "/readyz").send().await.status,
        503
    );
}

#[tokio::test]
async fn a_worker_follows_the_first_coordinator_that_answers() {
    let dead = format!("http://{}", free_address(own_address()));
    let (_app, cluster) = start(|builder| builder).await;
    let living = format!("http://{}", cluster.admin());
    let folder = cluster.folder();
    let config = json!({
        "version": 1,
        "pid_file": "run/other.pid",
        "upgrade_sock": "run/other.upgrade.sock",
        "worker": {
            "id": "other",
            "listener": {"address": format!("{}:0", cluster.ip())},
            "admin": {"address": format!("{}:0", cluster.ip())},
            "coordinators": [dead, living],
            "token_file": "run/worker.token",
            "sync": {"retry": "50ms"},
            "access_log": {"path": folder.join("other.log")},
        },
    });
    std::fs::write(folder.join("other.yaml"), config.to_string()).unwrap();
    let mut other = app_proxy_tests::daemon::Daemon::spawn(
        "other",
        app_proxy_tests::daemon::Program::Worker,
        folder,
        &["-c", "other.yaml"],
    );
    let addr = other.listener("proxy").await.parse().unwrap();
    eventually_async("the worker to have its table", || async move {
        let answer = Request::to(addr, "GET", "/healthz").send().await;
        (answer.status == 200).then_some(())
    })
    .await;
}
