//! The sections of the coordinator's configuration as written, with their defaults.

use std::path::PathBuf;
use std::time::Duration;

use app_proxy_api::address::Address;
use app_proxy_api::apps::{App, Labels};
use app_proxy_api::units::Period;
use app_proxy_hop::config::{
    AccessLogSection, CoordinatorLimitsSection, DrainSection, EngineKind, RequestIdSection,
    TimeoutsSection, WebSocketSection,
};
use app_proxy_runtime::config::AdminSection;
use app_proxy_runtime::daemon::LogFilter;
use ipnet::IpNet;
use serde::Deserialize;

/// The section `coordinator` as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCoordinator {
    pub(super) listeners: Vec<ListenerSection>,
    pub(super) admin: AdminSection,
    #[serde(default)]
    pub(super) domain: Option<String>,
    #[serde(default)]
    pub(super) trusted_proxies: Vec<IpNet>,
    #[serde(default)]
    pub(super) request_id: RequestIdSection,
    #[serde(default)]
    pub(super) sessions: SessionsSection,
    #[serde(default)]
    pub(super) store: StoreSection,
    #[serde(default = "default_worker_token_file")]
    pub(super) worker_token_file: PathBuf,
    #[serde(default)]
    pub(super) workers: Vec<WorkerSection>,
    #[serde(default)]
    pub(super) registration: RegistrationSection,
    #[serde(default)]
    pub(super) health_check: HealthCheckSection,
    #[serde(default)]
    pub(super) timeouts: TimeoutsSection,
    #[serde(default)]
    pub(super) limits: CoordinatorLimitsSection,
    #[serde(default)]
    pub(super) engine: EngineKind,
    #[serde(default)]
    pub(super) drain: DrainSection,
    #[serde(default)]
    pub(super) access_log: AccessLogSection,
    #[serde(default)]
    pub(super) log_level: LogFilter,
    #[serde(default)]
    pub(super) websocket: WebSocketSection,
    #[serde(default)]
    pub(super) webhooks: WebhooksSection,
    #[serde(default)]
    pub(super) apps: Vec<App>,
}

/// The file.
#[derive(Debug, Deserialize)]
pub(super) struct Document {
    pub(super) coordinator: RawCoordinator,
}

fn default_worker_token_file() -> PathBuf {
    PathBuf::from("run/worker.token")
}

/// An entry of `listeners`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListenerSection {
    /// The address to listen on.
    pub(crate) address: Address,
    /// Enables HTTP/2 without TLS, beside HTTP/1.1.
    #[serde(default)]
    pub(crate) h2c: bool,
}

/// `sessions`: cookies and the session table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SessionsSection {
    /// The name of the cookie.
    pub(crate) cookie: String,
    /// The header that replaces the cookie for clients without cookies.
    pub(crate) header: String,
    /// The time after which an unused session is deleted.
    pub(crate) ttl: Period,
    /// The maximum number of sessions.
    pub(crate) max: u64,
    /// The file with the key of the cookies' MAC.
    pub(crate) secret_file: PathBuf,
}

impl Default for SessionsSection {
    fn default() -> Self {
        Self {
            cookie: "app_proxy_session".to_owned(),
            header: "X-Backend-Session".to_owned(),
            ttl: Period::from_secs(12 * 3600),
            max: 100_000,
            secret_file: PathBuf::from("run/session.key"),
        }
    }
}

/// `webhooks`: events to schedulers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WebhooksSection {
    /// The file with the key that signs webhooks.
    pub(crate) secret_file: PathBuf,
}

impl Default for WebhooksSection {
    fn default() -> Self {
        Self {
            secret_file: PathBuf::from("run/webhook.key"),
        }
    }
}

/// `store`: the state that survives a restart.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct StoreSection {
    /// The kind of store.
    pub(crate) kind: StoreKind,
    /// The file of kind `sqlite`.
    pub(crate) path: PathBuf,
    /// Allows other coordinators with this key to serve from the same store.
    pub(crate) shared: bool,
}

/// The kind of store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StoreKind {
    /// One SQLite file.
    #[default]
    Sqlite,
    /// Memory: changes by the API are lost when the process ends.
    Memory,
}

impl Default for StoreSection {
    fn default() -> Self {
        Self {
            kind: StoreKind::default(),
            path: PathBuf::from("run/coordinator.db"),
            shared: false,
        }
    }
}

/// An entry of `workers`: a fixed worker of the pool.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WorkerSection {
    /// The identifier.
    pub(crate) id: String,
    /// The address of its proxy listener.
    pub(crate) address: Address,
    /// Its share of new sessions.
    #[serde(default = "one")]
    pub(crate) weight: u16,
    /// The labels that apps select by `pool`.
    #[serde(default)]
    pub(crate) labels: Labels,
}

const fn one() -> u16 {
    1
}

/// `registration`: workers that register themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RegistrationSection {
    /// The validity of a registration without renewal, if the worker sends no lease.
    pub(crate) lease: Period,
}

impl RegistrationSection {
    /// The shortest lease.
    pub(crate) const SHORTEST: Duration = Duration::from_millis(100);
    /// The longest lease.
    pub(crate) const LONGEST: Duration = Duration::from_secs(3600);
}

impl Default for RegistrationSection {
    fn default() -> Self {
        Self {
            lease: Period::from_secs(10),
        }
    }
}

/// `health_check`: active checks of workers.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct HealthCheckSection {
    /// The pause between two rounds of checks.
    pub(crate) interval: Period,
    /// The time limit of a check.
    pub(crate) timeout: Period,
    /// Consecutive successes that make a worker healthy.
    pub(crate) healthy_after: usize,
    /// Consecutive failures that make a worker unhealthy.
    pub(crate) unhealthy_after: usize,
}

impl Default for HealthCheckSection {
    fn default() -> Self {
        Self {
            interval: Period::from_secs(1),
            timeout: Period::from_secs(1),
            healthy_after: 1,
            unhealthy_after: 2,
        }
    }
}
