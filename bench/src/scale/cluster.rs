//! The daemons that are measured: a coordinator with its store in a file, one worker, and the
//! application.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::api::Api;
use crate::chain::{self, Visits, worker_config};
use crate::cli::ScaleArgs;
use crate::client::Visitor;
use crate::ports::Ports;
use crate::process::{Process, Program};

/// The maximum time until a daemon serves.
const PATIENCE: Duration = Duration::from_secs(60);
/// The interval of the checks.
const LOOK: Duration = Duration::from_millis(2);

/// The cluster; dropping it ends the daemons and removes the folder.
pub(super) struct Cluster {
    pub(super) coordinator: Process,
    pub(super) worker: Process,
    pub(super) entry: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) app: SocketAddr,
    worker_admin: SocketAddr,
    app_process: Process,
    place: Place,
}

/// The working folder of the daemons, and their programs.
struct Place {
    folder: PathBuf,
    bin: PathBuf,
    client_core: usize,
    coordinator_core: usize,
}

impl Place {
    fn start(&self, name: &str, core: usize, file: &Path, args: &[&str]) -> Result<Process> {
        let args = args.iter().map(Into::into).collect();
        Program {
            name,
            folder: &self.folder,
            core,
            file,
            args,
        }
        .start()
    }

    fn daemon(&self, tier: &str, core: usize) -> Result<Process> {
        let program = format!("app-proxy-{tier}");
        self.start(
            &program,
            core,
            &self.bin.join(&program),
            &["-c", &format!("{tier}.yaml")],
        )
    }

    fn coordinator(&self) -> Result<Process> {
        self.daemon("coordinator", self.coordinator_core)
    }

    fn worker(&self) -> Result<Process> {
        self.daemon("worker", self.client_core)
    }

    fn write(&self, tier: &str, config: &Value) -> Result<()> {
        // JSON is YAML too.
        Ok(fs::write(
            self.folder.join(format!("{tier}.yaml")),
            serde_json::to_string_pretty(config)?,
        )?)
    }
}

impl Cluster {
    /// Starts it, without any app, and waits until it serves.
    pub(super) async fn start(args: &ScaleArgs) -> Result<Self> {
        let program = std::env::current_exe()?;
        let beside = program.parent().unwrap_or(Path::new(".")).to_owned();
        let folder = args.out.join("scale");
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let place = Place {
            folder: folder.canonicalize()?,
            bin: args.bin.clone().unwrap_or(beside).canonicalize()?,
            client_core: args.client_core,
            coordinator_core: args.coordinator_core,
        };
        let mut ports = Ports::default();
        let [entry, admin, app] = [ports.free()?, ports.free()?, ports.free()?];
        let [proxy, worker_admin] = [ports.free()?, ports.free()?];
        place.write("coordinator", &coordinator(entry, admin, proxy, args))?;
        place.write(
            "worker",
            &worker_config(
                proxy,
                worker_admin,
                admin,
                &json!({"path": "worker.log", "recent": 0}),
            ),
        )?;
        let app_process = place.start(
            "app",
            args.client_core,
            &program,
            &["app", "--listen", &app.to_string()],
        )?;
        let mut coordinator = place.coordinator()?;
        // The coordinator creates the token with which both tiers authenticate.
        answers(&mut coordinator, admin, "/healthz").await?;
        let mut worker = place.worker()?;
        answers(&mut worker, worker_admin, "/readyz").await?;
        answers(&mut coordinator, admin, "/readyz").await?;
        Ok(Self {
            coordinator,
            worker,
            entry,
            admin,
            app,
            worker_admin,
            app_process,
            place,
        })
    }

    /// The token of the admin API.
    pub(super) fn token(&self) -> Result<String> {
        Ok(fs::read_to_string(self.place.folder.join("admin.token"))?
            .trim()
            .to_owned())
    }

    /// A connection to the admin API.
    pub(super) async fn api(&self) -> Result<Api> {
        Ok(Api::open(self.admin, &self.token()?).await?)
    }

