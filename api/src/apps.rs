//! An app: a name, how requests match it, where it runs, and its policies. The same form in a file
//! and in the API.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use crate::address::Address;
use crate::schema_format;
use crate::schema_format::SchemaFormat;
use crate::units::Period;
use serde::{Deserialize, Serialize};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::webhooks::WebhookUrl;

/// Longest name, as a DNS label allows: with a domain configured, an app answers on
/// `<name>.<domain>`.
const LONGEST_NAME: usize = 63;
/// Most endpoints of an app.
const MOST_ENDPOINTS: usize = 1000;
/// Most rules of an app.
const MOST_RULES: usize = 100;
/// Most labels of a worker, or of an app.
const MOST_LABELS: usize = 32;

/// Labels of workers, and those that an app asks for: `zone: gpu-a`.
pub type Labels = BTreeMap<String, String>;

/// The form of [`Labels`] in descriptions.
#[derive(Debug)]
pub struct LabelsForm;

impl PartialSchema for LabelsForm {
    fn schema() -> RefOr<Schema> {
        let text = || {
            ObjectBuilder::new()
                .schema_type(Type::String)
                .pattern(Some("^[A-Za-z0-9._/-]{1,63}$"))
                .build()
        };
        let labels = ObjectBuilder::new()
            .description(Some(
                "Labels of a worker, or those that an app asks of one.",
            ))
            .property_names(Some(text()))
            .additional_properties(Some(Schema::Object(text())))
            .max_properties(Some(MOST_LABELS))
            .examples([serde_json::json!({"zone": "gpu-a"})]);
        RefOr::T(Schema::Object(labels.build()))
    }
}

impl ToSchema for LabelsForm {
    fn name() -> Cow<'static, str> {
        "Labels".into()
    }
}

/// The form of an app's name in descriptions; [`check_name`] checks it.
#[derive(Debug)]
pub struct AppName;

schema_format!(
    AppName,
    "AppName",
    SchemaFormat {
        description: "The name of an app: a DNS label (lower-case letters, digits and hyphens).",
        pattern: "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
        longest: LONGEST_NAME,
        format: None,
        example: "notes",
    }
);

/// The form of a period that may not be 0 in descriptions; [`App::validate`] checks it.
#[derive(Debug)]
pub struct PositivePeriod;

schema_format!(
    PositivePeriod,
    "PositivePeriod",
    SchemaFormat {
        description: "A period of time that is longer than 0, in a whole number of units (`ms`, `s`, `m`, `h`, `d`), or the sum of some: `500ms`, `30s`, `1h30m`.",
        pattern: "^([1-9][0-9]{0,8}(ms|s|m|h|d))+$",
        longest: Period::LONGEST,
        format: None,
        example: "30m",
    }
);

/// What clients reach under a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "name": "notes",
    "match": [{"path": "/apps/notes"}, {"host": "notes.example.com"}],
    "upstream_path": "strip",
    "affinity": "session",
    "pool": {"zone": "gpu-a"},
    "endpoints": [{"address": "10.0.0.5:8888", "weight": 1}, {"address": "10.0.0.6:8888", "weight": 3}],
    "timeouts": {"connect": "3s", "read": "10m"},
    "idle": {"after": "30m", "notify": "https://scheduler.example.com/hooks/idle"},
    "wake": {"notify": "https://scheduler.example.com/hooks/wake", "page": true},
}))]
pub struct App {
    /// Its name.
    #[serde(deserialize_with = "app_name")]
    #[schema(required = false, value_type = AppName)]
    pub name: String,
    /// How requests find it; empty: on `/apps/<name>`.
    #[serde(default, rename = "match", skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 100)]
    pub rules: Vec<MatchRule>,
    /// What path it sees.
    #[serde(default)]
    pub upstream_path: UpstreamPath,
    /// Whether its clients have sessions.
    #[serde(default)]
    pub affinity: Affinity,
    /// Labels that a worker must have to serve it; empty: any worker.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = LabelsForm)]
    pub pool: Labels,
    /// Where it listens; empty while it does not run.
    #[serde(default)]
    #[schema(max_items = 1000)]
    pub endpoints: Vec<Endpoint>,
    /// How long its worker waits for it, where that differs from the worker's own timeouts.
    #[serde(default, skip_serializing_if = "AppTimeouts::is_empty")]
    pub timeouts: AppTimeouts,
    /// Who is told when nothing has used it for some time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<IdlePolicy>,
    /// Who is asked to start it when a request comes and it has no endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wake: Option<WakePolicy>,
}

