//! Upgrades by the recipe of docs/how-to/upgrade.md, under changes and traffic.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use app_proxy_tests::app::RecordingApp;
use app_proxy_tests::cluster::Cluster;
use app_proxy_tests::daemon::{Daemon, Program, launch_to_end};
use app_proxy_tests::wait::eventually;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::mixed::{wait_for_worker, worker};
use crate::report::Tally;
use crate::traffic::{STEADY, Traffic};
use crate::versions::{Versions, schema_version};
use crate::writers::{self, Acknowledged, Writers};

/// Sessions whose workers are compared.
const SESSIONS: usize = 60;

/// The cluster of the upgrades.
pub(crate) struct Scene {
    pub(crate) cluster: Cluster,
    pub(crate) acknowledged: Acknowledged,
    /// The schema version of the earlier program's store, and of this version's.
    pub(crate) schema: (i64, i64),
    app: Arc<RecordingApp>,
    other: RecordingApp,
}

impl Scene {
    async fn start(versions: &Versions) -> Self {
        let (app, other) = (
            Arc::new(RecordingApp::start().await),
            RecordingApp::start().await,
        );
        let mut cluster = Cluster::builder()
            .app_at(STEADY, app.addr())
            .workers(3)
            .registering_workers()
            .coordinator(&json!({"store": {"path": "run/coordinator.db"}}))
            .launch(Program::Coordinator, versions.old.clone())
            .launch(Program::Worker, versions.old.clone())
            .start()
            .await;
        cluster.launch(Program::Coordinator, versions.new.clone());
        cluster.launch(Program::Worker, versions.new.clone());
        Self {
            schema: (schema_version(&store(cluster.folder())), 0),
            cluster,
            acknowledged: Acknowledged::new(),
            app,
            other,
        }
    }

    fn endpoints(&self) -> [SocketAddr; 2] {
        [self.app.addr(), self.other.addr()]
    }

    fn start_load(&self, tally: &Arc<Tally>) -> Load {
        Load {
            writers: Writers::start(&self.cluster, 4, self.endpoints(), tally),
            traffic: Traffic::start(&self.cluster, &self.app, tally),
        }
    }
}

/// Changes and traffic.
struct Load {
    writers: Writers,
    traffic: Traffic,
}

impl Load {
    async fn go_on(&self) {
        tokio::join!(self.writers.go_on(60), self.traffic.go_on(60));
    }
}

fn store(folder: &Path) -> PathBuf {
    folder.join("run/coordinator.db")
}

/// Upgrades the coordinator, in the middle of changes and traffic.
pub(crate) async fn coordinator(versions: &Versions, tally: &Arc<Tally>) -> Scene {
    let mut scene = Scene::start(versions).await;
    let answer = scene
        .cluster
        .admin_call("POST", "/api/v1/workers/w3/drain", "{}");
    assert_eq!(answer.await.status, 200);
    let sessions = Sessions::create(&scene.cluster, tally).await;
    let before = State::of(&scene.cluster, &sessions).await;
    let load = scene.start_load(tally);
    load.go_on().await;

    let new = successor(&mut scene.cluster, versions).await;
    let mut old = scene.cluster.take_coordinator();
    let new = hand_over(&mut old, new, &["public", "admin"]).await;
    scene.cluster.put_coordinator(new);
    load.go_on().await;
    old.wait_for_stderr("a drain", |line| line.contains("draining:"))
        .await;
    load.go_on().await;
    assert!(
        old.try_status().is_none(),
        "the old process left its streams"
    );
    let after = State::of(&scene.cluster, &sessions).await;
    after.assert_has_all_of(&before);
    sessions.check(&scene.cluster, tally).await;

    scene.acknowledged = load.writers.end().await;
    load.traffic.end().await;
    let status = old.ended().await;
    assert_eq!(status.code(), Some(0), "{}", old.stderr().join("\n"));
    writers::check(&scene.cluster.api(), &scene.acknowledged, tally).await;
    scene.schema.1 = schema_version(&store(scene.cluster.folder()));
    assert_eq!(scene.schema.1, fresh_schema(versions).await, "not migrated");
    println!("schema version {} → {}", scene.schema.0, scene.schema.1);

    // What was acknowledged is on disk.
    scene.cluster.kill_coordinator();
    scene.cluster.restart_coordinator_unready().await;
    writers::check(&scene.cluster.api(), &scene.acknowledged, tally).await;
    State::of(&scene.cluster, &sessions)
        .await
        .assert_has_all_of(&before);
    scene
}

/// Steps 1 and 2 of the recipe: the new program accepts the configuration, and waits for the
/// listening sockets.
async fn successor(cluster: &mut Cluster, versions: &Versions) -> Daemon {
    let args = ["-t", "-c", "coordinator.yaml"];
    let check = launch_to_end(Program::Coordinator, cluster.folder(), &args, &versions.new);
    assert_eq!(check.code, Some(0), "{}", check.stderr);
    let new = cluster.spawn_coordinator(&["-u"]);
    waits(new, &cluster.folder().join("run/coordinator.upgrade.sock")).await
}

/// Returns a new process once it waits at the upgrade socket.
async fn waits(mut new: Daemon, socket: &Path) -> Daemon {
    eventually("the new process to wait for the sockets", || {
        let status = new.try_status();
        assert!(status.is_none(), "{}", new.stderr().join("\n"));
        socket.exists().then_some(())
    })
    .await;
    new
}

