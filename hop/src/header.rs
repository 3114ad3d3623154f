//! Header names, and the changes to header blocks that both tiers make.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use pingora_http::ResponseHeader;

use crate::identity::{IdentityPolicy, RequestId};

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

/// Removes hop-by-hop headers from a response (RFC 9110, section 7.6.1), and the headers that only
/// the tiers may send: an application cannot set a session. `Transfer-Encoding` stays, because
/// Pingora frames the body by it.
///
/// A request ID stays for [`put_request_id`], which replaces it unless it is the right one.
pub(crate) fn remove_not_for_client(response: &mut ResponseHeader, policy: &IdentityPolicy) {
    let switches = response.status == http::StatusCode::SWITCHING_PROTOCOLS;
    let nominated = nominated(&response.headers);
    let is_removed = |name: &&HeaderName| {
        let name = *name;
        if *name == header::CONNECTION || *name == header::UPGRADE {
            return !switches;
        }
        *name == KEEP_ALIVE
            || *name == PROXY_CONNECTION
            || *name == header::PROXY_AUTHENTICATE
            || (nominated.contains(name) && *name != header::TRANSFER_ENCODING)
            || (name.as_str().starts_with('x')
                && is_reserved(name.as_str())
                && name != policy.header())
    };
    // One iteration over the few headers of a response costs less than a lookup of each name.
    let names: Vec<HeaderName> = response
        .headers
        .keys()
        .filter(is_removed)
        .cloned()
        .collect();
    for name in names {
        response.remove_header(&name);
    }
}

/// Sets the request ID of a final response: exactly one, whatever the application sent
/// (docs/reference/request-id.md, rules 11 and 14).
pub(crate) fn put_request_id(
    response: &mut ResponseHeader,
    policy: &IdentityPolicy,
    id: &RequestId,
) {
    if !has_once(&response.headers, policy.header(), id) {
        let _ = response.insert_header(policy.spelled(), id.header_value());
    }
    if response
        .headers
        .contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN)
        && !has_token(
            &response.headers,
            &header::ACCESS_CONTROL_EXPOSE_HEADERS,
            policy.header().as_str(),
        )
    {
        let _ = response.append_header(
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            policy.header().as_str(),
        );
    }
}

/// Returns whether a header block has exactly this identifier already, as a worker's response has
/// at the coordinator.
fn has_once(headers: &HeaderMap, name: &HeaderName, id: &RequestId) -> bool {
    let mut values = headers.get_all(name).iter();
    values
        .next()
        .is_some_and(|value| value.as_bytes() == id.as_str().as_bytes())
        && values.next().is_none()
}

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

    #[test]
    fn hop_by_hop_response_headers_are_removed() {
        let mut response = ResponseHeader::build(200, None).unwrap();
        for (name, value) in [
            ("Connection", "keep-alive, X-Private"),
            ("X-Private", "1"),
            ("Keep-Alive", "timeout=5"),
            ("Upgrade", "h2c"),
            ("Proxy-Authenticate", "Basic"),
            ("Transfer-Encoding", "chunked"),
            ("Content-Type", "text/plain"),
        ] {
            response.append_header(name, value).unwrap();
        }
        remove_not_for_client(&mut response, &policy());
        let mut left: Vec<&str> = response.headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["content-type", "transfer-encoding"]);
    }

    #[test]
    fn rule_11_the_applications_own_identifier_never_wins() {
        let mut response = ResponseHeader::build(200, None).unwrap();
        response
            .append_header("X-Backend-Request-ID", "theirs")
            .unwrap();
        response
            .append_header("x-backend-request-id", "theirs too")
            .unwrap();
        let id = RequestId::generate();
        put_request_id(&mut response, &policy(), &id);
        let values: Vec<_> = response
            .headers
            .get_all("x-backend-request-id")
            .iter()
            .collect();
        assert_eq!(values, [id.as_str()]);
        assert!(
            !response
                .headers
                .contains_key(header::ACCESS_CONTROL_EXPOSE_HEADERS)
        );
    }

    #[test]
    fn rule_14_a_cors_response_exposes_the_header_once() {
        let mut response = ResponseHeader::build(200, None).unwrap();
        response
            .append_header("Access-Control-Allow-Origin", "*")
            .unwrap();
        response
            .append_header("Access-Control-Expose-Headers", "X-Other")
            .unwrap();
        let id = RequestId::generate();
        put_request_id(&mut response, &policy(), &id);
        put_request_id(&mut response, &policy(), &id);
        let exposed = response
            .headers
            .get_all(header::ACCESS_CONTROL_EXPOSE_HEADERS)
            .iter()
            .count();
        assert_eq!(exposed, 2);
        assert!(has_token(
            &response.headers,
            &header::ACCESS_CONTROL_EXPOSE_HEADERS,
            "x-backend-request-id"
        ));
    }
}
