//! Authentication that belongs to a connection instead of a request: clients must not share such a
//! connection.

use http::{HeaderMap, HeaderName, StatusCode, header};
use pingora_http::RequestHeader;

use crate::head::ResponseHead;

/// Returns whether a request may authenticate its connection instead of itself.
pub(super) fn request_authenticates(request: &RequestHeader) -> bool {
    has_connection_scheme(&request.headers, &header::AUTHORIZATION)
}

/// Returns whether a header names an authentication scheme whose result belongs to the connection:
/// NTLM, or Negotiate (RFC 4559, section 6). A line may name several.
fn has_connection_scheme(headers: &HeaderMap, name: &HeaderName) -> bool {
    headers.get_all(name).iter().any(|line| {
        line.as_bytes().split(|byte| *byte == b',').any(|element| {
            let mut words = element
                .trim_ascii()
                .split(|byte| matches!(byte, b' ' | b'\t'));
            words.next().is_some_and(|scheme| {
                scheme.eq_ignore_ascii_case(b"NTLM") || scheme.eq_ignore_ascii_case(b"Negotiate")
            })
        })
    })
}

/// Returns whether the next hop begins to authenticate the connection.
pub(super) fn response_authenticates(head: &ResponseHead) -> bool {
    let (status, headers) = (head.header.status, &head.header.headers);
    (status == StatusCode::UNAUTHORIZED
        && has_connection_scheme(headers, &header::WWW_AUTHENTICATE))
        || (status == StatusCode::PROXY_AUTHENTICATION_REQUIRED
            && has_connection_scheme(headers, &header::PROXY_AUTHENTICATE))
}
