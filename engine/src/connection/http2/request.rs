//! The check of a request head that h2 has accepted: the rules of HTTP/1.1 for what goes on in
//! HTTP/1.1, and the limits.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Uri};

use crate::body::Framing;
use crate::client::StreamTraits;
use crate::exchange::Traits;
use crate::head::{is_same_authority, parse_length};
use crate::limits::{HeadLimits, MAX_HOST_BYTES, MAX_METHOD_BYTES};
use crate::rejection::Rejection;

/// The bytes of a rejected target that are logged, at most.
const SALVAGED_TARGET_BYTES: usize = 2048;
/// The bytes of the HTTP/1.1 head around the target and the header lines.
const FRAME_BYTES: usize = b"  HTTP/1.1\r\n\r\n".len();
/// The bytes around the name and the value of a header line.
const LINE_BYTES: usize = b": \r\n".len();

/// The facts of a valid request head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    /// For the exchange.
    pub(super) exchange: Traits,
    /// For the stream.
    pub(super) stream: StreamTraits,
}

/// Checks a request head, and makes it one of HTTP/1.1 (RFC 9113, section 8): `Host` is the
/// `:authority`, and cookies are one line. `ended`: the request has no body.
///
/// # Errors
/// The first fault. The head is then fit for the answer and the log.
pub(super) fn check(
    parts: &mut Parts,
    ended: bool,
    limits: &HeadLimits,
) -> Result<Facts, Rejection> {
    // Before the lines are counted: a browser sends each cookie as a line.
    join_cookies(&mut parts.headers);
    let checked = check_size(parts, limits)
        .and_then(|()| check_target(parts))
        .and_then(|()| set_host(parts))
        .and_then(|()| facts_of(parts, ended));
    if checked.is_err() {
        shorten(parts);
    }
    checked
}

/// Checks the limits of method, target and headers.
fn check_size(parts: &Parts, limits: &HeadLimits) -> Result<(), Rejection> {
    let method = parts.method.as_str().len();
    if method > MAX_METHOD_BYTES {
        return Err(Rejection::NotImplemented("The method is too long."));
    }
    let target = target_of(&parts.uri).len();
    if target > limits.target {
        return Err(Rejection::TargetTooLong);
    }
    if parts.headers.len() > limits.lines {
        return Err(Rejection::HeadersTooLarge(
            "The request has too many header lines.",
        ));
    }
    let host = parts.uri.authority().map_or(0, |host| {
        header::HOST.as_str().len() + host.as_str().len() + LINE_BYTES
    });
    let fields = parts.headers.iter();
    let lines: usize = fields
        .map(|(name, value)| name.as_str().len() + value.len() + LINE_BYTES)
        .sum();
    if method + target + host + lines + FRAME_BYTES > limits.bytes {
        return Err(Rejection::HeadersTooLarge(
            "The request head is longer than this proxy accepts.",
        ));
    }
    Ok(())
}

/// The text of `:path`; nothing for CONNECT.
fn target_of(uri: &Uri) -> &str {
    uri.path_and_query().map_or("", PathAndQuery::as_str)
}

/// Checks the form of `:path` (section 8.3.1), and its bytes.
fn check_target(parts: &Parts) -> Result<(), Rejection> {
    if parts.method == Method::CONNECT {
        return Ok(());
    }
    let target = target_of(&parts.uri).as_bytes();
    let has_form = match target {
        [b'/', ..] => true,
        b"*" => parts.method == Method::OPTIONS,
        _ => false,
    };
    if !has_form {
        return Err(Rejection::BadRequest(
            "The request target has an invalid form.",
        ));
    }
    if target.iter().any(|&byte| byte <= b' ' || byte == 0x7f) {
        return Err(Rejection::BadRequest(
            "The request target has a control character or a blank.",
        ));
    }
    Ok(())
}

