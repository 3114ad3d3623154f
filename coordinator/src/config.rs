//! The coordinator's configuration: the section `coordinator` of its file, validated.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use app_proxy_api::address::Address;
use app_proxy_api::apps::{App, Labels, check_labels};
use app_proxy_api::units::Period;
use app_proxy_api::workers::{WorkerRegistration, check_id};
use app_proxy_hop::config::{
    AccessLogSection, DrainSection, LimitsSection, RequestIdSection, TimeoutsSection,
    WebSocketSection,
};
use app_proxy_runtime::config::{AdminSection, ConfigError, ConfigFile, ConfigPath};
use app_proxy_runtime::daemon::LogFilter;
use http::HeaderName;
use ipnet::IpNet;
use pingora_core::server::configuration::ServerConf;
use serde::Deserialize;

use crate::router::{HostName, Router, rules};

/// The section as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCoordinator {
    listeners: Vec<ListenerSection>,
    admin: AdminSection,
    #[serde(default)]
    domain: Option<String>,
    #[serde(default)]
    trusted_proxies: Vec<IpNet>,
    #[serde(default)]
    request_id: RequestIdSection,
    #[serde(default)]
    sessions: SessionsSection,
    #[serde(default)]
    store: StoreSection,
    #[serde(default = "default_worker_token_file")]
    worker_token_file: PathBuf,
    #[serde(default)]
    workers: Vec<WorkerSection>,
    #[serde(default)]
    registration: RegistrationSection,
    #[serde(default)]
    health_check: HealthCheckSection,
    #[serde(default)]
    timeouts: TimeoutsSection,
    #[serde(default)]
    limits: LimitsSection,
    #[serde(default)]
    drain: DrainSection,
    #[serde(default)]
    access_log: AccessLogSection,
    #[serde(default)]
    log_level: LogFilter,
    #[serde(default)]
    websocket: WebSocketSection,
    #[serde(default)]
    webhooks: WebhooksSection,
    #[serde(default)]
    apps: Vec<App>,
}

#[derive(Debug, Deserialize)]
struct Document {
    coordinator: RawCoordinator,
}

fn default_worker_token_file() -> PathBuf {
    PathBuf::from("run/worker.token")
}

/// One public listener.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListenerSection {
    /// Where it listens.
    pub(crate) address: Address,
    /// Whether it speaks HTTP/2 without TLS, beside HTTP/1.1.
    #[serde(default)]
    pub(crate) h2c: bool,
}

/// `sessions`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SessionsSection {
    /// The cookie's name.
    pub(crate) cookie: String,
    /// The header that takes the cookie's place for clients without cookies.
    pub(crate) header: String,
    /// How long an unused session is remembered.
    pub(crate) ttl: Period,
    /// Bound of the table.
    pub(crate) max: u64,
    /// Holds the key of the cookies' MAC.
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

/// `webhooks`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WebhooksSection {
    /// Holds the key that webhooks are signed with.
    pub(crate) secret_file: PathBuf,
}

impl Default for WebhooksSection {
    fn default() -> Self {
        Self {
            secret_file: PathBuf::from("run/webhook.key"),
        }
    }
}

/// `store`: what survives a restart.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct StoreSection {
    /// Where it is.
    pub(crate) kind: StoreKind,
    /// The file of `sqlite`.
    pub(crate) path: PathBuf,
}

/// Where state is that must survive a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StoreKind {
    /// In one file.
    #[default]
    Sqlite,
    /// Nowhere: what the API has changed is forgotten at the end.
    Memory,
}

impl Default for StoreSection {
    fn default() -> Self {
        Self {
            kind: StoreKind::default(),
            path: PathBuf::from("run/coordinator.db"),
        }
    }
}

/// One fixed worker of the pool.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WorkerSection {
    /// Its name.
    pub(crate) id: String,
    /// Where its proxy listens.
    pub(crate) address: Address,
    /// Its share of new sessions.
    #[serde(default = "one")]
    pub(crate) weight: u16,
    /// What apps may ask for by `pool`.
    #[serde(default)]
    pub(crate) labels: Labels,
}

const fn one() -> u16 {
    1
}

/// `registration`: workers that join by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RegistrationSection {
    /// For how long a registration holds unless it is renewed, where the worker does not say it.
    pub(crate) lease: Period,
}

impl RegistrationSection {
    /// Shortest lease.
    pub(crate) const SHORTEST: Duration = Duration::from_millis(100);
    /// Longest lease.
    pub(crate) const LONGEST: Duration = Duration::from_secs(3600);
}

impl Default for RegistrationSection {
    fn default() -> Self {
        Self {
            lease: Period::from_secs(10),
        }
    }
}

/// `health_check`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct HealthCheckSection {
    /// Pause between two rounds.
    pub(crate) interval: Period,
    /// How long a worker has to answer.
    pub(crate) timeout: Period,
    /// Answers in a row that make a worker healthy again.
    pub(crate) healthy_after: usize,
    /// Failures in a row that take it out.
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

