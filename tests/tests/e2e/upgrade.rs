//! Upgrades of a coordinator while its state changes: two processes serve from one store for some
//! seconds, without an effect on clients.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use app_proxy_tests::api::{Api, Caller, stateless, with_sessions};
use app_proxy_tests::app::RecordingApp;
use app_proxy_tests::cluster::Cluster;
use app_proxy_tests::daemon::Daemon;
use app_proxy_tests::http1::{Client, Response};
use app_proxy_tests::wait::{eventually, eventually_async};
use app_proxy_tests::ws::{Frame, WebSocket};
use app_proxy_tests::{REQUEST_ID, SESSION_COOKIE};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::task::{JoinHandle, JoinSet};

use crate::{number, session_id};

/// Starts a successor and upgrades the coordinator; returns the old process once it accepts no
/// connections any more.
pub(crate) async fn upgrade(cluster: &mut Cluster) -> Daemon {
    let successor = cluster.spawn_coordinator(&["-u"]);
    upgrade_to(cluster, successor).await
}

/// The same with a successor that was started before.
async fn upgrade_to(cluster: &mut Cluster, mut successor: Daemon) -> Daemon {
    let mut old = cluster.take_coordinator();
    old.signal(Signal::SIGQUIT);
    successor.listener("public").await;
    successor.listener("admin").await;
    cluster.put_coordinator(successor);
    old.wait_for_stderr("a drain", |line| line.contains("draining:"))
        .await;
    old
}

/// The results of the changes of one scheduler.
#[derive(Debug, Default)]
struct Outcome {
    stale: usize,
    failed: usize,
    /// The last endpoint of its app.
    at: String,
}

/// A scheduler that moves an app to and fro during an upgrade, and a client that sends a request
/// after each change.
struct Mover {
    app: String,
    public: SocketAddr,
    caller: Caller,
    kept: Option<Client>,
    endpoints: [SocketAddr; 2],
    changes: Arc<AtomicUsize>,
}

impl Mover {
    /// Sends a request on the kept connection or on a new one. A request without an answer on
    /// a kept connection that was closed meanwhile is sent again (RFC 9112, section 9.5).
    async fn ask(&mut self, keep: bool) -> Option<Response> {
        let target = format!("/apps/{}/whoami", self.app);
        if keep && let Some(mut client) = self.kept.take() {
            match client.get(&target).try_send().await {
                Ok(answer) => {
                    self.kept = (!answer.headers.lists("Connection", "close")).then_some(client);
                    return Some(answer);
                }
                Err(_) if client.wire.buffered().is_empty() => {}
                Err(_) => return None,
            }
        }
        let mut client = Client::try_connect(self.public).await.ok()?;
        let answer = client.get(&target).try_send().await.ok()?;
        if keep && !answer.headers.lists("Connection", "close") {
            self.kept = Some(client);
        }
        Some(answer)
    }

    /// Moves the app to `endpoint`. A call whose connection was closed is repeated, which changes
    /// nothing if it was carried out.
    async fn put(&mut self, endpoint: SocketAddr) -> bool {
        let body = stateless(&[endpoint]);
        let answer = match self.caller.put_app(&self.app, &body).await {
            Ok(answer) => Ok(answer),
            Err(_) => self.caller.put_app(&self.app, &body).await,
        };
        match answer {
            Ok(answer) if matches!(answer.status, 200 | 201) => true,
            Ok(answer) => {
                println!("{}: {} {}", self.app, answer.status, answer.text());
                false
            }
            Err(error) => {
                println!("{}: {error}", self.app);
                false
            }
        }
    }

    async fn run(mut self, stop: Arc<AtomicBool>) -> Outcome {
        let mut outcome = Outcome::default();
        for number in 0.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let endpoint = self.endpoints[number % 2];
            if !self.put(endpoint).await {
                outcome.failed += 1;
                continue;
            }
            outcome.at = endpoint.to_string();
            for keep in [true, false, true, false] {
                match self.ask(keep).await {
                    Some(answer) if answer.status == 200 && answer.text() == outcome.at => {}
                    Some(answer) if answer.status == 200 => outcome.stale += 1,
                    answer => {
                        println!(
                            "{}: {:?}",
                            self.app,
                            answer.map(|answer| (answer.status, answer.text()))
                        );
                        outcome.failed += 1;
                    }
                }
            }
            self.changes.fetch_add(1, Ordering::Relaxed);
        }
        outcome
    }
}

