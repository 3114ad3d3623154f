//! The life of a daemon: configuration test, start, stop, detaching and upgrade.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use app_proxy_tests::REQUEST_ID;
use app_proxy_tests::app::RecordingApp;
use app_proxy_tests::cluster::{Cluster, free_address, own_address};
use app_proxy_tests::daemon::{Detached, Ended, Program, run_to_end};
use app_proxy_tests::http1::{Client, Request};
use app_proxy_tests::wait::{eventually, eventually_async};
use nix::sys::signal::Signal;
use serde_json::json;
use tempfile::TempDir;

use crate::{start, start_default};

pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

/// A coordinator's configuration in YAML, line by line.
pub(crate) fn coordinator_yaml(public: SocketAddr, admin: SocketAddr) -> String {
    format!(
        "version: 1\n\
         threads: 2\n\
         pid_file: run/coordinator.pid\n\
         upgrade_sock: run/coordinator.upgrade.sock\n\
         coordinator:\n\
         \x20 listeners: [{{address: \"{public}\"}}]\n\
         \x20 admin: {{address: \"{admin}\", token_file: run/admin.token}}\n\
         \x20 worker_token_file: run/worker.token\n\
         \x20 sessions: {{secret_file: run/session.key}}\n\
         \x20 workers:\n\
         \x20   - {{id: w1, address: \"127.0.0.1:7080\", weight: 1}}\n\
         \x20 access_log: {{path: access.log}}\n\
         \x20 apps:\n\
         \x20   - name: notes\n\
         \x20     endpoints: [{{address: \"127.0.0.1:8888\"}}]\n"
    )
}

/// A worker's configuration in YAML, line by line.
fn worker_yaml(proxy: SocketAddr, admin: SocketAddr) -> String {
    format!(
        "version: 1\n\
         pid_file: run/worker.pid\n\
         upgrade_sock: run/worker.upgrade.sock\n\
         worker:\n\
         \x20 id: w1\n\
         \x20 listener: {{address: \"{proxy}\"}}\n\
         \x20 admin: {{address: \"{admin}\"}}\n\
         \x20 coordinators: [\"http://127.0.0.1:1\"]\n\
         \x20 token_file: run/worker.token\n\
         \x20 access_log: {{path: access.log}}\n"
    )
}

pub(crate) fn good(program: Program) -> String {
    let ip = own_address();
    match program {
        Program::Coordinator => coordinator_yaml(free_address(ip), free_address(ip)),
        Program::Worker => worker_yaml(free_address(ip), free_address(ip)),
    }
}

pub(crate) fn write(folder: &Path, text: &str) {
    std::fs::write(folder.join("config.yaml"), text).expect("the configuration is written");
}

/// Runs a daemon with `text` as its configuration, both for real and with `-t`; both have to end at
/// once.
fn refused(program: Program, text: &str) -> Vec<Ended> {
    let ends = ["", "-t"].map(|flag| {
        let folder = folder();
        write(folder.path(), text);
        let mut args = vec!["-c", "config.yaml"];
        args.extend(Some(flag).filter(|flag| !flag.is_empty()));
        run_to_end(program, folder.path(), &args)
    });
    ends.to_vec()
}

/// Asserts that a start ended with exit code 1 and one line on standard error that has all of
/// `parts`.
pub(crate) fn assert_one_line(end: &Ended, parts: &[&str]) {
    assert_eq!(end.code, Some(1), "{}", end.stderr);
    let lines: Vec<_> = end.stderr.lines().collect();
    assert_eq!(
        lines.len(),
        1,
        "one line on standard error:\n{}",
        end.stderr
    );
    for part in parts {
        assert!(lines[0].contains(part), "{part:?} is not in {:?}", lines[0]);
    }
}

/// Asserts that standard error has one of `lines` as a number of its own.
fn assert_line_number(end: &Ended, lines: &[usize]) {
    let mut numbers = end.stderr.split(|c: char| !c.is_ascii_digit());
    let found = numbers.any(|number| lines.iter().any(|line| number == line.to_string()));
    assert!(found, "none of the lines {lines:?} is in {:?}", end.stderr);
}