/// The validated configuration.
#[derive(Debug)]
pub struct Config {
    /// The file, for faults that are found later.
    pub(crate) file: ConfigFile,
    /// Pingora's part.
    pub(crate) server: ServerConf,
    /// Where clients connect.
    pub(crate) listeners: Vec<ListenerSection>,
    /// The admin listener.
    pub(crate) admin: Address,
    /// Holds the admin API's token.
    pub(crate) admin_token_file: PathBuf,
    /// Below which each app has a host of its own.
    pub(crate) domain: Option<HostName>,
    /// Whose forwarded headers are believed.
    pub(crate) trusted_proxies: Vec<IpNet>,
    /// How requests are identified.
    pub(crate) request_id: RequestIdSection,
    /// How sessions are kept.
    pub(crate) sessions: SessionsSection,
    /// The header that takes the cookie's place.
    pub(crate) session_header: HeaderName,
    /// What survives a restart.
    pub(crate) store: StoreSection,
    /// Holds the token between the tiers.
    pub(crate) worker_token_file: PathBuf,
    /// The pool.
    pub(crate) workers: Vec<WorkerSection>,
    /// How long workers stay that have joined by themselves.
    pub(crate) registration: RegistrationSection,
    /// How the pool is checked.
    pub(crate) health_check: HealthCheckSection,
    /// How long the tier waits.
    pub(crate) timeouts: TimeoutsSection,
    /// What it refuses.
    pub(crate) limits: LimitsSection,
    /// How it ends.
    pub(crate) drain: DrainSection,
    /// Where requests are logged.
    pub(crate) access_log: AccessLogSection,
    /// What diagnostics are logged.
    pub(crate) log_level: LogFilter,
    /// What it does with WebSockets.
    pub(crate) websocket: WebSocketSection,
    /// How schedulers are told.
    pub(crate) webhooks: WebhooksSection,
    /// The apps of the file.
    pub(crate) apps: Vec<App>,
}

impl Config {
    /// Reads and validates a file.
    ///
    /// # Errors
    /// With one line that names the file, the line and the key.
    pub fn load(path: &ConfigPath) -> Result<Self, ConfigError> {
        Self::from_file(ConfigFile::read(path)?)
    }

    /// Validates a file that has been read.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn from_file(mut source: ConfigFile) -> Result<Self, ConfigError> {
        let (server, document) = source.parse::<Document>("coordinator", &[])?;
        let file = &source;
        let raw = document.coordinator;
        if raw.listeners.is_empty() {
            return Err(file.fault_at(
                "listeners",
                "`listeners` is empty: where would clients connect?",
            ));
        }
        let domain = match &raw.domain {
            None => None,
            Some(text) => Some(
                HostName::parse(text)
                    .map_err(|e| file.fault_at("domain", &format!("domain: {e}")))?,
            ),
        };
        let session_header = raw.sessions.header.parse::<HeaderName>().map_err(|_| {
            file.fault_at(
                &raw.sessions.header,
                &format!(
                    "sessions.header: `{}` is not a header name",
                    raw.sessions.header
                ),
            )
        })?;
        check_sessions(file, &raw.sessions)?;
        check_health(file, &raw.health_check)?;
        file.check_timeouts(&raw.timeouts)?;
        check_workers(file, &raw.workers)?;
        check_registration(file, raw.registration)?;
        check_apps(file, &raw.apps, domain.clone())?;
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
            limits: raw.limits,
            drain: raw.drain,
            access_log: raw.access_log,
            log_level: raw.log_level,
            websocket: raw.websocket,
            webhooks: raw.webhooks,
            apps: raw.apps,
        })
    }
}

fn check_sessions(file: &ConfigFile, sessions: &SessionsSection) -> Result<(), ConfigError> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if sessions.cookie.is_empty() || !sessions.cookie.bytes().all(token) {
        return Err(file.fault_at(
            &sessions.cookie,
            &format!("sessions.cookie: `{}` is no cookie name", sessions.cookie),
        ));
    }
    if sessions.max < 4 {
        return Err(file.fault_at("max:", "sessions.max: at least 4"));
    }
    if sessions.ttl.0.is_zero() {
        return Err(file.fault_at("ttl:", "sessions.ttl: longer than 0"));
    }
    Ok(())
}

fn check_health(file: &ConfigFile, check: &HealthCheckSection) -> Result<(), ConfigError> {
    for (name, wrong) in [
        ("interval", check.interval.0.is_zero()),
        ("timeout", check.timeout.0.is_zero()),
        ("unhealthy_after", check.unhealthy_after == 0),
        ("healthy_after", check.healthy_after == 0),
    ] {
        if wrong {
            return Err(file.fault_at(
                &format!("{name}:"),
                &format!("health_check.{name}: more than 0"),
            ));
        }
    }
    Ok(())
}

fn check_registration(
    file: &ConfigFile,
    registration: RegistrationSection,
) -> Result<(), ConfigError> {
    if (RegistrationSection::SHORTEST..=RegistrationSection::LONGEST)
        .contains(&registration.lease.0)
    {
        return Ok(());
    }
    Err(file.fault_at("lease:", "registration.lease: 100ms to 1h"))
}

