//! SIGHUP: the coordinator reads its file again. Apps, fixed workers, timeouts, the log level and
//! trusted proxies are applied at once; other keys require a restart. An invalid file changes
//! nothing.

use std::sync::Arc;

use app_proxy_runtime::config::ConfigError;
use app_proxy_runtime::daemon::{ConfigDiff, Launch, Reload, reject_reload};
use async_trait::async_trait;
use log::error;
use tokio::sync::Mutex;

use crate::apps::edit::{Edit, EditError};
use crate::apps::editor::Editor;
use crate::config::{Config, Networks};
use crate::pool::{PoolError, ResolvedWorkers};
use crate::request::services::Services;

/// Reloads the configuration of a coordinator.
pub(crate) struct CoordinatorReload {
    launch: Launch,
    /// The configuration of the start, with the keys that reloads have applied since.
    running: Mutex<Config>,
    services: Arc<Services>,
    editor: Editor,
}

/// The cause of a rejected reload.
#[derive(Debug, thiserror::Error)]
enum ReloadError {
    /// The file is invalid.
    #[error(transparent)]
    File(#[from] ConfigError),
    /// Reading the file panicked.
    #[error("{0}")]
    Internal(String),
    /// The apps conflict with those of the API, or cannot be stored.
    #[error("apps: {0}")]
    Apps(#[from] EditError),
    /// The address of a fixed worker cannot be resolved, or conflicts.
    #[error("workers: {0}")]
    Workers(#[from] PoolError),
}

impl CoordinatorReload {
    /// Creates a reload of the file of `launch`, of which `running` was read at startup.
    #[must_use]
    pub(crate) fn new(
        launch: Launch,
        running: Config,
        services: Arc<Services>,
        editor: Editor,
    ) -> Self {
        Self {
            launch,
            running: Mutex::new(running),
            services,
            editor,
        }
    }

    async fn try_reload(&self) -> Result<(), ReloadError> {
        let file = self.launch.conf().clone();
        let read = tokio::task::spawn_blocking(move || Config::load(file)).await;
        let read = read.map_err(|e| ReloadError::Internal(e.to_string()))??;
        let mut running = self.running.lock().await;
        let Services {
            hop,
            pool,
            trusted_proxies,
            ..
        } = &*self.services;
        let mut changes = compare(&running, &read);
        // Steps that may fail come first, so that a rejected file changes nothing.
        let workers = if changes.applies("workers", &running.workers, &read.workers) {
            Some(ResolvedWorkers::resolve(&read.workers).await?)
        } else {
            None
        };
        let added = match &workers {
            Some(workers) => pool.add_fixed(workers).await?,
            None => Vec::new(),
        };
        changes.applies("apps", &running.apps, &read.apps);
        // Also for unchanged apps: the table may have lost them, or never have had them.
        if let Err(e) = self.editor.edit(Edit::File(read.apps.clone()), None).await {
            pool.remove_fixed(&added).await?;
            return Err(e.into());
        }
        if let Some(workers) = &workers {
            pool.set_fixed(workers).await?;
        }
        if changes.applies("timeouts", &running.timeouts, &read.timeouts) {
            hop.set_timeouts(read.timeouts.clone());
            pool.set_timeouts(&read.timeouts).await?;
        }
        if changes.applies(
            "trusted_proxies",
            &running.trusted_proxies,
            &read.trusted_proxies,
        ) {
            trusted_proxies.store(Arc::new(Networks::new(&read.trusted_proxies)));
        }
        changes.conclude(
            &read.file,
            self.launch.logging(),
            &running.log_level,
            &read.log_level,
        );
        running.workers = read.workers;
        running.apps = read.apps;
        running.timeouts = read.timeouts;
        running.trusted_proxies = read.trusted_proxies;
        running.log_level = read.log_level;
        Ok(())
    }
}

#[async_trait]
impl Reload for CoordinatorReload {
    async fn reload(&self) {
        match self.try_reload().await {
            Ok(()) => {}
            Err(ReloadError::File(e)) => reject_reload(&e),
            Err(e) => error!("cannot reload: {}: {e}", self.launch.conf()),
        }
    }
}

/// Compares the keys that only a restart applies.
fn compare(running: &Config, read: &Config) -> ConfigDiff {
    let mut changes = ConfigDiff::default();
    changes.needs_restart("listeners", &running.listeners, &read.listeners);
    changes.needs_restart("admin.address", &running.admin, &read.admin);
    changes.needs_restart(
        "admin.token_file",
        &running.admin_token_file,
        &read.admin_token_file,
    );
    changes.needs_restart("domain", &running.domain, &read.domain);
    changes.needs_restart("request_id", &running.request_id, &read.request_id);
    changes.needs_restart("sessions", &running.sessions, &read.sessions);
    changes.needs_restart("store", &running.store, &read.store);
    changes.needs_restart(
        "worker_token_file",
        &running.worker_token_file,
        &read.worker_token_file,
    );
    changes.needs_restart("registration", &running.registration, &read.registration);
    changes.needs_restart("health_check", &running.health_check, &read.health_check);
    changes.needs_restart("limits", &running.limits, &read.limits);
    changes.needs_restart("engine", &running.engine, &read.engine);
    changes.needs_restart("drain", &running.drain, &read.drain);
    changes.needs_restart("access_log", &running.access_log, &read.access_log);
    changes.needs_restart("websocket", &running.websocket, &read.websocket);
    changes.needs_restart("webhooks", &running.webhooks, &read.webhooks);
    changes.compare_servers(&running.server, &read.server);
    changes
}