/// Steps 3 and 4: signals the old process, and waits until the new one listens.
async fn hand_over(old: &mut Daemon, mut new: Daemon, listeners: &[&str]) -> Daemon {
    assert!(new.try_status().is_none(), "{}", new.stderr().join("\n"));
    old.signal(Signal::SIGQUIT);
    for listener in listeners {
        new.listener(listener).await;
    }
    new
}

/// The schema version of a store that the new program has created.
async fn fresh_schema(versions: &Versions) -> i64 {
    let cluster = Cluster::builder()
        .workers(0)
        .coordinator(&json!({"store": {"path": "run/coordinator.db"}}))
        .launch(Program::Coordinator, versions.new.clone())
        .start_unready()
        .await;
    schema_version(&store(cluster.folder()))
}

/// Upgrades one worker after the other under changes and traffic.
pub(crate) async fn workers(mut scene: Scene, versions: &Versions, tally: &Arc<Tally>) -> Scene {
    scene.cluster.wait_ready().await;
    let sessions = Sessions::create(&scene.cluster, tally).await;
    let load = scene.start_load(tally);
    load.go_on().await;
    let mut old = Vec::new();
    for index in 0..3 {
        let id = scene.cluster.worker(index).id.clone();
        let file = format!("{id}.yaml");
        let args = ["-t", "-c", file.as_str()];
        let check = launch_to_end(
            Program::Worker,
            scene.cluster.folder(),
            &args,
            &versions.new,
        );
        assert_eq!(check.code, Some(0), "{}", check.stderr);
        let lease = worker(&scene.cluster, &id).await["lease_until"].clone();
        let new = scene.cluster.spawn_worker(index, &["-u"]);
        let socket = scene
            .cluster
            .folder()
            .join(format!("run/{id}.upgrade.sock"));
        let new = waits(new, &socket).await;
        let new = hand_over(scene.cluster.worker_daemon(index), new, &["proxy", "admin"]).await;
        old.push(scene.cluster.replace_worker_daemon(index, new));
        wait_for_worker(&scene.cluster, &id, |worker| {
            worker["healthy"] == true && worker["lease_until"] != lease
        })
        .await;
        load.go_on().await;
    }
    for old in &old {
        old.wait_for_stderr("a drain", |line| line.contains("draining:"))
            .await;
    }
    load.go_on().await;
    sessions.check(&scene.cluster, tally).await;
    assert_eq!(worker(&scene.cluster, "w3").await["draining"], true);
    let acknowledged = load.writers.end().await;
    scene.acknowledged.extend(acknowledged);
    load.traffic.end().await;
    for mut old in old {
        let status = old.ended().await;
        assert_eq!(status.code(), Some(0), "{}", old.stderr().join("\n"));
    }
    writers::check(&scene.cluster.api(), &scene.acknowledged, tally).await;
    scene
}

/// Sessions by their cookie, with the worker of each.
struct Sessions(BTreeMap<String, String>);

impl Sessions {
    async fn create(cluster: &Cluster, tally: &Tally) -> Self {
        let mut sessions = BTreeMap::new();
        for _ in 0..SESSIONS {
            let answer = cluster.get("/apps/steady/echo").send().await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            tally.request();
            let cookie = answer.session_cookie().expect("a session");
            let line = cluster
                .coordinator_log()
                .request(&answer.request_id())
                .await;
            let worker = line["worker"].as_str().expect("a worker").to_owned();
            sessions.insert(cookie, worker);
        }
        Self(sessions)
    }

    /// Each session goes on at its worker.
    async fn check(&self, cluster: &Cluster, tally: &Tally) {
        for (cookie, worker) in &self.0 {
            let answer = cluster
                .get("/apps/steady/echo")
                .session(cookie)
                .send()
                .await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            let line = cluster
                .coordinator_log()
                .request(&answer.request_id())
                .await;
            if line["worker"] == **worker && answer.session_cookie().is_none() {
                tally.request();
            } else {
                tally.fail(&format!("a session moved from {worker}: {line}"));
            }
        }
    }

    fn ids(&self) -> impl Iterator<Item = &str> {
        self.0
            .keys()
            .map(|cookie| cookie.split('.').next().unwrap_or_default())
    }
}

/// What an upgrade must carry over: workers, drains, and the fields of sessions that do not change
/// without a request.
#[derive(Debug)]
struct State {
    workers: BTreeMap<String, Value>,
    sessions: BTreeMap<String, Value>,
}

impl State {
    async fn of(cluster: &Cluster, sessions: &Sessions) -> Self {
        let list = cluster.admin_json("/api/v1/workers").await;
        let workers = list["items"].as_array().expect("workers").iter();
        let workers = workers.map(|worker| {
            let id = worker["id"].as_str().expect("an id").to_owned();
            (
                id,
                fields(worker, &["address", "weight", "draining", "source"]),
            )
        });
        let workers = workers.collect();
        let mut records = BTreeMap::new();
        let kept = ["app", "worker", "origin_request_id", "client", "created_at"];
        for id in sessions.ids() {
            records.insert(id.to_owned(), fields(&cluster.session(id).await, &kept));
        }
        Self {
            workers,
            sessions: records,
        }
    }

    fn assert_has_all_of(&self, before: &Self) {
        assert_eq!(self.workers, before.workers);
        assert_eq!(self.sessions, before.sessions);
        assert_eq!(self.workers["w3"]["draining"], true);
    }
}

fn fields(value: &Value, names: &[&str]) -> Value {
    let fields = names
        .iter()
        .map(|name| ((*name).to_owned(), value[*name].clone()));
    Value::Object(fields.collect())
}
