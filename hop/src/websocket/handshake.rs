//! The answer of the next hop to an opening handshake (RFC 6455, section 4.2.2).

use http::{StatusCode, Version, header};
use pingora_core::{Error, ErrorType, Result};
use pingora_http::ResponseHeader;

use crate::header::has_token;

/// Rejects a 101 that does not switch to a WebSocket.
///
/// # Errors
/// An error of the upstream.
pub(super) fn check_switch(response: &ResponseHeader) -> Result<()> {
    if response.status == StatusCode::SWITCHING_PROTOCOLS && !switches_to_websocket(response) {
        return Err(
            Error::explain(ErrorType::InvalidHTTPHeader, "a 101 that is no WebSocket's").into_up(),
        );
    }
    Ok(())
}

fn switches_to_websocket(response: &ResponseHeader) -> bool {
    response.version == Version::HTTP_11
        && has_token(&response.headers, &header::UPGRADE, "websocket")
        && response.headers.contains_key(header::SEC_WEBSOCKET_ACCEPT)
}
