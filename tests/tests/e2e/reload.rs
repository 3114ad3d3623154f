//! SIGHUP: a daemon reads its file again, applies what it can, says what it cannot, and serves on.

use app_proxy_tests::cluster::{Cluster, free_address, own_address};
use app_proxy_tests::daemon::{Detached, Launch, Program, run_to_end};
use app_proxy_tests::http1::Request;
use app_proxy_tests::wait::eventually;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::{start, start_default};

/// Tells the first worker to reload, and waits for the line that says what has become of it.
async fn reload(cluster: &mut Cluster, says: &str) -> String {
    let worker = cluster.worker_daemon(0);
    let before = worker.stderr().len();
    worker.signal(Signal::SIGHUP);
    let what = format!("a new line with `{says}`");
    eventually(&what, || worker.stderr().into_iter().skip(before).find(|line| line.contains(says))).await
}

fn read_timeout(period: &str) -> Value {
    json!({"worker": {"timeouts": {"upstream_read": period}}})
}

#[tokio::test]
async fn a_changed_timeout_counts_from_the_next_request_on() {
    let (app, mut cluster) = start_default().await;
    let mut before = cluster.get("/apps/api/gate/before").id("before").start().await;
    app.wait_for_id("before").await;
    cluster.patch_worker_config(0, &read_timeout("300ms"));
    reload(&mut cluster, "w1.yaml is reloaded, changed: timeouts").await;
    let answer = cluster.get("/apps/api/gate/after").id("after").send().await;
    assert_eq!((answer.status, answer.problem_code().as_str()), (504, "upstream_timeout"));
    app.release("before", 1);
    assert_eq!(before.read_response("GET").await.status, 200);
    cluster.patch_worker_config(0, &read_timeout("1h"));
    reload(&mut cluster, "changed: timeouts").await;
    let mut again = cluster.get("/apps/api/gate/again").id("again").start().await;
    app.wait_for_id("again").await;
    app.release("again", 1);
    assert_eq!(again.read_response("GET").await.status, 200);
}

#[tokio::test]
async fn an_app_s_own_timeout_goes_before_a_reloaded_one() {
    let own = json!({"timeouts": {"read": "1h"}});
    let app = app_proxy_tests::app::RecordingApp::start().await;
    let mut cluster = Cluster::builder().app_with("patient", app.addr(), &own).start().await;
    cluster.patch_worker_config(0, &read_timeout("1ms"));
    reload(&mut cluster, "changed: timeouts").await;
    let mut request = cluster.get("/apps/patient/gate/g").id("slow").start().await;
    app.wait_for_id("slow").await;
    app.release("g", 1);
    assert_eq!(request.read_response("GET").await.status, 200);
}

