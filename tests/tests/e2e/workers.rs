//! Workers join the pool by themselves, are drained, and follow the app table of each coordinator.

use std::net::SocketAddr;

use app_proxy_tests::app::RecordingApp;
use app_proxy_tests::cluster::{Cluster, free_address, merge, own_address};
use app_proxy_tests::daemon::{Daemon, Program};
use app_proxy_tests::http1::{Request, Response};
use app_proxy_tests::wait::eventually_async;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::{number, session_id, start};

/// The identifiers of the workers in the pool.
async fn ids(cluster: &Cluster) -> Vec<String> {
    let list = cluster.admin_json("/api/v1/workers").await;
    let items = list["items"].as_array().unwrap();
    items
        .iter()
        .map(|worker| worker["id"].as_str().unwrap().to_owned())
        .collect()
}

async fn wait_for_pool(cluster: &Cluster, expected: &[&str]) {
    eventually_async(&format!("the pool to be {expected:?}"), || async {
        (ids(cluster).await == expected).then_some(())
    })
    .await;
}

async fn view(cluster: &Cluster, id: &str) -> Value {
    cluster.admin_json(&format!("/api/v1/workers/{id}")).await
}

/// A session, and the number of the worker that it is pinned to.
async fn session(cluster: &Cluster) -> (String, usize) {
    let cookie = cluster
        .get("/apps/notes/echo")
        .send()
        .await
        .session_cookie()
        .unwrap();
    let record = cluster.session(session_id(&cookie)).await;
    let index = cluster.index_of(record["worker"].as_str().unwrap());
    (cookie, index)
}

/// Sends requests without a session, and returns the workers that served them.
async fn used_by(cluster: &Cluster, app: &str, prefix: &str) -> Vec<String> {
    let mut used = Vec::new();
    for n in 0..20 {
        let id = format!("{prefix}-{n}");
        let answer = cluster
            .get(&format!("/apps/{app}/echo"))
            .id(&id)
            .send()
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let line = cluster.coordinator_log().request(&id).await;
        used.push(line["worker"].as_str().unwrap().to_owned());
    }
    used.sort();
    used.dedup();
    used
}

#[tokio::test]
async fn workers_register_and_serve() {
    let (_app, cluster) = start(|builder| builder.workers(2).registering_workers()).await;
    assert_eq!(used_by(&cluster, "api", "joined").await, ["w1", "w2"]);
    let worker = view(&cluster, "w1").await;
    assert_eq!(
        (&worker["source"], &worker["address"]),
        (&json!("api"), &json!(cluster.worker(0).address))
    );
    assert!(
        worker["lease_until"].is_string() && worker["version"].is_string(),
        "{worker}"
    );
    let apps = cluster.admin_json("/api/v1/apps").await;
    assert_eq!(
        worker["held"],
        json!({"epoch": apps["epoch"], "revision": apps["revision"]})
    );
    assert_eq!(
        (
            number(&worker["load"], "in_flight") < 5,
            number(&worker["load"], "open_streams")
        ),
        (true, 0)
    );
}

#[tokio::test]
async fn a_worker_deregisters_on_sigterm_and_its_sessions_move() {
    let (_app, mut cluster) = start(|builder| builder.workers(2).registering_workers()).await;
    let (cookie, index) = session(&cluster).await;
    let stays = if index == 0 { "w2" } else { "w1" };
    cluster.stop_worker(index).await;
    // It has left before it ended.
    assert_eq!(ids(&cluster).await, [stays]);
    assert_eq!(
        cluster
            .get("/apps/notes/echo")
            .session(&cookie)
            .send()
            .await
            .status,
        200
    );
    let record = cluster.session(session_id(&cookie)).await;
    assert_eq!(
        (&record["worker"], &record["moves"]),
        (&json!(stays), &json!(1))
    );
    cluster.restart_worker(index).await;
    wait_for_pool(&cluster, &["w1", "w2"]).await;
    let lines = cluster.coordinator_log().lines();
    assert!(
        lines.iter().all(|line| line["attempts"] == 1),
        "a worker was tried that had left"
    );
}

