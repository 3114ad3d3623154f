//! The connection to the next hop. The only place that builds an `HttpPeer`.

use std::time::Duration;

use http::{HeaderName, HeaderValue, header};
use pingora_core::prelude::HttpPeer;
use pingora_core::protocols::ALPN;
use pingora_core::protocols::l4::socket::SocketAddr as PeerAddr;
use pingora_http::RequestHeader;

use crate::config::{Period, TimeoutsSection};
use crate::header::{nominated, remove_where};

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
        Self { connect: connect.unwrap_or(tier.connect).0, read, write: read, idle: tier.upstream_keepalive.0 }
    }
}

/// The peer at a resolved address: plain HTTP/1.1, every timeout set (Pingora's defaults are none).
#[must_use]
pub fn peer(address: &PeerAddr, timeouts: PeerTimeouts) -> HttpPeer {
    // A socket address resolves to itself: neither DNS nor a panic is possible here, unlike with a name.
    #[allow(clippy::disallowed_methods)]
    let mut peer = HttpPeer::new(std::net::SocketAddr::from(([0, 0, 0, 0], 1)), false, String::new());
    peer._address = address.clone();
    let options = &mut peer.options;
    options.alpn = ALPN::H1;
    options.connection_timeout = Some(timeouts.connect);
    options.total_connection_timeout = Some(timeouts.connect);
    options.read_timeout = Some(timeouts.read);
    options.write_timeout = Some(timeouts.write);
    options.idle_timeout = Some(timeouts.idle);
    peer
}

/// Makes a client's WebSocket handshake into ours: what was meant for the client's hop only goes, the rest stays
/// as it is, credentials, origin, subprotocols and extensions included (RFC 9110, section 7.6.1; RFC 6455, section 4.1).
pub fn prepare_websocket_request(request: &mut RequestHeader) {
    const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
    const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
    let named = nominated(&request.headers);
    remove_where(request, |name| {
        named.contains(name)
            || *name == KEEP_ALIVE
            || *name == PROXY_CONNECTION
            || *name == header::PROXY_AUTHORIZATION
            || *name == header::PROXY_AUTHENTICATE
            || *name == header::TE
            || *name == header::TRAILER
            || *name == header::TRANSFER_ENCODING
            || *name == header::CONTENT_LENGTH
    });
    let _ = request.insert_header(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    let _ = request.insert_header(header::UPGRADE, HeaderValue::from_static("websocket"));
    request.set_version(http::Version::HTTP_11);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_08_a_nominated_header_goes_and_the_upgrade_stays() {
        let mut request = RequestHeader::build("GET", b"/ws", None).unwrap();
        for (name, value) in [
            ("Connection", "keep-alive, Upgrade, X-Private"),
            ("Upgrade", "WebSocket"),
            ("X-Private", "1"),
            ("Sec-WebSocket-Key", "k"),
            ("Authorization", "Bearer t"),
            ("Origin", "http://h"),
        ] {
            request.append_header(name, value).unwrap();
        }
        prepare_websocket_request(&mut request);
        assert!(!request.headers.contains_key("x-private"));
        assert_eq!(request.headers["connection"], "Upgrade");
        for kept in ["sec-websocket-key", "authorization", "origin"] {
            assert!(request.headers.contains_key(kept), "{kept}");
        }
    }
}
