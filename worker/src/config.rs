//! The worker's configuration: the section `worker` of its file, validated.

use std::path::{Path, PathBuf};

use app_proxy_api::address::Address;
use app_proxy_api::apps::{Labels, check_labels};
use app_proxy_api::units::Period;
use app_proxy_api::workers::{WorkerRegistration, check_id};
use app_proxy_hop::config::{
    AccessLogSection, DrainSection, EngineKind, Limits, RequestIdSection, TimeoutsSection,
    WebSocketSection, WorkerLimitsSection,
};
use app_proxy_runtime::config::{ConfigError, ConfigFile, ConfigPath, RenamedKey};
use app_proxy_runtime::daemon::LogFilter;
use http::Uri;
use pingora_core::server::configuration::ServerConf;
use serde::Deserialize;

/// The section as written in the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWorker {
    id: String,
    listener: ListenerSection,
    #[serde(default)]
    advertise: Option<Address>,
    #[serde(default = "yes")]
    register: bool,
    #[serde(default = "one")]
    weight: u16,
    #[serde(default)]
    labels: Labels,
    admin: ListenerSection,
    coordinators: Vec<String>,
    #[serde(default = "default_token_file")]
    token_file: PathBuf,
    #[serde(default)]
    request_id: HeadersSection,
    #[serde(default)]
    sync: SyncSection,
    #[serde(default)]
    timeouts: TimeoutsSection,
    #[serde(default)]
    limits: WorkerLimitsSection,
    #[serde(default)]
    engine: EngineKind,
    #[serde(default)]
    drain: DrainSection,
    #[serde(default)]
    access_log: AccessLogSection,
    #[serde(default)]
    log_level: LogFilter,
    #[serde(default)]
    websocket: WebSocketSection,
}

/// Keys that are accepted under their old names until the next release.
const RENAMED_KEYS: [RenamedKey; 1] = [RenamedKey {
    within: "sync",
    old: "fence",
    new: "catch_up_timeout",
}];

#[derive(Debug, Deserialize)]
struct Document {
    worker: RawWorker,
}

const fn yes() -> bool {
    true
}

const fn one() -> u16 {
    1
}

fn default_token_file() -> PathBuf {
    PathBuf::from("run/worker.token")
}

/// The address of a listener.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListenerSection {
    address: Address,
}

/// `request_id` of a worker: header names only, because it trusts its coordinators only.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct HeadersSection {
    header: Option<String>,
    aliases: Option<Vec<String>>,
}

/// `sync`: how the worker follows the app tables.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SyncSection {
    /// The maximum time that a poll for changes stays open.
    pub(crate) wait: Period,
    /// The pause after a failed poll.
    pub(crate) retry: Period,
    /// The maximum time that a request waits for a newer table that its coordinator already has.
    pub(crate) catch_up_timeout: Period,
}

impl Default for SyncSection {
    fn default() -> Self {
        Self {
            wait: Period::from_secs(30),
            retry: Period::from_secs(1),
            catch_up_timeout: Period::from_secs(2),
        }
    }
}

/// The validated configuration.
#[derive(Debug)]
pub struct Config {
    /// The file, for errors that are found later.
    pub(crate) file: ConfigFile,
    /// Pingora's section.
    pub(crate) server: ServerConf,
    /// The identifier of the worker.
    pub(crate) id: String,
    /// The listener for coordinators.
    pub(crate) listener: Address,
    /// The address at which coordinators reach the worker; `None` for that of the listener.
    pub(crate) advertise: Option<Address>,
    /// Enables registration with the coordinators.
    pub(crate) register: bool,
    /// The share of new sessions, relative to other workers.
    pub(crate) weight: u16,
    /// The labels by which apps select workers (`pool`).
    pub(crate) labels: Labels,
    /// The admin listener.
    pub(crate) admin: Address,
    /// The admin listeners of the coordinators.
    pub(crate) coordinators: Vec<Uri>,
    /// The file with the token between the tiers.
    pub(crate) token_file: PathBuf,
    /// The headers that carry the request identifier.
    pub(crate) request_id: RequestIdSection,
    /// The settings with which the worker follows the app tables.
    pub(crate) sync: SyncSection,
    /// Timeouts.
    pub(crate) timeouts: TimeoutsSection,
    /// Limits of requests and responses.
    pub(crate) limits: Limits,
    /// The code that reads requests.
    pub(crate) engine: EngineKind,
    /// The time limits of a shutdown.
    pub(crate) drain: DrainSection,
    /// The access log.
    pub(crate) access_log: AccessLogSection,
    /// The level of the diagnostic log.
    pub(crate) log_level: LogFilter,
    /// Settings of WebSockets.
    pub(crate) websocket: WebSocketSection,
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

