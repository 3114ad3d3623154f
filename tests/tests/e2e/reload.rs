//! Reload on SIGHUP: a daemon applies the keys that it can, names those that need a restart, and
//! continues to serve.

use std::time::Instant;

use app_proxy_tests::api::with_sessions;
use app_proxy_tests::app::RecordingApp;
use app_proxy_tests::cluster::{Cluster, free_address, own_address};
use app_proxy_tests::daemon::{Daemon, Detached, Launch, Program, run_to_end};
use app_proxy_tests::http1::Request;
use app_proxy_tests::wait::{DEADLINE, eventually};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::{start, start_default};

/// Reloads the first worker, and waits for the log line with the result.
async fn reload(cluster: &mut Cluster, says: &str) -> String {
    hang_up(cluster.worker_daemon(0), says).await
}

/// As [`reload`], of the coordinator.
async fn reload_coordinator(cluster: &mut Cluster, says: &str) -> String {
    hang_up(cluster.coordinator(), says).await
}

async fn hang_up(daemon: &mut Daemon, says: &str) -> String {
    let before = daemon.stderr().len();
    daemon.signal(Signal::SIGHUP);
    let what = format!("a new line with `{says}`");
    eventually(&what, || {
        daemon
            .stderr()
            .into_iter()
            .skip(before)
            .find(|line| line.contains(says))
    })
    .await
}

fn read_timeout(period: &str) -> Value {
    json!({"worker": {"timeouts": {"upstream_read": period}}})
}

#[tokio::test]
async fn a_changed_timeout_applies_from_the_next_request_on() {
    let (app, mut cluster) = start_default().await;
    let mut before = cluster
        .get("/apps/api/gate/before")
        .id("before")
        .start()
        .await;
    app.wait_for_id("before").await;
    cluster.patch_worker_config(0, &read_timeout("300ms"));
    reload(&mut cluster, "w1.yaml: reloaded; changed: timeouts").await;
    let answer = cluster.get("/apps/api/gate/after").id("after").send().await;
    assert_eq!(
        (answer.status, answer.problem_code().as_str()),
        (504, "upstream_timeout")
    );
    app.release("before", 1);
    assert_eq!(before.read_response("GET").await.status, 200);
    cluster.patch_worker_config(0, &read_timeout("1h"));
    reload(&mut cluster, "changed: timeouts").await;
    let mut again = cluster
        .get("/apps/api/gate/again")
        .id("again")
        .start()
        .await;
    app.wait_for_id("again").await;
    app.release("again", 1);
    assert_eq!(again.read_response("GET").await.status, 200);
}

#[tokio::test]
async fn a_timeout_of_an_app_overrides_a_reloaded_one() {
    let own = json!({"timeouts": {"read": "1h"}});
    let app = app_proxy_tests::app::RecordingApp::start().await;
    let mut cluster = Cluster::builder()
        .app_with("patient", app.addr(), &own)
        .start()
        .await;
    cluster.patch_worker_config(0, &read_timeout("1ms"));
    reload(&mut cluster, "changed: timeouts").await;
    let mut request = cluster.get("/apps/patient/gate/g").id("slow").start().await;
    app.wait_for_id("slow").await;
    app.release("g", 1);
    assert_eq!(request.read_response("GET").await.status, 200);
}

#[tokio::test]
async fn keys_that_need_a_restart_are_named_and_not_applied() {
    let (_app, mut cluster) = start_default().await;
    let worker = json!({"id": "other", "labels": {"zone": "b"}, "limits": {"request_body": 10}});
    let patch = json!({"threads": 3, "worker": worker});
    cluster.patch_worker_config(0, &patch);
    let line = reload(&mut cluster, "applied only by a restart").await;
    // The harness started the worker with port 0 and then wrote the ports down.
    let named = line.split(": ").last().unwrap();
    assert_eq!(
        named, "id, listener, labels, admin, limits, threads",
        "{line}"
    );
    let answer = cluster
        .request("POST", "/apps/api/echo")
        .id("large")
        .body([b'x'; 100])
        .send()
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(cluster.worker_log(0).request("large").await["worker"], "w1");
    reload(&mut cluster, "limits, threads").await;
}

