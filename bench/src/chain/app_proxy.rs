//! App-Proxy: a coordinator and one worker, as their configuration is by default. Only ports,
//! files, apps and the one thread are set.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::visitors::app_name;
use super::{Chain, Site, Started};
use crate::process::{Process, Program};

/// The name of the programs of another build.
pub(crate) const PREVIOUS: &str = "previous";

/// With so many apps, all of them the one application.
#[derive(Debug)]
pub struct AppProxy {
    apps: usize,
    /// The folder of the programs of another build; those of the site otherwise.
    previous: Option<PathBuf>,
}

impl AppProxy {
    /// With this many apps.
    #[must_use]
    pub fn with_apps(apps: usize) -> Self {
        Self {
            apps,
            previous: None,
        }
    }

    /// The programs of another build, in this folder.
    pub(crate) fn previous(folder: PathBuf) -> Self {
        Self {
            apps: 1,
            previous: Some(folder),
        }
    }

    fn programs<'a>(&'a self, site: &'a Site) -> &'a Path {
        self.previous.as_deref().unwrap_or(&site.bin)
    }

    fn daemon(&self, site: &Site, folder: &Path, tier: &str, config: &Value) -> Result<Process> {
        let file = folder.join(format!("{tier}.yaml"));
        // JSON is YAML too.
        fs::write(&file, serde_json::to_string_pretty(config)?)
            .with_context(|| file.display().to_string())?;
        Program {
            name: &format!("app-proxy-{tier}"),
            folder,
            core: site.core,
            file: &self.programs(site).join(format!("app-proxy-{tier}")),
            args: vec!["-c".into(), format!("{tier}.yaml").into()],
        }
        .start()
    }
}

impl Chain for AppProxy {
    fn name(&self) -> &'static str {
        if self.previous.is_some() {
            PREVIOUS
        } else {
            "app-proxy"
        }
    }

    fn missing(&self, site: &Site) -> Option<String> {
        let programs = self.programs(site);
        let missing = |name: &&str| !programs.join(name).is_file();
        let name = ["app-proxy-coordinator", "app-proxy-worker"]
            .into_iter()
            .find(missing)?;
        Some(format!("{} is not built", programs.join(name).display()))
    }

    fn version(&self, _site: &Site) -> Option<String> {
        Some(match &self.previous {
            Some(folder) => format!("App-Proxy in {}", folder.display()),
            None => format!("App-Proxy {}", env!("CARGO_PKG_VERSION")),
        })
    }

    fn sessions(&self) -> bool {
        true
    }

    fn start(&self, site: &mut Site, folder: &str) -> Result<Started> {
        let folder = site.folder(folder)?;
        let (entry, admin) = (site.ports.free()?, site.ports.free()?);
        let (worker, worker_admin) = (site.ports.free()?, site.ports.free()?);
        let app = site.app.to_string();
        let apps: Vec<Value> = (0..self.apps)
            .map(|index| json!({"name": app_name(index), "endpoints": [{"address": app}]}))
            .collect();
        let coordinator = json!({
            "version": 1,
            "threads": 1,
            "pid_file": "coordinator.pid",
            "upgrade_sock": "coordinator.sock",
            "coordinator": {
                "listeners": [{"address": entry.to_string()}],
                "admin": {"address": admin.to_string(), "token_file": "admin.token"},
                "sessions": {"secret_file": "session.key"},
                "worker_token_file": "worker.token",
                "workers": [{"id": "w1", "address": worker.to_string()}],
                "access_log": {"path": "coordinator.log"},
                "apps": apps,
            },
        });
        let config = worker_config(worker, worker_admin, admin, &json!({"path": "worker.log"}));
        let mut processes = vec![self.daemon(site, &folder, "coordinator", &coordinator)?];
        // The coordinator creates the token with which both tiers authenticate.
        super::running::wait_until(
            &mut processes,
            "the coordinator to write worker.token",
            || fs::metadata(folder.join("worker.token")).is_ok_and(|file| file.len() > 0),
        )?;
        processes.push(self.daemon(site, &folder, "worker", &config)?);
        Ok(Started {
            entry,
            processes,
            logs: vec![folder.join("coordinator.log"), folder.join("worker.log")],
        })
    }
}

/// The configuration of the one worker that serves, before the coordinator whose admin listener is
/// `coordinator`.
pub(crate) fn worker_config(
    proxy: SocketAddr,
    admin: SocketAddr,
    coordinator: SocketAddr,
    access_log: &Value,
) -> Value {
    json!({
        "version": 1,
        "threads": 1,
        "pid_file": "worker.pid",
        "upgrade_sock": "worker.sock",
        "worker": {
            "id": "w1",
            "listener": {"address": proxy.to_string()},
            "admin": {"address": admin.to_string()},
            "coordinators": [format!("http://{coordinator}")],
            "token_file": "worker.token",
            "access_log": access_log,
        },
    })
}