/// The number of the first line of `text` with `needle`, from 1.
fn line_of(text: &str, needle: &str) -> usize {
    let at = text.lines().position(|line| line.contains(needle));
    at.expect("the line") + 1
}

#[test]
fn a_good_configuration_passes_the_test_and_starts_nothing() {
    for program in [Program::Coordinator, Program::Worker] {
        let folder = folder();
        let text = good(program);
        write(folder.path(), &text);
        let end = run_to_end(program, folder.path(), &["-t", "-c", "config.yaml"]);
        assert_eq!(end.code, Some(0), "{}", end.stderr);
    }
}

#[test]
fn the_test_warns_about_a_renamed_key() {
    let folder = folder();
    let new = "  sync: {catch_up_timeout: 1s}\n";
    let old = "  sync: {fence: 1s}\n";
    for (keys, warnings) in [(new, 0), (old, 1)] {
        let text = good(Program::Worker) + keys;
        write(folder.path(), &text);
        let end = run_to_end(Program::Worker, folder.path(), &["-t", "-c", "config.yaml"]);
        assert_eq!(end.code, Some(0), "{}", end.stderr);
        let warning = format!(
            "config.yaml:{}: `sync.fence` is now `sync.catch_up_timeout`",
            line_of(&text, keys.trim())
        );
        let found = end.stderr.matches(&warning).count();
        assert_eq!(found, warnings, "{}", end.stderr);
    }
    let both = "  sync:\n    catch_up_timeout: 1s\n    fence: 1s\n";
    let text = good(Program::Worker) + both;
    for end in refused(Program::Worker, &text) {
        assert_one_line(
            &end,
            &["config.yaml", "`sync.fence`", "`sync.catch_up_timeout`"],
        );
        assert_line_number(&end, &[line_of(&text, "fence:")]);
    }
}

#[test]
fn the_configurations_of_the_repository_pass_the_test() {
    let conf = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../conf");
    for (program, file) in [
        (Program::Coordinator, "coordinator.yaml"),
        (Program::Worker, "worker.yaml"),
    ] {
        let path = conf.join(file);
        let folder = folder();
        let end = run_to_end(
            program,
            folder.path(),
            &["-t", "-c", path.to_str().unwrap()],
        );
        assert_eq!(end.code, Some(0), "{file}: {}", end.stderr);
    }
}

#[test]
fn startup_fails_on_an_unknown_key_and_names_its_line() {
    let cases = [
        (
            Program::Coordinator,
            "worker_token_file:",
            "worker_tokn_file:",
            "worker_tokn_file",
        ),
        (
            Program::Coordinator,
            "  access_log: {path",
            "  access_log: {pth",
            "pth",
        ),
        (Program::Coordinator, "threads: 2", "thraeds: 2", "thraeds"),
        (
            Program::Coordinator,
            "    - {id: w1, address",
            "    - {id: w1, adress",
            "adress",
        ),
        (
            Program::Coordinator,
            "      endpoints:",
            "      endpionts:",
            "endpionts",
        ),
        (
            Program::Coordinator,
            "token_file: run/admin",
            "tokenfile: run/admin",
            "tokenfile",
        ),
        (
            Program::Coordinator,
            "coordinator:\n",
            "coordinater:\n",
            "coordinater",
        ),
        (
            Program::Worker,
            "  token_file:",
            "  tokenfile:",
            "tokenfile",
        ),
        (
            Program::Worker,
            "  listener: {address",
            "  listener: {adress",
            "adress",
        ),
        (Program::Worker, "pid_file:", "pidfile:", "pidfile"),
    ];
    for (program, right, wrong, key) in cases {
        let text = good(program).replacen(right, wrong, 1);
        let line = line_of(&text, wrong.trim_end());
        for end in refused(program, &text) {
            assert_one_line(&end, &["config.yaml", key]);
            assert_line_number(&end, &[line]);
        }
    }
}

