//! The coordinator's configuration: the section `coordinator` of its file, validated.

mod sections;
mod validation;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use app_proxy_api::address::Address;
use app_proxy_api::apps::App;
use app_proxy_hop::config::{
    AccessLogSection, DrainSection, EngineKind, Limits, RequestIdSection, TimeoutsSection,
    WebSocketSection,
};
use app_proxy_runtime::config::{ConfigError, ConfigFile, ConfigPath};
use app_proxy_runtime::daemon::LogFilter;
use http::HeaderName;
use ipnet::IpNet;
use pingora_core::server::configuration::ServerConf;

use crate::router::HostName;
use sections::{Document, ListenerSection, SessionsSection, WebhooksSection};
use validation::{limits, validate};

pub(crate) use sections::{
    HealthCheckSection, RegistrationSection, StoreKind, StoreSection, WorkerSection,
};

/// The validated configuration.
#[derive(Debug)]
pub struct Config {
    /// The file, for errors that are found later.
    pub(crate) file: ConfigFile,
    /// Pingora's configuration.
    pub(crate) server: ServerConf,
    /// The public listeners.
    pub(crate) listeners: Vec<ListenerSection>,
    /// The admin listener.
    pub(crate) admin: Address,
    /// The file with the admin token.
    pub(crate) admin_token_file: PathBuf,
    /// The domain below which each app has a host.
    pub(crate) domain: Option<HostName>,
    /// The networks whose forwarded headers are trusted.
    pub(crate) trusted_proxies: Vec<IpNet>,
    /// Request identifiers.
    pub(crate) request_id: RequestIdSection,
    /// Sessions.
    pub(crate) sessions: SessionsSection,
    /// The header that replaces the session cookie.
    pub(crate) session_header: HeaderName,
    /// The store.
    pub(crate) store: StoreSection,
    /// The file with the token between the tiers.
    pub(crate) worker_token_file: PathBuf,
    /// The fixed workers.
    pub(crate) workers: Vec<WorkerSection>,
    /// Registrations of workers.
    pub(crate) registration: RegistrationSection,
    /// Health checks of workers.
    pub(crate) health_check: HealthCheckSection,
    /// Timeouts of requests.
    pub(crate) timeouts: TimeoutsSection,
    /// Limits of requests and responses.
    pub(crate) limits: Limits,
    /// The code that reads requests.
    pub(crate) engine: EngineKind,
    /// The drain at the end of the process.
    pub(crate) drain: DrainSection,
    /// The access log.
    pub(crate) access_log: AccessLogSection,
    /// The levels of diagnostics.
    pub(crate) log_level: LogFilter,
    /// WebSockets.
    pub(crate) websocket: WebSocketSection,
    /// Webhooks to schedulers.
    pub(crate) webhooks: WebhooksSection,
    /// The apps of the file.
    pub(crate) apps: Vec<App>,
}

impl Config {
    /// Reads and validates a file. Its relative paths begin at the working directory.
    ///
    /// # Errors
    /// One line that names the file, the line and the key.
    pub fn load(path: impl Into<ConfigPath>) -> Result<Self, ConfigError> {
        Self::from_file(ConfigFile::read(&path.into())?)
    }

    /// Validates the text of a configuration. Its relative paths begin at `folder`.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(text: &str, folder: &Path) -> Result<Self, ConfigError> {
        let mut config = Self::from_file(ConfigFile::from_text("configuration", text))?;
        config.paths().for_each(|path| *path = folder.join(&*path));
        Ok(config)
    }

    /// Validates a file that has been read.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub(crate) fn from_file(mut source: ConfigFile) -> Result<Self, ConfigError> {
        let (server, document) = source.parse::<Document>("coordinator", &[])?;
        let raw = document.coordinator;
        let (domain, session_header) = validate(&source, &raw)?;
        let limits = limits(&source, &raw.limits)?;
        let admin_token_file = raw
            .admin
            .token_file
            .unwrap_or_else(|| PathBuf::from("run/admin.token"));
        Ok(Self {
            file: source,
            server,
            listeners: raw.listeners,
            admin: raw.admin.address,
            admin_token_file,
            domain,
            trusted_proxies: raw.trusted_proxies,
            request_id: raw.request_id,
            sessions: raw.sessions,
            session_header,
            store: raw.store,
            worker_token_file: raw.worker_token_file,
            workers: raw.workers,
            registration: raw.registration,
            health_check: raw.health_check,
            timeouts: raw.timeouts,
            limits,
            engine: raw.engine,
            drain: raw.drain,
            access_log: raw.access_log,
            log_level: raw.log_level,
            websocket: raw.websocket,
            webhooks: raw.webhooks,
            apps: raw.apps,
        })
    }

    /// The paths of the files.
    fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        [
            Some(&mut self.admin_token_file),
            Some(&mut self.worker_token_file),
            Some(&mut self.sessions.secret_file),
            Some(&mut self.webhooks.secret_file),
            Some(&mut self.store.path),
            self.access_log.file_mut(),
        ]
        .into_iter()
        .flatten()
    }
}

/// A list of networks.
#[derive(Clone, Debug)]
pub(crate) struct Networks(Arc<[IpNet]>);

impl Networks {
    /// Creates the list of a configuration.
    #[must_use]
    pub(crate) fn new(networks: &[IpNet]) -> Self {
        Self(networks.into())
    }

    /// Returns whether a network contains `address`. An IPv4-mapped IPv6 address counts as IPv4.
    #[must_use]
    pub(crate) fn contains(&self, address: std::net::IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

#[cfg(test)]
mod tests;
