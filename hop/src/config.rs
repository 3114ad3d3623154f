//! Sections of both daemons' configurations, with the same keys and defaults.

mod limits;

use std::path::{Path, PathBuf};

use http::HeaderName;
use ipnet::IpNet;
use serde::Deserialize;

use app_proxy_api::units::{Period, Size};

pub use limits::{CoordinatorLimitsSection, LimitFault, Limits, WorkerLimitsSection};

/// `engine`: the code that reads requests and calls the phases of a tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineKind {
    /// The crate `engine`.
    #[default]
    Ours,
    /// The loop of Pingora, for comparison.
    Pingora,
}

/// `request_id`: the headers with the identifier, and the peers whose identifiers are accepted
/// (docs/reference/request-id.md, rules 3 and 5).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RequestIdSection {
    /// The header with the identifier.
    #[serde(deserialize_with = "header_name")]
    pub header: HeaderName,
    /// Headers that are read in this order if `header` is absent, and sent to the application
    /// beside it.
    #[serde(deserialize_with = "header_names")]
    pub aliases: Vec<HeaderName>,
    /// Peers whose identifiers are accepted. A worker ignores it, and accepts its coordinators'.
    pub(crate) accept_from: Vec<IpNet>,
}

impl Default for RequestIdSection {
    fn default() -> Self {
        Self {
            header: HeaderName::from_static("x-backend-request-id"),
            aliases: vec![HeaderName::from_static("x-request-id")],
            accept_from: vec![
                IpNet::V4(ipnet::Ipv4Net::default()),
                IpNet::V6(ipnet::Ipv6Net::default()),
            ],
        }
    }
}

fn header_name<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<HeaderName, D::Error> {
    parse_header_name(&String::deserialize(deserializer)?)
}

fn header_names<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<HeaderName>, D::Error> {
    Vec::<String>::deserialize(deserializer)?
        .iter()
        .map(|text| parse_header_name(text))
        .collect()
}

fn parse_header_name<E: serde::de::Error>(text: &str) -> Result<HeaderName, E> {
    text.parse()
        .map_err(|_| E::custom(format!("`{text}` is not a header name")))
}

/// `timeouts`: timeouts towards the client and the next hop.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TimeoutsSection {
    /// Time to connect to the next hop.
    pub connect: Period,
    /// Longest silence of the next hop, before its response and within it.
    pub upstream_read: Period,
    /// Longest silence of the client within a request.
    pub client_read: Period,
    /// Longest time in which the client reads nothing of a response.
    pub client_write: Period,
    /// Time after which an idle client connection is closed.
    pub keepalive: Period,
    /// Time after which an idle connection to the next hop is closed.
    pub upstream_keepalive: Period,
    /// How long a request continues whose client has closed its sending side; 0 ends it at once.
    pub half_closed: Period,
}

impl TimeoutsSection {
    /// Returns the key of the first timeout that is 0 and must not be. The two for idle connections
    /// and the one for half-closed ones may be 0, which closes them at once.
    #[must_use]
    pub fn first_zero(&self) -> Option<&'static str> {
        let timeouts = [
            ("connect", self.connect),
            ("upstream_read", self.upstream_read),
            ("client_read", self.client_read),
            ("client_write", self.client_write),
        ];
        timeouts
            .iter()
            .find(|(_, period)| period.0.is_zero())
            .map(|(name, _)| *name)
    }
}

impl Default for TimeoutsSection {
    fn default() -> Self {
        Self {
            connect: Period::from_secs(3),
            upstream_read: Period::from_secs(3600),
            client_read: Period::from_secs(60),
            client_write: Period::from_secs(60),
            keepalive: Period::from_secs(75),
            upstream_keepalive: Period::from_secs(60),
            half_closed: Period::from_secs(5),
        }
    }
}

/// `drain`: time for what is in flight at a shutdown.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DrainSection {
    /// Time for requests to end after SIGTERM.
    pub requests: Period,
    /// Time after SIGTERM before WebSockets are closed with 1001.
    pub streams: Period,
    /// Time for both after an upgrade (SIGQUIT).
    pub upgrade: Period,
}

impl DrainSection {
    /// Returns the longest of these times.
    #[must_use]
    pub fn longest(&self) -> std::time::Duration {
        self.requests.0.max(self.upgrade.0).max(self.streams.0)
    }
}

impl Default for DrainSection {
    fn default() -> Self {
        Self {
            requests: Period::from_secs(30),
            streams: Period::from_secs(5),
            upgrade: Period::from_secs(3600),
        }
    }
}

/// The format of access-log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// One JSON object a line.
    #[default]
    Json,
}

/// `access_log`: destination and content of the access log.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AccessLogSection {
    /// A file, or `-` for standard output.
    pub(crate) path: PathBuf,
    /// The format of a line.
    pub(crate) format: LogFormat,
    /// Adds the query string to `path`. It may contain secrets.
    pub(crate) query: bool,
    /// Size of the latest lines that a lookup of one request searches, in memory and in the file; 0
    /// disables lookups.
    pub(crate) recent: Size,
}

impl Default for AccessLogSection {
    fn default() -> Self {
        Self {
            path: PathBuf::from("-"),
            format: LogFormat::Json,
            query: false,
            recent: Size(16 << 20),
        }
    }
}

impl AccessLogSection {
    /// Returns the file, or `None` for standard output.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        (self.path != Path::new("-")).then_some(self.path.as_path())
    }

    /// The file for changes; `None` for standard output.
    pub fn file_mut(&mut self) -> Option<&mut PathBuf> {
        (self.path != Path::new("-")).then_some(&mut self.path)
    }
}

/// `websocket`: treatment of WebSockets.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebSocketSection {
    /// Logs every message with an identifier of its own (docs/reference/request-id.md, rule 16).
    pub(crate) message_ids: bool,
    /// Time without a byte in either direction after which a WebSocket is closed.
    pub(crate) idle: Period,
}

impl Default for WebSocketSection {
    fn default() -> Self {
        Self {
            message_ids: false,
            idle: Period::from_secs(3600),
        }
    }
}