    /// Validates a file.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub(crate) fn from_file(mut source: ConfigFile) -> Result<Self, ConfigError> {
        let (server, document) = source.parse::<Document>("worker", &RENAMED_KEYS)?;
        let file = &source;
        let raw = document.worker;
        check_id(&raw.id).map_err(|e| file.fault_at("id:", &format!("id: {e}")))?;
        if raw.coordinators.is_empty() {
            return Err(file.fault_at(
                "coordinators",
                "`coordinators` is empty: the worker has no app table to follow",
            ));
        }
        let coordinators = raw.coordinators.iter().map(|text| {
            coordinator(text).ok_or_else(|| {
                file.fault_at(
                    text,
                    &format!("coordinators: `{text}` is not http://host:port"),
                )
            })
        });
        check_profile(file, &raw)?;
        file.check_timeouts(&raw.timeouts)?;
        let request_id = headers(file, &raw.request_id)?;
        let coordinators = coordinators.collect::<Result<_, _>>()?;
        Ok(Self {
            file: source,
            server,
            id: raw.id,
            advertise: raw.advertise,
            register: raw.register,
            weight: raw.weight,
            labels: raw.labels,
            listener: raw.listener.address,
            admin: raw.admin.address,
            coordinators,
            token_file: raw.token_file,
            request_id,
            sync: raw.sync,
            timeouts: raw.timeouts,
            limits: raw.limits.resolve(),
            engine: raw.engine,
            drain: raw.drain,
            access_log: raw.access_log,
            log_level: raw.log_level,
            websocket: raw.websocket,
        })
    }

    /// The paths of the files.
    fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        [Some(&mut self.token_file), self.access_log.file_mut()]
            .into_iter()
            .flatten()
    }
}

/// Checks the values that the worker registers with.
fn check_profile(file: &ConfigFile, raw: &RawWorker) -> Result<(), ConfigError> {
    if !(1..=WorkerRegistration::MAX_WEIGHT).contains(&raw.weight) {
        return Err(file.fault_at(
            "weight:",
            &format!("weight: 1 to {}", WorkerRegistration::MAX_WEIGHT),
        ));
    }
    check_labels("labels", &raw.labels).map_err(|e| file.fault_at("labels:", &e.to_string()))?;
    if raw
        .advertise
        .as_ref()
        .is_some_and(|address| address.port() == Some(0))
    {
        return Err(file.fault_at("advertise:", "advertise: port 0 cannot be reached"));
    }
    let anywhere = ["0.0.0.0", "::"].map(String::from);
    if let (true, None, Address::Inet { host, .. }) =
        (raw.register, &raw.advertise, &raw.listener.address)
        && anywhere.contains(host)
    {
        let text = format!(
            "advertise: missing, and coordinators cannot connect to the listener's address {host}"
        );
        return Err(file.fault_at("listener", &text));
    }
    Ok(())
}

fn coordinator(text: &str) -> Option<Uri> {
    let uri: Uri = text.parse().ok()?;
    let plain = uri.scheme_str() == Some("http")
        && uri.authority().is_some()
        && matches!(uri.path(), "" | "/");
    (plain && uri.query().is_none()).then_some(uri)
}

fn headers(file: &ConfigFile, section: &HeadersSection) -> Result<RequestIdSection, ConfigError> {
    let mut names = RequestIdSection::default();
    let parse = |text: &str| {
        text.parse()
            .map_err(|_| file.fault_at(text, &format!("request_id: `{text}` is not a header name")))
    };
    if let Some(header) = &section.header {
        names.header = parse(header)?;
    }
    if let Some(aliases) = &section.aliases {
        names.aliases = aliases
            .iter()
            .map(|alias| parse(alias))
            .collect::<Result<_, _>>()?;
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALLEST: &str = "version: 1\nworker:\n  id: w\n  listener: {address: '127.0.0.1:0'}\n  \
        admin: {address: '127.0.0.1:0'}\n";

    fn load(more: &str) -> Result<Config, String> {
        let text = format!("{SMALLEST}{more}");
        Config::from_file(ConfigFile::from_text("w.yaml", &text)).map_err(|e| e.to_string())
    }

    #[test]
    fn the_sample_is_valid_and_has_the_default_values() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf/worker.yaml");
        let sample = Config::load(path).unwrap();
        let default = load("  coordinators: ['http://127.0.0.1:8081']\n").unwrap();
        let shown = |c: &Config| {
            format!(
                "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
                c.register,
                c.weight,
                c.labels,
                c.request_id,
                c.sync,
                c.timeouts,
                c.limits,
                c.engine,
                c.drain,
                c.access_log,
                c.websocket,
                c.token_file,
                c.log_level
            )
        };
        assert_eq!(shown(&sample), shown(&default));
    }

    #[test]
    fn faults_name_their_line_and_key() {
        for (more, line, words) in [
            ("  coordinators: []\n", 6, "coordinators"),
            ("  coordinators: ['127.0.0.1:8081']\n", 6, "coordinators"),
            ("  coordinators: ['http://c:1/path']\n", 6, "coordinators"),
            (
                "  coordinators: ['http://c:1']\n  request_id: {header: 'a b'}\n",
                7,
                "request_id",
            ),
            ("  coordinators: ['http://c:1']\n  weight: 0\n", 7, "weight"),
            (
                "  coordinators: ['http://c:1']\n  labels: {zone: ''}\n",
                7,
                "labels.zone",
            ),
            (
                "  coordinators: ['http://c:1']\n  advertise: 'h:0'\n",
                7,
                "advertise",
            ),
            (
                "  coordinators: ['http://c:1']\n  limits: {request_head: 8KiB}\n",
                7,
                "request_head",
            ),
            (
                "  coordinators: ['http://c:1']\n  engine: nginx\n",
                7,
                "engine",
            ),
            (
                "  coordinators: ['http://c:1']\n  request_id: {accept_from: []}\n",
                7,
                "accept_from",
            ),
        ] {
            let text = load(more).unwrap_err();
            assert!(
                text.starts_with(&format!("w.yaml:{line}: ")) && text.contains(words),
                "{text}"
            );
        }
    }
}
