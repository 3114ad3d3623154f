//! The set-up of a client's connection for one request, and the checks that need only the request
//! line.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::{HeaderValue, Method, Version, header};
use pingora_http::RequestHeader;
use pingora_proxy::Session as HttpSession;

use crate::downstream::mark_serving;
use crate::error::ProxyError;
use crate::exchange::HopServices;
use crate::websocket::is_websocket;

/// The maximum time that the rest of a refused request is read, so that its connection is reused.
const DRAIN_BODY: Duration = Duration::from_secs(5);

/// Sets the time limits of a client's connection, which Pingora resets for each request, and
/// pipelining; removes the parts of the request header that Pingora would misunderstand.
pub(super) fn set_up(session: &mut HttpSession, hop: &HopServices) {
    mark_serving(session, true);
    let timeouts = hop.timeouts();
    session.set_read_timeout(Some(timeouts.client_read.0));
    session.set_write_timeout(Some(timeouts.client_write.0));
    session.set_total_drain_timeout(Some(DRAIN_BODY));
    session.set_pipelining_enabled(true);
    if session.get_keepalive().is_some() {
        session.set_keepalive(Some(timeouts.keepalive.0.as_secs().max(1)));
    }
    let request = session.req_header_mut();
    if request.version == Version::HTTP_11
        && request.headers.contains_key(header::UPGRADE)
        && !is_websocket(request)
    {
        // Pingora changes the protocol for every Upgrade; one that is not to a WebSocket is ignored
        // (RFC 9110, section 7.8).
        request.remove_header(&header::UPGRADE);
    }
    if request.headers.contains_key(header::CONNECTION) {
        protect_from_nomination(request);
    }
}

/// Removes the headers that every hop sets itself from `Connection`: a client may not have them
/// removed, and Pingora would refuse the request.
fn protect_from_nomination(request: &mut RequestHeader) {
    const PROTECTED: [&str; 4] = [
        "host",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
    ];
    let is_protected = |token: &str| {
        PROTECTED
            .iter()
            .any(|name| token.trim().eq_ignore_ascii_case(name))
    };
    let lines: Vec<&str> = request
        .headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .collect();
    if !lines.iter().any(|line| line.split(',').any(is_protected)) {
        return;
    }
    let rest: Vec<&str> = lines
        .iter()
        .flat_map(|line| line.split(','))
        .filter(|token| !is_protected(token))
        .collect();
    if let Ok(value) = HeaderValue::try_from(rest.join(",")) {
        let _ = request.insert_header(header::CONNECTION, value);
    }
}

/// Returns the IP address of the connection's peer, and the local address that it reached; none on
/// a Unix socket.
#[must_use]
pub fn connection_addresses(session: &HttpSession) -> (Option<IpAddr>, Option<SocketAddr>) {
    let local = session.server_addr().and_then(|address| address.as_inet());
    (peer_ip(session), local.copied())
}

/// Returns the IP address of the connection's peer; none on a Unix socket.
pub(crate) fn peer_ip(session: &HttpSession) -> Option<IpAddr> {
    let peer = session.client_addr().and_then(|address| address.as_inet());
    peer.map(|address| address.ip().to_canonical())
}

/// The methods that are served, as `Allow` lists them.
pub const ALLOWED_METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// Rejects CONNECT and TRACE.
///
/// # Errors
/// [`ProxyError::MethodNotAllowed`].
pub fn check_method(request: &RequestHeader) -> Result<(), ProxyError> {
    match request.method {
        Method::CONNECT | Method::TRACE => Err(ProxyError::MethodNotAllowed),
        _ => Ok(()),
    }
}
