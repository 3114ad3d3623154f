//! Members: coordinators that serve from one store at the same time, each with a file and addresses
//! of its own.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use app_proxy_tests::SESSION_COOKIE;
use app_proxy_tests::api::{Api, Caller, stateless, with_sessions};
use app_proxy_tests::app::RecordingApp;
use app_proxy_tests::cluster::{Cluster, free_address, merge};
use app_proxy_tests::daemon::{Daemon, Program, run_to_end};
use app_proxy_tests::http1::{Request, Response};
use app_proxy_tests::wait::eventually_async;
use app_proxy_tests::ws::{Frame, WebSocket};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::daemon::assert_one_line;
use crate::{number, session_id};

const SECOND: [&str; 2] = ["-c", "second.yaml"];

/// Writes the file of a second coordinator: that of the first with other addresses, no apps, and
/// the keys of `patch`. Returns its admin address.
fn write_second(cluster: &Cluster, patch: &Value) -> SocketAddr {
    let text = std::fs::read_to_string(cluster.coordinator_config()).expect("the first file");
    let mut config: Value = serde_json::from_str(&text).expect("the first file");
    let std::net::IpAddr::V4(ip) = cluster.ip() else {
        panic!("an IPv4 address")
    };
    let admin = free_address(ip);
    let own = json!({
        "pid_file": "run/second.pid",
        "upgrade_sock": "run/second.upgrade.sock",
        "coordinator": {
            "listeners": [{"address": format!("{ip}:0")}],
            "admin": {"address": admin.to_string()},
            "access_log": {"path": cluster.folder().join("second.access.log")},
            "apps": [],
        },
    });
    merge(&mut config, &own);
    merge(&mut config["coordinator"], patch);
    let path = cluster.folder().join("second.yaml");
    std::fs::write(path, config.to_string()).expect("the second file");
    admin
}

/// A second coordinator of a cluster.
struct Second {
    daemon: Daemon,
    public: SocketAddr,
    admin: SocketAddr,
}

impl Second {
    async fn start(cluster: &Cluster, patch: &Value) -> Self {
        let admin = write_second(cluster, patch);
        let mut daemon = Daemon::spawn("second", Program::Coordinator, cluster.folder(), &SECOND);
        let public = daemon.listener("public").await;
        daemon.listener("admin").await;
        let second = Self {
            daemon,
            public: public.parse().expect("an address"),
            admin,
        };
        eventually_async("/readyz of the second coordinator to be 200", || async {
            let answer = Request::to(admin, "GET", "/readyz").try_send().await.ok()?;
            (answer.status == 200).then_some(())
        })
        .await;
        second
    }

    fn api(&self, cluster: &Cluster) -> Api {
        Api::new(self.admin, &cluster.admin_token())
    }

    async fn get(&self, target: &str) -> Response {
        Request::to(self.public, "GET", target).send().await
    }
}

fn shared() -> Value {
    json!({"store": {"shared": true}})
}

/// Starts a cluster whose coordinator shares its store, and a second coordinator.
async fn two(app: &RecordingApp) -> (Cluster, Second) {
    let builder = Cluster::builder().app_at("first", app.addr());
    let cluster = builder.coordinator(&shared()).start().await;
    let filed = json!([{"name": "second", "endpoints": [{"address": app.addr().to_string()}]}]);
    let second = Second::start(&cluster, &json!({"apps": filed})).await;
    (cluster, second)
}

