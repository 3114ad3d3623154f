//! A daemon's life: command line, logging, secrets, listeners, reload and shutdown.

mod diff;
mod flags;
mod listeners;
mod logging;
mod reload;
mod secrets;
mod shutdown;
mod signals;

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pingora_core::server::Server;
use pingora_core::server::configuration::ServerConf;

use app_proxy_hop::config::{AccessLogSection, DrainSection};
use app_proxy_hop::exchange::HopServices;

use crate::config::{ConfigError, ConfigFile};
use crate::pingora;
use shutdown::Shutdown;

pub use diff::{ConfigDiff, reject_reload};
pub use flags::Flags;
pub use listeners::{ListenAddress, reserve};
pub use logging::{LogFilter, Logging};
pub use reload::Reload;
pub use secrets::read_or_create;

/// A Pingora server that is about to run.
pub struct Daemon {
    /// The server that services are added to.
    pub server: Server,
    shutdown: Shutdown,
    listeners: Vec<ListenAddress>,
    reload: Option<Arc<dyn Reload>>,
    file: ConfigFile,
}

impl Daemon {
    /// Creates the server of a configuration. It runs until what `hop` has in flight has ended, or
    /// the time in `drain` is over.
    ///
    /// # Errors
    /// If the file's part for Pingora is invalid, or a folder of the server's files cannot be
    /// created.
    pub fn new(
        flags: &Flags,
        file: &ConfigFile,
        hop: &HopServices,
        drain: DrainSection,
    ) -> Result<Self, ConfigError> {
        let tier = hop.tier.as_str();
        let server = pingora::server(tier, file.server()?, flags.options(), drain.longest())
            .map_err(|e| file.fault_at(e.key, &e.to_string()))?;
        let conf = &server.configuration;
        let pid_file = conf.daemon.then(|| PathBuf::from(&conf.pid_file));
        Ok(Self {
            shutdown: Shutdown::new(hop.drain.clone(), drain, hop.log.clone(), pid_file),
            server,
            listeners: Vec::new(),
            reload: None,
            file: file.clone(),
        })
    }

    /// Pingora's configuration, with absolute paths.
    #[must_use]
    pub fn conf(&self) -> Arc<ServerConf> {
        Arc::clone(&self.server.configuration)
    }

    /// Keeps a port reserved until its service listens, and logs that it does. A service that does
    /// not listen in time ends the daemon.
    pub fn expect_listener(&mut self, address: ListenAddress) {
        self.listeners.push(address);
    }

    /// Sets the reaction to SIGHUP, which is ignored otherwise.
    pub fn on_reload(&mut self, reload: Arc<dyn Reload>) {
        self.reload = Some(reload);
    }

    /// Serves until a signal ends the process.
    pub fn run(mut self) -> ! {
        signals::install_early_handlers();
        self.server.bootstrap();
        let lifecycle = self
            .shutdown
            .service(self.listeners, self.reload, self.file);
        self.server.add_service(lifecycle);
        self.server.run(self.shutdown.run_args());
        self.shutdown.exit()
    }
}

/// Checks that a start could use its secrets and its access log, without creating any file (flag
/// `-t`).
///
/// # Errors
/// If an existing file cannot be used, or its folder does not exist.
pub fn check_files(
    file: &ConfigFile,
    secrets: &[&Path],
    access_log: &AccessLogSection,
) -> Result<(), ConfigError> {
    for secret in secrets.iter().filter(|secret| secret.exists()) {
        read_or_create(file, "secret", secret)?;
    }
    let Some(log) = access_log.file() else {
        return Ok(());
    };
    let usable = if log.exists() {
        OpenOptions::new().append(true).open(log).map(drop)
    } else {
        let folder = log
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        std::fs::metadata(folder).map(drop)
    };
    usable.map_err(|e| {
        let path = log.display().to_string();
        file.fault_of(&path, "access_log", format!("{path}: {e}"))
    })
}