fn check_workers(file: &ConfigFile, workers: &[WorkerSection]) -> Result<(), ConfigError> {
    let fault = |id: &str, text: String| file.fault_at(&format!("id: {id}"), &text);
    let mut seen = HashSet::new();
    for worker in workers {
        let id = &worker.id;
        check_id(id).map_err(|e| fault(id, format!("workers: {e}")))?;
        if !(1..=WorkerRegistration::MAX_WEIGHT).contains(&worker.weight) {
            return Err(fault(
                id,
                format!(
                    "workers: the weight of `{id}` is not 1 to {}",
                    WorkerRegistration::MAX_WEIGHT
                ),
            ));
        }
        check_labels("labels", &worker.labels)
            .map_err(|e| fault(id, format!("workers: `{id}`: {e}")))?;
        if !seen.insert(id.clone()) || !seen.insert(worker.address.to_string()) {
            return Err(fault(
                id,
                format!("workers: `{id}` has an id or an address that another one has"),
            ));
        }
    }
    Ok(())
}

fn check_apps(
    file: &ConfigFile,
    apps: &[App],
    domain: Option<HostName>,
) -> Result<(), ConfigError> {
    let fault = |name: &str, text: String| {
        file.fault_at(&format!("name: {name}"), &format!("apps: {text}"))
    };
    let mut router = Router::new(domain);
    for app in apps {
        let fault_of =
            |e: &dyn std::fmt::Display| fault(&app.name, format!("app `{}`: {e}", app.name));
        app.validate().map_err(|e| fault_of(&e))?;
        let rules = rules(app).map_err(|e| fault_of(&e))?;
        router
            .add_app(&app.name, &rules, ())
            .map_err(|e| fault(&app.name, e.to_string()))?;
    }
    Ok(())
}

/// A list of networks that addresses are looked up in.
#[derive(Clone, Debug)]
pub(crate) struct Networks(Arc<[IpNet]>);

impl Networks {
    /// The networks of a configuration.
    #[must_use]
    pub(crate) fn new(networks: &[IpNet]) -> Self {
        Self(networks.into())
    }

    /// Whether one of them has the address; an IPv4 address in IPv6 form is the IPv4 address.
    #[must_use]
    pub(crate) fn contains(&self, address: std::net::IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const SMALLEST: &str = "version: 1\ncoordinator:\n  listeners: [{address: '127.0.0.1:0'}]\n  admin: {address: '127.0.0.1:0'}\n";

    fn load(more: &str) -> Result<Config, String> {
        let text = format!("{SMALLEST}{more}");
        Config::from_file(ConfigFile::from_text("c.yaml", &text)).map_err(|e| e.to_string())
    }

    #[test]
    fn the_sample_is_valid_and_says_the_defaults() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf/coordinator.yaml");
        let sample = Config::load(&path.into()).unwrap();
        let default = load("").unwrap();
        let shown = |c: &Config| {
            format!(
                "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
                c.store,
                c.webhooks,
                c.registration,
                c.request_id,
                c.sessions,
                c.health_check,
                c.timeouts,
                c.limits,
                c.drain,
                c.access_log,
                c.websocket,
                c.trusted_proxies,
                c.log_level
            )
        };
        assert_eq!(shown(&sample), shown(&default));
    }

    #[test]
    fn faults_name_their_line_and_key() {
        for (more, line, words) in [
            (
                "  workers: [{id: a, address: 'h:1'}, {id: a, address: 'h:2'}]\n",
                5,
                vec!["workers", "`a`"],
            ),
            (
                "  workers:\n  - {id: a, address: 'h'}\n",
                6,
                vec!["workers", "address"],
            ),
            (
                "  apps:\n  - name: a\n  - name: b\n    match: [{path: /apps/a}]\n",
                7,
                vec!["apps", "`a`"],
            ),
            ("  apps:\n  - name: UP\n", 6, vec!["UP"]),
            (
                "  apps:\n  - name: a\n    match: [{path: a}]\n",
                6,
                vec!["apps"],
            ),
            ("  sessions: {tll: 1h}\n", 5, vec!["tll"]),
            ("  sessions: {max: 1}\n", 5, vec!["sessions.max"]),
            (
                "  registration: {lease: 10ms}\n",
                5,
                vec!["registration.lease"],
            ),
            (
                "  workers: [{id: a, address: 'h:1', labels: {'': x}}]\n",
                5,
                vec!["labels", "`a`"],
            ),
            (
                "  health_check: {interval: 0s}\n",
                5,
                vec!["health_check.interval"],
            ),
            (
                "  trusted_proxies: [10.0.0.0/40]\n",
                5,
                vec!["trusted_proxies"],
            ),
            ("  domain: 'a b'\n", 5, vec!["domain"]),
        ] {
            let text = load(more).unwrap_err();
            assert!(text.starts_with(&format!("c.yaml:{line}: ")), "{text}");
            assert!(
                words.iter().all(|word| text.contains(word)) && !text.contains('\n'),
                "{text}"
            );
        }
    }
}
