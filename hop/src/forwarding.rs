//! The connection to the next hop, and the request on it. This is the only place that builds an
//! `HttpPeer`.

use std::io;
use std::os::unix::net::SocketAddr as UnixAddr;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Uri, Version, header, request::Parts};
use pingora_core::prelude::HttpPeer;
use pingora_core::protocols::ALPN;
use pingora_core::protocols::l4::socket::SocketAddr as PeerAddr;
use pingora_http::RequestHeader;

use crate::config::TimeoutsSection;
use crate::header::{is_hop_by_hop, nominated, remove_where, set};
use app_proxy_api::address::Address;
use app_proxy_api::units::Period;

/// The time limits of the connections to one next hop.
#[derive(Clone, Copy, Debug)]
pub struct PeerTimeouts {
    /// The time to connect.
    pub connect: Duration,
    /// The longest silence.
    pub read: Duration,
    /// The longest time in which it accepts no byte.
    pub write: Duration,
    /// The time for which an unused connection stays open.
    pub idle: Duration,
}

impl PeerTimeouts {
    /// Returns the timeouts of the tier, with those of an app in their place where it sets them.
    #[must_use]
    pub fn new(tier: &TimeoutsSection, connect: Option<Period>, read: Option<Period>) -> Self {
        let read = read.unwrap_or(tier.upstream_read).0;
        Self {
            connect: connect.unwrap_or(tier.connect).0,
            read,
            write: read,
            idle: tier.upstream_keepalive.0,
        }
    }
}

/// Returns the socket address to connect to. The lookup of a host name blocks: call this where the
/// configuration or the app table changes, never for a request.
///
/// # Errors
/// When the name cannot be resolved, or a Unix path is too long for a socket.
pub fn resolve(address: &Address) -> io::Result<PeerAddr> {
    match address {
        Address::Unix(path) => Ok(PeerAddr::Unix(UnixAddr::from_pathname(path)?)),
        Address::Inet { .. } => address.resolve_inet().map(PeerAddr::Inet),
    }
}

/// Returns the peer at a resolved address: plain HTTP/1.1, with every time limit (Pingora's default
/// is none).
#[must_use]
pub fn peer(address: &PeerAddr, timeouts: PeerTimeouts) -> HttpPeer {
    // The address is replaced below: a name would be looked up here, with a panic if that fails,
    // and a Unix address has no constructor.
    #[allow(clippy::disallowed_methods)]
    let mut peer = HttpPeer::new(
        std::net::SocketAddr::from(([0, 0, 0, 0], 1)),
        false,
        String::new(),
    );
    peer._address = address.clone();
    let options = &mut peer.options;
    options.alpn = ALPN::H1;
    // `header` removes hop-by-hop headers in one pass with the other headers that are not for the
    // next hop, which saves ten lookups a request.
    options.http_upstream_request_policy.strip_hop_by_hop = false;
    options.connection_timeout = Some(timeouts.connect);
    options.total_connection_timeout = Some(timeouts.connect);
    options.read_timeout = Some(timeouts.read);
    options.write_timeout = Some(timeouts.write);
    options.idle_timeout = Some(timeouts.idle);
    peer
}

/// Rewrites a request for the next hop: its target, and its headers as a plain map.
///
/// Pingora's methods keep a second map with the names in the client's spelling, and allocate a name
/// twice for each change. In the plain map names are in lower case, as in HTTP/2 and HAProxy; they
/// are case-insensitive (RFC 9110, section 5.1).
pub fn rewrite(request: &mut RequestHeader, target: &Uri, change: impl FnOnce(&mut HeaderMap)) {
    let mut parts = take(request);
    change(&mut parts.headers);
    parts.uri = target.clone();
    *request = RequestHeader::from(parts);
}

/// Drops the client's spelling of header names, which every copy of the header would carry along. A
/// request whose target Pingora keeps as bytes (in absolute form, or not in UTF-8) stays as it is.
pub(crate) fn drop_spelling(request: &mut RequestHeader) {
    if request.has_case() && request.raw_path_is_utf8() && request.raw_path().starts_with(b"/") {
        *request = RequestHeader::from(take(request));
    }
}

fn take(request: &mut RequestHeader) -> Parts {
    let empty = RequestHeader::from(http::Request::new(()).into_parts().0);
    Parts::from(std::mem::replace(request, empty))
}

/// Turns a client's WebSocket handshake into the one for the next hop: headers that are meant for
/// the client's hop alone are removed, the rest stays as it is, credentials, origin, subprotocols
/// and extensions included (RFC 9110, section 7.6.1; RFC 6455, section 4.1). The target follows in
/// [`rewrite`].
pub(crate) fn prepare_websocket_request(request: &mut RequestHeader) {
    let mut parts = take(request);
    parts.version = Version::HTTP_11;
    make_websocket_headers(&mut parts.headers);
    *request = RequestHeader::from(parts);
}

fn make_websocket_headers(headers: &mut HeaderMap) {
    let named = nominated(headers);
    remove_where(headers, |name| {
        named.contains(name) || is_hop_by_hop(name) || *name == header::CONTENT_LENGTH
    });
    set(
        headers,
        &header::CONNECTION,
        HeaderValue::from_static("Upgrade"),
    );
    set(
        headers,
        &header::UPGRADE,
        HeaderValue::from_static("websocket"),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_08_a_nominated_header_is_removed_and_the_upgrade_stays() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("Connection", "keep-alive, Upgrade, X-Private"),
            ("Upgrade", "WebSocket"),
            ("X-Private", "1"),
            ("Sec-WebSocket-Key", "k"),
            ("Authorization", "Bearer t"),
            ("Origin", "http://h"),
        ] {
            headers.append(name, value.parse().unwrap());
        }
        make_websocket_headers(&mut headers);
        assert!(!headers.contains_key("x-private"));
        assert_eq!(headers["connection"], "Upgrade");
        for kept in ["sec-websocket-key", "authorization", "origin"] {
            assert!(headers.contains_key(kept), "{kept}");
        }
    }
}