/// Pins: keys that were renamed work under their old names for one release.
#[tokio::test]
async fn a_renamed_key_is_accepted_with_a_warning_at_start_and_at_a_reload() {
    let (_app, mut cluster) = start_default().await;
    let warning = "`sync.fence` is now `sync.catch_up_timeout`; the old name works until the next";
    cluster.patch_worker_config(0, &json!({"worker": {"sync": {"fence": "1s"}}}));
    let line = reload(&mut cluster, warning).await;
    assert!(line.contains("WARN") && line.contains("w1.yaml:"), "{line}");
    reload(
        &mut cluster,
        "applied only by a restart: listener, admin, sync",
    )
    .await;
    cluster.stop_worker(0).await;
    cluster.restart_worker(0).await;
    // The coordinator may still count the worker that stopped as unhealthy.
    cluster.wait_ready().await;
    let lines = cluster.worker_daemon(0).stderr();
    let warnings = lines.iter().filter(|line| line.contains(warning)).count();
    assert_eq!(warnings, 1, "{lines:?}");
    assert_eq!(cluster.get("/apps/api/echo").send().await.status, 200);
    let both = json!({"worker": {"sync": {"catch_up_timeout": "1s"}}});
    cluster.patch_worker_config(0, &both);
    let line = reload(&mut cluster, "cannot reload: w1.yaml:").await;
    assert!(
        line.contains("`sync.fence`") && line.contains("`sync.catch_up_timeout`"),
        "{line}"
    );
}

#[tokio::test]
async fn an_invalid_file_changes_nothing_and_the_log_has_the_cause() {
    let (app, mut cluster) = start_default().await;
    let path = cluster.folder().join("w1.yaml");
    let good = std::fs::read_to_string(&path).unwrap();
    for (bad, says) in [
        (good.replace("\"sync\"", "\"snyc\""), "snyc"),
        (
            good.replace("\"retry\": \"50ms\"", "\"retry\": \"soon\""),
            "soon",
        ),
        ("worker: [".to_owned(), "w1.yaml:"),
    ] {
        assert_ne!(bad, good);
        let bad = bad.replace(
            "\"id\": \"w1\"",
            "\"id\": \"w1\", \"timeouts\": {\"upstream_read\": \"1ms\"}",
        );
        std::fs::write(&path, bad).unwrap();
        let line = reload(&mut cluster, "cannot reload: w1.yaml:").await;
        assert!(line.contains("ERROR") && line.contains(says), "{line}");
    }
    std::fs::remove_file(&path).unwrap();
    reload(&mut cluster, "cannot reload: w1.yaml: cannot read the file").await;
    let mut request = cluster.get("/apps/api/gate/g").id("slow").start().await;
    app.wait_for_id("slow").await;
    app.release("g", 1);
    assert_eq!(request.read_response("GET").await.status, 200);
    std::fs::write(&path, good).unwrap();
    reload(&mut cluster, "w1.yaml: reloaded; nothing changed").await;
}

/// Requests an unknown app from the worker, which logs that at level `debug`.
async fn refused(cluster: &Cluster, id: &str) {
    let worker = cluster.worker(0).address.parse().unwrap();
    let request = Request::to(worker, "GET", "/proxy/nobody/")
        .header("X-App-Proxy-Token", &cluster.worker_token());
    assert_eq!(request.id(id).send().await.status, 404);
}

