//! A coordinator and its workers, started in a folder and on a loopback address of their own.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::api::Api;
use crate::daemon::{Daemon, Launch, Program};
use crate::http1::{Client, Request, Response};
use crate::http2::H2Client;
use crate::logs::AccessLog;
use crate::wait::{eventually, eventually_async};
use crate::ws::WebSocket;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A loopback address that no other test of this machine uses: a port that was free on it stays
/// free, so that tests may reserve one and start a daemon on it later.
#[must_use]
pub fn own_address() -> Ipv4Addr {
    let process = (std::process::id() & 0x1fff) | 0x2000;
    let number = NEXT.fetch_add(1, Ordering::Relaxed) & 0x3ff;
    let [_, a, b, c] = ((process << 10) | number).to_be_bytes();
    Ipv4Addr::new(127, a, b, c)
}

/// Ports outside the kernel's ephemeral range, which begins at 32768.
const RESERVED_PORTS: std::ops::Range<u16> = 10_000..30_000;
static NEXT_PORT: AtomicU32 = AtomicU32::new(0);

/// A port of `ip` on which nothing listens. If `ip` is from [`own_address`], no other process binds
/// it, not even a daemon that listens on port 0.
#[must_use]
pub fn free_address(ip: Ipv4Addr) -> SocketAddr {
    let count = u32::from(RESERVED_PORTS.end - RESERVED_PORTS.start);
    let candidates = std::iter::repeat_with(|| {
        let offset = NEXT_PORT.fetch_add(1, Ordering::Relaxed) % count;
        SocketAddr::from((
            ip,
            RESERVED_PORTS.start + u16::try_from(offset).expect("less than 20,000"),
        ))
    });
    let mut candidates = candidates.take(count as usize);
    candidates
        .find(|address| TcpListener::bind(address).is_ok())
        .expect("a free port")
}

