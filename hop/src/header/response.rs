//! The changes to the headers of a response that both tiers make (phase `response_filter`).

use http::{HeaderMap, HeaderName, StatusCode, header};
use pingora_http::ResponseHeader;

use super::{KEEP_ALIVE, PROXY_CONNECTION, has_token, is_hop_by_hop, is_reserved, nominated};
use crate::identity::{IdentityPolicy, RequestId};

/// Removes hop-by-hop headers from a final response (RFC 9110, section 7.6.1), and the headers that
/// only the tiers may send: an application cannot set a session. `Transfer-Encoding` stays where a
/// body is possible, because Pingora frames it by that.
///
/// A request ID stays for [`put_request_id`], which replaces it unless it is the right one.
pub(crate) fn remove_not_for_client(response: &mut ResponseHeader, policy: &IdentityPolicy) {
    let switches = response.status == StatusCode::SWITCHING_PROTOCOLS;
    // These have no body, and must not announce one (RFC 9110, section 8.6; RFC 9112, section 6.1).
    let bodiless = switches || response.status == StatusCode::NO_CONTENT;
    let nominated = nominated(&response.headers);
    remove_where(response, |name| {
        if *name == header::CONNECTION || *name == header::UPGRADE {
            return !switches;
        }
        if *name == header::TRANSFER_ENCODING {
            return bodiless;
        }
        *name == KEEP_ALIVE
            || *name == PROXY_CONNECTION
            || *name == header::PROXY_AUTHENTICATE
            || (bodiless && *name == header::CONTENT_LENGTH)
            || nominated.contains(name)
            || (name.as_str().starts_with('x')
                && is_reserved(name.as_str())
                && name != policy.header())
    });
}

/// Keeps the headers of an interim response that have a meaning there, such as `Link`.
///
/// An interim response has no content, and the final response that follows has the framing, the
/// cookies and the request ID. A client or a proxy in front that read them here would take the
/// final response for another one.
pub(crate) fn remove_not_for_interim(response: &mut ResponseHeader, policy: &IdentityPolicy) {
    let nominated = nominated(&response.headers);
    remove_where(response, |name| {
        nominated.contains(name) || !is_beside_content(name, policy)
    });
}

/// Removes the trailers of a response that would change how its head is read (RFC 9110, section
/// 6.5.1), and those that only the tiers may send.
pub(crate) fn remove_not_for_trailers(trailers: &mut HeaderMap, policy: &IdentityPolicy) {
    super::remove_where(trailers, |name| !is_beside_content(name, policy));
}

/// Returns whether a header has a meaning outside the head of a final response: it frames and
/// describes no content, routes and controls nothing, belongs to no single connection, and is not
/// one of the tiers.
fn is_beside_content(name: &HeaderName, policy: &IdentityPolicy) -> bool {
    const CONTROLS: [HeaderName; 8] = [
        header::CONNECTION,
        header::UPGRADE,
        header::SET_COOKIE,
        header::LOCATION,
        header::REFRESH,
        header::RETRY_AFTER,
        header::WWW_AUTHENTICATE,
        header::HOST,
    ];
    let text = name.as_str();
    // A policy for the page that follows, which browsers apply to what `Link` has them load.
    let describes_content =
        text.starts_with("content-") && !text.starts_with("content-security-policy");
    !(describes_content
        || is_hop_by_hop(name)
        || CONTROLS.contains(name)
        || is_reserved(text)
        || name == policy.header())
}

/// Removes all lines of the matching names.
fn remove_where(response: &mut ResponseHeader, matches: impl Fn(&HeaderName) -> bool) {
    // One iteration over the few headers of a response costs less than a lookup of each name.
    let names: Vec<HeaderName> = response
        .headers
        .keys()
        .filter(|name| matches(name))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RequestIdSection;

    fn policy() -> IdentityPolicy {
        IdentityPolicy::new(&RequestIdSection::default())
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

    fn response(status: u16, lines: &[(&'static str, &'static str)]) -> ResponseHeader {
        let mut response = ResponseHeader::build(status, None).unwrap();
        for (name, value) in lines {
            response.append_header(*name, *value).unwrap();
        }
        response
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    const FRAMING: [(&str, &str); 3] = [
        ("Content-Length", "0"),
        ("Transfer-Encoding", "chunked"),
        ("Date", "now"),
    ];

    /// Regression: a proxy in front took the bytes after a 204 or a 101 for its body, or for the
    /// response to the next request.
    #[test]
    fn a_response_without_content_does_not_announce_any() {
        for (status, left) in [
            (204, vec!["date"]),
            (101, vec!["date"]),
            (200, vec!["content-length", "date", "transfer-encoding"]),
            // The length of what a GET would get (RFC 9110, section 8.6).
            (304, vec!["content-length", "date", "transfer-encoding"]),
        ] {
            let mut response = response(status, &FRAMING);
            remove_not_for_client(&mut response, &policy());
            assert_eq!(names(&response.headers), left, "{status}");
        }
    }

    /// Regression: with the framing of a 103, a proxy that shares a connection among clients gave
    /// the final response to the wrong one.
    #[test]
    fn an_interim_response_keeps_hints_and_has_neither_framing_nor_cookies_nor_reserved_headers() {
        let mut hints = response(
            103,
            &[
                ("Link", "</a.css>; rel=preload"),
                ("Link", "</b.css>; rel=preload"),
                ("Content-Security-Policy", "style-src: self"),
                ("Server-Timing", "db;dur=5"),
                ("X-Hint", "1"),
                ("Content-Length", "0"),
                ("Content-Type", "text/html"),
                ("Content-Encoding", "gzip"),
                ("Content-Range", "bytes 0-1/2"),
                ("Transfer-Encoding", "chunked"),
                ("Trailer", "X-T"),
                ("Connection", "keep-alive, X-Nominated"),
                ("X-Nominated", "1"),
                ("Keep-Alive", "timeout=5"),
                ("Proxy-Connection", "keep-alive"),
                ("Upgrade", "h2c"),
                ("TE", "trailers"),
                ("Proxy-Authenticate", "Basic"),
                ("Set-Cookie", "app_proxy_session=forged"),
                ("Location", "/elsewhere"),
                ("Refresh", "0; url=/elsewhere"),
                ("X-Backend-Request-ID", "theirs"),
                ("X_Backend_Session", "theirs"),
                ("X-App-Proxy-Refused", "token"),
            ],
        );
        remove_not_for_interim(&mut hints, &policy());
        assert_eq!(
            names(&hints.headers),
            ["content-security-policy", "link", "server-timing", "x-hint"]
        );
        assert_eq!(hints.headers.get_all("link").iter().count(), 2);
    }

    #[test]
    fn trailers_cannot_change_how_the_head_is_read() {
        let mut trailers = response(
            200,
            &[
                ("Grpc-Status", "0"),
                ("Digest", "sha-256=x"),
                ("Content-Length", "5"),
                ("Transfer-Encoding", "chunked"),
                ("Set-Cookie", "a=1"),
                ("X-Backend-Request-ID", "theirs"),
            ],
        )
        .headers
        .clone();
        remove_not_for_trailers(&mut trailers, &policy());
        assert_eq!(names(&trailers), ["digest", "grpc-status"]);
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
