//! The server of a tier: its services, before they start.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use pingora_core::server::Server;
use pingora_core::server::configuration::ServerConf;
use pingora_core::services::{ServiceHandle, ServiceWithDependents};

use app_proxy_hop::config::DrainSection;
use app_proxy_hop::error::Tier;
use app_proxy_hop::exchange::HopServices;

use crate::config::{ConfigError, ConfigFile};
use crate::daemon::background;
use crate::daemon::error::StartError;
use crate::daemon::launch::Launch;
use crate::daemon::listeners::ListenAddress;
use crate::daemon::pid_file::PidFile;
use crate::daemon::reload::Reload;
use crate::daemon::running::Running;
use crate::daemon::shutdown::{DaemonLife, Shutdown};
use crate::pingora;
use crate::pingora::hand_over::Claim;
use crate::pingora::supplied::{Supplied, Supplies};

/// The server of a tier that is about to start.
pub struct TierServer {
    server: Server,
    supplies: Supplies,
    /// The number of services.
    services: usize,
    shutdown: Shutdown,
    listeners: Vec<ListenAddress>,
    is_daemon: bool,
    reload: Option<Arc<dyn Reload>>,
    file: ConfigFile,
    hop: Arc<HopServices>,
}

impl TierServer {
    /// Creates the server of a configuration. It runs until what `hop` has in flight has ended, or
    /// the time in `drain` is over. `launch` is that of a daemon.
    ///
    /// # Errors
    /// If the file's part for Pingora is invalid, or a folder of the daemon's files cannot be
    /// created.
    pub fn new(
        file: &ConfigFile,
        hop: &Arc<HopServices>,
        drain: DrainSection,
        launch: Option<&Launch>,
    ) -> Result<Self, ConfigError> {
        let conf = if launch.is_some() {
            server_conf(file, hop.tier)?
        } else {
            let mut conf = file.server()?;
            pingora::set_files(hop.tier.as_str(), &mut conf);
            pingora::embed(&mut conf);
            conf
        };
        hop.log.start();
        let shutdown = Shutdown::new(hop.drain.clone(), drain);
        Ok(Self {
            server: pingora::server(conf),
            supplies: Supplies::new(shutdown.closing()),
            services: 0,
            shutdown,
            listeners: Vec::new(),
            is_daemon: launch.is_some(),
            reload: None,
            file: file.clone(),
            hop: Arc::clone(hop),
        })
    }

    /// Pingora's configuration, with absolute paths.
    #[must_use]
    pub fn conf(&self) -> Arc<ServerConf> {
        Arc::clone(&self.server.configuration)
    }

    /// Adds a service. The handle declares what it depends on.
    pub fn add_service(&mut self, service: impl ServiceWithDependents + 'static) -> ServiceHandle {
        self.services += 1;
        let supplies = self.supplies.clone();
        self.server.add_service(Supplied { service, supplies })
    }

    /// Adds a service that listens on `address`, whose port stays reserved until it does. The start
    /// fails if the service does not listen in time.
    pub fn add_listener(
        &mut self,
        address: ListenAddress,
        service: impl ServiceWithDependents + 'static,
    ) -> ServiceHandle {
        self.listeners.push(address);
        self.add_service(service)
    }

    /// Sets the reaction of a daemon to SIGHUP, which is ignored otherwise.
    pub fn on_reload(&mut self, reload: Arc<dyn Reload>) {
        self.reload = Some(reload);
    }

    /// Starts the services on threads of their own. Returns when every listener listens.
    ///
    /// # Errors
    /// If a listener does not listen in time; everything has ended then.
    pub fn start(mut self) -> Result<Running, StartError> {
        let life = self.is_daemon.then(|| DaemonLife {
            reload: self.reload.take(),
            upgrade_socket: self.conf().upgrade_sock.clone(),
        });
        let lifecycle = self.shutdown.service(life);
        self.add_service(lifecycle);
        let (server, shutdown, is_daemon) = (self.server, self.shutdown.clone(), self.is_daemon);
        let thread = thread::Builder::new()
            .name("server".to_owned())
            .spawn(move || server.run(shutdown.run_args(is_daemon)))
            .map_err(StartError::thread)?;
        let running = Running::new(self.shutdown, thread, self.hop);
        running.await_listeners(self.listeners, &self.supplies, self.services)?;
        Ok(running)
    }

    /// Prepares the pid file of a daemon in the background.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn pid_file(&self) -> Result<PidFile, ConfigError> {
        let path = &self.server.configuration.pid_file;
        let file = PidFile::prepare(Path::new(path));
        file.map_err(|e| {
            self.file
                .fault_of("pid_file", "pid_file", format!("{path}: {e}"))
        })
    }

    /// Waits for the listening sockets of the predecessor.
    ///
    /// # Errors
    /// If they do not come.
    pub(super) fn inherit(&self, claim: Claim) -> Result<(), StartError> {
        let expected: HashSet<String> = self
            .listeners
            .iter()
            .map(|address| address.as_str().to_owned())
            .collect();
        Ok(claim.receive(&expected, &self.supplies.sockets)?)
    }

    /// Changes the working directory to that of a daemon in the background.
    ///
    /// # Errors
    /// If the folder cannot be entered.
    pub(super) fn leave_folder(&self) -> Result<(), ConfigError> {
        let folder = self.server.configuration.working_directory.as_deref();
        let folder = folder.unwrap_or(Path::new("/"));
        std::env::set_current_dir(folder)
            .map_err(|e| background::folder_fault(&self.file, folder, &e))
    }
}

/// Returns Pingora's configuration of a daemon, with absolute paths, whose folders exist then.
///
/// # Errors
/// If the file's part for Pingora is invalid, or a folder cannot be created.
pub(super) fn server_conf(file: &ConfigFile, tier: Tier) -> Result<ServerConf, ConfigError> {
    let mut conf = file.server()?;
    pingora::set_files(tier.as_str(), &mut conf);
    pingora::create_folders(&conf).map_err(|e| file.fault_at(e.key, &e.to_string()))?;
    Ok(conf)
}
