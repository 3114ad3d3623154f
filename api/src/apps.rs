//! An app: its name, the rules that match requests to it, its endpoints, and its policies.
//! Configuration files and the API have the same format.

mod fields;
mod limits;
mod schema;
mod validate;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::address::Address;
use crate::units::Period;
use crate::webhooks::WebhookUrl;

pub use fields::{AppError, check_labels, check_name};
pub use schema::AppName;
pub(crate) use schema::LabelsSchema;
use schema::PositivePeriod;

/// Labels of a worker, or labels that an app selects workers by: `zone: gpu-a`.
pub type Labels = BTreeMap<String, String>;

/// An application that clients reach under a name.
///
/// ```
/// use app_proxy_api::apps::{Affinity, App};
///
/// // The same app, in the API and in a configuration file.
/// let json = r#"{"name": "notes", "endpoints": [{"address": "10.0.0.5:8888"}]}"#;
/// let yaml = "
/// name: notes
/// endpoints:
///   - address: 10.0.0.5:8888
/// ";
/// let app: App = serde_json::from_str(json)?;
/// assert_eq!(app, serde_yaml::from_str(yaml)?);
/// assert_eq!((app.affinity, app.endpoints[0].weight), (Affinity::Session, 1));
/// app.validate()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(description = "An application that clients reach under a name.")]
#[schema(example = json!({
    "name": "notes",
    "match": [{"path": "/apps/notes"}, {"host": "notes.example.com"}],
    "upstream_path": "strip",
    "affinity": "session",
    "pool": {"zone": "gpu-a"},
    "endpoints": [
        {"address": "10.0.0.5:8888", "weight": 1},
        {"address": "10.0.0.6:8888", "weight": 3},
    ],
    "timeouts": {"connect": "3s", "read": "10m"},
    "idle": {"after": "30m", "notify": "https://scheduler.example.com/hooks/idle"},
    "wake": {"notify": "https://scheduler.example.com/hooks/wake", "page": true},
}))]
pub struct App {
    /// The app's name.
    #[serde(deserialize_with = "app_name")]
    #[schema(required = false, value_type = AppName)]
    pub name: String,
    /// Rules that match requests to the app. Default: the path `/apps/<name>`.
    #[serde(default, rename = "match", skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 100)]
    pub rules: Vec<MatchRule>,
    /// The path that the app receives.
    #[serde(default)]
    pub upstream_path: UpstreamPath,
    /// Session affinity of the app's clients.
    #[serde(default)]
    pub affinity: Affinity,
    /// Labels that a worker must have to serve the app. Default: any worker serves it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = LabelsSchema)]
    pub pool: Labels,
    /// The app's endpoints; empty while the app does not run.
    #[serde(default)]
    #[schema(max_items = 1000)]
    pub endpoints: Vec<Endpoint>,
    /// Timeouts that replace those of the worker's configuration.
    #[serde(default, skip_serializing_if = "AppTimeouts::is_empty")]
    pub timeouts: AppTimeouts,
    /// The webhook to send when the app is idle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<IdlePolicy>,
    /// The webhook to send when a request arrives and the app has no endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wake: Option<WakePolicy>,
}

/// The policy for an app that is not used for some time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct IdlePolicy {
    /// The period without use after which the app is idle; longer than 0.
    #[schema(value_type = PositivePeriod)]
    pub after: Period,
    /// The target of the signed webhook.
    pub notify: WebhookUrl,
}

/// The policy for requests that arrive while the app has no endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WakePolicy {
    /// The target of the signed webhook, which is sent once, not for each request.
    pub notify: WebhookUrl,
    /// True if browsers get a page that says that the app starts, and that reloads by itself.
    #[serde(default = "yes")]
    #[schema(default = true)]
    pub page: bool,
}

const fn yes() -> bool {
    true
}

/// A rule that matches requests by path prefix, by host, or by both.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(min_properties = 1)]
pub struct MatchRule {
    /// A path prefix of whole segments.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "not_null"
    )]
    #[schema(
        nullable = false,
        pattern = "^/$|^/(?!\\.app-proxy(/|$))((?!\\.\\.?(/|$))[A-Za-z0-9._~!$&'()*+,=:@-]+/)*\
                   (?!\\.\\.?(/|$))[A-Za-z0-9._~!$&'()*+,=:@-]+/?$",
        example = "/apps/notes"
    )]
    pub path: Option<String>,
    /// A host name without a port.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "not_null"
    )]
    #[schema(
        nullable = false,
        pattern = r"^([A-Za-z0-9_-]+\.)*[A-Za-z0-9_-]+\.?$|^\[[0-9A-Fa-f:.]+\]$",
        max_length = 253,
        example = "notes.example.com"
    )]
    pub host: Option<String>,
}

/// Deserialises a string and rejects `null`, which would leave a rule without path and host.
fn not_null<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    // Deserialised as an option, because YAML would turn `null` into the string "null".
    let text = Option::<String>::deserialize(deserializer)?;
    if text.is_some() {
        Ok(text)
    } else {
        Err(serde::de::Error::custom(
            "must be a string; omit the key to match any",
        ))
    }
}

/// The path that an app receives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum UpstreamPath {
    /// The path without the matched prefix. `X-Forwarded-Prefix` has the prefix, and `Location`
    /// and cookie paths of responses are rewritten.
    #[default]
    Strip,
    /// The whole path.
    Keep,
}

/// Session affinity of an app's clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Affinity {
    /// A cookie pins a client to one worker and one endpoint.
    #[default]
    Session,
    /// No cookie and no session: each request goes to the least loaded worker and endpoint.
    None,
}

/// An address where an app listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// The address, as workers reach it: `host:port` or `unix:/path`.
    pub address: Address,
    /// The endpoint's share of new sessions and requests.
    #[serde(default = "one")]
    #[schema(default = 1, minimum = 1, maximum = 65535)]
    pub weight: u16,
}

const fn one() -> u16 {
    1
}

/// Timeouts of one app; each longer than 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AppTimeouts {
    /// Timeout of connecting to an endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<PositivePeriod>)]
    pub connect: Option<Period>,
    /// Maximum time between two reads from an endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<PositivePeriod>)]
    pub read: Option<Period>,
}

impl AppTimeouts {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn app_name<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    check_name(&name).map_err(serde::de::Error::custom)?;
    Ok(name)
}

#[cfg(test)]
mod tests;