/// Applies `patch` to `base`: objects are merged, other values are replaced, `null` deletes.
pub fn merge(base: &mut Value, patch: &Value) {
    match (base, patch) {
        (Value::Object(base), Value::Object(patch)) => {
            for (key, value) in patch {
                if value.is_null() {
                    base.remove(key);
                } else {
                    merge(base.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (base, patch) => *base = patch.clone(),
    }
}

/// The description of a [`Cluster`]. Configurations are JSON, which is YAML.
#[derive(Clone, Debug)]
pub struct ClusterBuilder {
    apps: Vec<Value>,
    workers: Vec<Value>,
    coordinator: Value,
    worker: Value,
    h2c: bool,
    unix: bool,
    registering: bool,
    threads: usize,
    coordinator_launch: Launch,
    worker_launch: Launch,
}

impl Default for ClusterBuilder {
    fn default() -> Self {
        Self {
            apps: Vec::new(),
            workers: vec![json!({})],
            coordinator: json!({}),
            worker: json!({}),
            h2c: false,
            unix: false,
            registering: false,
            threads: 2,
            coordinator_launch: Launch::default(),
            worker_launch: Launch::default(),
        }
    }
}

impl ClusterBuilder {
    /// Adds an application: an entry of `coordinator.apps`.
    #[must_use]
    pub fn app(mut self, app: Value) -> Self {
        self.apps.push(app);
        self
    }

    /// Adds an application with one endpoint and defaults otherwise.
    #[must_use]
    pub fn app_at(self, name: &str, endpoint: SocketAddr) -> Self {
        self.app(json!({"name": name, "endpoints": [{"address": endpoint.to_string()}]}))
    }

    /// Adds an application with one endpoint and the keys of `more`.
    #[must_use]
    pub fn app_with(self, name: &str, endpoint: SocketAddr, more: &Value) -> Self {
        let mut app = json!({"name": name, "endpoints": [{"address": endpoint.to_string()}]});
        merge(&mut app, more);
        self.app(app)
    }

    /// Sets the number of workers: `w1`, `w2` and so on. Default: one.
    #[must_use]
    pub fn workers(mut self, count: usize) -> Self {
        self.workers.resize(count, json!({}));
        self
    }

    /// Changes the section `coordinator:`.
    #[must_use]
    pub fn coordinator(mut self, patch: &Value) -> Self {
        merge(&mut self.coordinator, patch);
        self
    }

    /// Changes the section `worker:` of every worker.
    #[must_use]
    pub fn worker(mut self, patch: &Value) -> Self {
        merge(&mut self.worker, patch);
        self
    }

    /// Changes the section `worker:` of one worker, counted from 0.
    #[must_use]
    pub fn one_worker(mut self, index: usize, patch: &Value) -> Self {
        merge(&mut self.workers[index], patch);
        self
    }

    /// Adds a listener with `h2c: true`.
    #[must_use]
    pub fn h2c(mut self) -> Self {
        self.h2c = true;
        self
    }

    /// Makes the workers listen on Unix sockets.
    #[must_use]
    pub fn unix_workers(mut self) -> Self {
        self.unix = true;
        self
    }

    /// Leaves the workers out of the coordinator's file: they join by themselves.
    #[must_use]
    pub fn registering_workers(mut self) -> Self {
        self.registering = true;
        self
    }

    /// Sets the number of threads of a daemon. Default: two.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Sets the way in which the daemons of `program` are started.
    #[must_use]
    pub fn launch(mut self, program: Program, launch: Launch) -> Self {
        match program {
            Program::Coordinator => self.coordinator_launch = launch,
            Program::Worker => self.worker_launch = launch,
        }
        self
    }

    /// Starts the daemons and waits until all of them are ready.
    pub async fn start(self) -> Cluster {
        let mut cluster = self.start_unready().await;
        cluster.wait_ready().await;
        cluster
    }

    /// Starts the daemons and waits until they listen.
    pub async fn start_unready(self) -> Cluster {
        let folder = tempfile::Builder::new()
            .prefix("app-proxy-")
            .tempdir()
            .expect("a folder");
        let ip = own_address();
        let admin = free_address(ip);
        let mut cluster = Cluster {
            coordinator: None,
            workers: Vec::new(),
            plan: self,
            ip,
            public: admin,
            h2c: None,
            admin,
            folder,
        };
        for index in 0..cluster.plan.workers.len() {
            cluster.start_worker(index).await;
        }
        cluster.start_coordinator().await;
        cluster
    }
}

/// One worker of a cluster.
#[derive(Debug)]
pub struct WorkerHandle {
    /// Its identifier: `w1`, `w2`.
    pub id: String,
    /// The address of the proxy listener: `127.1.2.3:4567` or `unix:/path`.
    pub address: String,
    /// The address of the admin listener.
    pub admin: SocketAddr,
    daemon: Daemon,
}

/// A coordinator, its workers and their folder. All of them end when the value is dropped.
#[derive(Debug)]
pub struct Cluster {
    coordinator: Option<Daemon>,
    workers: Vec<WorkerHandle>,
    plan: ClusterBuilder,
    ip: Ipv4Addr,
    public: SocketAddr,
    h2c: Option<SocketAddr>,
    admin: SocketAddr,
    folder: TempDir,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.coordinator = None;
        self.workers.clear();
        if std::thread::panicking() {
            for name in ["coordinator", "w1", "w2", "w3"] {
                let text = self.log_of(name).text();
                let tail: Vec<&str> = text.lines().rev().take(20).collect();
                for line in tail.iter().rev() {
                    eprintln!("---- {name} logged: {line}");
                }
            }
        }
    }
}

impl Cluster {
    /// A coordinator with one worker and no application, to be changed.
    #[must_use]
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder::default()
    }

    /// The folder in which the daemons run.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The loopback address of this cluster.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        self.ip.into()
    }

    /// The coordinator's public listener.
    #[must_use]
    pub fn public(&self) -> SocketAddr {
        self.public
    }

    /// The coordinator's listener for HTTP/2 without TLS.
    ///
    /// # Panics
    /// Without [`ClusterBuilder::h2c`].
    #[must_use]
    pub fn h2c(&self) -> SocketAddr {
        self.h2c.expect("a listener with h2c")
    }

    /// The coordinator's admin listener.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The address of `path` for a browser.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.public)
    }

    /// The path of the coordinator's configuration.
    #[must_use]
    pub fn coordinator_config(&self) -> PathBuf {
        self.folder().join("coordinator.yaml")
    }

    /// Returns the coordinator.
    ///
    /// # Panics
    /// If it was removed.
    pub fn coordinator(&mut self) -> &mut Daemon {
        self.coordinator.as_mut().expect("a coordinator")
    }

    /// Removes the coordinator from the cluster, which then does not stop it.
    ///
    /// # Panics
    /// If it was removed before.
    pub fn take_coordinator(&mut self) -> Daemon {
        self.coordinator.take().expect("a coordinator")
    }

    /// Makes `daemon` the coordinator of the cluster.
    pub fn put_coordinator(&mut self, daemon: Daemon) {
        self.coordinator = Some(daemon);
    }

    /// A worker, counted from 0.
    #[must_use]
    pub fn worker(&self, index: usize) -> &WorkerHandle {
        &self.workers[index]
    }

    /// A worker's process, counted from 0.
    pub fn worker_daemon(&mut self, index: usize) -> &mut Daemon {
        &mut self.workers[index].daemon
    }

    /// Replaces the process of a worker; returns the previous one.
    pub fn replace_worker_daemon(&mut self, index: usize, daemon: Daemon) -> Daemon {
        std::mem::replace(&mut self.workers[index].daemon, daemon)
    }

    /// The number of the worker called `id`.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn index_of(&self, id: &str) -> usize {
        let index = self.workers.iter().position(|worker| worker.id == id);
        index.unwrap_or_else(|| panic!("no worker is called {id:?}"))
    }

    /// A request on a connection of its own to the public listener.
    pub fn request(&self, method: &str, target: &str) -> Request<'static> {
        Request::to(self.public, method, target)
    }

    /// A GET on a connection of its own to the public listener.
    pub fn get(&self, target: &str) -> Request<'static> {
        self.request("GET", target)
    }

    /// A connection to the public listener.
    pub async fn client(&self) -> Client {
        Client::connect(self.public).await
    }

    /// A connection to the listener with h2c.
    pub async fn h2_client(&self) -> H2Client {
        H2Client::connect(self.h2c()).await
    }

    /// A WebSocket through the public listener.
    pub async fn websocket(&self, target: &str, headers: &[(&str, &str)]) -> WebSocket {
        WebSocket::connect(self.public, target, headers).await
    }

    /// The token of the admin API.
    #[must_use]
    pub fn admin_token(&self) -> String {
        self.secret("run/admin.token")
    }

    /// The token that coordinator and workers share.
    #[must_use]
    pub fn worker_token(&self) -> String {
        self.secret("run/worker.token")
    }

    fn secret(&self, path: &str) -> String {
        let text = std::fs::read_to_string(self.folder().join(path)).expect("a secret file");
        text.trim().to_owned()
    }

    /// The coordinator's admin API, with its token.
    #[must_use]
    pub fn api(&self) -> Api {
        Api::new(self.admin, &self.admin_token())
    }

    /// Creates or replaces an app through the admin API.
    ///
    /// # Panics
    /// If it is rejected.
    pub async fn put_app(&self, name: &str, app: &Value) -> Value {
        let answer = self.api().put_app(name, app).await;
        assert!(
            matches!(answer.status, 200 | 201),
            "{name}: {} {}",
            answer.status,
            answer.text()
        );
        answer.json()
    }

    /// Removes an app through the admin API.
    ///
    /// # Panics
    /// When it is not removed.
    pub async fn delete_app(&self, name: &str) {
        let answer = self.api().delete_app(name).await;
        assert_eq!(answer.status, 204, "{name}: {}", answer.text());
    }

    /// A GET of the admin API, with its token.
    pub async fn admin_get(&self, target: &str) -> Response {
        Request::to(self.admin, "GET", target)
            .header("Authorization", &format!("Bearer {}", self.admin_token()))
            .send()
            .await
    }

    /// The JSON that a GET of the admin API answers with.
    ///
    /// # Panics
    /// When it does not answer 200.
    pub async fn admin_json(&self, target: &str) -> Value {
        let answer = self.admin_get(target).await;
        assert_eq!(answer.status, 200, "{target}: {}", answer.text());
        answer.json()
    }

    /// A call of the admin API other than GET, with its token.
    pub async fn admin_call(&self, method: &str, target: &str, body: &str) -> Response {
        Request::to(self.admin, method, target)
            .header("Authorization", &format!("Bearer {}", self.admin_token()))
            .header("Content-Type", "application/json")
            .body(body)
            .send()
            .await
    }

    /// The record of a session, by its identifier (without the MAC).
    pub async fn session(&self, id: &str) -> Value {
        self.admin_json(&format!("/api/v1/sessions/{id}")).await
    }

    /// The coordinator's access log.
    #[must_use]
    pub fn coordinator_log(&self) -> AccessLog {
        self.log_of("coordinator")
    }

    /// A worker's access log, counted from 0.
    #[must_use]
    pub fn worker_log(&self, index: usize) -> AccessLog {
        self.log_of(&self.workers[index].id)
    }

    fn log_of(&self, name: &str) -> AccessLog {
        AccessLog::at(self.folder().join(format!("{name}.access.log")))
    }

    /// Waits until every daemon is ready: all workers have their table and count as healthy.
    pub async fn wait_ready(&mut self) {
        self.check_alive();
        for index in 0..self.workers.len() {
            self.wait_worker_serves(index).await;
        }
        for index in 0..self.workers.len() {
            let id = self.workers[index].id.clone();
            self.wait_health(&id, true).await;
        }
        let admin = self.admin;
        eventually_async("/readyz of the coordinator to be 200", || async move {
            let answer = Request::to(admin, "GET", "/readyz").try_send().await.ok()?;
            (answer.status == 200).then_some(())
        })
        .await;
    }

    fn check_alive(&mut self) {
        let workers = self.workers.iter_mut().map(|worker| &mut worker.daemon);
        for daemon in workers.chain(self.coordinator.as_mut()) {
            if let Some(status) = daemon.try_status() {
                panic!(
                    "{} has ended ({status}):\n{}",
                    daemon.name,
                    daemon.stderr().join("\n")
                );
            }
        }
    }

    /// Waits until a worker has an app table, so that it answers health checks with 200.
    pub async fn wait_worker_serves(&self, index: usize) {
        let worker = &self.workers[index];
        let (what, admin) = (format!("/readyz of {} to be 200", worker.id), worker.admin);
        eventually_async(&what, || async move {
            let answer = Request::to(admin, "GET", "/readyz").try_send().await;
            (answer.ok()?.status == 200).then_some(())
        })
        .await;
    }

    /// Waits until the coordinator considers the worker `id` healthy, or not.
    pub async fn wait_health(&self, id: &str, healthy: bool) {
        let what = format!("{id} to be healthy: {healthy}");
        let token = format!("Bearer {}", self.admin_token());
        let (admin, token) = (self.admin, token.as_str());
        eventually_async(&what, || async move {
            let answer = Request::to(admin, "GET", "/api/v1/workers")
                .header("Authorization", token)
                .try_send()
                .await
                .ok()?;
            if answer.status != 200 {
                return None;
            }
            let answer = answer.json();
            let workers = answer["items"].as_array()?;
            let worker = workers.iter().find(|worker| worker["id"] == id)?;
            (worker["healthy"] == healthy).then_some(())
        })
        .await;
    }

    /// Ends a worker with SIGKILL and waits until its process is gone.
    pub fn kill_worker(&mut self, index: usize) {
        self.workers[index].daemon.kill();
    }

    /// Ends a worker with SIGTERM and waits until its process is gone.
    pub async fn stop_worker(&mut self, index: usize) {
        let daemon = &mut self.workers[index].daemon;
        daemon.signal(Signal::SIGTERM);
        let status = daemon.ended().await;
        assert_eq!(status.code(), Some(0), "{}: {status}", daemon.name);
    }

    /// Starts a worker that has ended again, at the same addresses, and waits until it serves.
    pub async fn restart_worker(&mut self, index: usize) {
        let mut daemon = self.spawn_worker(index, &[]);
        daemon.listener("proxy").await;
        self.workers[index].daemon = daemon;
        self.wait_worker_serves(index).await;
    }

    /// Starts a process with a worker's configuration, and further arguments.
    #[must_use]
    pub fn spawn_worker(&self, index: usize, args: &[&str]) -> Daemon {
        self.spawn_daemon(&self.workers[index].id, Program::Worker, args)
    }

    /// Sets the way in which the daemons of `program` are started from now on.
    pub fn launch(&mut self, program: Program, launch: Launch) {
        match program {
            Program::Coordinator => self.plan.coordinator_launch = launch,
            Program::Worker => self.plan.worker_launch = launch,
        }
    }

    /// Ends the coordinator with SIGKILL.
    pub fn kill_coordinator(&mut self) {
        self.coordinator().kill();
    }

    /// Starts the coordinator again, at the same addresses, and waits until everything is ready.
    pub async fn restart_coordinator(&mut self) {
        self.restart_coordinator_unready().await;
        self.wait_ready().await;
    }

    /// Starts the coordinator again, at the same addresses, and waits until it listens.
    pub async fn restart_coordinator_unready(&mut self) {
        let mut daemon = self.spawn_coordinator(&[]);
        daemon.listener("public").await;
        daemon.listener("admin").await;
        self.coordinator = Some(daemon);
    }

    /// Starts a process with the coordinator's configuration, and further arguments (`-u`).
    #[must_use]
    pub fn spawn_coordinator(&self, args: &[&str]) -> Daemon {
        self.spawn_daemon("coordinator", Program::Coordinator, args)
    }

    fn spawn_daemon(&self, name: &str, program: Program, args: &[&str]) -> Daemon {
        let file = format!("{name}.yaml");
        let mut all = vec!["-c", file.as_str()];
        all.extend_from_slice(args);
        let launch = match program {
            Program::Coordinator => &self.plan.coordinator_launch,
            Program::Worker => &self.plan.worker_launch,
        };
        Daemon::launch(name, program, self.folder(), &all, launch)
    }

    /// Changes the coordinator's configuration file (all of it, from the top); it counts from the
    /// next start.
    pub fn patch_coordinator_config(&self, patch: &Value) {
        self.patch_config("coordinator", patch);
    }

    /// Changes a worker's configuration file (all of it, from the top); it counts from the next
    /// start or reload.
    pub fn patch_worker_config(&self, index: usize, patch: &Value) {
        self.patch_config(&self.workers[index].id, patch);
    }

    fn patch_config(&self, name: &str, patch: &Value) {
        let path = self.folder().join(format!("{name}.yaml"));
        let text = std::fs::read_to_string(&path).expect("the configuration");
        let mut config: Value = serde_json::from_str(&text).expect("the configuration");
        merge(&mut config, patch);
        self.write_config(name, &config);
    }

    fn write_config(&self, name: &str, config: &Value) {
        let text = serde_json::to_string_pretty(config).expect("a configuration");
        let path = self.folder().join(format!("{name}.yaml"));
        std::fs::write(path, text).expect("the configuration is written");
    }

    async fn start_worker(&mut self, index: usize) {
        let id = format!("w{}", index + 1);
        let any = format!("{}:0", self.ip);
        let listener = if self.plan.unix {
            format!(
                "unix:{}",
                self.folder().join(format!("{id}.sock")).display()
            )
        } else {
            any.clone()
        };
        let mut config = json!({
            "version": 1,
            "threads": self.plan.threads,
            "pid_file": format!("run/{id}.pid"),
            "upgrade_sock": format!("run/{id}.upgrade.sock"),
            "worker": {
                "id": id,
                "listener": {"address": listener},
                "admin": {"address": any},
                "coordinators": [format!("http://{}", self.admin)],
                "token_file": "run/worker.token",
                "sync": {"retry": "50ms"},
                "access_log": {"path": self.folder().join(format!("{id}.access.log"))},
            },
        });
        merge(&mut config["worker"], &self.plan.worker);
        merge(&mut config["worker"], &self.plan.workers[index]);
        self.write_config(&id, &config);
        let mut daemon = self.spawn_daemon(&id, Program::Worker, &[]);
        let address = daemon.listener("proxy").await;
        let admin = daemon.listener("admin").await;
        config["worker"]["listener"]["address"] = json!(address);
        config["worker"]["admin"]["address"] = json!(admin);
        self.write_config(&id, &config);
        self.workers.push(WorkerHandle {
            id,
            address,
            admin: admin.parse().expect("the address of the admin listener"),
            daemon,
        });
    }

    async fn start_coordinator(&mut self) {
        let any = format!("{}:0", self.ip);
        let mut listeners = vec![json!({"address": any})];
        if self.plan.h2c {
            listeners.push(json!({"address": any, "h2c": true}));
        }
        let fixed = if self.plan.registering {
            &[][..]
        } else {
            &self.workers[..]
        };
        let workers: Vec<Value> = fixed
            .iter()
            .map(|worker| json!({"id": worker.id, "address": worker.address, "weight": 1}))
            .collect();
        let log = self.folder().join("coordinator.access.log");
        let mut config = json!({
            "version": 1,
            "threads": self.plan.threads,
            "pid_file": "run/coordinator.pid",
            "upgrade_sock": "run/coordinator.upgrade.sock",
            "coordinator": {
                "listeners": listeners,
                "admin": {"address": self.admin.to_string(), "token_file": "run/admin.token"},
                "sessions": {"secret_file": "run/session.key"},
                "worker_token_file": "run/worker.token",
                "workers": workers,
                "health_check": {
                    "interval": "100ms", "timeout": "1s", "healthy_after": 1, "unhealthy_after": 2,
                },
                "access_log": {"path": log},
                "apps": self.plan.apps,
            },
        });
        merge(&mut config["coordinator"], &self.plan.coordinator);
        self.write_config("coordinator", &config);
        let mut daemon = self.spawn_daemon("coordinator", Program::Coordinator, &[]);
        let public = daemon.listener("public").await;
        config["coordinator"]["listeners"][0]["address"] = json!(public);
        self.public = public.parse().expect("the address of the public listener");
        if self.plan.h2c {
            let h2c = daemon.listener("public h2c").await;
            config["coordinator"]["listeners"][1]["address"] = json!(h2c);
            self.h2c = h2c.parse().ok();
        }
        daemon.listener("admin").await;
        self.write_config("coordinator", &config);
        self.coordinator = Some(daemon);
        self.wait_listening().await;
    }

    async fn wait_listening(&self) {
        for addr in [self.public, self.admin].into_iter().chain(self.h2c) {
            eventually(&format!("{addr} to accept connections"), || {
                std::net::TcpStream::connect(addr).ok()
            })
            .await;
        }
    }
}