/// Schedulers that run until they are stopped.
struct Movers {
    stop: Arc<AtomicBool>,
    changes: Arc<AtomicUsize>,
    running: Vec<(String, JoinHandle<Outcome>)>,
}

impl Movers {
    fn start(cluster: &Cluster, count: usize, endpoints: [SocketAddr; 2]) -> Self {
        let (stop, changes) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicUsize::new(0)),
        );
        let running = (0..count).map(|number| {
            let mover = Mover {
                app: format!("moving-{number}"),
                public: cluster.public(),
                caller: cluster.api().caller(),
                kept: None,
                endpoints,
                changes: Arc::clone(&changes),
            };
            (
                mover.app.clone(),
                tokio::spawn(mover.run(Arc::clone(&stop))),
            )
        });
        let running = running.collect();
        Self {
            stop,
            changes,
            running,
        }
    }

    /// Waits until `more` further changes were made and checked.
    async fn go_on(&self, more: usize) {
        let target = self.changes.load(Ordering::Relaxed) + more;
        eventually("changes to go on", || {
            (self.changes.load(Ordering::Relaxed) >= target).then_some(())
        })
        .await;
    }

    /// Stops them; nothing may have been stale, have failed or be lost.
    async fn end(self, api: &Api) {
        self.stop.store(true, Ordering::Relaxed);
        for (app, running) in self.running {
            let outcome = running.await.expect("a scheduler");
            assert_eq!((outcome.stale, outcome.failed), (0, 0), "{app}");
            let stored = api.json(&format!("/api/v1/apps/{app}")).await;
            assert_eq!(stored["endpoints"][0]["address"], outcome.at, "{app}");
        }
        println!(
            "{} changes, four requests behind each",
            self.changes.load(Ordering::Relaxed)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_during_an_upgrade_are_seen_by_the_next_request_and_none_is_lost() {
    let (one, other) = (RecordingApp::start().await, RecordingApp::start().await);
    let mut cluster = Cluster::builder().workers(2).start().await;
    let movers = Movers::start(&cluster, 4, [one.addr(), other.addr()]);
    movers.go_on(40).await;
    let before = cluster.api().json("/api/v1/apps").await;
    for _ in 0..2 {
        let mut old = upgrade(&mut cluster).await;
        movers.go_on(20).await;
        assert_eq!(
            old.ended().await.code(),
            Some(0),
            "{}",
            old.stderr().join("\n")
        );
        movers.go_on(20).await;
    }
    let api = cluster.api();
    let after = api.json("/api/v1/apps").await;
    assert_eq!(after["epoch"], before["epoch"]);
    assert!(number(&after, "revision") > number(&before, "revision"));
    movers.end(&api).await;
}

/// Upgrades the coordinator without waiting for the old process, which still accepts connections.
async fn upgrade_at_once(cluster: &mut Cluster) -> Daemon {
    let mut successor = cluster.spawn_coordinator(&["-u"]);
    successor
        .wait_for_stderr("a start", |line| {
            line.contains("waiting for the listening sockets")
        })
        .await;
    let mut old = cluster.take_coordinator();
    old.signal(Signal::SIGQUIT);
    successor.listener("public").await;
    successor.listener("admin").await;
    cluster.put_coordinator(successor);
    old
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_upgrades_in_a_storm_of_writes_lose_none_and_refuse_none() {
    let (one, other) = (RecordingApp::start().await, RecordingApp::start().await);
    let mut cluster = Cluster::builder().workers(2).start().await;
    let movers = Movers::start(&cluster, 4, [one.addr(), other.addr()]);
    movers.go_on(20).await;
    let mut old = Vec::new();
    for _ in 0..10 {
        old.push(upgrade_at_once(&mut cluster).await);
        movers.go_on(20).await;
    }
    for mut old in old {
        let status = old.ended().await;
        assert_eq!(status.code(), Some(0), "{}", old.stderr().join("\n"));
    }
    movers.go_on(20).await;
    movers.end(&cluster.api()).await;
}

/// The target for the median of a change while two processes overlap. The test allows five times as
/// long, because the machine may be busy.
const OVERLAP_TARGET: Duration = Duration::from_millis(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_in_an_overlap_takes_some_milliseconds() {
    let app = RecordingApp::start().await;
    let mut cluster = Cluster::builder().start().await;
    let (api, body) = (cluster.api(), with_sessions(&[app.addr()]));
    let timed = |name: String| {
        let (api, body) = (api.clone(), body.clone());
        async move {
            let begin = Instant::now();
            let answer = api.put_app(&name, &body).await;
            assert_eq!(answer.status, 201, "{}", answer.text());
            assert!(
                answer.json().get("served_by").is_none(),
                "{}",
                answer.text()
            );
            begin.elapsed()
        }
    };
    let mut alone = Vec::new();
    for number in 0..50 {
        alone.push(timed(format!("alone-{number}")).await);
    }
    // A stream keeps the old process until the end.
    let session = new_session(&cluster, "alone-0").await;
    let _socket = websocket(&app, &cluster, "alone-0", &session, "ws-open").await;
    let old = upgrade_at_once(&mut cluster).await;
    let mut overlap = Vec::new();
    for number in 0..200 {
        overlap.push(timed(format!("overlap-{number}")).await);
    }
    let begin = Instant::now();
    let mut many = JoinSet::new();
    (0..200).for_each(|number| drop(many.spawn(timed(format!("many-{number}")))));
    many.join_all().await;
    let many = begin.elapsed();
    alone.sort_unstable();
    overlap.sort_unstable();
    println!(
        "a change: median {:?} alone, {:?} in an overlap (longest {:?}); 200 at once in {many:?}",
        alone[25], overlap[100], overlap[199]
    );
    assert!(overlap[100] <= 5 * OVERLAP_TARGET, "{:?}", overlap[100]);
    drop(old);
}

/// A WebSocket of a session of `app`, and the application's end of it.
async fn websocket(
    application: &RecordingApp,
    cluster: &Cluster,
    app: &str,
    session: &str,
    id: &str,
) -> (WebSocket, WebSocket) {
    let cookie = format!("{SESSION_COOKIE}={session}");
    let headers = [("Cookie", cookie.as_str()), (REQUEST_ID, id)];
    let path = format!("/apps/{app}/manual/{id}");
    let upgrade = async { application.accept(id).await.upgrade().await };
    tokio::join!(cluster.websocket(&path, &headers), upgrade)
}

/// Both ends see a close frame with `code`, answer it, and see the end.
async fn closes((client, server): &mut (WebSocket, WebSocket), code: u16) {
    assert_eq!(
        (
            client.frame().await.close_code(),
            server.frame().await.close_code()
        ),
        (Some(code), Some(code))
    );
    client.send(Frame::close(code, "")).await;
    server.send(Frame::close(code, "")).await;
    assert_eq!((client.next().await, server.next().await), (None, None));
}

async fn new_session(cluster: &Cluster, app: &str) -> String {
    cluster
        .get(&format!("/apps/{app}/echo"))
        .send()
        .await
        .session_cookie()
        .expect("a session")
}

/// Waits until the record of a session has this number of open streams.
async fn open_streams(cluster: &Cluster, id: &str, expected: u64) -> Value {
    eventually_async(&format!("{expected} open streams of {id}"), || async {
        let record = cluster.session(id).await;
        (number(&record, "open_streams") == expected).then_some(record)
    })
    .await
}

#[tokio::test]
async fn streams_of_the_old_process_are_listed_and_closed_by_the_new_one() {
    let app = RecordingApp::start().await;
    let mut cluster = Cluster::builder().app_at("filed", app.addr()).start().await;
    for name in ["kept", "dropped"] {
        cluster.put_app(name, &with_sessions(&[app.addr()])).await;
    }
    let mut sessions = Vec::new();
    for name in ["kept", "kept", "dropped", "filed"] {
        sessions.push(new_session(&cluster, name).await);
    }
    let [ended, moving, dropped, filed] = sessions.try_into().unwrap();
    let mut socket_ended = websocket(&app, &cluster, "kept", &ended, "ws-ended").await;
    let mut socket_moving = websocket(&app, &cluster, "kept", &moving, "ws-moving").await;
    let mut socket_dropped = websocket(&app, &cluster, "dropped", &dropped, "ws-dropped").await;
    let before = cluster.session(session_id(&filed)).await;
    let mut old = upgrade(&mut cluster).await;

    // Nothing is forgotten, and the streams count on.
    assert_eq!(cluster.session(session_id(&filed)).await, before);
    let answer = cluster.get("/apps/filed/echo").session(&filed).send().await;
    assert_eq!((answer.status, answer.session_cookie()), (200, None));
    let mut record = open_streams(&cluster, session_id(&moving), 1).await;
    assert_eq!(
        (
            number(&record, "requests"),
            record["last_request_id"].as_str()
        ),
        (2, Some("ws-moving"))
    );
    // Activity in the old process is activity here.
    for direction in ["in", "out", "in"] {
        let (client, server) = &mut socket_moving;
        let bytes = format!("bytes_{direction}");
        if direction == "in" {
            client.send_text("from the client").await;
            server.frame().await;
        } else {
            server.send_text("from the application").await;
            client.frame().await;
        }
        record = eventually_async(
            &format!("activity ({direction}) of the old process"),
            || async {
                let now = cluster.session(session_id(&moving)).await;
                let moved = now["last_active_at"].as_str() > record["last_active_at"].as_str();
                (moved && number(&now, &bytes) > number(&record, &bytes)).then_some(now)
            },
        )
        .await;
        assert_eq!(number(&record, "open_streams"), 1);
    }

    let call = cluster.api().call(
        "DELETE",
        &format!("/api/v1/sessions/{}", session_id(&ended)),
    );
    assert_eq!(call.send().await.status, 204);
    closes(&mut socket_ended, 1008).await;
    cluster.delete_app("dropped").await;
    closes(&mut socket_dropped, 1001).await;
    for (id, reason) in [
        ("ws-ended", "session_deleted"),
        ("ws-dropped", "app_deleted"),
    ] {
        let close = cluster.coordinator_log().event(id, "stream_close").await;
        // The worker receives the deletion of an app too, and may be first.
        assert_eq!(close["error"], reason, "{close}");
    }
    assert_eq!(
        cluster
            .get("/apps/dropped/echo")
            .session(&dropped)
            .send()
            .await
            .status,
        404
    );
    let another = cluster
        .get("/apps/kept/echo")
        .session(&ended)
        .send()
        .await
        .session_cookie();
    assert_ne!(
        session_id(&another.expect("another session")),
        session_id(&ended)
    );

    // The other stream continues until its client ends it; then the old process ends.
    socket_moving.0.send_text("still there").await;
    assert_eq!(socket_moving.1.frame().await.as_text(), "still there");
    assert!(
        old.try_status().is_none(),
        "the old process left its WebSocket"
    );
    socket_moving.0.send(Frame::close(1000, "")).await;
    assert_eq!(socket_moving.1.frame().await.close_code(), Some(1000));
    socket_moving.1.send(Frame::close(1000, "")).await;
    drop(socket_moving);
    assert_eq!(
        old.ended().await.code(),
        Some(0),
        "{}",
        old.stderr().join("\n")
    );
    let last = open_streams(&cluster, session_id(&moving), 0).await;
    assert!(
        number(&last, "bytes_in") > number(&record, "bytes_in"),
        "{last} after {record}"
    );
}

#[tokio::test]
async fn the_new_process_has_the_last_changes_that_the_old_one_acknowledged() {
    let app = RecordingApp::start().await;
    let mut cluster = Cluster::builder().app_at("filed", app.addr()).start().await;
    let session = new_session(&cluster, "filed").await;
    // A connection to the old process that a stream keeps open, and calls on connections from
    // before the upgrade.
    let _socket = websocket(&app, &cluster, "filed", &session, "ws-open").await;
    let mut successor = cluster.spawn_coordinator(&["-u"]);
    let body = with_sessions(&[app.addr()]);
    // The successor has read the store, or is about to.
    let mut names = Vec::new();
    let api = cluster.api();
    let listens = |successor: &Daemon| {
        successor
            .stderr()
            .iter()
            .any(|line| line.contains("waiting for the listening sockets"))
    };
    while !listens(&successor) {
        let name = format!("late-{}", names.len());
        assert_eq!(api.put_app(&name, &body).await.status, 201);
        names.push(name);
    }
    let mut old = cluster.take_coordinator();
    old.signal(Signal::SIGQUIT);
    for _ in 0..10 {
        let name = format!("late-{}", names.len());
        assert_eq!(api.put_app(&name, &body).await.status, 201);
        names.push(name);
    }
    successor.listener("public").await;
    cluster.put_coordinator(successor);
    old.wait_for_stderr("a drain", |line| line.contains("draining:"))
        .await;
    for name in &names {
        assert_eq!(api.get_app(name).await.status, 200, "{name}");
        assert_eq!(
            cluster
                .get(&format!("/apps/{name}/whoami"))
                .send()
                .await
                .status,
            200,
            "{name}"
        );
    }
}

/// Regression: a start stored the apps of the file before it had the listeners,
/// and the running coordinator followed.
#[tokio::test]
async fn a_failed_start_changes_nothing_for_the_running_coordinator() {
    let app = RecordingApp::start().await;
    let mut cluster = Cluster::builder()
        .app_at("kept", app.addr())
        .app_at("goes", app.addr())
        .start()
        .await;
    cluster.put_app("api", &with_sessions(&[app.addr()])).await;
    let session = new_session(&cluster, "goes").await;
    let mut socket = websocket(&app, &cluster, "goes", &session, "ws-goes").await;
    let before = cluster.admin_json("/api/v1/apps").await;
    let filed =
        |name: &str| json!({"name": name, "endpoints": [{"address": app.addr().to_string()}]});
    cluster.patch_coordinator_config(
        &json!({"coordinator": {"apps": [filed("kept"), filed("comes")]}}),
    );
    // The running process gets no signal to upgrade, and a second one finds the addresses in use.
    for args in [&["-u"][..], &[]] {
        let mut another = cluster.spawn_coordinator(args);
        assert_eq!(
            another.ended().await.code(),
            Some(1),
            "{args:?}: {}",
            another.stderr().join("\n")
        );
        assert_eq!(cluster.admin_json("/api/v1/apps").await, before, "{args:?}");
    }
    // What another process had written would count before this.
    let put = cluster
        .api()
        .put_app("api", &stateless(&[app.addr()]))
        .await;
    assert_eq!(
        number(&put.json(), "revision"),
        number(&before, "revision") + 1,
        "{}",
        put.text()
    );
    socket.0.send_text("still there").await;
    assert_eq!(socket.1.frame().await.as_text(), "still there");
    // A successor adopts the apps of the file as well, for both processes.
    let old = upgrade(&mut cluster).await;
    closes(&mut socket, 1001).await;
    drop(old);
    let apps = cluster.admin_json("/api/v1/apps").await;
    let names: Vec<_> = apps["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|app| app["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["api", "comes", "kept"]);
    assert_eq!(cluster.get("/apps/comes/echo").send().await.status, 200);
}

/// Regression: a successor that had missed an app, created and deleted meanwhile, could not apply
/// changes any more.
#[tokio::test]
async fn an_app_created_and_deleted_while_the_successor_starts_does_not_block_changes() {
    let app = RecordingApp::start().await;
    let mut cluster = Cluster::builder().app_at("filed", app.addr()).start().await;
    let body = with_sessions(&[app.addr()]);
    cluster.put_app("first", &body).await;
    let successor = cluster.spawn_coordinator(&["-u"]);
    successor
        .wait_for_stderr("that it has read the store", |line| {
            line.contains("waiting for the listening sockets")
        })
        .await;
    cluster.put_app("short", &body).await;
    cluster.delete_app("short").await;
    let mut old = upgrade_to(&mut cluster, successor).await;
    assert_eq!(old.ended().await.code(), Some(0));
    cluster.put_app("later", &body).await;
    cluster.delete_app("first").await;
    assert_eq!(cluster.get("/apps/later/echo").send().await.status, 200);
}

/// Regression: streams of a process that was killed while it drained counted as open for good.
#[tokio::test]
async fn streams_of_an_old_process_that_was_killed_are_forgotten_at_the_next_start() {
    let app = RecordingApp::start().await;
    let mut cluster = Cluster::builder().app_at("notes", app.addr()).start().await;
    let session = new_session(&cluster, "notes").await;
    let _socket = websocket(&app, &cluster, "notes", &session, "ws").await;
    let mut old = upgrade(&mut cluster).await;
    open_streams(&cluster, session_id(&session), 1).await;
    old.kill();
    cluster.kill_coordinator();
    cluster.restart_coordinator().await;
    open_streams(&cluster, session_id(&session), 0).await;
}
