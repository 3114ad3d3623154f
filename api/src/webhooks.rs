//! Webhooks: the events that a coordinator sends to a scheduler.
//!
//! A webhook is a POST of JSON as in the Standard Webhooks specification 1.0, with the headers
//! `webhook-id` (the same in every attempt, for deduplication), `webhook-timestamp` (seconds since
//! 1970) and `webhook-signature` (`v1,` and the base64 of HMAC-SHA-256 over
//! `<id>.<timestamp>.<body>`).

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use http::Uri;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::schema_format::{SchemaFormat, schema_format};

/// Maximum length of a webhook's URL in bytes.
const MAX_URL: usize = 2048;

/// The target of a webhook: an absolute `http` or `https` URL without credentials.
///
/// ```
/// use app_proxy_api::webhooks::WebhookUrl;
///
/// assert!("https://scheduler.example.com/hooks/idle".parse::<WebhookUrl>().is_ok());
/// assert!("https://user:password@scheduler.example.com/".parse::<WebhookUrl>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WebhookUrl(Uri);

/// An invalid webhook URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a webhook URL: write http://host/path or https://host/path")]
pub struct WebhookUrlError(String);

schema_format!(
    WebhookUrl,
    "WebhookUrl",
    SchemaFormat {
        description: "The target of a webhook: an absolute `http` or `https` URL without \
                      credentials.",
        pattern: concat!(
            r"^https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:([1-9][0-9]{0,3}|[1-5][0-9]{4}",
            r"|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?",
            r"(/[A-Za-z0-9._~/%?=&+-]*)?$",
        ),
        max_length: MAX_URL,
        format: Some("uri"),
        example: "https://scheduler.example.com/hooks/app-proxy",
    }
);

impl WebhookUrl {
    /// Returns the URL as a request target.
    #[must_use]
    pub fn uri(&self) -> &Uri {
        &self.0
    }
}

impl FromStr for WebhookUrl {
    type Err = WebhookUrlError;

    fn from_str(text: &str) -> Result<Self, WebhookUrlError> {
        let invalid = || WebhookUrlError(text.chars().take(100).collect());
        let uri: Uri = text.parse().map_err(|_| invalid())?;
        let scheme = matches!(uri.scheme_str(), Some("http" | "https"));
        // Credentials in a URL would be visible in every list of apps.
        let authority = uri.authority().is_some_and(|a| {
            let port = a
                .as_str()
                .strip_prefix(a.host())
                .is_some_and(|rest| rest.is_empty() || is_port(rest));
            is_host(a.host()) && port
        });
        if scheme && authority && text.len() <= MAX_URL {
            Ok(Self(uri))
        } else {
            Err(invalid())
        }
    }
}

/// Returns whether `host` is a host name or an address.
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

/// Returns whether `text` is a colon and a port from 1 to 65535.
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

/// The body of a webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Event)]
pub struct WebhookEvent {
    /// The event's identifier, the same in every attempt; also in the header `webhook-id`.
    pub id: String,
    /// The kind of event.
    #[serde(rename = "type")]
    pub kind: WebhookEventKind,
    /// The time of the event, RFC 3339.
    #[schema(format = DateTime)]
    pub timestamp: String,
    /// The app that the event is about.
    pub data: WebhookEventData,
}

/// The kind of a webhook's event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[schema(as = EventKind)]
pub enum WebhookEventKind {
    /// The app was not used for the period of its `idle.after`.
    #[serde(rename = "app.idle")]
    AppIdle,
    /// A request arrived for an app without endpoints.
    #[serde(rename = "app.wake")]
    AppWake,
}

impl WebhookEventKind {
    /// Returns the kind as the API writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AppIdle => "app.idle",
            Self::AppWake => "app.wake",
        }
    }
}

/// The app that a webhook is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = EventData)]
pub struct WebhookEventData {
    /// The app's name.
    pub app: String,
    /// The app's revision.
    pub revision: u64,
    /// The last time that data was transferred, RFC 3339; absent if the app was never used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime)]
    pub last_active_at: Option<String>,
    /// The identifier of the request that caused the event; only in `app.wake`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub request_id: Option<String>,
    /// The number of the app's sessions.
    pub session_count: usize,
    /// The app's sessions, the most recently active first; at most 100.
    pub sessions: Vec<WebhookEventSession>,
}

/// A session in a webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = EventSession)]
pub struct WebhookEventSession {
    /// The session's identifier.
    pub id: String,
    /// The last time that data was transferred, RFC 3339.
    #[schema(format = DateTime)]
    pub last_active_at: String,
    /// The number of open streams.
    pub open_streams: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn webhook_urls_are_absolute_http_urls_without_credentials() {
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
