//! Sections that both daemons have, with the same keys and defaults.

use std::path::{Path, PathBuf};

use http::HeaderName;
use ipnet::IpNet;
use serde::Deserialize;

use app_proxy_api::units::{Period, Size};

/// `request_id`: which headers carry the identifier, and whose is believed
/// (docs/reference/request-id.md, rules 3 and 5).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RequestIdSection {
    /// The header that carries it.
    #[serde(deserialize_with = "header_name")]
    pub header: HeaderName,
    /// Read in this order when the header is absent, and written to the application beside it.
    #[serde(deserialize_with = "header_names")]
    pub aliases: Vec<HeaderName>,
    /// Peers whose identifier is kept. The worker does not use it: it believes its coordinators.
    pub accept_from: Vec<IpNet>,
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

/// `timeouts`: how long a tier waits for its two neighbours.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TimeoutsSection {
    /// To connect to the next hop.
    pub connect: Period,
    /// Longest silence of the next hop, before its answer and within it.
    pub upstream_read: Period,
    /// Longest silence of the client within a request.
    pub client_read: Period,
    /// Longest time for which the client may accept nothing.
    pub client_write: Period,
    /// How long an unused client connection stays open.
    pub keepalive: Period,
    /// How long an unused connection to the next hop stays open.
    pub upstream_keepalive: Period,
}

impl TimeoutsSection {
    /// Returns the key of the first timeout that is 0 and must not be. The two for unused
    /// connections may be 0: then no connection is kept.
    #[must_use]
    pub fn zero(&self) -> Option<&'static str> {
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
        }
    }
}

/// `limits`: what is refused because it is too large.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsSection {
    /// Largest request body; 0 is no limit.
    pub request_body: Size,
}

impl Default for LimitsSection {
    fn default() -> Self {
        Self {
            request_body: Size(0),
        }
    }
}

/// `drain`: how long what is in flight may take once the daemon is told to end.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DrainSection {
    /// How long requests may take to finish after SIGTERM.
    pub requests: Period,
    /// How long WebSockets may go on after SIGTERM before they are closed with 1001.
    pub streams: Period,
    /// Both of them after a hand-over to a successor (SIGQUIT).
    pub upgrade: Period,
}

impl DrainSection {
    /// How long the end may take at most, however it begins.
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

/// How access-log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    #[default]
    Json,
}

/// `access_log`: where the access log goes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AccessLogSection {
    /// A file, or `-` for standard output.
    pub path: PathBuf,
    /// How lines are written.
    pub format: LogFormat,
    /// Whether `path` has the query string, which can carry secrets.
    pub query: bool,
    /// How much of what was logged last is kept in memory, and looked at in the file, where one
    /// request can be looked up; 0: nothing.
    pub recent: Size,
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
    /// The file, or none for standard output.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        (self.path != Path::new("-")).then_some(self.path.as_path())
    }
}

/// `websocket`: what both tiers do with WebSockets.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebSocketSection {
    /// Whether every message is logged with an identifier of its own (docs/reference/request-id.md,
    /// rule 16).
    pub message_ids: bool,
    /// A WebSocket without a byte either way for so long is closed.
    pub idle: Period,
}

impl Default for WebSocketSection {
    fn default() -> Self {
        Self {
            message_ids: false,
            idle: Period::from_secs(3600),
        }
    }
}
