//! A coordinator, a worker and an application of which nothing happens by itself, one tier or both
//! under a tool.

use std::path::{Path, PathBuf};

use app_proxy_tests::app::RecordingApp;
use app_proxy_tests::binary;
use app_proxy_tests::cluster::Cluster;
use app_proxy_tests::daemon::{Launch, Program};
use serde_json::json;

/// Returns the folder of the optimised programs: `$APP_PROXY_COST_BIN_DIR`, else `release` of the
/// folder where cargo builds. Programs of the latter must be newer than their sources.
pub(crate) fn binaries() -> PathBuf {
    let build = "cargo build --release --locked -p app-proxy-coordinator -p app-proxy-worker";
    let named = std::env::var_os("APP_PROXY_COST_BIN_DIR").map(PathBuf::from);
    let test = std::env::current_exe().expect("the path of the test");
    let target = test.ancestors().nth(3);
    let release = target
        .expect("the folder where cargo builds")
        .join("release");
    for program in [Program::Coordinator, Program::Worker] {
        let _ = match &named {
            Some(folder) => binary::existing(folder, program.name(), build),
            None => binary::find_built(&release, program.name(), build),
        };
    }
    let folder = named.unwrap_or(release);
    folder.canonicalize().expect("the path of the programs")
}

/// The tools of a measurement.
#[derive(Debug)]
pub(crate) struct Rig {
    pub(crate) app: RecordingApp,
    pub(crate) cluster: Cluster,
}

impl Rig {
    /// Starts everything, the daemons as `coordinator` and `worker` specify.
    pub(crate) async fn start(binaries: &Path, coordinator: Launch, worker: Launch) -> Self {
        let plain = Launch {
            folder: Some(binaries.to_owned()),
            under: Vec::new(),
        };
        let app = RecordingApp::start().await;
        let mut cluster = Cluster::builder()
            .app_at("cost", app.addr())
            .threads(1)
            .launch(Program::Coordinator, plain)
            .launch(Program::Worker, worker)
            .coordinator(&json!({"health_check": {"timeout": "10s"}}))
            .worker(&json!({"sync": {"wait": "1h", "retry": "200ms"}}))
            .start()
            .await;
        // Now that the worker has its table, it passes the first check of a coordinator that does
        // not check again.
        cluster.kill_coordinator();
        cluster.launch(Program::Coordinator, coordinator);
        cluster.patch_coordinator_config(
            &json!({"coordinator": {"health_check": {"interval": "1h"}}}),
        );
        cluster.restart_coordinator().await;
        Self { app, cluster }
    }

    /// The process of a tier.
    pub(crate) fn pid(&mut self, tier: Program) -> u32 {
        match tier {
            Program::Coordinator => self.cluster.coordinator().pid(),
            Program::Worker => self.cluster.worker_daemon(0).pid(),
        }
    }
}
