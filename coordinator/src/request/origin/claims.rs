//! The origin of a request as a trusted proxy describes it: by `X-Forwarded-*`, or by `Forwarded`
//! if it sends none of those.
//!
//! A proxy that sets `X-Forwarded-For` often passes its client's `Forwarded` on unread. So the
//! two are never mixed.

use std::net::IpAddr;

use app_proxy_hop::header::{
    X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PORT, X_FORWARDED_PREFIX, X_FORWARDED_PROTO,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::address::address;
use super::forwarded::{self, Element};
use crate::config::Networks;
use crate::request::admission::is_host;

/// The description of a request by a trusted proxy, as far as it goes.
#[derive(Debug, Default)]
pub(super) struct Claims<'h> {
    /// The client.
    pub(super) client: Option<IpAddr>,
    /// `true` if the client's connection is encrypted.
    pub(super) secure: Option<bool>,
    /// The host that the client asked for.
    pub(super) host: Option<HeaderValue>,
    /// The port that the client reached.
    pub(super) port: Option<u16>,
    /// The prefix that was removed from the path; empty for none.
    pub(super) prefix: &'h str,
}

impl<'h> Claims<'h> {
    /// Reads the headers of a trusted proxy.
    pub(super) fn of(headers: &'h HeaderMap, trusted_proxies: &Networks) -> Self {
        let said = |name: &HeaderName| first(headers, name);
        let prefix = said(&X_FORWARDED_PREFIX).unwrap_or_default();
        if forwarded::is_alone(headers) {
            let elements = forwarded::elements(headers).unwrap_or_default();
            return Self {
                prefix,
                ..Self::of_elements(&elements, trusted_proxies)
            };
        }
        Self {
            client: client(headers, trusted_proxies),
            secure: said(&X_FORWARDED_PROTO).map(is_secure),
            host: said(&X_FORWARDED_HOST).and_then(host),
            port: said(&X_FORWARDED_PORT).and_then(|text| text.parse().ok()),
            prefix,
        }
    }

    /// Reads the elements of `Forwarded`, the nearest proxy's first. The last that counts is the
    /// one that names the client: those before it can be forged.
    fn of_elements(elements: &[Element], trusted_proxies: &Networks) -> Self {
        let mut claims = Self::default();
        for element in elements.iter().rev() {
            claims.secure = element.proto().map(is_secure).or(claims.secure);
            claims.host = element.host().and_then(host).or(claims.host);
            let Some(ip) = element.address() else {
                break;
            };
            claims.client = Some(ip);
            if !trusted_proxies.contains(ip) {
                break;
            }
        }
        claims
    }
}

/// Returns whether a scheme is encrypted. Some proxies name that of a WebSocket.
fn is_secure(proto: &str) -> bool {
    proto.eq_ignore_ascii_case("https") || proto.eq_ignore_ascii_case("wss")
}

/// Returns a host as a header value, if it is one.
fn host(text: &str) -> Option<HeaderValue> {
    is_host(text).then(|| HeaderValue::from_str(text).ok())?
}

/// Returns the first element of a list header.
fn first<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let text = headers.get(name)?.to_str().ok()?;
    text.split(',')
        .next()
        .map(str::trim)
        .filter(|text| !text.is_empty())
}

/// Returns the client that trusted proxies forward: the last address that is not a trusted proxy,
/// because addresses before it can be forged.
fn client(headers: &HeaderMap, trusted_proxies: &Networks) -> Option<IpAddr> {
    let lines: Vec<&str> = headers
        .get_all(&X_FORWARDED_FOR)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    let mut farthest = None;
    for text in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        let Some(ip) = address(text.trim()) else {
            break;
        };
        farthest = Some(ip);
        if !trusted_proxies.contains(ip) {
            break;
        }
    }
    farthest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schemes_of_websockets_count() {
        for (proto, secure) in [
            ("https", true),
            ("HTTPS", true),
            ("wss", true),
            ("http", false),
            ("ws", false),
            ("ftp", false),
        ] {
            assert_eq!(is_secure(proto), secure, "{proto}");
        }
    }
}