#[test]
fn startup_fails_on_an_invalid_value_and_names_its_line() {
    let cases = [
        (Program::Coordinator, "weight: 1", "weight: -1", "weight"),
        (Program::Coordinator, "weight: 1", "weight: many", "weight"),
        (
            Program::Coordinator,
            "threads: 2",
            "threads: few",
            "threads",
        ),
        (
            Program::Coordinator,
            "\"127.0.0.1:8888\"",
            "\"nowhere\"",
            "address",
        ),
        (
            Program::Coordinator,
            "\"127.0.0.1:7080\"",
            "\"127.0.0.1:99999\"",
            "address",
        ),
        (
            Program::Coordinator,
            "run/session.key}",
            "run/session.key, ttl: forever}",
            "ttl",
        ),
        (
            Program::Coordinator,
            "run/session.key}",
            "run/session.key, max: -5}",
            "max",
        ),
        (
            Program::Coordinator,
            "  worker_token_file:",
            "  timeouts: {connect: 0s}\n  worker_token_file:",
            "timeouts.connect",
        ),
        (
            Program::Coordinator,
            "run/session.key}",
            "run/session.key, cookie: \"a b\"}",
            "cookie",
        ),
        (
            Program::Coordinator,
            "path: access.log}",
            "path: access.log, format: xml}",
            "format",
        ),
        (
            Program::Coordinator,
            "  worker_token_file:",
            "  trusted_proxies: [\"10.0.0.0/99\"]\n  worker_token_file:",
            "trusted_proxies",
        ),
        (
            Program::Coordinator,
            "  worker_token_file:",
            "  request_id: {header: \"not a header\"}\n  worker_token_file:",
            "header",
        ),
        (
            Program::Coordinator,
            "  worker_token_file:",
            "  limits: {request_body: plenty}\n  worker_token_file:",
            "request_body",
        ),
        (
            Program::Coordinator,
            "    - name: notes",
            "    - name: notes\n      upstream_path: sideways",
            "upstream_path",
        ),
        (
            Program::Coordinator,
            "    - name: notes",
            "    - name: notes\n      match: [{path: no-slash}]",
            "path",
        ),
        (
            Program::Worker,
            "http://127.0.0.1:1",
            "not a url",
            "coordinators",
        ),
        (Program::Worker, "id: w1", "id: \"\"", "id"),
        (
            Program::Worker,
            "  token_file:",
            "  sync: {wait: yesterday}\n  token_file:",
            "wait",
        ),
    ];
    for (program, right, wrong, key) in cases {
        let before = good(program);
        let text = before.replacen(right, wrong, 1);
        assert_ne!(text, before, "{right} is in the configuration");
        let line = line_of(&text, wrong.lines().next().unwrap());
        for end in refused(program, &text) {
            assert_one_line(&end, &["config.yaml", key]);
            // The offending line may be the one below the first that was changed.
            assert_line_number(&end, &[line, line + 1]);
        }
    }
}

#[test]
fn startup_fails_on_duplicate_names() {
    let app = "    - name: notes\n      endpoints: [{address: \"127.0.0.1:8889\"}]\n";
    let text = good(Program::Coordinator) + app;
    for end in refused(Program::Coordinator, &text) {
        assert_one_line(&end, &["config.yaml", "notes"]);
    }
    let worker = "    - {id: w1, address: \"127.0.0.1:7080\", weight: 1}\n";
    let other = "    - {id: w1, address: \"127.0.0.1:7082\", weight: 1}\n";
    let text = good(Program::Coordinator).replacen(worker, &format!("{worker}{other}"), 1);
    for end in refused(Program::Coordinator, &text) {
        assert_one_line(&end, &["config.yaml", "w1"]);
    }
}

#[test]
fn startup_fails_on_invalid_yaml_and_names_its_line() {
    for program in [Program::Coordinator, Program::Worker] {
        let text = good(program).replacen("pid_file: ", "pid_file: [", 1);
        for end in refused(program, &text) {
            assert_one_line(&end, &["config.yaml"]);
        }
        for end in refused(program, "") {
            assert_one_line(&end, &["config.yaml"]);
        }
        for end in refused(program, "version: 1\n") {
            assert_one_line(&end, &["config.yaml"]);
        }
    }
}

