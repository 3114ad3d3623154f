//! Reload of the configuration file on SIGHUP: timeouts and the log level change at once, all other
//! keys at a restart.

use std::sync::{Arc, Mutex, PoisonError};

use app_proxy_hop::exchange::HopServices;
use app_proxy_runtime::config::ConfigError;
use app_proxy_runtime::daemon::{ConfigDiff, Launch, Reload, reject_reload};
use async_trait::async_trait;
use log::error;

use crate::apps::Apps;
use crate::config::Config;

/// Reloads the configuration of a worker.
pub(crate) struct WorkerReload(Arc<State>);

struct State {
    launch: Launch,
    /// The configuration at startup, with the keys that reloads have applied since.
    running: Mutex<Config>,
    hop: Arc<HopServices>,
    apps: Arc<Apps>,
}

impl WorkerReload {
    /// Reloads the file of `launch`; `running` is its configuration at startup.
    #[must_use]
    pub(crate) fn new(
        launch: Launch,
        running: Config,
        hop: Arc<HopServices>,
        apps: Arc<Apps>,
    ) -> Self {
        Self(Arc::new(State {
            launch,
            running: Mutex::new(running),
            hop,
            apps,
        }))
    }
}

#[async_trait]
impl Reload for WorkerReload {
    async fn reload(&self) {
        let state = Arc::clone(&self.0);
        // Reading the file blocks, and so does waiting for a change of the tables.
        let reloaded = tokio::task::spawn_blocking(move || state.reload()).await;
        match reloaded {
            Ok(Ok(())) => {}
            Ok(Err(e)) => reject_reload(&e),
            Err(e) => error!("cannot reload: {e}"),
        }
    }
}

impl State {
    fn reload(&self) -> Result<(), ConfigError> {
        let read = Config::load(self.launch.conf().clone())?;
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changes = compare(&running, &read);
        if changes.applies("timeouts", &running.timeouts, &read.timeouts) {
            self.hop.set_timeouts(read.timeouts.clone());
            self.apps.set_timeouts(read.timeouts.clone());
        }
        changes.conclude(
            &read.file,
            self.launch.logging(),
            &running.log_level,
            &read.log_level,
        );
        running.timeouts = read.timeouts;
        running.log_level = read.log_level;
        Ok(())
    }
}

/// Compares the keys that only a restart applies.
fn compare(running: &Config, read: &Config) -> ConfigDiff {
    let mut changes = ConfigDiff::default();
    changes.needs_restart("id", &running.id, &read.id);
    changes.needs_restart("listener", &running.listener, &read.listener);
    changes.needs_restart("advertise", &running.advertise, &read.advertise);
    changes.needs_restart("register", &running.register, &read.register);
    changes.needs_restart("weight", &running.weight, &read.weight);
    changes.needs_restart("labels", &running.labels, &read.labels);
    changes.needs_restart("admin", &running.admin, &read.admin);
    changes.needs_restart("coordinators", &running.coordinators, &read.coordinators);
    changes.needs_restart("token_file", &running.token_file, &read.token_file);
    changes.needs_restart("request_id", &running.request_id, &read.request_id);
    changes.needs_restart("sync", &running.sync, &read.sync);
    changes.needs_restart("limits", &running.limits, &read.limits);
    changes.needs_restart("engine", &running.engine, &read.engine);
    changes.needs_restart("drain", &running.drain, &read.drain);
    changes.needs_restart("access_log", &running.access_log, &read.access_log);
    changes.needs_restart("websocket", &running.websocket, &read.websocket);
    changes.compare_servers(&running.server, &read.server);
    changes
}