#[tokio::test]
async fn the_log_level_changes_at_once() {
    let without = Launch {
        under: ["env", "-u", "RUST_LOG"].map(str::to_owned).into(),
        ..Launch::default()
    };
    let (_app, mut cluster) = start(|builder| builder.launch(Program::Worker, without)).await;
    refused(&cluster, "quiet").await;
    cluster.patch_worker_config(
        0,
        &json!({"worker": {"log_level": "warn,app_proxy_runtime=info,app_proxy_hop=debug"}}),
    );
    reload(&mut cluster, "changed: log_level").await;
    // The line about the change is written just before: the new level would suppress it.
    let is_loud = |line: &String| line.contains("request_id=loud is refused");
    let begin = Instant::now();
    while !cluster.worker_daemon(0).stderr().iter().any(is_loud) {
        assert!(begin.elapsed() < DEADLINE, "no line of a refused request");
        refused(&cluster, "loud").await;
    }
    let worker = cluster.worker_daemon(0);
    assert!(
        !worker
            .stderr()
            .iter()
            .any(|line| line.contains("request_id=quiet is refused"))
    );
    // One of the two levels would suppress the line about the change, the other one does not.
    for level in ["warn", "info"] {
        cluster.patch_worker_config(0, &json!({"worker": {"log_level": level}}));
        reload(&mut cluster, "changed: log_level").await;
    }
}

#[tokio::test]
async fn the_log_level_of_the_environment_wins_and_a_reload_logs_that() {
    let (_app, mut cluster) = start_default().await;
    cluster.patch_worker_config(0, &json!({"worker": {"log_level": "debug"}}));
    reload(&mut cluster, "log_level has no effect: RUST_LOG is set").await;
    refused(&cluster, "quiet").await;
    reload(&mut cluster, "nothing changed").await;
    assert!(
        !cluster
            .worker_daemon(0)
            .stderr()
            .iter()
            .any(|line| line.contains("request_id=quiet is refused"))
    );
}

#[tokio::test]
async fn a_draining_daemon_ignores_a_reload() {
    let (app, mut cluster) = start_default().await;
    let mut request = cluster.get("/apps/api/gate/g").id("slow").start().await;
    app.wait_for_id("slow").await;
    cluster.patch_worker_config(0, &read_timeout("1ms"));
    let worker = cluster.worker_daemon(0);
    worker.signal(Signal::SIGTERM);
    worker
        .wait_for_stderr("a drain", |line| line.contains("draining: "))
        .await;
    reload(&mut cluster, "SIGHUP: ignored").await;
    app.release("g", 1);
    assert_eq!(request.read_response("GET").await.status, 200);
    assert_eq!(cluster.worker_daemon(0).ended().await.code(), Some(0));
}

#[tokio::test]
async fn many_signals_at_once_end_neither_daemon() {
    let (_app, mut cluster) = start_default().await;
    for _ in 0..50 {
        cluster.coordinator().signal(Signal::SIGHUP);
        cluster.worker_daemon(0).signal(Signal::SIGHUP);
    }
    assert_eq!(cluster.get("/apps/api/echo").send().await.status, 200);
    reload(&mut cluster, "nothing changed").await;
    assert!(
        cluster.coordinator().try_status().is_none()
            && cluster.worker_daemon(0).try_status().is_none()
    );
}

#[tokio::test]
async fn a_daemon_that_detached_finds_its_file_again() {
    let folder = tempfile::tempdir().unwrap();
    let ip = own_address();
    let yaml = format!(
        "version: 1\npid_file: worker.pid\nupgrade_sock: worker.sock\nerror_log: error.log\n\
         worker:\n  id: w1\n  listener: {{address: \"{}\"}}\n  admin: {{address: \"{}\"}}\n  \
         coordinators: [\"http://127.0.0.1:1\"]\n  \
         token_file: worker.token\n  access_log: {{path: access.log}}\n",
        free_address(ip),
        free_address(ip)
    );
    let write = |text: &str| std::fs::write(folder.path().join("config.yaml"), text).unwrap();
    write(&yaml);
    let end = run_to_end(Program::Worker, folder.path(), &["-d", "-c", "config.yaml"]);
    assert_eq!(end.code, Some(0), "{}", end.stderr);
    let pid = eventually("a pid file", || {
        std::fs::read_to_string(folder.path().join("worker.pid"))
            .ok()?
            .trim()
            .parse()
            .ok()
    });
    let daemon = Detached { pid: pid.await };
    let says = async |what: &str| {
        let log = || std::fs::read_to_string(folder.path().join("error.log")).unwrap_or_default();
        eventually(what, || log().contains(what).then_some(())).await;
    };
    says("(admin)").await;
    write(&format!("{yaml}  timeouts: {{connect: 1s}}\n"));
    daemon.signal(Signal::SIGHUP);
    says("config.yaml: reloaded; changed: timeouts").await;
    assert!(daemon.alive());
}

