//! The connection to the next hop, and the request that goes over it. The only place that builds an
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

/// How long to wait for one next hop.
#[derive(Clone, Copy, Debug)]
pub struct PeerTimeouts {
    /// To connect.
    pub connect: Duration,
    /// Longest silence.
    pub read: Duration,
    /// Longest time for which it may accept nothing.
    pub write: Duration,
    /// How long an unused connection stays open.
    pub idle: Duration,
}

impl PeerTimeouts {
    /// The tier's timeouts, with an app's own where it has them.
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

/// Returns the socket address to connect to. A host name is looked up, which blocks: call this where
/// the configuration or the app table changes, never for a request.
///
/// # Errors
/// When the name does not resolve, or a Unix path is too long for a socket.
pub fn resolve(address: &Address) -> io::Result<PeerAddr> {
    match address {
        Address::Unix(path) => Ok(PeerAddr::Unix(UnixAddr::from_pathname(path)?)),
        Address::Inet { .. } => address.resolve_inet().map(PeerAddr::Inet),
    }
}

/// The peer at a resolved address: plain HTTP/1.1, every timeout set (Pingora's defaults are none).
#[must_use]
pub fn peer(address: &PeerAddr, timeouts: PeerTimeouts) -> HttpPeer {
    // A socket address resolves to itself: neither DNS nor a panic is possible here, unlike with a
    // name.
    #[allow(clippy::disallowed_methods)]
    let mut peer = HttpPeer::new(
        std::net::SocketAddr::from(([0, 0, 0, 0], 1)),
        false,
        String::new(),
    );
    peer._address = address.clone();
    let options = &mut peer.options;
    options.alpn = ALPN::H1;
    // Ours go in the same walk as the other headers that are not for the next hop (`header`): ten
    // lookups fewer for each request.
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
/// Pingora's own way to change a header keeps a second map with the names as the client spelt them,
/// and allocates a name twice for each change. In the plain map names are in lower case, as in
/// HTTP/2 and in HAProxy; nobody may tell the difference (RFC 9110, section 5.1).
pub fn rewrite(request: &mut RequestHeader, target: &Uri, change: impl FnOnce(&mut HeaderMap)) {
    let mut parts = take(request);
    change(&mut parts.headers);
    parts.uri = target.clone();
    *request = RequestHeader::from(parts);
}

/// Forgets how the client spelt the names of its headers, which every copy of them would carry
/// along. A target that only its own bytes can tell (in absolute form, or not in UTF-8) is left
/// alone with them.
pub fn forget_spelling(request: &mut RequestHeader) {
    if request.has_case() && request.raw_path_is_utf8() && request.raw_path().starts_with(b"/") {
        *request = RequestHeader::from(take(request));
    }
}

fn take(request: &mut RequestHeader) -> Parts {
    let empty = RequestHeader::from(http::Request::new(()).into_parts().0);
    Parts::from(std::mem::replace(request, empty))
}

/// Makes a client's WebSocket handshake into ours: what was meant for the client's hop only goes,
/// the rest stays as it is, credentials, origin, subprotocols and extensions included (RFC 9110,
/// section 7.6.1; RFC 6455, section 4.1).
///
/// Of the target the URI is left: it is set anew for the next hop.
pub fn prepare_websocket_request(request: &mut RequestHeader) {
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
    fn rule_08_a_nominated_header_goes_and_the_upgrade_stays() {
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