/// What happens when nothing has used an app for some time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct IdlePolicy {
    /// For how long; longer than 0.
    #[schema(value_type = PositivePeriod)]
    pub after: Period,
    /// Who is told, by a signed webhook.
    pub notify: WebhookUrl,
}

/// What happens when a request comes for an app that has no endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WakePolicy {
    /// Who is asked to start it, by a signed webhook: once, not once a request.
    pub notify: WebhookUrl,
    /// Whether browsers see a page that says so, and that goes on by itself.
    #[serde(default = "yes")]
    #[schema(default = true)]
    pub page: bool,
}

const fn yes() -> bool {
    true
}

/// How requests find an app: by path prefix, by host, or by both.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(min_properties = 1)]
pub struct MatchRule {
    /// A path prefix of whole segments.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "text"
    )]
    #[schema(
        nullable = false,
        pattern = r"^/$|^/(?!\.app-proxy(/|$))((?!\.\.?(/|$))[A-Za-z0-9._~!$&'()*+,=:@-]+/)*(?!\.\.?(/|$))[A-Za-z0-9._~!$&'()*+,=:@-]+/?$",
        example = "/apps/notes"
    )]
    pub path: Option<String>,
    /// A host name without a port.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "text"
    )]
    #[schema(
        nullable = false,
        pattern = r"^([A-Za-z0-9_-]+\.)*[A-Za-z0-9_-]+\.?$|^\[[0-9A-Fa-f:.]+\]$",
        max_length = 253,
        example = "notes.example.com"
    )]
    pub host: Option<String>,
}

/// A text where nothing is said by leaving it out: `null` would make a rule that has neither
/// member.
fn text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    // By way of an option: YAML would make the text `null` of it.
    let text = Option::<String>::deserialize(deserializer)?;
    if text.is_some() {
        Ok(text)
    } else {
        Err(serde::de::Error::custom(
            "a text; where nothing is asked for it is left out",
        ))
    }
}

/// What path an application sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum UpstreamPath {
    /// Without the matched prefix; `X-Forwarded-Prefix` names it, and `Location` and cookie paths
    /// are rewritten on the way back.
    #[default]
    Strip,
    /// The whole path.
    Keep,
}

/// Whether an app's clients have sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Affinity {
    /// A cookie keeps a client on one worker and one endpoint.
    #[default]
    Session,
    /// No cookie and no session: each request goes where there is least to do.
    None,
}

/// One place where an app listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// Its address as the workers see it: `host:port` or `unix:/path`.
    pub address: Address,
    /// Its share of new sessions and requests.
    #[serde(default = "one")]
    #[schema(default = 1, minimum = 1, maximum = 65535)]
    pub weight: u16,
}

const fn one() -> u16 {
    1
}

/// An app's own timeouts; each longer than 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AppTimeouts {
    /// To connect to an endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<PositivePeriod>)]
    pub connect: Option<Period>,
    /// Longest silence of an endpoint.
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

/// Why an app is not valid: the field, as in `endpoints[1].weight`, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct AppError {
    /// Which field.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
}

impl AppError {
    /// A fault of a field.
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            problem: problem.into(),
        }
    }
}

/// Checks a name: it stands in paths, host names and logs.
///
/// # Errors
/// When it is no DNS label.
pub fn check_name(name: &str) -> Result<(), AppError> {
    let ends = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    let valid = bytes.len() <= LONGEST_NAME
        && ends(bytes.first())
        && ends(bytes.last())
        && bytes
            .iter()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-');
    if valid {
        return Ok(());
    }
    let problem = format!(
        "`{name}` is no app name: lower-case letters, digits and hyphens, at most {LONGEST_NAME}, beginning and ending with a letter or digit"
    );
    Err(AppError::new("name", problem))
}

impl App {
    /// Checks what the form alone does not.
    ///
    /// # Errors
    /// The first fault.
    pub fn validate(&self) -> Result<(), AppError> {
        check_name(&self.name)?;
        self.check_rules()?;
        check_labels("pool", &self.pool)?;
        self.check_endpoints()?;
        let periods = [
            ("timeouts.connect", self.timeouts.connect),
            ("timeouts.read", self.timeouts.read),
            ("idle.after", self.idle.as_ref().map(|idle| idle.after)),
        ];
        match periods
            .iter()
            .find(|(_, period)| period.is_some_and(|period| period.0.is_zero()))
        {
            Some((field, _)) => Err(AppError::new(*field, "longer than 0")),
            None => Ok(()),
        }
    }

