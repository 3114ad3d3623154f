//! The opening handshake with the next hop (RFC 6455, section 4.1).

use std::time::Duration;

use http::{StatusCode, Version, header};
use pingora_core::connectors::TransportConnector;
use pingora_core::prelude::HttpPeer;
use pingora_core::protocols::http::v1::client::HttpSession as UpstreamSession;
use pingora_core::upstreams::peer::Peer;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};

use crate::header::has_token;
use crate::response::is_interim;

/// The longest time in which a next hop must answer a handshake. Meanwhile the client's connection
/// is not watched.
const HANDSHAKE: Duration = Duration::from_secs(60);

/// A connection to the next hop with its answer to the handshake.
pub(super) struct Upstream {
    /// The connection.
    pub(super) session: UpstreamSession,
    /// The header of the answer: 101, or a refusal.
    pub(super) response: ResponseHeader,
}

/// Connects to `peer` and exchanges the handshake with it.
///
/// # Errors
/// After an error of Pingora's types `Connect…` nothing has been sent, and another peer may be
/// tried. All others end the request. The upstream is the source of both.
pub(super) async fn shake_hands(
    connector: &TransportConnector,
    peer: &HttpPeer,
    request: RequestHeader,
) -> Result<Upstream> {
    let stream = connector.new_stream(peer).await.map_err(Error::into_up)?;
    let mut session = UpstreamSession::new_with_options(stream, peer);
    let options = peer.get_peer_options();
    session.read_timeout = options
        .and_then(|o| o.read_timeout)
        .map(|limit| limit.min(HANDSHAKE));
    session.write_timeout = options.and_then(|o| o.write_timeout);
    session
        .write_request_header(Box::new(request))
        .await
        .map_err(Error::into_up)?;
    loop {
        let response = session
            .read_resp_header_parts()
            .await
            .map_err(Error::into_up)?;
        if is_interim(response.status) {
            continue;
        }
        if response.status == StatusCode::SWITCHING_PROTOCOLS && !switches_to_websocket(&response) {
            return Err(Error::explain(
                ErrorType::InvalidHTTPHeader,
                "a 101 that is no WebSocket's",
            )
            .into_up());
        }
        return Ok(Upstream {
            session,
            response: *response,
        });
    }
}

fn switches_to_websocket(response: &ResponseHeader) -> bool {
    response.version == Version::HTTP_11
        && has_token(&response.headers, &header::UPGRADE, "websocket")
        && response.headers.contains_key(header::SEC_WEBSOCKET_ACCEPT)
}
