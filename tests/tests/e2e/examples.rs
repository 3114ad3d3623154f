//! The examples (`examples/`), each in the place of the coordinator: its flags, and what it does
//! with real requests.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;

use app_proxy_tests::app::{Manual, RecordingApp};
use app_proxy_tests::binary::find_example;
use app_proxy_tests::cluster::Cluster;
use app_proxy_tests::daemon::{Detached, Launch, Program, launch_to_end};
use app_proxy_tests::http1::{Request, Response};
use app_proxy_tests::wait::eventually;
use app_proxy_tests::ws::WebSocket;
use nix::sys::signal::Signal;
use serde_json::json;
use tempfile::TempDir;

use crate::session_id;
use crate::upgrade::upgrade;

/// Teams and their tokens.
const TEAMS: &str = "blue blue-secret\nred red-secret\nblue-sky sky-secret\n";

/// An example under the name of the coordinator, in a folder of its own.
struct Example {
    folder: TempDir,
}

impl Example {
    fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join(Program::Coordinator.name());
        symlink(find_example(name), program).expect("a link to the example");
        std::fs::write(folder.path().join("teams"), TEAMS).expect("the teams");
        Self { folder }
    }

    fn launch(&self) -> Launch {
        let teams = self.folder.path().join("teams");
        Launch {
            folder: Some(self.folder.path().to_owned()),
            under: vec!["env".to_owned(), format!("TEAMS_FILE={}", teams.display())],
        }
    }
}

/// Sends a GET with a team's token.
async fn get_with(cluster: &Cluster, target: &str, token: &str) -> Response {
    let authorization = format!("Bearer {token}");
    let request = cluster.get(target).header("Authorization", &authorization);
    request.send().await
}

#[tokio::test]
async fn team_access_lets_a_team_reach_its_own_apps_only() {
    let (app, example) = (RecordingApp::start().await, Example::new("team_access"));
    let cluster = Cluster::builder()
        .app_at("blue-notes", app.addr())
        .app_at("blue-sky-notes", app.addr())
        .app_at("red-notes", app.addr())
        .launch(Program::Coordinator, example.launch())
        .start()
        .await;
    for (target, token) in [
        ("/apps/blue-notes/echo", "wrong"),
        ("/apps/blue-notes", "wrong"),
        ("/apps/nobody/echo", "wrong"),
    ] {
        let answer = get_with(&cluster, target, token).await;
        assert_eq!(answer.status, 401, "{target}");
        let challenge = answer.headers.get("WWW-Authenticate");
        assert_eq!(challenge, Some("Bearer realm=\"teams\""), "{target}");
    }
    for target in [
        "/apps/red-notes/echo",
        "/apps/blue-sky-notes/echo",
        "/apps/nobody/echo",
        "/apps/blue/",
    ] {
        let answer = get_with(&cluster, target, "blue-secret").await;
        assert_eq!(
            (answer.status, answer.problem_code().as_str()),
            (403, "forbidden")
        );
        assert_eq!(answer.session_cookie(), None, "{target}");
    }
    assert_eq!(app.count(), 0);

    let answer = get_with(&cluster, "/apps/blue-sky-notes/echo", "sky-secret").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = get_with(&cluster, "/apps/blue-notes/echo", "blue-secret").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let line = cluster
        .coordinator_log()
        .request(&answer.request_id())
        .await;
    assert_eq!(line["user"], "blue", "{line}");
    let session = answer.session_cookie().expect("a session");
    assert_eq!(cluster.session(session_id(&session)).await["user"], "blue");

    let target = "/apps/red-notes/ws/echo";
    let refused = WebSocket::try_connect(cluster.public(), target, &[]).await;
    assert_eq!(refused.expect_err("a stranger").status, 401);
    let headers = [("Authorization", "Bearer red-secret")];
    let mut socket = cluster.websocket(target, &headers).await;
    socket.send_text("hello").await;
    assert_eq!(socket.frame().await.as_text(), "hello");
}