/// An entry of the file's `apps`.
fn filed(name: &str, app: &RecordingApp) -> Value {
    json!({"name": name, "endpoints": [{"address": app.addr().to_string()}]})
}

fn apps(list: Value) -> Value {
    json!({"coordinator": {"apps": list}})
}

async fn who(cluster: &Cluster, app: &str) -> String {
    cluster
        .get(&format!("/apps/{app}/whoami"))
        .send()
        .await
        .text()
}

#[tokio::test]
async fn a_coordinator_adopts_the_apps_of_the_file_and_keeps_those_of_the_api() {
    let (one, other) = (RecordingApp::start().await, RecordingApp::start().await);
    let builder = Cluster::builder()
        .app_at("stays", one.addr())
        .app_at("moves", one.addr());
    let mut cluster = builder.app_at("leaves", one.addr()).start().await;
    let mine = cluster.put_app("mine", &with_sessions(&[one.addr()])).await;
    let stays = cluster.admin_json("/api/v1/apps/stays").await;
    let session = cluster
        .get("/apps/moves/echo")
        .send()
        .await
        .session_cookie()
        .unwrap();
    let mut socket = cluster.websocket("/apps/leaves/ws/echo", &[]).await;
    cluster.patch_coordinator_config(&apps(json!([
        filed("stays", &one),
        filed("moves", &other),
        filed("comes", &other)
    ])));
    let line = reload_coordinator(&mut cluster, "reloaded; ").await;
    assert!(
        line.contains("coordinator.yaml: reloaded; changed: apps"),
        "{line}"
    );
    // Once the line is written, the change applies to the next request, as after a call of the API.
    for (name, app) in [
        ("stays", &one),
        ("moves", &other),
        ("comes", &other),
        ("mine", &one),
    ] {
        assert_eq!(who(&cluster, name).await, app.addr().to_string(), "{name}");
    }
    assert_eq!(cluster.get("/apps/leaves/whoami").send().await.status, 404);
    assert_eq!(socket.frame().await.close_code(), Some(1001));
    assert_eq!(
        cluster
            .get("/apps/moves/echo")
            .session(&session)
            .send()
            .await
            .session_cookie(),
        None
    );
    assert_eq!(cluster.admin_json("/api/v1/apps/mine").await, mine);
    assert_eq!(cluster.admin_json("/api/v1/apps/stays").await, stays);
    reload_coordinator(&mut cluster, ": reloaded; nothing changed").await;
    // Nor does it forget by a restart.
    cluster.kill_coordinator();
    cluster.restart_coordinator().await;
    assert_eq!(cluster.admin_json("/api/v1/apps/mine").await, mine);
    assert_eq!(who(&cluster, "moves").await, other.addr().to_string());
}