#[tokio::test]
async fn what_needs_a_restart_is_named_and_not_applied() {
    let (_app, mut cluster) = start_default().await;
    let patch =
        json!({"threads": 3, "worker": {"id": "other", "labels": {"zone": "b"}, "limits": {"request_body": 10}}});
    cluster.patch_worker_config(0, &patch);
    let line = reload(&mut cluster, "only a restart applies it").await;
    // The harness started the worker with port 0 and then wrote the ports down.
    let named = line.split(": ").last().unwrap();
    assert_eq!(named, "id, listener, labels, admin, limits, threads", "{line}");
    let answer = cluster.request("POST", "/apps/api/echo").id("large").body([b'x'; 100]).send().await;
    assert_eq!(answer.status, 200);
    assert_eq!(cluster.worker_log(0).request("large").await["worker"], "w1");
    reload(&mut cluster, "limits, threads").await;
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_says_why() {
    let (app, mut cluster) = start_default().await;
    let path = cluster.folder().join("w1.yaml");
    let good = std::fs::read_to_string(&path).unwrap();
    for (bad, says) in [
        (good.replace("\"sync\"", "\"snyc\""), "snyc"),
        (good.replace("\"retry\": \"50ms\"", "\"retry\": \"soon\""), "soon"),
        ("worker: [".to_owned(), "w1.yaml:"),
    ] {
        assert_ne!(bad, good);
        let bad = bad.replace("\"id\": \"w1\"", "\"id\": \"w1\", \"timeouts\": {\"upstream_read\": \"1ms\"}");
        std::fs::write(&path, bad).unwrap();
        let line = reload(&mut cluster, "nothing is reloaded: w1.yaml:").await;
        assert!(line.contains("ERROR") && line.contains(says), "{line}");
    }
    std::fs::remove_file(&path).unwrap();
    reload(&mut cluster, "nothing is reloaded: w1.yaml: cannot be read").await;
    let mut request = cluster.get("/apps/api/gate/g").id("slow").start().await;
    app.wait_for_id("slow").await;
    app.release("g", 1);
    assert_eq!(request.read_response("GET").await.status, 200);
    std::fs::write(&path, good).unwrap();
    reload(&mut cluster, "w1.yaml is reloaded, nothing changes").await;
}

/// Asks the worker for an app that there is not, which it says at level `debug`.
async fn refused(cluster: &Cluster, id: &str) {
    let worker = cluster.worker(0).address.parse().unwrap();
    let request = Request::to(worker, "GET", "/proxy/nobody/").header("X-App-Proxy-Token", &cluster.worker_token());
    assert_eq!(request.id(id).send().await.status, 404);
}

#[tokio::test]
async fn the_log_level_changes_at_once() {
    let without = Launch { under: ["env", "-u", "RUST_LOG"].map(str::to_owned).into(), ..Launch::default() };
    let (_app, mut cluster) = start(|builder| builder.launch(Program::Worker, without)).await;
    refused(&cluster, "quiet").await;
    cluster.patch_worker_config(0, &json!({"worker": {"log_level": "warn,app_proxy_worker=debug"}}));
    reload(&mut cluster, "changed: log_level").await;
    // The line that says so comes a moment before: the new level would not let it pass.
    let mut loud = false;
    while !loud {
        refused(&cluster, "loud").await;
        loud = cluster.worker_daemon(0).stderr().iter().any(|line| line.contains("request_id=loud is refused"));
    }
    let worker = cluster.worker_daemon(0);
    assert!(!worker.stderr().iter().any(|line| line.contains("request_id=quiet is refused")));
    // The old level would not let the line that says so pass: the new one does.
    cluster.patch_worker_config(0, &json!({"worker": {"log_level": "info"}}));
    reload(&mut cluster, "changed: log_level").await;
}

#[tokio::test]
async fn the_environment_s_log_level_wins_and_that_is_said() {
    let (_app, mut cluster) = start_default().await;
    cluster.patch_worker_config(0, &json!({"worker": {"log_level": "debug"}}));
    reload(&mut cluster, "log_level has no effect: RUST_LOG is set").await;
    refused(&cluster, "quiet").await;
    reload(&mut cluster, "nothing changes").await;
    assert!(!cluster.worker_daemon(0).stderr().iter().any(|line| line.contains("request_id=quiet is refused")));
}

#[tokio::test]
async fn a_daemon_that_drains_is_not_reloaded_and_not_ended_by_it() {
    let (app, mut cluster) = start_default().await;
    let mut request = cluster.get("/apps/api/gate/g").id("slow").start().await;
    app.wait_for_id("slow").await;
    cluster.patch_worker_config(0, &read_timeout("1ms"));
    let worker = cluster.worker_daemon(0);
    worker.signal(Signal::SIGTERM);
    worker.wait_for_stderr("a drain", |line| line.contains("draining: ")).await;
    reload(&mut cluster, "SIGHUP: nothing is reloaded now").await;
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
    reload(&mut cluster, "nothing changes").await;
    assert!(cluster.coordinator().try_status().is_none() && cluster.worker_daemon(0).try_status().is_none());
}

#[tokio::test]
async fn a_daemon_that_detached_finds_its_file_again() {
    let folder = tempfile::tempdir().unwrap();
    let ip = own_address();
    let yaml = format!(
        "version: 1\npid_file: worker.pid\nupgrade_sock: worker.sock\nerror_log: error.log\nworker:\n  id: w1\n  \
         listener: {{address: \"{}\"}}\n  admin: {{address: \"{}\"}}\n  coordinators: [\"http://127.0.0.1:1\"]\n  \
         token_file: worker.token\n  access_log: {{path: access.log}}\n",
        free_address(ip),
        free_address(ip)
    );
    let write = |text: &str| std::fs::write(folder.path().join("config.yaml"), text).unwrap();
    write(&yaml);
    let end = run_to_end(Program::Worker, folder.path(), &["-d", "-c", "config.yaml"]);
    assert_eq!(end.code, Some(0), "{}", end.stderr);
    let pid = eventually("a pid file", || {
        std::fs::read_to_string(folder.path().join("worker.pid")).ok()?.trim().parse().ok()
    });
    let daemon = Detached { pid: pid.await };
    let says = async |what: &str| {
        let log = || std::fs::read_to_string(folder.path().join("error.log")).unwrap_or_default();
        eventually(what, || log().contains(what).then_some(())).await;
    };
    says("(admin)").await;
    write(&format!("{yaml}  timeouts: {{connect: 1s}}\n"));
    daemon.signal(Signal::SIGHUP);
    says("config.yaml is reloaded, changed: timeouts").await;
    assert!(daemon.alive());
}