#[tokio::test]
async fn team_access_takes_over_from_a_running_coordinator() {
    let (app, example) = (RecordingApp::start().await, Example::new("team_access"));
    let mut cluster = Cluster::builder()
        .app_at("red-notes", app.addr())
        .start()
        .await;
    let answer = cluster.get("/apps/red-notes/echo").send().await;
    assert_eq!(answer.status, 200);
    cluster.launch(Program::Coordinator, example.launch());
    let folder = cluster.folder().to_owned();
    let check = ["-t", "-c", "coordinator.yaml"];
    let check = launch_to_end(Program::Coordinator, &folder, &check, &example.launch());
    assert_eq!(check.code, Some(0), "{}", check.stderr);
    let _old = upgrade(&mut cluster).await;
    // The old process accepts no connections any more.
    assert_eq!(cluster.get("/apps/red-notes/echo").send().await.status, 401);
    let answer = get_with(&cluster, "/apps/red-notes/echo", "red-secret").await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn an_example_runs_in_the_background_and_rejects_a_bad_configuration() {
    let example = Example::new("own_placement");
    let mut cluster = Cluster::builder().workers(0).start_unready().await;
    let folder = cluster.folder().to_owned();
    cluster.coordinator().signal(Signal::SIGTERM);
    cluster.coordinator().ended().await;
    let args = ["-d", "-c", "coordinator.yaml"];
    let end = launch_to_end(Program::Coordinator, &folder, &args, &example.launch());
    let detached = Detached {
        pid: pid_in(&folder.join("run/coordinator.pid")).await,
    };
    assert_eq!(end.code, Some(0), "{}", end.stderr);
    let probe = cluster.get("/.app-proxy/healthz").send().await;
    assert_eq!(probe.status, 200);
    detached.signal(Signal::SIGTERM);
    eventually("the example to end", || (!detached.alive()).then_some(())).await;

    cluster.patch_coordinator_config(&json!({"coordinator": {"nonsense": 1}}));
    let args = ["-c", "coordinator.yaml"];
    let end = launch_to_end(Program::Coordinator, &folder, &args, &example.launch());
    assert_eq!(
        (end.code, end.stderr.lines().count()),
        (Some(1), 1),
        "{}",
        end.stderr
    );
}

async fn pid_in(file: &Path) -> u32 {
    eventually("the pid file", || {
        std::fs::read_to_string(file).ok()?.trim().parse().ok()
    })
    .await
}

/// The workers that serve some requests of an app.
async fn workers_of(cluster: &Cluster, app: &str) -> BTreeSet<String> {
    let mut workers = BTreeSet::new();
    for _ in 0..20 {
        let answer = cluster.get(&format!("/apps/{app}/echo")).send().await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let line = cluster
            .coordinator_log()
            .request(&answer.request_id())
            .await;
        workers.insert(line["worker"].as_str().expect("a worker").to_owned());
    }
    workers
}

#[tokio::test]
async fn own_placement_keeps_large_models_on_their_workers_and_serves_them_without() {
    let (app, example) = (RecordingApp::start().await, Example::new("own_placement"));
    let mut cluster = Cluster::builder()
        .app_at("chat-large", app.addr())
        .app_at("notes", app.addr())
        .workers(3)
        .one_worker(2, &json!({"labels": {"gpu": "large"}}))
        .registering_workers()
        .launch(Program::Coordinator, example.launch())
        .start()
        .await;
    let set = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
    assert_eq!(workers_of(&cluster, "chat-large").await, set(&["w3"]));
    assert_eq!(workers_of(&cluster, "notes").await, set(&["w1", "w2"]));

    let session = cluster.get("/apps/chat-large/echo").send().await;
    let session = session.session_cookie().expect("a session");
    cluster.stop_worker(2).await;
    let request = cluster.get("/apps/chat-large/echo").session(&session);
    assert_eq!(request.send().await.status, 200);
    cluster.restart_worker(2).await;
    cluster.wait_health("w3", true).await;
    // The session returns to the workers for its app.
    let request = cluster.get("/apps/chat-large/echo").session(&session);
    let answer = request.send().await;
    let line = cluster
        .coordinator_log()
        .request(&answer.request_id())
        .await;
    assert_eq!(line["worker"], "w3", "{line}");
}

/// Sends an event stream in pieces of `size` bytes, each a chunk of its own.
async fn send_in_pieces(mut model: Manual, events: &str, size: usize) {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                Transfer-Encoding: chunked\r\n\r\n";
    model.send(head).await;
    for piece in events.as_bytes().chunks(size) {
        let mut chunk = format!("{:x}\r\n", piece.len()).into_bytes();
        chunk.extend_from_slice(piece);
        chunk.extend_from_slice(b"\r\n");
        model.send(chunk).await;
    }
    model.send("0\r\n\r\n").await;
}

/// The events of a chat completion with `pieces` pieces of text.
fn completion(pieces: usize) -> String {
    let mut events = String::from("data: {\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\n\n");
    for number in 0..pieces {
        let text = json!({"choices": [{"delta": {"content": format!("wörd {number}\n")}}]});
        let _ = write!(events, "data: {text}\n\n");
    }
    events
}

#[tokio::test]
async fn observe_tokens_counts_the_tokens_of_a_stream_that_is_divided_anywhere() {
    let (app, example) = (RecordingApp::start().await, Example::new("observe_tokens"));
    let mut cluster = Cluster::builder()
        .app_at("model", app.addr())
        .launch(Program::Coordinator, example.launch())
        .start()
        .await;
    let usage = "data: {\"choices\":[],\"usage\":{\"completion_tokens\":42}}\n\ndata: [DONE]\n\n";
    let long = format!("data: \"{}\"\n\n", "x".repeat(200_000));
    for (name, events, size, tokens) in [
        ("whole", completion(7), 100_000, 7),
        ("bytes", completion(7), 1, 7),
        ("split", completion(30), 13, 30),
        ("usage", completion(7) + usage, 11, 42),
        ("long", long + &completion(3), 4096, 3),
    ] {
        let target = format!("/apps/model/manual/{name}");
        let request = Request::to(cluster.public(), "POST", &target)
            .id(name)
            .body("{}");
        let serve = async {
            let mut model = app.accept(name).await;
            model.read_body().await.expect("the prompt");
            send_in_pieces(model, &events, size).await;
        };
        let (answer, ()) = tokio::join!(request.send(), serve);
        assert_eq!(
            (answer.status, answer.text() == events),
            (200, true),
            "{name}"
        );
        let expected = format!("request_id={name} app=model tokens={tokens}");
        let coordinator = cluster.coordinator();
        coordinator
            .wait_for_stderr(&expected, |line| line.ends_with(&expected))
            .await;
    }
}
