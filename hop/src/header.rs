//! Header names, and the changes to header blocks that both tiers make.

mod response;

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::identity::IdentityPolicy;

pub(crate) use response::{
    put_request_id, remove_not_for_client, remove_not_for_interim, remove_not_for_trailers,
};

/// The session's identifier, from the coordinator to the worker and the application.
pub const SESSION_ID: HeaderName = HeaderName::from_static("x-backend-session-id");
/// The revision of the coordinator's app table, and its epoch: see [`revision_value`].
pub const APP_REVISION: HeaderName = HeaderName::from_static("x-app-proxy-app-revision");
/// The number of the coordinator's attempt; absent from the first.
pub const ATTEMPT: HeaderName = HeaderName::from_static("x-app-proxy-attempt");
/// The token that authenticates a coordinator to a worker.
pub const TOKEN: HeaderName = HeaderName::from_static("x-app-proxy-token");
/// Marks a worker's response that rejects the coordinator's token.
pub(crate) const REFUSED: HeaderName = HeaderName::from_static("x-app-proxy-refused");
/// The client's address as determined by the coordinator, if [`X_FORWARDED_FOR`] has more than one
/// address.
pub const CLIENT: HeaderName = HeaderName::from_static("x-app-proxy-client");
/// `Forwarded` (RFC 7239).
pub const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
/// The addresses of the client and the proxies, the client's first.
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The scheme of the client's request.
pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// The host of the client's request.
pub const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// The port of the client's request.
pub const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
/// The path prefix that the coordinator removed.
pub const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// W3C Trace Context: the trace that a request is part of.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// W3C Trace Context: vendor-specific data beside [`TRACEPARENT`].
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// The two families of headers that only the tiers may send.
const BACKEND: &str = "x-backend-";
const APP_PROXY: &str = "x-app-proxy-";

/// Returns whether a name belongs to `family` once `_` and `.` are read as `-`, as applications do
/// that fold header names into variables.
fn in_family(name: &str, family: &str) -> bool {
    name.len() >= family.len()
        && name
            .bytes()
            .zip(family.bytes())
            .all(|(b, f)| b == f || (f == b'-' && matches!(b, b'_' | b'.')))
}

/// Returns whether `name` equals `of` once `_` and `.` are read as `-`
/// (docs/reference/request-id.md, rule 9).
fn is_spelling_of(name: &str, of: &str) -> bool {
    name.len() == of.len() && in_family(name, of)
}

/// Removes the hop-by-hop headers of the client's hop, and every header that only the tiers may
/// send, with all spellings of the request ID (docs/reference/request-id.md, rule 9).
///
/// The request ID and the session header were read before; they are set anew for the next hop.
pub fn remove_reserved(headers: &mut HeaderMap, policy: &IdentityPolicy) {
    let reserved = |name: &HeaderName| {
        if is_hop_by_hop(name) {
            return true;
        }
        let name = name.as_str();
        // Most names do not begin with x: one comparison decides.
        (name.starts_with('x') && (is_reserved(name) || is_folded_forwarded(name)))
            || is_spelling_of(name, policy.header().as_str())
            || policy
                .aliases()
                .iter()
                .any(|alias| is_spelling_of(name, alias.as_str()))
    };
    remove_where(headers, reserved);
}

/// Removes the hop-by-hop headers of the coordinator's hop, and `X-App-Proxy-*`, which applications
/// must not see.
pub fn remove_internal(headers: &mut HeaderMap) {
    let internal =
        |name: &HeaderName| name.as_str().starts_with('x') && in_family(name.as_str(), APP_PROXY);
    remove_where(headers, |name| internal(name) || is_hop_by_hop(name));
}

/// Returns whether a request header is hop-by-hop (RFC 9110, section 7.6.1), except `Connection`
/// and `Upgrade`: Pingora removes both with the headers that `Connection` names, and a WebSocket's
/// handshake has its own.
pub(crate) fn is_hop_by_hop(name: &HeaderName) -> bool {
    const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
    *name == header::TE
        || *name == header::TRAILER
        || *name == header::TRANSFER_ENCODING
        || *name == header::PROXY_AUTHENTICATE
        || *name == header::PROXY_AUTHORIZATION
        || *name == KEEP_ALIVE
        || *name == PROXY_CONNECTION
        || *name == HTTP2_SETTINGS
}

fn is_reserved(name: &str) -> bool {
    in_family(name, BACKEND) || in_family(name, APP_PROXY)
}

/// Returns whether `name` is a spelling of `X-Forwarded-*` that an application may confuse with the
/// header that the coordinator sets.
fn is_folded_forwarded(name: &str) -> bool {
    name.contains(['_', '.']) && in_family(name, "x-forwarded-")
}

