//! Webhooks: what the coordinator tells a scheduler, and how it is signed.
//!
//! A webhook is a POST of JSON, in the form of the Standard Webhooks specification 1.0: the headers
//! `webhook-id` (the same in every repetition, for deduplication), `webhook-timestamp` (seconds
//! since 1970) and `webhook-signature` (`v1,` and the base64 of HMAC-SHA-256 over
//! `<id>.<timestamp>.<body>`).

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use crate::schema_format;
use crate::schema_format::SchemaFormat;
use http::Uri;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Longest address of a webhook, in bytes.
const LONGEST_URL: usize = 2048;

/// Where a webhook goes: an absolute `http` or `https` URL.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WebhookUrl(Uri);

/// A text is no address of a webhook.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no webhook: write http://host/path or https://host/path")]
pub struct WebhookUrlError(String);

schema_format!(
    WebhookUrl,
    "WebhookUrl",
    SchemaFormat {
        description: "Where a webhook goes: an absolute `http` or `https` URL without credentials.",
        pattern: r"^https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?(/[A-Za-z0-9._~/%?=&+-]*)?$",
        longest: LONGEST_URL,
        format: Some("uri"),
        example: "https://scheduler.example.com/hooks/app-proxy",
    }
);

impl WebhookUrl {
    /// The address as a request target.
    #[must_use]
    pub fn uri(&self) -> &Uri {
        &self.0
    }
}

impl FromStr for WebhookUrl {
    type Err = WebhookUrlError;

    fn from_str(text: &str) -> Result<Self, WebhookUrlError> {
        let wrong = || WebhookUrlError(text.chars().take(100).collect());
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let scheme = matches!(uri.scheme_str(), Some("http" | "https"));
        // Credentials in a URL would stand in every list of apps.
        let authority = uri.authority().is_some_and(|a| {
            let port = a
                .as_str()
                .strip_prefix(a.host())
                .is_some_and(|rest| rest.is_empty() || is_port(rest));
            is_host(a.host()) && port
        });
        if scheme && authority && text.len() <= LONGEST_URL {
            Ok(Self(uri))
        } else {
            Err(wrong())
        }
    }
}

/// Whether it is a name that can be looked up, or an address.
fn is_host(host: &str) -> bool {
    match host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        }
    }
}

/// Whether it is a colon and a port, none of which is anything else.
fn is_port(text: &str) -> bool {
    let port = text
        .strip_prefix(':')
        .filter(|port| port.bytes().all(|b| b.is_ascii_digit()));
    port.and_then(|port| port.parse::<u16>().ok())
        .is_some_and(|port| port != 0)
}

impl TryFrom<String> for WebhookUrl {
    type Error = WebhookUrlError;

    fn try_from(text: String) -> Result<Self, WebhookUrlError> {
        text.parse()
    }
}

impl From<WebhookUrl> for String {
    fn from(url: WebhookUrl) -> Self {
        url.to_string()
    }
}

impl fmt::Display for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a webhook says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Event)]
pub struct WebhookEvent {
    /// The same in every repetition; also in the header `webhook-id`.
    pub id: String,
    /// What has happened.
    #[serde(rename = "type")]
    pub kind: WebhookEventKind,
    /// When, RFC 3339.
    #[schema(format = DateTime)]
    pub timestamp: String,
    /// Of which app, and the like.
    pub data: WebhookEventData,
}

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[schema(as = EventKind)]
pub enum WebhookEventKind {
    /// Nothing has used the app for as long as its `idle.after`.
    #[serde(rename = "app.idle")]
    AppIdle,
    /// A request came for an app that has no endpoint.
    #[serde(rename = "app.wake")]
    AppWake,
}

impl WebhookEventKind {
    /// The text that stands for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AppIdle => "app.idle",
            Self::AppWake => "app.wake",
        }
    }
}

/// What a webhook tells of an app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = EventData)]
pub struct WebhookEventData {
    /// The app's name.
    pub app: String,
    /// Its revision.
    pub revision: u64,
    /// When data flowed last, RFC 3339; absent when none ever has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime)]
    pub last_active_at: Option<String>,
    /// The request that woke it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub request_id: Option<String>,
    /// How many sessions it has.
    pub session_count: usize,
    /// Its sessions, those used last first; at most 100.
    pub sessions: Vec<WebhookEventSession>,
}

/// A session in a webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = EventSession)]
pub struct WebhookEventSession {
    /// Its identifier.
    pub id: String,
    /// When data flowed last, RFC 3339.
    #[schema(format = DateTime)]
    pub last_active_at: String,
    /// Streams that are open.
    pub open_streams: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_absolute_http_addresses_without_credentials_are_webhooks() {
        for good in [
            "http://127.0.0.1:9000/x",
            "https://scheduler.example.com",
            "http://[::1]:1/a?b=c",
            "http://h:65535/",
        ] {
            assert!(good.parse::<WebhookUrl>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "/path",
            "ftp://h/",
            "http://",
            "http://user:pw@h/",
            "http://a!b/",
            "http://[::g]/",
            "h:80",
            "http://h:99999/",
            "http://h:0/",
            "http://h:/",
            "http://h h/",
        ] {
            assert!(bad.parse::<WebhookUrl>().is_err(), "{bad}");
        }
    }
}
