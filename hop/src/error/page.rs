//! The body of an error answer: RFC 9457 JSON, or a small HTML page for clients that prefer it.

use std::fmt::Write;

use bytes::Bytes;
use http::{HeaderMap, header};

use super::{ProxyError, Tier};
use crate::identity::RequestId;

/// The body of an error answer and its media type.
#[derive(Debug)]
pub(crate) struct ErrorPage {
    /// The value of `Content-Type`.
    pub(crate) content_type: &'static str,
    /// The body.
    pub(crate) body: Bytes,
}

/// Renders `failure` for a client that sent these headers.
#[must_use]
pub(crate) fn render(
    failure: ProxyError,
    tier: Tier,
    id: &RequestId,
    headers: &HeaderMap,
) -> ErrorPage {
    if prefers_html(headers) {
        ErrorPage {
            content_type: "text/html; charset=utf-8",
            body: html(failure, tier, id).into(),
        }
    } else {
        ErrorPage {
            content_type: "application/problem+json",
            body: json(failure, tier, id).into(),
        }
    }
}

fn json(failure: ProxyError, tier: Tier, id: &RequestId) -> Vec<u8> {
    #[derive(serde::Serialize)]
    struct Problem<'a> {
        r#type: String,
        title: &'a str,
        status: u16,
        detail: &'a str,
        code: &'a str,
        request_id: &'a str,
        tier: &'a str,
    }
    let status = failure.status().unwrap_or_default();
    let problem = Problem {
        r#type: format!("urn:app-proxy:error:{}", failure.code()),
        title: status.canonical_reason().unwrap_or("Error"),
        status: status.as_u16(),
        detail: failure.detail(),
        code: failure.code().as_str(),
        request_id: id.as_str(),
        tier: tier.as_str(),
    };
    serde_json::to_vec(&problem).unwrap_or_default()
}

fn html(failure: ProxyError, tier: Tier, id: &RequestId) -> String {
    let status = failure.status().unwrap_or_default();
    let title = format!(
        "{} {}",
        status.as_u16(),
        status.canonical_reason().unwrap_or("Error")
    );
    let mut page = String::with_capacity(1024);
    page.push_str(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>",
    );
    escape(&title, &mut page);
    page.push_str(
        "</title><style>body{font:16px/1.5 system-ui,sans-serif;max-width:38rem;\
         margin:15vh auto;padding:0 1rem;color:#222;background:#fff}h1{font-size:1.4rem}\
         dl{font-size:.9rem;color:#555}dt{float:left;clear:left;width:7rem}\
         code{font-size:1em;user-select:all}@media(prefers-color-scheme:dark)\
         {body{background:#181818;color:#ddd}dl{color:#aaa}}</style></head><body><h1>",
    );
    escape(&title, &mut page);
    page.push_str("</h1><p>");
    escape(failure.detail(), &mut page);
    page.push_str("</p><dl>");
    for (term, value) in [
        ("Request ID", id.as_str()),
        ("Error", failure.code().as_str()),
        ("From", tier.as_str()),
    ] {
        let _ = write!(page, "<dt>{term}</dt><dd><code>");
        escape(value, &mut page);
        page.push_str("</code></dd>");
    }
    page.push_str("</dl></body></html>\n");
    page
}

/// Escapes a text for HTML, attributes included.
pub fn escape(text: &str, into: &mut String) {
    for c in text.chars() {
        match c {
            '<' => into.push_str("&lt;"),
            '>' => into.push_str("&gt;"),
            '&' => into.push_str("&amp;"),
            '"' => into.push_str("&quot;"),
            '\'' => into.push_str("&#39;"),
            c => into.push(c),
        }
    }
}

/// Returns whether `Accept` weighs HTML higher than JSON (RFC 9110, section 12.5.1). `*/*` weighs
/// both the same.
#[must_use]
pub fn prefers_html(headers: &HeaderMap) -> bool {
    let mut html = 0;
    let mut json = 0;
    for value in headers.get_all(header::ACCEPT) {
        for range in value.to_str().unwrap_or_default().split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            let weight = parts
                .find_map(|p| p.strip_prefix("q=").or_else(|| p.strip_prefix("Q=")))
                .map_or(1000, thousandths);
            if media.eq_ignore_ascii_case("text/html")
                || media.eq_ignore_ascii_case("application/xhtml+xml")
            {
                html = html.max(weight);
            } else if media.eq_ignore_ascii_case("application/json")
                || media.eq_ignore_ascii_case("application/problem+json")
            {
                json = json.max(weight);
            }
        }
    }
    html > json
}

fn thousandths(weight: &str) -> u32 {
    let weight: f32 = weight.parse().unwrap_or(0.0);
    // A weight is between 0 and 1, so the product fits.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let thousandths = (weight.clamp(0.0, 1.0) * 1000.0) as u32;
    thousandths
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, value.parse().unwrap());
        headers
    }

    #[test]
    fn browsers_get_html_and_programs_json() {
        assert!(prefers_html(&accept(
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
        )));
        assert!(!prefers_html(&accept("*/*")));
        assert!(!prefers_html(&accept("application/json, text/html;q=0.5")));
        assert!(!prefers_html(&accept("text/html;q=0")));
        assert!(!prefers_html(&HeaderMap::new()));
    }

    #[test]
    fn rule_12_both_bodies_contain_the_identifier() {
        let id = RequestId::generate();
        for headers in [HeaderMap::new(), accept("text/html")] {
            let page = render(ProxyError::AppNotFound, Tier::Coordinator, &id, &headers);
            let body = String::from_utf8(page.body.to_vec()).unwrap();
            assert!(
                body.contains(id.as_str()) && body.contains("app_not_found"),
                "{body}"
            );
        }
    }

    #[test]
    fn the_json_has_the_members_of_the_contract() {
        let id = RequestId::generate();
        let page = render(
            ProxyError::NoWorkerAvailable,
            Tier::Coordinator,
            &id,
            &HeaderMap::new(),
        );
        let problem: serde_json::Value = serde_json::from_slice(&page.body).unwrap();
        assert_eq!(problem["status"], 503);
        assert_eq!(problem["title"], "Service Unavailable");
        assert_eq!(problem["code"], "no_worker_available");
        assert_eq!(problem["tier"], "coordinator");
        assert_eq!(problem["request_id"], id.as_str());
        assert!(problem["type"].is_string() && problem["detail"].is_string());
    }

    #[test]
    fn html_is_escaped() {
        let mut out = String::new();
        escape("<a href=\"x\">'&", &mut out);
        assert_eq!(out, "&lt;a href=&quot;x&quot;&gt;&#39;&amp;");
    }
}