/// Checks that `:authority` and `Host` name one authority, and removes a `Host` that is spelled
/// another way: `:authority` wins (section 8.3.1).
fn set_host(parts: &mut Parts) -> Result<(), Rejection> {
    let authority = parts.uri.authority().map(|host| host.as_str().as_bytes());
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let host = hosts.next().map(HeaderValue::as_bytes);
    if hosts.next().is_some() {
        return Err(Rejection::BadRequest(
            "The request has several Host headers.",
        ));
    }
    let Some(named) = authority.or(host) else {
        return Err(Rejection::BadRequest(
            "The request has neither :authority nor Host.",
        ));
    };
    if named.contains(&b'@') {
        return Err(Rejection::BadRequest(
            "The host of the request has user information.",
        ));
    }
    if named.len() > MAX_HOST_BYTES {
        return Err(Rejection::BadRequest("The host is too long."));
    }
    let port: &[u8] = match parts.uri.scheme_str() {
        Some("https") => b"443",
        _ => b"80",
    };
    match (authority, host) {
        (Some(authority), Some(host)) if authority == host => {}
        (Some(authority), Some(host)) if is_same_authority(authority, host, port) => {
            parts.headers.remove(header::HOST);
        }
        (Some(_), Some(_)) => {
            return Err(Rejection::BadRequest(
                ":authority and Host name different hosts.",
            ));
        }
        _ => {}
    }
    Ok(())
}

/// Returns the facts of a head, after the check of its `Content-Length`.
fn facts_of(parts: &mut Parts, ended: bool) -> Result<Facts, Rejection> {
    let length = length_of(&mut parts.headers)?;
    let headers = &parts.headers;
    let framing = match length {
        Some(length) => Framing::Length(length),
        None if ended => Framing::None,
        None => Framing::Chunked,
    };
    let expects_continue = headers
        .get(header::EXPECT)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    Ok(Facts {
        exchange: Traits {
            framing,
            // h2 accepts no other value than `trailers`.
            accepts_trailers: headers.contains_key(header::TE),
            hop_by_hop: HOP_BY_HOP.iter().any(|name| headers.contains_key(name)),
        },
        stream: StreamTraits {
            length,
            head_only: parts.method == Method::HEAD,
            expects_continue,
        },
    })
}

/// The hop-by-hop headers that h2 accepts.
const HOP_BY_HOP: [HeaderName; 3] = [
    header::TE,
    header::TRAILER,
    HeaderName::from_static("http2-settings"),
];

/// Returns the `Content-Length` (RFC 9110, section 8.6): one line with one number. It is written
/// the shortest way.
fn length_of(headers: &mut HeaderMap) -> Result<Option<u64>, Rejection> {
    let mut lines = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(line) = lines.next() else {
        return Ok(None);
    };
    if lines.next().is_some() {
        return Err(Rejection::BadRequest(
            "The request has several Content-Length headers.",
        ));
    }
    let length = parse_length(line.as_bytes()).ok_or(Rejection::BadRequest(
        "The Content-Length is not one number.",
    ))?;
    if line.len() > 1 && line.as_bytes().starts_with(b"0") {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(Some(length))
}

/// Joins the crumbs of a cookie (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(header::COOKIE).iter();
    if crumbs.next().is_none() || crumbs.next().is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = headers
        .get_all(header::COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    // The bytes of valid values, and of the separator, make a valid value.
    if let Ok(cookie) = HeaderValue::from_maybe_shared(bytes::Bytes::from(crumbs.join(&b"; "[..])))
    {
        headers.insert(header::COOKIE, cookie);
    }
}

/// Makes the head of a rejected request short enough for the log.
fn shorten(parts: &mut Parts) {
    if parts.method.as_str().len() > MAX_METHOD_BYTES {
        parts.method = Method::GET;
    }
    let is_long = |host: &HeaderValue| host.len() > MAX_HOST_BYTES;
    if parts.headers.get_all(header::HOST).iter().any(is_long) {
        parts.headers.remove(header::HOST);
    }
    let mut uri = std::mem::take(&mut parts.uri).into_parts();
    uri.authority
        .take_if(|host| host.as_str().len() > MAX_HOST_BYTES);
    if uri.authority.is_none() {
        uri.scheme = None;
    }
    if let Some(target) = &mut uri.path_and_query {
        *target = beginning_of(target);
    }
    parts.uri = Uri::from_parts(uri).unwrap_or_default();
}

/// Returns the first bytes of a target.
fn beginning_of(target: &PathAndQuery) -> PathAndQuery {
    let text = target.as_str();
    let end = (0..=SALVAGED_TARGET_BYTES).rev();
    let beginning = end.filter_map(|end| text.get(..end)).next();
    match beginning.filter(|_| text.len() > SALVAGED_TARGET_BYTES) {
        None => target.clone(),
        Some(beginning) => {
            PathAndQuery::try_from(beginning).unwrap_or(PathAndQuery::from_static("/"))
        }
    }
}