#[test]
fn startup_fails_on_an_unreadable_file() {
    for program in [Program::Coordinator, Program::Worker] {
        for flags in [&["-c", "missing.yaml"][..], &["-t", "-c", "missing.yaml"]] {
            let end = run_to_end(program, folder().path(), flags);
            assert_one_line(&end, &["missing.yaml"]);
        }
        let folder = folder();
        std::fs::create_dir(folder.path().join("a-folder")).unwrap();
        let end = run_to_end(program, folder.path(), &["-c", "a-folder"]);
        assert_one_line(&end, &["a-folder"]);
    }
}

#[test]
fn startup_fails_on_an_unreadable_secret() {
    for (program, secret) in [
        (Program::Coordinator, "run/admin.token"),
        (Program::Coordinator, "run/worker.token"),
        (Program::Coordinator, "run/session.key"),
        (Program::Worker, "run/worker.token"),
    ] {
        let folder = folder();
        write(folder.path(), &good(program));
        std::fs::create_dir_all(folder.path().join(secret)).unwrap();
        let end = run_to_end(program, folder.path(), &["-c", "config.yaml"]);
        assert_one_line(&end, &[secret]);
    }
}

#[test]
fn an_empty_secret_is_rejected() {
    for (program, secret) in [
        (Program::Coordinator, "run/admin.token"),
        (Program::Coordinator, "run/worker.token"),
        (Program::Worker, "run/worker.token"),
    ] {
        let folder = folder();
        write(folder.path(), &good(program));
        std::fs::create_dir(folder.path().join("run")).unwrap();
        std::fs::write(folder.path().join(secret), "\n").unwrap();
        let end = run_to_end(program, folder.path(), &["-c", "config.yaml"]);
        assert_one_line(&end, &[secret]);
    }
}

#[test]
fn startup_fails_on_an_address_in_use_and_names_its_line() {
    for program in [Program::Coordinator, Program::Worker] {
        for which in [0, 1] {
            let ip = own_address();
            let taken = TcpListener::bind((ip, 0)).unwrap();
            let busy = taken.local_addr().unwrap();
            let mut addresses = [free_address(ip), free_address(ip)];
            addresses[which] = busy;
            let text = match program {
                Program::Coordinator => coordinator_yaml(addresses[0], addresses[1]),
                Program::Worker => worker_yaml(addresses[0], addresses[1]),
            };
            let line = line_of(&text, &busy.to_string());
            let folder = folder();
            write(folder.path(), &text);
            let end = run_to_end(program, folder.path(), &["-c", "config.yaml"]);
            assert_one_line(&end, &["config.yaml", &busy.to_string()]);
            assert_line_number(&end, &[line]);
        }
    }
}

#[tokio::test]
async fn a_second_daemon_with_the_same_addresses_does_not_start() {
    let (_app, cluster) = start_default().await;
    let end = run_to_end(
        Program::Coordinator,
        cluster.folder(),
        &["-c", "coordinator.yaml"],
    );
    assert_eq!(end.code, Some(1), "{}", end.stderr);
    let end = run_to_end(Program::Worker, cluster.folder(), &["-c", "w1.yaml"]);
    assert_eq!(end.code, Some(1), "{}", end.stderr);
    assert_eq!(cluster.get("/apps/notes/echo").send().await.status, 200);
}