    /// Sessions of so many clients at each of so many apps.
    pub(super) async fn visit(&self, visits: Visits) -> Result<Vec<Visitor>> {
        chain::collect(self.entry, visits, true).await
    }

    /// Ends the worker and starts it again; how long it took until it had its table.
    pub(super) async fn restart_worker(&mut self) -> Result<Duration> {
        end(&mut self.worker)?;
        let begun = Instant::now();
        self.worker = self.place.worker()?;
        answers(&mut self.worker, self.worker_admin, "/readyz").await?;
        Ok(begun.elapsed())
    }

    /// Ends the coordinator and starts it again; how long it took until it answered, and until it
    /// could serve.
    pub(super) async fn restart_coordinator(&mut self) -> Result<(Duration, Duration)> {
        end(&mut self.coordinator)?;
        let begun = Instant::now();
        self.coordinator = self.place.coordinator()?;
        answers(&mut self.coordinator, self.admin, "/healthz").await?;
        let alive = begun.elapsed();
        answers(&mut self.coordinator, self.admin, "/readyz").await?;
        Ok((alive, begun.elapsed()))
    }

    /// The size of the store's files.
    pub(super) fn store_bytes(&self) -> u64 {
        let files = ["run/coordinator.db", "run/coordinator.db-wal"];
        files
            .iter()
            .filter_map(|file| Some(fs::metadata(self.place.folder.join(file)).ok()?.len()))
            .sum()
    }

    /// Fails when one of them has ended.
    pub(super) fn check(&mut self) -> Result<()> {
        self.coordinator.check()?;
        self.worker.check()?;
        self.app_process.check()
    }

    /// Returns the end of the daemons' output.
    pub(super) fn last_words(&self) -> String {
        format!(
            "{}\n{}",
            self.coordinator.last_words(),
            self.worker.last_words()
        )
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for process in [
            &mut self.coordinator,
            &mut self.worker,
            &mut self.app_process,
        ] {
            process.ask_to_end();
        }
        // The results are on standard output.
        let _ = fs::remove_dir_all(&self.place.folder);
    }
}

fn coordinator(entry: SocketAddr, admin: SocketAddr, proxy: SocketAddr, args: &ScaleArgs) -> Value {
    json!({
        "version": 1,
        "threads": 1,
        "pid_file": "coordinator.pid",
        "upgrade_sock": "coordinator.sock",
        "coordinator": {
            "listeners": [{"address": entry.to_string()}],
            "admin": {"address": admin.to_string(), "token_file": "admin.token"},
            // Sessions are spread over parts of the table by chance: with no room to spare some
            // would push others out.
            "sessions": {"secret_file": "session.key", "max": args.sessions + args.sessions / 5},
            "store": {"kind": "sqlite", "path": "run/coordinator.db"},
            "worker_token_file": "worker.token",
            "webhooks": {"secret_file": "webhook.key"},
            "workers": [{"id": "w1", "address": proxy.to_string()}],
            // The newest lines of the log are a memory of their own.
            "access_log": {"path": "coordinator.log", "recent": 0},
        },
    })
}

/// Sends SIGTERM to a daemon, and waits for its end.
fn end(process: &mut Process) -> Result<()> {
    process.ask_to_end();
    let begun = Instant::now();
    while process.check().is_ok() {
        if begun.elapsed() > PATIENCE {
            bail!("a daemon does not end; {}", process.last_words());
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// Waits until a daemon answers 200 at a path of its admin listener.
async fn answers(process: &mut Process, admin: SocketAddr, path: &str) -> Result<()> {
    let begun = Instant::now();
    loop {
        process.check()?;
        if let Ok(mut api) = Api::open(admin, "").await
            && api.call("GET", path, "").await.is_ok()
        {
            return Ok(());
        }
        if begun.elapsed() > PATIENCE {
            bail!("{path} is not answered with 200; {}", process.last_words());
        }
        sleep(LOOK).await;
    }
}
