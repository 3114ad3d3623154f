//! An app: a name, how requests match it, where it runs, and its policies. The same form in a file and in the API.

use std::collections::HashSet;

use app_proxy_hop::address::Address;
use app_proxy_hop::config::Period;
use serde::{Deserialize, Serialize};

/// Longest name, as a DNS label allows: with a domain configured, an app answers on `<name>.<domain>`.
const LONGEST_NAME: usize = 63;

/// What clients reach under a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct App {
    /// Its name: a DNS label (lower-case letters, digits and hyphens).
    #[serde(deserialize_with = "app_name")]
    pub name: String,
    /// How requests find it; empty: on `/apps/<name>`.
    #[serde(default, rename = "match", skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<MatchRule>,
    /// What path it sees.
    #[serde(default)]
    pub upstream_path: UpstreamPath,
    /// Whether its clients have sessions.
    #[serde(default)]
    pub affinity: Affinity,
    /// Where it listens.
    #[serde(default)]
    pub endpoints: Vec<Endpoint>,
    /// How long its worker waits for it, where that differs from the worker's own timeouts.
    #[serde(default, skip_serializing_if = "AppTimeouts::is_empty")]
    pub timeouts: AppTimeouts,
}

/// How requests find an app: by path prefix, by host, or by both.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MatchRule {
    /// A path prefix of whole segments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// A host name without a port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

/// What path an application sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UpstreamPath {
    /// Without the matched prefix; `X-Forwarded-Prefix` names it, and `Location` and cookie paths are rewritten on the way back.
    #[default]
    Strip,
    /// The whole path.
    Keep,
}

/// Whether an app's clients have sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Affinity {
    /// A cookie keeps a client on one worker and one endpoint.
    #[default]
    Session,
    /// No cookie and no session: each request goes where there is least to do.
    None,
}

/// One place where an app listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// Its address as the workers see it.
    pub address: Address,
    /// Its share of new sessions and requests.
    #[serde(default = "one")]
    pub weight: u16,
}

const fn one() -> u16 {
    1
}

/// An app's own timeouts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppTimeouts {
    /// To connect to an endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect: Option<Period>,
    /// Longest silence of an endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
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

/// Why an app is not valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppError {
    /// The name is no DNS label.
    #[error(
        "`{0}` is no app name: lower-case letters, digits and hyphens, at most {LONGEST_NAME}, beginning and ending with a letter or digit"
    )]
    Name(String),
    /// A rule has neither path nor host.
    #[error("a match of app `{0}` has neither path nor host")]
    EmptyRule(String),
    /// The same rule twice.
    #[error("app `{0}` has a match twice")]
    DuplicateRule(String),
    /// A weight of 0.
    #[error("endpoint {1} of app `{0}` has weight 0")]
    Weight(String, Address),
    /// The same address twice.
    #[error("app `{0}` has endpoint {1} twice")]
    DuplicateEndpoint(String, Address),
}

/// Checks a name: it stands in paths, host names and logs.
///
/// # Errors
/// [`AppError::Name`].
pub fn check_name(name: &str) -> Result<(), AppError> {
    let ends = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    let valid = bytes.len() <= LONGEST_NAME
        && ends(bytes.first())
        && ends(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-');
    if valid { Ok(()) } else { Err(AppError::Name(name.to_owned())) }
}

impl App {
    /// Checks what the form alone does not.
    ///
    /// # Errors
    /// The first fault.
    pub fn validate(&self) -> Result<(), AppError> {
        check_name(&self.name)?;
        let mut rules = HashSet::new();
        for rule in &self.rules {
            if rule.path.is_none() && rule.host.is_none() {
                return Err(AppError::EmptyRule(self.name.clone()));
            }
            if !rules.insert(rule) {
                return Err(AppError::DuplicateRule(self.name.clone()));
            }
        }
        let mut addresses = HashSet::new();
        for endpoint in &self.endpoints {
            if endpoint.weight == 0 {
                return Err(AppError::Weight(self.name.clone(), endpoint.address.clone()));
            }
            if !addresses.insert(&endpoint.address) {
                return Err(AppError::DuplicateEndpoint(self.name.clone(), endpoint.address.clone()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(yaml: &str) -> Result<App, serde_yaml::Error> {
        serde_yaml::from_str(yaml)
    }

    #[test]
    fn the_defaults_are_strip_and_session() {
        let app = app("{name: a, endpoints: [{address: '127.0.0.1:1'}]}").unwrap();
        assert_eq!((app.upstream_path, app.affinity), (UpstreamPath::Strip, Affinity::Session));
        assert_eq!(app.endpoints[0].weight, 1);
        assert_eq!(app.validate(), Ok(()));
    }

    #[test]
    fn names_are_dns_labels() {
        for good in ["a", "a-1", "0", &"x".repeat(63)] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a/b", "a b", "..", &"x".repeat(64)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert!(app("{name: a, endpoint: []}").is_err(), "a misspelt key");
        assert!(app("{name: a, match: [{}]}").unwrap().validate().is_err());
        assert!(app("{name: a, match: [{path: /x}, {path: /x}]}").unwrap().validate().is_err());
        assert!(app("{name: a, endpoints: [{address: 'h:1', weight: 0}]}").unwrap().validate().is_err());
        assert!(app("{name: a, endpoints: [{address: 'h:1'}, {address: 'h:1'}]}").unwrap().validate().is_err());
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        let app =
            app("{name: a, match: [{host: h}], upstream_path: keep, affinity: none, timeouts: {read: 2m}}").unwrap();
        let json = serde_json::to_string(&app).unwrap();
        assert_eq!(serde_json::from_str::<App>(&json).unwrap(), app);
    }
}