/// Removes all lines of the matching names.
pub(crate) fn remove_where(headers: &mut HeaderMap, matches: impl Fn(&HeaderName) -> bool) {
    // The map cannot change during the iteration. Most requests have no matching name, and collect
    // nothing.
    let names: Vec<HeaderName> = headers
        .keys()
        .filter(|name| matches(name))
        .cloned()
        .collect();
    for name in names {
        headers.remove(&name);
    }
}

/// The value of [`APP_REVISION`]: `<revision>;epoch=<epoch>`.
///
/// # Errors
/// If the epoch has a byte that is invalid in a header.
pub fn revision_value(
    revision: u64,
    epoch: &str,
) -> Result<HeaderValue, http::header::InvalidHeaderValue> {
    HeaderValue::try_from(format!("{revision}{EPOCH}{epoch}"))
}

/// The revision and the epoch that a value of [`APP_REVISION`] says.
#[must_use]
pub fn read_revision(value: &HeaderValue) -> Option<(u64, &str)> {
    let (revision, epoch) = value.to_str().ok()?.split_once(EPOCH)?;
    Some((revision.parse().ok()?, epoch))
}

const EPOCH: &str = ";epoch=";

/// Sets a header; replaces all lines of that name.
pub fn set(headers: &mut HeaderMap, name: &HeaderName, value: HeaderValue) {
    // Only a map of more than 32,768 headers rejects an insertion; Pingora allows 256.
    let _ = headers.try_insert(name.clone(), value);
}

/// Returns whether a comma-separated header has a token, ignoring case (RFC 9110, section 5.6.1).
#[must_use]
pub(crate) fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .flat_map(|value| value.as_bytes().split(|b| *b == b','))
        .any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// Returns the names that `Connection` nominates as hop-by-hop (RFC 9110, section 7.6.1).
#[must_use]
pub(crate) fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    let is_option = |item: &[u8]| {
        CONNECTION_OPTIONS
            .iter()
            .any(|option| item.eq_ignore_ascii_case(option))
    };
    headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| {
            value
                .as_bytes()
                .split(|b| *b == b',')
                .map(<[u8]>::trim_ascii)
        })
        .filter(|item| !is_option(item))
        .filter_map(|item| HeaderName::from_bytes(item).ok())
        .collect()
}

/// Options of `Connection` that name no header.
const CONNECTION_OPTIONS: [&[u8]; 3] = [b"keep-alive", b"close", b"upgrade"];

/// Returns an IP address as a header value.
#[must_use]
pub fn ip_value(ip: IpAddr) -> HeaderValue {
    let text = match ip {
        IpAddr::V4(ip) => {
            // Every request has its client's address, and the general formatter is ten times
            // slower.
            let (mut text, mut number) = (String::with_capacity(15), itoa::Buffer::new());
            for (index, octet) in ip.octets().into_iter().enumerate() {
                if index > 0 {
                    text.push('.');
                }
                text.push_str(number.format(octet));
            }
            text
        }
        IpAddr::V6(ip) => ip.to_string(),
    };
    // Digits, dots and colons are always a valid header value.
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RequestIdSection;

    fn policy() -> IdentityPolicy {
        IdentityPolicy::new(&RequestIdSection::default())
    }

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        headers.keys().map(HeaderName::as_str).collect()
    }

    #[test]
    fn rule_09_reserved_headers_are_removed_in_every_spelling() {
        let mut headers = headers(&[
            ("X_Backend_Request_ID", "a"),
            ("X.Backend.Request.ID", "a"),
            ("X-Backend-Request-ID", "a"),
            ("X_Request_ID", "a"),
            ("X-Backend-User", "root"),
            ("x-app.proxy_token", "t"),
            ("X_Forwarded_For", "203.0.113.1"),
            ("X.Forwarded-Proto", "https"),
            ("X-Application", "stays"),
            ("X-Forwarded-For", "is rebuilt elsewhere"),
            ("Accept", "stays"),
        ]);
        remove_reserved(&mut headers, &policy());
        let mut left = names(&headers);
        left.sort_unstable();
        assert_eq!(left, ["accept", "x-application", "x-forwarded-for"]);
    }

    #[test]
    fn internal_headers_are_removed_and_backend_headers_stay() {
        let mut headers = headers(&[
            ("X-App-Proxy-Token", "t"),
            ("X_App_Proxy_Attempt", "1"),
            ("X-Backend-Session-ID", "s"),
        ]);
        remove_internal(&mut headers);
        assert_eq!(names(&headers), ["x-backend-session-id"]);
    }
}