#[tokio::test]
async fn a_coordinator_adds_and_removes_fixed_workers_on_reload() {
    // With `register: false`, a removed worker does not come back by itself.
    let (_app, mut cluster) =
        start(|builder| builder.workers(2).worker(&json!({"register": false}))).await;
    let list = |workers: &[usize], cluster: &Cluster| {
        let worker = |index: &usize| {
            let worker = cluster.worker(*index);
            json!({"id": worker.id, "address": worker.address, "weight": 1})
        };
        json!({"coordinator": {"workers": workers.iter().map(worker).collect::<Vec<_>>()}})
    };
    let ids = async |cluster: &Cluster| {
        let list = cluster.admin_json("/api/v1/workers").await;
        list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|worker| worker["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let patch = list(&[1], &cluster);
    cluster.patch_coordinator_config(&patch);
    reload_coordinator(&mut cluster, "coordinator.yaml: reloaded; changed: workers").await;
    assert_eq!(ids(&cluster).await, ["w2"]);
    let before = cluster.worker_log(0).line_count();
    for number in 0..20 {
        let id = format!("left-{number}");
        assert_eq!(
            cluster.get("/apps/api/echo").id(&id).send().await.status,
            200
        );
        assert_eq!(cluster.coordinator_log().request(&id).await["worker"], "w2");
    }
    assert_eq!(cluster.worker_log(0).line_count(), before);
    let patch = list(&[0, 1], &cluster);
    cluster.patch_coordinator_config(&patch);
    reload_coordinator(&mut cluster, "changed: workers").await;
    cluster.wait_health("w1", true).await;
    cluster.wait_health("w2", true).await;
    cluster.kill_worker(1);
    cluster.wait_health("w2", false).await;
    assert_eq!(
        cluster.get("/apps/api/echo").id("back").send().await.status,
        200
    );
    assert_eq!(
        cluster.coordinator_log().request("back").await["worker"],
        "w1"
    );
}

#[tokio::test]
async fn a_coordinator_s_timeouts_trusted_proxies_and_log_level_change_at_once() {
    let without = Launch {
        under: ["env", "-u", "RUST_LOG"].map(str::to_owned).into(),
        ..Launch::default()
    };
    let (app, mut cluster) = start(|builder| builder.launch(Program::Coordinator, without)).await;
    let forwarded = async |cluster: &Cluster, id: &str| {
        cluster
            .get("/apps/api/echo")
            .id(id)
            .header("X-Forwarded-For", "192.0.2.7")
            .send()
            .await;
        app.wait_for_id(id)
            .await
            .header("X-Forwarded-For")
            .unwrap()
            .to_owned()
    };
    assert_eq!(forwarded(&cluster, "untrusted").await, "127.0.0.1");
    cluster.patch_coordinator_config(&json!({"coordinator": {
        "timeouts": {"upstream_read": "300ms"},
        "trusted_proxies": ["127.0.0.0/8"],
        "log_level": "warn,app_proxy_runtime=info,app_proxy_hop=debug",
    }}));
    let line = reload_coordinator(&mut cluster, "reloaded; ").await;
    for changed in ["timeouts", "trusted_proxies", "log_level"] {
        assert!(line.contains(changed), "{line}");
    }
    assert!(
        forwarded(&cluster, "trusted")
            .await
            .starts_with("192.0.2.7")
    );
    let slow = cluster.get("/apps/api/gate/g").id("slow").send().await;
    assert_eq!(
        (slow.status, slow.problem_code().as_str()),
        (504, "upstream_timeout")
    );
    assert_eq!(
        cluster
            .get("/apps/nobody/")
            .id("unknown")
            .send()
            .await
            .status,
        404
    );
    let debug = |line: &str| line.contains("DEBUG") && line.contains("request_id=unknown");
    cluster
        .coordinator()
        .wait_for_stderr("a line at debug", debug)
        .await;
    assert!(
        !cluster
            .coordinator()
            .stderr()
            .iter()
            .any(|line| line.contains("DEBUG") && line.contains("untrusted"))
    );
}

#[tokio::test]
async fn a_coordinator_with_an_invalid_file_changes_nothing_and_logs_the_cause() {
    let (one, other) = (RecordingApp::start().await, RecordingApp::start().await);
    let mut cluster = Cluster::builder()
        .app_at("stays", one.addr())
        .workers(2)
        .start()
        .await;
    let mut held = with_sessions(&[one.addr()]);
    held["match"] = json!([{"path": "/held"}]);
    cluster.put_app("holder", &held).await;
    let path = cluster.coordinator_config();
    let good = std::fs::read_to_string(&path).unwrap();
    let state = async |cluster: &Cluster| {
        let workers = cluster.admin_json("/api/v1/workers").await;
        let workers = workers["items"].as_array().unwrap().iter();
        let workers: Vec<_> = workers
            .map(|worker| (worker["id"].clone(), worker["drain"]["since"].clone()))
            .collect();
        (cluster.admin_json("/api/v1/apps").await, workers)
    };
    // The file that is refused does not name it.
    cluster
        .admin_call("POST", "/api/v1/workers/w1/drain", "")
        .await;
    let before = state(&cluster).await;
    // Each file has valid changes besides the invalid one; none of them may be applied.
    let better = json!({"coordinator": {
        "timeouts": {"upstream_read": "1ms"},
        "trusted_proxies": ["127.0.0.0/8"],
        "workers": [{"id": "w2", "address": cluster.worker(1).address, "weight": 1}],
    }});
    let mut thief = filed("thief", &other);
    thief["match"] = json!([{"path": "/held"}]);
    for (bad, says) in [
        (
            apps(json!([filed("stays", &other), thief])),
            vec!["`thief`", "`holder`"],
        ),
        (
            apps(json!([filed("stays", &other), filed("stays", &other)])),
            vec!["stays"],
        ),
        (
            json!({"coordinator": {"apps": [
                {"name": "stays", "endpoints": [{"address": "nowhere"}]},
            ]}}),
            vec!["nowhere"],
        ),
        (json!({"coordinator": {"wrokers": []}}), vec!["wrokers"]),
        (
            json!({"coordinator": {"apps": [filed("new", &other)], "log_level": "loud=?"}}),
            vec!["log_level"],
        ),
        (
            json!({"coordinator": {
                "apps": [filed("new", &other)],
                "workers": [{"id": "w1", "address": "no.such.host.invalid:1"}],
            }}),
            vec!["no.such.host.invalid"],
        ),
    ] {
        cluster.patch_coordinator_config(&better);
        cluster.patch_coordinator_config(&bad);
        let line = reload_coordinator(&mut cluster, "cannot reload: ").await;
        assert!(
            line.contains("ERROR") && line.contains("coordinator.yaml"),
            "{line}"
        );
        for part in says {
            assert!(line.contains(part), "{part} is not in {line}");
        }
        assert_eq!(state(&cluster).await, before, "{line}");
        let seen = one.count();
        let answer = cluster
            .get("/apps/stays/whoami")
            .header("X-Forwarded-For", "192.0.2.7")
            .send()
            .await;
        assert_eq!(
            (answer.status, answer.text()),
            (200, one.addr().to_string())
        );
        assert_eq!(
            one.requests()[seen].header("X-Forwarded-For"),
            Some("127.0.0.1")
        );
        std::fs::write(&path, &good).unwrap();
    }
    cluster.wait_health("w1", true).await;
    reload_coordinator(&mut cluster, ": reloaded; nothing changed").await;
}

#[tokio::test]
async fn a_coordinator_with_a_locked_store_rejects_a_reload_and_accepts_a_later_one() {
    let (one, other) = (RecordingApp::start().await, RecordingApp::start().await);
    let mut cluster = Cluster::builder().app_at("notes", one.addr()).start().await;
    let lock = rusqlite::Connection::open(cluster.folder().join("run/coordinator.db")).unwrap();
    lock.execute_batch("BEGIN EXCLUSIVE").unwrap();
    cluster.patch_coordinator_config(&apps(json!([filed("notes", &other)])));
    let line = reload_coordinator(&mut cluster, "cannot reload: ").await;
    assert!(line.contains("locked"), "{line}");
    assert_eq!(who(&cluster, "notes").await, one.addr().to_string());
    lock.execute_batch("COMMIT").unwrap();
    reload_coordinator(&mut cluster, ": reloaded; changed: apps").await;
    assert_eq!(who(&cluster, "notes").await, other.addr().to_string());
}