    fn check_rules(&self) -> Result<(), AppError> {
        if self.rules.len() > MOST_RULES {
            return Err(AppError::new("match", format!("at most {MOST_RULES}")));
        }
        let mut rules = HashSet::new();
        for (index, rule) in self.rules.iter().enumerate() {
            let fault = |problem| Err(AppError::new(format!("match[{index}]"), problem));
            if rule.path.is_none() && rule.host.is_none() {
                return fault("has neither path nor host");
            }
            if !rules.insert(rule) {
                return fault("is there twice");
            }
        }
        Ok(())
    }

    fn check_endpoints(&self) -> Result<(), AppError> {
        if self.endpoints.len() > MOST_ENDPOINTS {
            return Err(AppError::new(
                "endpoints",
                format!("at most {MOST_ENDPOINTS}"),
            ));
        }
        let mut addresses = HashSet::new();
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            let fault = |key, problem: String| {
                Err(AppError::new(format!("endpoints[{index}].{key}"), problem))
            };
            if endpoint.weight == 0 {
                return fault(
                    "weight",
                    "0 would never be selected: leave the endpoint out".to_owned(),
                );
            }
            if endpoint.address.port() == Some(0) {
                return fault("address", format!("{} has port 0", endpoint.address));
            }
            if !addresses.insert(&endpoint.address) {
                return fault("address", format!("{} is there twice", endpoint.address));
            }
        }
        Ok(())
    }
}

/// Checks labels, which are shown in logs and compared as they are.
///
/// # Errors
/// When a name or a value is empty, too long, or has other characters than letters, digits and
/// `-_./`.
pub fn check_labels(field: &str, labels: &Labels) -> Result<(), AppError> {
    const LONGEST: usize = 63;
    let fits = |text: &str| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./".contains(&b);
        !text.is_empty() && text.len() <= LONGEST && text.bytes().all(plain)
    };
    if labels.len() > MOST_LABELS {
        return Err(AppError::new(
            field,
            format!("at most {MOST_LABELS} labels"),
        ));
    }
    match labels
        .iter()
        .find(|(name, value)| !fits(name) || !fits(value))
    {
        None => Ok(()),
        Some((name, _)) => Err(AppError::new(
            format!("{field}.{name}"),
            format!("a label and its value are 1 to {LONGEST} letters, digits, - _ . /"),
        )),
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
        assert_eq!(
            (app.upstream_path, app.affinity),
            (UpstreamPath::Strip, Affinity::Session)
        );
        assert_eq!(app.endpoints[0].weight, 1);
        assert_eq!(app.validate(), Ok(()));
    }

    #[test]
    fn names_are_dns_labels() {
        for good in ["a", "a-1", "0", &"x".repeat(63)] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "-a",
            "a-",
            "A",
            "a.b",
            "a/b",
            "a b",
            "..",
            &"x".repeat(64),
        ] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert!(app("{name: a, endpoint: []}").is_err(), "a misspelt key");
        assert!(app("{name: a, match: [{}]}").unwrap().validate().is_err());
        assert!(app("{name: a, match: [{path: null, host: h}]}").is_err());
        assert!(app("{name: a, match: [{path: /x, host: }]}").is_err());
        assert!(
            app("{name: a, match: [{path: /x}, {path: /x}]}")
                .unwrap()
                .validate()
                .is_err()
        );
        assert!(
            app("{name: a, endpoints: [{address: 'h:1', weight: 0}]}")
                .unwrap()
                .validate()
                .is_err()
        );
        assert!(
            app("{name: a, endpoints: [{address: 'h:1'}, {address: 'h:1'}]}")
                .unwrap()
                .validate()
                .is_err()
        );
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        let app =
            app("{name: a, match: [{host: h}], upstream_path: keep, affinity: none, timeouts: {read: 2m}}").unwrap();
        let json = serde_json::to_string(&app).unwrap();
        assert_eq!(serde_json::from_str::<App>(&json).unwrap(), app);
    }
}