#[tokio::test]
async fn the_registration_of_a_killed_worker_expires() {
    let lease = json!({"registration": {"lease": "500ms"}});
    let (_app, mut cluster) =
        start(|builder| builder.workers(2).registering_workers().coordinator(&lease)).await;
    cluster.kill_worker(0);
    wait_for_pool(&cluster, &["w2"]).await;
    assert_eq!(used_by(&cluster, "api", "lapsed").await, ["w2"]);
    cluster.restart_worker(0).await;
    wait_for_pool(&cluster, &["w1", "w2"]).await;
    cluster
        .coordinator()
        .wait_for_stderr("the lapse", |line| {
            line.contains("worker w1: registration expired")
        })
        .await;
}

#[tokio::test]
async fn a_drained_worker_that_was_removed_registers_as_drained() {
    let lease = json!({"registration": {"lease": "500ms"}});
    let (_app, mut cluster) =
        start(|builder| builder.workers(2).registering_workers().coordinator(&lease)).await;
    cluster
        .admin_call("POST", "/api/v1/workers/w1/drain", r#"{"deadline": "1h"}"#)
        .await;
    cluster.kill_worker(0);
    wait_for_pool(&cluster, &["w2"]).await;
    cluster.restart_worker(0).await;
    wait_for_pool(&cluster, &["w1", "w2"]).await;
    let worker = view(&cluster, "w1").await;
    assert_eq!(
        (&worker["draining"], &worker["drain"]["done"]),
        (&json!(true), &json!(true)),
        "{worker}"
    );
    assert_eq!(used_by(&cluster, "api", "back").await, ["w2"]);
    cluster
        .admin_call("POST", "/api/v1/workers/w1/undrain", "")
        .await;
    assert_eq!(used_by(&cluster, "api", "undrained").await, ["w1", "w2"]);
}

#[tokio::test]
async fn apps_are_served_by_the_workers_of_their_pool() {
    let app = RecordingApp::start().await;
    let pool = |name: &str, pool: Value| {
        let endpoints = json!([{"address": app.addr().to_string()}]);
        json!({"name": name, "affinity": "none", "pool": pool, "endpoints": endpoints})
    };
    let cluster = Cluster::builder()
        .workers(3)
        .registering_workers()
        .one_worker(0, &json!({"labels": {"zone": "a", "disk": "ssd"}}))
        .one_worker(1, &json!({"labels": {"zone": "b", "disk": "ssd"}}))
        .app(pool("any", json!({})))
        .app(pool("a", json!({"zone": "a"})))
        .app(pool("ssd", json!({"disk": "ssd"})))
        .app(pool("nowhere", json!({"zone": "a", "disk": "hdd"})))
        .start()
        .await;
    assert_eq!(used_by(&cluster, "any", "any").await, ["w1", "w2", "w3"]);
    assert_eq!(used_by(&cluster, "a", "a").await, ["w1"]);
    assert_eq!(used_by(&cluster, "ssd", "ssd").await, ["w1", "w2"]);
    let answer = cluster.get("/apps/nowhere/echo").send().await;
    assert_eq!(
        (answer.status, answer.problem_code().as_str()),
        (503, "no_worker_available")
    );
}

#[tokio::test]
async fn a_drained_worker_keeps_its_streams_and_gets_nothing_new() {
    let (_app, cluster) = start(|builder| builder.workers(2).registering_workers()).await;
    let (cookie, index) = session(&cluster).await;
    let (drained, other) = if index == 0 {
        ("w1", "w2")
    } else {
        ("w2", "w1")
    };
    let shown = format!("app_proxy_session={cookie}");
    let mut socket = cluster
        .websocket("/apps/notes/ws/echo", &[("Cookie", &shown)])
        .await;
    let answer = cluster
        .admin_call("POST", &format!("/api/v1/workers/{drained}/drain"), "")
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let worker = answer.json();
    assert_eq!(
        (&worker["draining"], &worker["drain"]["done"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(
        (
            number(&worker, "in_flight"),
            number(&worker, "open_streams"),
            number(&worker, "sessions")
        ),
        (1, 1, 1)
    );

    assert_eq!(used_by(&cluster, "api", "drained").await, [other]);
    assert_eq!(
        cluster
            .get("/apps/notes/echo")
            .session(&cookie)
            .send()
            .await
            .status,
        200
    );
    let record = cluster.session(session_id(&cookie)).await;
    assert_eq!(
        (&record["worker"], &record["moves"]),
        (&json!(other), &json!(1))
    );
    socket.send_text("still here").await;
    assert_eq!(socket.frame().await.as_text(), "still here");
    assert_eq!(socket.close(1000).await, Some(1000));
    eventually_async("nothing to be left at the worker", || async {
        let worker = view(&cluster, drained).await;
        (worker["drain"]["done"] == true && worker["sessions"] == 0).then_some(())
    })
    .await;

    // New requests have no worker while all workers drain.
    cluster
        .admin_call(
            "POST",
            &format!("/api/v1/workers/{other}/drain"),
            r#"{"deadline": "1h"}"#,
        )
        .await;
    let answer = cluster.get("/apps/api/echo").send().await;
    assert_eq!(
        (answer.status, answer.problem_code().as_str()),
        (503, "no_worker_available")
    );
    let ready = Request::to(cluster.admin(), "GET", "/readyz").send().await;
    assert_eq!(
        (ready.status, &ready.json()["reason"]),
        (503, &json!("every healthy worker is drained"))
    );
    for id in [drained, other, other] {
        let answer = cluster
            .admin_call("POST", &format!("/api/v1/workers/{id}/undrain"), "")
            .await;
        assert_eq!(
            (answer.status, &answer.json()["draining"]),
            (200, &json!(false))
        );
    }
    assert_eq!(used_by(&cluster, "api", "undrained").await, ["w1", "w2"]);
}

#[tokio::test]
async fn registered_workers_are_back_when_their_coordinator_is() {
    let (_app, mut cluster) = start(|builder| builder.workers(2).registering_workers()).await;
    for round in 0..2 {
        cluster.kill_coordinator();
        cluster.restart_coordinator().await;
        assert_eq!(
            used_by(&cluster, "api", &format!("back-{round}")).await,
            ["w1", "w2"]
        );
    }
}

#[tokio::test]
async fn a_worker_stays_in_the_pool_during_its_upgrade() {
    let lease = json!({"registration": {"lease": "1s"}});
    let (_app, mut cluster) =
        start(|builder| builder.registering_workers().coordinator(&lease)).await;
    let mut successor = cluster.spawn_worker(0, &["-u"]);
    cluster.worker_daemon(0).signal(Signal::SIGQUIT);
    successor.listener("proxy").await;
    let mut old = cluster.replace_worker_daemon(0, successor);
    while old.try_status().is_none() {
        assert_eq!(ids(&cluster).await, ["w1"]);
        assert_eq!(cluster.get("/apps/api/echo").send().await.status, 200);
    }
    assert_eq!(old.ended().await.code(), Some(0));
    let until = view(&cluster, "w1").await["lease_until"].clone();
    eventually_async("the successor to renew", || async {
        (view(&cluster, "w1").await["lease_until"] != until).then_some(())
    })
    .await;
}

#[tokio::test]
async fn each_source_of_a_worker_may_change_its_own_fields_only() {
    let (_app, cluster) = start(|builder| builder).await;
    let call = |method: &'static str, target: &'static str, token: String, body: Value| {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        Request::to(cluster.admin(), method, target)
            .header("Authorization", &format!("Bearer {token}"))
            .body(body)
            .send()
    };
    let (admin, worker) = (cluster.admin_token(), cluster.worker_token());
    let good = json!({"address": "127.0.0.1:9", "labels": {"zone": "a"}});
    let put = |token: &String, body: &Value| {
        call("PUT", "/api/v1/workers/x", token.clone(), body.clone())
    };
    assert_eq!(put(&"wrong".to_owned(), &good).await.status, 401);
    assert_eq!(put(&worker, &good).await.status, 201);
    let answer = put(&admin, &good).await;
    assert_eq!(
        (answer.status, answer.json()),
        (200, json!({"lease": "10s", "drain": false}))
    );
    for (body, field) in [
        (json!({"address": "127.0.0.1:9", "weight": 0}), "weight"),
        (
            json!({"address": "127.0.0.1:9", "labels": {"zone": ""}}),
            "labels.zone",
        ),
        (json!({"address": "127.0.0.1:0"}), "address"),
        (json!({"address": "127.0.0.1:9", "lease": "1ms"}), "lease"),
    ] {
        let answer = put(&worker, &body).await;
        assert_eq!(
            (answer.status, &answer.json()["field"]),
            (400, &json!(field)),
            "{}",
            answer.text()
        );
    }
    for body in [
        json!({}),
        json!({"address": "127.0.0.1:9", "wieght": 1}),
        json!([]),
    ] {
        let answer = put(&worker, &body).await;
        assert_eq!(
            (answer.status, answer.problem_code().as_str()),
            (400, "bad_request"),
            "{}",
            answer.text()
        );
    }
    let code = |answer: Response| (answer.status, answer.problem_code());
    let taken = json!({"address": cluster.worker(0).address});
    assert_eq!(
        code(put(&worker, &taken).await),
        (409, "address_taken".to_owned())
    );
    let elsewhere = call("PUT", "/api/v1/workers/w1", worker.clone(), good.clone()).await;
    assert_eq!(code(elsewhere), (409, "worker_owned_by_file".to_owned()));
    let nowhere = put(&worker, &json!({"address": "nowhere.invalid:1"})).await;
    assert_eq!(code(nowhere), (400, "address_unresolved".to_owned()));

    // A worker does not look at others, and does not drain.
    for (method, target) in [
        ("GET", "/api/v1/workers"),
        ("GET", "/api/v1/workers/x"),
        ("POST", "/api/v1/workers/x/drain"),
        ("POST", "/api/v1/workers/x/undrain"),
    ] {
        assert_eq!(
            call(method, target, worker.clone(), Value::Null)
                .await
                .status,
            401,
            "{method} {target}"
        );
    }
    let long = call(
        "POST",
        "/api/v1/workers/x/drain",
        admin.clone(),
        json!({"deadline": "1000years"}),
    )
    .await;
    assert_eq!(
        (long.status, &long.json()["field"]),
        (400, &json!("deadline"))
    );
    for (method, target, status) in [
        ("DELETE", "/api/v1/workers/x?instance=another", 204),
        ("GET", "/api/v1/workers/x", 200),
        ("DELETE", "/api/v1/workers/x?who=me", 400),
        ("DELETE", "/api/v1/workers/w1", 409),
        ("DELETE", "/api/v1/workers/x", 204),
        ("DELETE", "/api/v1/workers/x", 404),
        ("GET", "/api/v1/workers/x", 404),
        ("POST", "/api/v1/workers/x/drain", 404),
        ("POST", "/api/v1/workers/x/undrain", 404),
        ("PATCH", "/api/v1/workers/x", 405),
    ] {
        let answer = call(method, target, admin.clone(), Value::Null).await;
        assert_eq!(
            answer.status,
            status,
            "{method} {target}: {}",
            answer.text()
        );
    }
}

/// A second coordinator, and a worker that follows both.
struct Second {
    admin: SocketAddr,
    public: SocketAddr,
    coordinator: Daemon,
    _worker: Daemon,
}

fn spawn(cluster: &Cluster, name: &str, program: Program, config: &Value) -> Daemon {
    let file = format!("{name}.yaml");
    std::fs::write(cluster.folder().join(&file), config.to_string()).unwrap();
    Daemon::spawn(name, program, cluster.folder(), &["-c", &file])
}

async fn start_second_coordinator(
    cluster: &Cluster,
    admin: SocketAddr,
    apps: Value,
) -> (Daemon, SocketAddr) {
    let config = json!({
        "version": 1,
        "pid_file": "run/second.pid",
        "upgrade_sock": "run/second.upgrade.sock",
        "coordinator": {
            "listeners": [{"address": format!("{}:0", cluster.ip())}],
            "admin": {"address": admin.to_string(), "token_file": "run/admin.token"},
            "sessions": {"secret_file": "run/session.key"},
            "store": {"path": "run/second.db"},
            "worker_token_file": "run/worker.token",
            "health_check": {"interval": "100ms"},
            "access_log": {"path": cluster.folder().join("second.access.log")},
            "apps": apps,
        },
    });
    let mut daemon = spawn(cluster, "second", Program::Coordinator, &config);
    let public = daemon.listener("public").await.parse().unwrap();
    daemon.listener("admin").await;
    (daemon, public)
}

impl Second {
    async fn start(cluster: &Cluster, apps: Value, more: &Value) -> Self {
        let admin = free_address(own_address());
        let (coordinator, public) = start_second_coordinator(cluster, admin, apps).await;
        let mut config = json!({
            "version": 1,
            "pid_file": "run/both.pid",
            "upgrade_sock": "run/both.upgrade.sock",
            "worker": {
                "id": "both",
                "listener": {"address": format!("{}:0", cluster.ip())},
                "admin": {"address": format!("{}:0", cluster.ip())},
                "coordinators": [format!("http://{}", cluster.admin()), format!("http://{admin}")],
                "token_file": "run/worker.token",
                "sync": {"retry": "50ms"},
                "access_log": {"path": cluster.folder().join("both.access.log")},
            },
        });
        merge(&mut config, more);
        let mut worker = spawn(cluster, "both", Program::Worker, &config);
        worker.listener("proxy").await;
        Self {
            admin,
            public,
            coordinator,
            _worker: worker,
        }
    }

    async fn wait_ready(&self) {
        let admin = self.admin;
        eventually_async("the second coordinator to be ready", || async move {
            let answer = Request::to(admin, "GET", "/readyz").try_send().await.ok()?;
            (answer.status == 200).then_some(())
        })
        .await;
    }

    fn get(&self, target: &str) -> Request<'static> {
        Request::to(self.public, "GET", target)
    }
}

fn one_app(name: &str, app: &RecordingApp) -> Value {
    json!([{"name": name, "affinity": "none", "endpoints": [{"address": app.addr().to_string()}]}])
}

/// A cluster without workers of its own, a second coordinator, and a worker that follows
/// both.
async fn start_two() -> (RecordingApp, RecordingApp, Cluster, Second) {
    let (first, other) = (RecordingApp::start().await, RecordingApp::start().await);
    let mine = one_app("mine", &first)[0].clone();
    let mut cluster = Cluster::builder()
        .app(mine)
        .workers(0)
        .registering_workers()
        .start_unready()
        .await;
    let second = Second::start(&cluster, one_app("theirs", &other), &json!({})).await;
    cluster.wait_ready().await;
    second.wait_ready().await;
    (first, other, cluster, second)
}

#[tokio::test]
async fn one_worker_serves_coordinators_with_tables_of_their_own() {
    let (first, other, cluster, mut second) = start_two().await;
    for n in 1..=10 {
        assert_eq!(cluster.get("/apps/mine/echo").send().await.status, 200);
        assert_eq!(second.get("/apps/theirs/echo").send().await.status, 200);
        assert_eq!((first.count(), other.count()), (n, n));
    }
    // The second one begins anew, with another table in another epoch.
    second.coordinator.kill();
    assert_eq!(cluster.get("/apps/mine/echo").send().await.status, 200);
    (second.coordinator, second.public) =
        start_second_coordinator(&cluster, second.admin, one_app("fresh", &other)).await;
    second.wait_ready().await;
    for _ in 0..10 {
        assert_eq!(second.get("/apps/fresh/echo").send().await.status, 200);
        assert_eq!(second.get("/apps/theirs/echo").send().await.status, 404);
        assert_eq!(cluster.get("/apps/mine/echo").send().await.status, 200);
    }
}

#[tokio::test]
async fn a_coordinator_that_is_down_does_not_slow_the_other() {
    let (_first, _other, cluster, mut second) = start_two().await;
    second.coordinator.kill();
    for n in 0..20 {
        let id = format!("alone-{n}");
        assert_eq!(
            cluster.get("/apps/mine/echo").id(&id).send().await.status,
            200
        );
        let line = cluster.coordinator_log().request(&id).await;
        // No request waits for a table: that would last as long as `sync.catch_up_timeout`.
        assert!(line["duration_ms"].as_f64().unwrap() < 1500.0, "{line}");
    }
}

#[tokio::test]
async fn a_drain_at_one_coordinator_counts_at_all() {
    let (_first, _other, cluster, second) = start_two().await;
    let drain = |action: &'static str| {
        let token = cluster.admin_token();
        let target = format!("/api/v1/workers/both/{action}");
        Request::to(second.admin, "POST", &target)
            .header("Authorization", &format!("Bearer {token}"))
            .send()
    };
    for (action, draining) in [("drain", true), ("undrain", false)] {
        assert_eq!(drain(action).await.status, 200);
        eventually_async("the other coordinator to know of it", || async {
            let worker = view(&cluster, "both").await;
            assert!(worker["drain"].is_null(), "{worker}");
            (worker["draining"] == draining).then_some(())
        })
        .await;
    }
}