/// The apps of a table.
async fn names(api: &Api) -> Vec<String> {
    let list = api.json("/api/v1/apps").await;
    let items = list["items"].as_array().unwrap().iter();
    items
        .map(|app| app["name"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_second_coordinator_on_a_store_is_refused_in_one_line_that_names_the_first() {
    let mut cluster = Cluster::builder().workers(0).start_unready().await;
    let pid = cluster.coordinator().pid().to_string();
    let refused = |args: &[&str], file: &str| {
        let end = run_to_end(Program::Coordinator, cluster.folder(), args);
        assert_one_line(&end, &[file, "store: ", &format!("process {pid} "), "-u"]);
    };
    write_second(&cluster, &json!({}));
    refused(&SECOND, "second.yaml:");
    // Both have to say that they share it.
    write_second(&cluster, &shared());
    refused(&SECOND, "second.yaml:");
    refused(&["-c", "coordinator.yaml"], "coordinator.yaml:");
    cluster.put_app("later", &json!({})).await;
}

/// Regression: the check accepted such a file, and a successor with it kept the apps of before.
#[tokio::test]
async fn a_file_that_takes_the_path_of_another_file_is_refused_by_the_check_and_by_a_successor() {
    let app = RecordingApp::start().await;
    let (cluster, second) = two(&app).await;
    let taken = json!([{"name": "taken", "match": [{"path": "/apps/first"}]}]);
    write_second(&cluster, &json!({"store": {"shared": true}, "apps": taken}));
    let check = ["-t", "-c", "second.yaml"];
    let successor = ["-d", "-u", "-c", "second.yaml"];
    for args in [&check[..], &successor[..]] {
        let end = run_to_end(Program::Coordinator, cluster.folder(), args);
        assert_one_line(&end, &["second.yaml:", "apps: ", "`first`"]);
    }
    assert_eq!(names(&second.api(&cluster)).await, ["first", "second"]);
}

/// Changes an app to and fro at one coordinator, and asks for it at the other.
async fn change(
    name: String,
    mut callers: [Caller; 2],
    publics: [SocketAddr; 2],
    endpoints: [SocketAddr; 2],
    count: usize,
) -> Vec<Duration> {
    let mut times = Vec::new();
    for number in 0..count {
        let (at, endpoint) = (number / 2 % 2, endpoints[number % 2]);
        let begin = Instant::now();
        let answer = callers[at].put_app(&name, &stateless(&[endpoint])).await;
        times.push(begin.elapsed());
        let answer = answer.expect("an answer");
        assert!(matches!(answer.status, 200 | 201), "{}", answer.text());
        assert_eq!(answer.json().get("served_by"), None, "{}", answer.text());
        let target = format!("/apps/{name}/whoami");
        let seen = Request::to(publics[1 - at], "GET", &target).send().await;
        assert_eq!(seen.text(), endpoint.to_string(), "{name} {number}");
    }
    times
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_at_one_coordinator_is_served_by_the_other_when_its_call_returns() {
    let (one, other) = (RecordingApp::start().await, RecordingApp::start().await);
    let (cluster, second) = two(&one).await;
    let apis = [cluster.api(), second.api(&cluster)];
    let publics = [cluster.public(), second.public];
    // Each has its file, and neither can change the app of a file.
    for api in &apis {
        assert_eq!(names(api).await, ["first", "second"]);
        for name in ["first", "second"] {
            let answer = api.put_app(name, &json!({})).await;
            assert_eq!(answer.problem_code(), "app_owned_by_file");
        }
    }
    let mut changing = JoinSet::new();
    for number in 0..8 {
        let callers = [apis[0].caller(), apis[1].caller()];
        let endpoints = [one.addr(), other.addr()];
        changing.spawn(change(
            format!("app-{number}"),
            callers,
            publics,
            endpoints,
            250,
        ));
    }
    let mut times = Vec::new();
    while let Some(done) = changing.join_next().await {
        times.extend(done.expect("the changes"));
    }
    times.sort_unstable();
    assert_eq!(times.len(), 2000);
    println!(
        "2,000 changes by 8 callers at two coordinators: median {:?}, longest {:?}",
        times[1000], times[1999]
    );
    assert_eq!(
        apis[0].json("/api/v1/apps").await,
        apis[1].json("/api/v1/apps").await
    );
}

/// Regression: after a restart of the host, the coordinator that started first deleted the apps of
/// the other one, and with them their sessions.
#[tokio::test]
async fn a_shared_coordinator_that_starts_alone_keeps_the_apps_of_the_other_files() {
    let app = RecordingApp::start().await;
    let (mut cluster, mut second) = two(&app).await;
    let cookie = second.get("/apps/second/echo").await.session_cookie();
    let session = session_id(&cookie.expect("a session")).to_owned();
    for daemon in [&mut second.daemon, cluster.coordinator()] {
        daemon.signal(Signal::SIGTERM);
        assert_eq!(daemon.ended().await.code(), Some(0));
    }
    cluster.restart_coordinator().await;
    assert_eq!(names(&cluster.api()).await, ["first", "second"]);
    let answer = cluster.get("/apps/second/whoami").send().await;
    assert_eq!(answer.text(), app.addr().to_string());
    assert_eq!(cluster.session(&session).await["app"], "second");
    // A start on a store that is not shared takes the table for its own.
    stop_and_start_unshared(&mut cluster).await;
    assert_eq!(names(&cluster.api()).await, ["first"]);
}

async fn stop_and_start_unshared(cluster: &mut Cluster) {
    cluster.coordinator().signal(Signal::SIGTERM);
    assert_eq!(cluster.coordinator().ended().await.code(), Some(0));
    cluster.patch_coordinator_config(&json!({"coordinator": {"store": {"shared": false}}}));
    cluster.restart_coordinator().await;
}

/// Changes the app `probe` until a change is served by all members, and returns the time.
async fn acknowledged_by_all(api: &Api) -> Duration {
    let begin = Instant::now();
    let before = api.get_app("probe").await;
    let mut revision = match before.status {
        200 => number(&before.json(), "revision"),
        _ => 0,
    };
    eventually_async("a change that all members serve", || {
        revision += 1;
        let app = stateless(&[SocketAddr::from(([127, 0, 0, 1], 1000 + revision as u16))]);
        async move {
            let answer = api.put_app("probe", &app).await;
            assert!(matches!(answer.status, 200 | 201), "{}", answer.text());
            answer.json().get("served_by").is_none().then_some(())
        }
    })
    .await;
    begin.elapsed()
}

/// Opens a WebSocket of a session at `public`; returns the client's and the application's end.
async fn websocket(
    app: &RecordingApp,
    public: SocketAddr,
    name: &str,
    session: &str,
    id: &str,
) -> (WebSocket, WebSocket) {
    let cookie = format!("{SESSION_COOKIE}={session}");
    let headers = [
        ("Cookie", cookie.as_str()),
        (app_proxy_tests::REQUEST_ID, id),
    ];
    let path = format!("/apps/{name}/manual/{id}");
    let upgrade = async { app.accept(id).await.upgrade().await };
    tokio::join!(WebSocket::connect(public, &path, &headers), upgrade)
}

/// Waits until a session has so many open streams at a coordinator.
async fn open_streams(api: &Api, session: &str, expected: u64) {
    let path = format!("/api/v1/sessions/{}", session_id(session));
    eventually_async(&format!("{expected} open streams of {session}"), || async {
        let answer = api.call("GET", &path).send().await;
        (answer.status == 200 && number(&answer.json(), "open_streams") == expected).then_some(())
    })
    .await;
}

#[tokio::test]
async fn sessions_are_one_at_two_coordinators_and_one_that_is_killed_is_forgotten() {
    let app = RecordingApp::start().await;
    let (mut cluster, second) = two(&app).await;
    let (first, other) = (cluster.api(), second.api(&cluster));
    cluster
        .put_app("notes", &with_sessions(&[app.addr()]))
        .await;
    let mut sessions = Vec::new();
    for _ in 0..2 {
        let answer = cluster.get("/apps/notes/echo").send().await;
        sessions.push(answer.session_cookie().expect("a session"));
    }
    let [deleted, kept] = sessions.try_into().unwrap();
    let public = cluster.public();
    let mut ends = websocket(&app, public, "notes", &deleted, "ws-deleted").await;
    let _kept = websocket(&app, public, "notes", &kept, "ws-kept").await;
    let _own = websocket(&app, second.public, "notes", &kept, "ws-own").await;
    open_streams(&other, &deleted, 1).await;
    open_streams(&other, &kept, 2).await;
    open_streams(&first, &kept, 2).await;

    let path = format!("/api/v1/sessions/{}", session_id(&deleted));
    assert_eq!(other.call("DELETE", &path).send().await.status, 204);
    assert_eq!(ends.0.frame().await.close_code(), Some(1008));
    ends.0.send(Frame::close(1008, "")).await;

    cluster.kill_coordinator();
    let answer = second.get("/apps/notes/echo").await;
    assert_eq!(answer.status, 200);
    println!(
        "acknowledged by all {:?} after a kill",
        acknowledged_by_all(&other).await
    );
    open_streams(&other, &kept, 1).await;
    // The apps of its file stay: it may start again.
    assert_eq!(names(&other).await, ["first", "notes", "probe", "second"]);
    cluster.restart_coordinator().await;
    assert_eq!(names(&first).await, ["first", "notes", "probe", "second"]);
    acknowledged_by_all(&first).await;
}

#[tokio::test]
async fn a_change_that_a_stopped_coordinator_does_not_serve_says_so() {
    let app = RecordingApp::start().await;
    let (cluster, mut second) = two(&app).await;
    let (first, other) = (cluster.api(), second.api(&cluster));
    assert_eq!(first.put_app("a", &json!({})).await.status, 201);
    second.daemon.signal(Signal::SIGSTOP);
    let begin = Instant::now();
    let answer = first.put_app("b", &stateless(&[app.addr()])).await;
    let took = begin.elapsed();
    assert_eq!(
        (answer.status, &answer.json()["served_by"]),
        (201, &json!("some"))
    );
    assert!(took >= Duration::from_millis(900), "{took:?}");
    let deleted = first.delete_app("a").await;
    assert_eq!(
        (deleted.status, deleted.headers.get("X-App-Proxy-Served-By")),
        (204, Some("some"))
    );
    assert_eq!(cluster.get("/apps/b/whoami").send().await.status, 200);
    second.daemon.signal(Signal::SIGCONT);
    acknowledged_by_all(&first).await;
    assert_eq!(names(&other).await, ["b", "first", "probe", "second"]);
    // Also after it was taken for dead.
    second.daemon.signal(Signal::SIGSTOP);
    let took = acknowledged_by_all(&first).await;
    assert!(took < Duration::from_secs(15), "{took:?}");
    let last = first.put_app("c", &json!({})).await;
    assert_eq!(last.json().get("served_by"), None);
    second.daemon.signal(Signal::SIGCONT);
    eventually_async("the other coordinator to follow", || async {
        (other.get_app("c").await.status == 200).then_some(())
    })
    .await;
    let back = other.put_app("d", &stateless(&[app.addr()])).await;
    assert_eq!((back.status, back.json().get("served_by")), (201, None));
    assert_eq!(cluster.get("/apps/d/whoami").send().await.status, 200);
}