#[tokio::test]
async fn the_folder_of_the_upgrade_socket_is_for_its_owner_only() {
    let (_app, cluster) = start_default().await;
    let mode = std::fs::metadata(cluster.folder().join("run"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[tokio::test]
async fn sigterm_ends_an_idle_daemon_at_once() {
    let (_app, mut cluster) = start_default().await;
    assert_eq!(cluster.get("/apps/notes/echo").send().await.status, 200);
    // Idle connections of clients and between the tiers do not delay the exit; the drain could
    // last 30 s.
    let mut idle = cluster.client().await;
    assert_eq!(idle.get("/apps/notes/echo").send().await.status, 200);
    cluster.coordinator().signal(Signal::SIGTERM);
    assert_eq!(cluster.coordinator().ended().await.code(), Some(0));
    cluster.worker_daemon(0).signal(Signal::SIGTERM);
    assert_eq!(cluster.worker_daemon(0).ended().await.code(), Some(0));
}

async fn refuses_connections(addr: SocketAddr) {
    eventually(&format!("{addr} to take no connections"), || {
        TcpStream::connect(addr).is_err().then_some(())
    })
    .await;
}

#[tokio::test]
async fn sigterm_to_the_coordinator_lets_a_request_finish() {
    let (app, mut cluster) = start_default().await;
    let mut client = cluster
        .get("/apps/api/gate/finish")
        .id("in-flight")
        .start()
        .await;
    app.wait_for_id("in-flight").await;
    cluster.coordinator().signal(Signal::SIGTERM);
    refuses_connections(cluster.public()).await;
    assert!(
        cluster.coordinator().try_status().is_none(),
        "it did not wait for the request"
    );
    app.release("finish", 1);
    let answer = client.read_response("GET").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.request_id(), "in-flight");
    assert_eq!(cluster.coordinator().ended().await.code(), Some(0));
    assert_eq!(
        cluster.coordinator_log().request("in-flight").await["status"],
        200
    );
}

#[tokio::test]
async fn sigterm_to_a_worker_lets_a_request_finish() {
    let (app, mut cluster) = start_default().await;
    let mut client = cluster
        .get("/apps/api/gate/finish")
        .id("in-flight")
        .start()
        .await;
    app.wait_for_id("in-flight").await;
    let addr: SocketAddr = cluster.worker(0).address.parse().unwrap();
    cluster.worker_daemon(0).signal(Signal::SIGTERM);
    eventually_async("the worker to take no requests", || async move {
        match Request::to(addr, "GET", "/healthz").try_send().await {
            Ok(answer) => (answer.status == 503).then_some(()),
            Err(_) => Some(()),
        }
    })
    .await;
    assert!(
        cluster.worker_daemon(0).try_status().is_none(),
        "it did not wait for the request"
    );
    app.release("finish", 1);
    assert_eq!(client.read_response("GET").await.status, 200);
    assert_eq!(cluster.worker_daemon(0).ended().await.code(), Some(0));
}

#[tokio::test]
async fn sigterm_lets_a_download_finish() {
    let (_app, mut cluster) = start_default().await;
    let mut client = cluster.get("/apps/api/bytes/30000000").start().await;
    let head = client.read_head().await;
    assert_eq!(head.status(), 200);
    cluster.coordinator().signal(Signal::SIGTERM);
    refuses_connections(cluster.public()).await;
    let body = client.wire.read_to_end().await;
    assert_eq!(body.len(), 30_000_000);
    assert_eq!(cluster.coordinator().ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_request_that_never_ends_does_not_keep_the_daemon() {
    let drain = json!({"drain": {"requests": "500ms"}});
    let (app, mut cluster) = start(|builder| builder.coordinator(&drain).worker(&drain)).await;
    let _client = cluster
        .get("/apps/api/gate/never")
        .id("endless")
        .start()
        .await;
    app.wait_for_id("endless").await;
    cluster.coordinator().signal(Signal::SIGTERM);
    assert_eq!(cluster.coordinator().ended().await.code(), Some(0));
    cluster.worker_daemon(0).signal(Signal::SIGTERM);
    assert_eq!(cluster.worker_daemon(0).ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_daemon_that_detaches_serves_and_leaves_no_pid_file() {
    let app = RecordingApp::start().await;
    let cluster = Cluster::builder().app_at("notes", app.addr()).start().await;
    // Another coordinator than the cluster's, which detaches itself, with only relative paths.
    let folder = folder();
    let (public, admin) = (free_address(own_address()), free_address(own_address()));
    let text =
        coordinator_yaml(public, admin).replace("127.0.0.1:7080", &cluster.worker(0).address);
    write(folder.path(), &text);
    std::fs::create_dir(folder.path().join("run")).unwrap();
    std::fs::write(
        folder.path().join("run/worker.token"),
        cluster.worker_token(),
    )
    .unwrap();
    let end = run_to_end(
        Program::Coordinator,
        folder.path(),
        &["-d", "-c", "config.yaml"],
    );
    assert_eq!(end.code, Some(0), "{}", end.stderr);
    let pid_file = folder.path().join("run/coordinator.pid");
    let pid: u32 = eventually("the pid file", || {
        std::fs::read_to_string(&pid_file).ok()?.trim().parse().ok()
    })
    .await;
    let daemon = Detached { pid };
    assert!(daemon.alive());
    eventually_async("the detached daemon to serve", || async move {
        let answer = Request::to(public, "GET", "/.app-proxy/healthz")
            .try_send()
            .await;
        (answer.ok()?.status == 200).then_some(())
    })
    .await;
    let answer = Request::to(public, "GET", "/apps/unknown/")
        .id("detached")
        .send()
        .await;
    assert_eq!(answer.status, 404);
    let log = app_proxy_tests::logs::AccessLog::at(folder.path().join("access.log"));
    assert_eq!(log.request("detached").await["status"], 404);
    assert!(folder.path().join("run/admin.token").is_file());
    daemon.signal(Signal::SIGTERM);
    eventually("the detached daemon to end", || {
        (!daemon.alive()).then_some(())
    })
    .await;
    assert!(!pid_file.exists(), "the pid file stayed behind");
}

#[tokio::test]
async fn a_worker_that_detaches_serves_and_leaves_no_pid_file() {
    let (app, cluster) = start_default().await;
    let folder = folder();
    let (proxy, admin) = (free_address(own_address()), free_address(own_address()));
    let text =
        worker_yaml(proxy, admin).replace("127.0.0.1:1\"", &format!("{}\"", cluster.admin()));
    write(folder.path(), &text);
    std::fs::create_dir(folder.path().join("run")).unwrap();
    std::fs::write(
        folder.path().join("run/worker.token"),
        cluster.worker_token(),
    )
    .unwrap();
    let end = run_to_end(Program::Worker, folder.path(), &["-d", "-c", "config.yaml"]);
    assert_eq!(end.code, Some(0), "{}", end.stderr);
    let pid_file = folder.path().join("run/worker.pid");
    let pid: u32 = eventually("the pid file", || {
        std::fs::read_to_string(&pid_file).ok()?.trim().parse().ok()
    })
    .await;
    let daemon = Detached { pid };
    eventually_async("the detached worker to have its table", || async move {
        let answer = Request::to(proxy, "GET", "/healthz").try_send().await;
        (answer.ok()?.status == 200).then_some(())
    })
    .await;
    let answer = Request::to(proxy, "GET", "/proxy/api/echo")
        .header("X-App-Proxy-Token", &cluster.worker_token())
        .id("detached")
        .send()
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(app.last().request_id(), "detached");
    daemon.signal(Signal::SIGTERM);
    eventually("the detached worker to end", || {
        (!daemon.alive()).then_some(())
    })
    .await;
    assert!(!pid_file.exists(), "the pid file stayed behind");
}

/// Clients that never stop asking: some on a connection for each request, some keeping theirs.
struct Load {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn on(addr: SocketAddr, target: &'static str, headers: &[(&'static str, String)]) -> Self {
        let mut load = Self {
            stop: Arc::new(AtomicBool::new(false)),
            served: Arc::new(AtomicUsize::new(0)),
            tasks: Vec::new(),
        };
        for kept in [false, false, true, true] {
            let (stop, served) = (Arc::clone(&load.stop), Arc::clone(&load.served));
            let headers = headers.to_vec();
            load.tasks.push(tokio::spawn(async move {
                let mut client = None;
                while !stop.load(Ordering::Relaxed) {
                    let answered = ask(addr, target, &headers, &mut client).await;
                    if !kept {
                        client = None;
                    }
                    served.fetch_add(usize::from(answered), Ordering::Relaxed);
                }
            }));
        }
        load
    }

    /// Waits until `more` further requests have been answered.
    async fn goes_on(&self, more: usize) {
        let target = self.served.load(Ordering::Relaxed) + more;
        eventually("the load to go on", || {
            let failed = self.tasks.iter().any(tokio::task::JoinHandle::is_finished);
            (failed || self.served.load(Ordering::Relaxed) >= target).then_some(())
        })
        .await;
    }

    async fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.expect("no request failed");
        }
        self.served.load(Ordering::Relaxed)
    }
}

/// One request of the load. Returns whether it was answered: a kept connection that the server
/// closes while it is unused is not a failure (RFC 9112, section 9.5); any other missing answer is,
/// and so is any status but 200.
async fn ask(
    addr: SocketAddr,
    target: &str,
    headers: &[(&str, String)],
    kept: &mut Option<Client>,
) -> bool {
    let reused = kept.is_some();
    let mut client = match kept.take() {
        Some(client) => client,
        None => Client::connect(addr).await,
    };
    let request = client.get(target);
    let request = headers.iter().fold(request, |request, (name, value)| {
        request.header(name, value)
    });
    match request.try_send().await {
        Ok(answer) => {
            assert_eq!(answer.status, 200, "{}", answer.text());
            if !answer.headers.lists("Connection", "close") {
                *kept = Some(client);
            }
            true
        }
        Err(error) => {
            assert!(
                reused && client.wire.buffered().is_empty(),
                "a request failed: {error}"
            );
            false
        }
    }
}

#[tokio::test]
async fn an_upgrade_of_a_coordinator_fails_no_request() {
    let (_app, mut cluster) = start_default().await;
    let cookie = cluster
        .get("/apps/notes/echo")
        .send()
        .await
        .session_cookie()
        .unwrap();
    let mut socket = cluster
        .websocket("/apps/notes/ws/echo", &[(REQUEST_ID, "outlives")])
        .await;
    let load = Load::on(cluster.public(), "/apps/api/echo", &[]);
    let admin = [("Authorization", format!("Bearer {}", cluster.admin_token()))];
    let admin_load = Load::on(cluster.admin(), "/api/v1/workers", &admin);
    load.goes_on(50).await;
    admin_load.goes_on(10).await;

    let mut successor = cluster.spawn_coordinator(&["-u"]);
    let mut old = cluster.take_coordinator();
    old.signal(Signal::SIGQUIT);
    successor.listener("public").await;
    successor.listener("admin").await;
    load.goes_on(300).await;
    admin_load.goes_on(50).await;

    // The WebSocket lives on in the old process, for as long as `drain.upgrade` allows.
    socket.send_text("still there").await;
    assert_eq!(socket.frame().await.as_text(), "still there");
    assert!(
        old.try_status().is_none(),
        "the old process left its WebSocket"
    );
    assert_eq!(socket.close(1000).await, Some(1000));
    drop(socket);
    assert_eq!(
        old.ended().await.code(),
        Some(0),
        "{}",
        old.stderr().join("\n")
    );

    load.goes_on(100).await;
    admin_load.goes_on(10).await;
    assert!(load.end().await >= 450);
    assert!(admin_load.end().await >= 70);
    assert!(successor.try_status().is_none());
    let answer = cluster
        .get("/apps/notes/echo")
        .session(&cookie)
        .send()
        .await;
    assert_eq!(
        (answer.status, answer.session_cookie()),
        (200, None),
        "the session is known on"
    );
    cluster.put_coordinator(successor);
}

#[tokio::test]
async fn an_upgrade_of_a_worker_fails_no_request() {
    let (_app, mut cluster) = start_default().await;
    let load = Load::on(cluster.public(), "/apps/api/echo", &[]);
    load.goes_on(50).await;
    let mut successor = cluster.spawn_worker(0, &["-u"]);
    cluster.worker_daemon(0).signal(Signal::SIGQUIT);
    successor.listener("proxy").await;
    successor.listener("admin").await;
    load.goes_on(200).await;
    let mut old = cluster.replace_worker_daemon(0, successor);
    assert_eq!(
        old.ended().await.code(),
        Some(0),
        "{}",
        old.stderr().join("\n")
    );
    load.goes_on(200).await;
    assert!(load.end().await >= 450);
    assert!(cluster.worker_daemon(0).try_status().is_none());
}

#[tokio::test]
async fn an_upgrade_can_be_repeated() {
    let (_app, mut cluster) = start_default().await;
    for _ in 0..2 {
        let mut successor = cluster.spawn_coordinator(&["-u"]);
        let mut old = cluster.take_coordinator();
        old.signal(Signal::SIGQUIT);
        successor.listener("public").await;
        assert_eq!(old.ended().await.code(), Some(0));
        cluster.put_coordinator(successor);
        cluster.wait_ready().await;
        assert_eq!(cluster.get("/apps/notes/echo").send().await.status, 200);
    }
}
