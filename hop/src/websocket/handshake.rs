//! The opening handshake (RFC 6455, section 4): what the client sends is validated, and spoken anew
//! to the next hop.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{Method, StatusCode, Version, header};
use pingora_core::connectors::TransportConnector;
use pingora_core::prelude::HttpPeer;
use pingora_core::protocols::http::v1::client::HttpSession as UpstreamSession;
use pingora_core::upstreams::peer::Peer;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};

use crate::error::ProxyError;
use crate::header::has_token;
use crate::response::is_interim;

/// Longest time for which an application may leave a handshake unanswered: nobody watches the
/// client meanwhile.
const HANDSHAKE: Duration = Duration::from_secs(60);

/// Whether a request asks for a WebSocket. Only HTTP/1.1 can: an HTTP/1.0 `Upgrade` is ignored (RFC
/// 9110, section 7.8), and there is no RFC 8441 here.
#[must_use]
pub fn is_websocket(request: &RequestHeader) -> bool {
    request.version == Version::HTTP_11
        && request.headers.contains_key(header::UPGRADE)
        && has_token(&request.headers, &header::UPGRADE, "websocket")
}

/// Checks a client's handshake before anything is forwarded (RFC 6455, section 4.2.1).
///
/// # Errors
/// [`ProxyError::BadHandshake`] with what is wrong.
pub(super) fn validate(request: &RequestHeader) -> Result<(), ProxyError> {
    let one = |name| {
        let mut values = request.headers.get_all(name).iter();
        values
            .next()
            .filter(|_| values.next().is_none())
            .map(|value| value.as_bytes())
    };
    if request.method != Method::GET {
        return Err(ProxyError::BadHandshake(
            "A WebSocket handshake is a GET request.",
        ));
    }
    let has_body = request
        .headers
        .get(header::CONTENT_LENGTH)
        .is_some_and(|length| length.as_bytes() != b"0")
        || request.headers.contains_key(header::TRANSFER_ENCODING);
    if has_body {
        return Err(ProxyError::BadHandshake(
            "A WebSocket handshake has no body.",
        ));
    }
    if !has_token(&request.headers, &header::CONNECTION, "upgrade") {
        return Err(ProxyError::BadHandshake(
            "A WebSocket handshake says Connection: Upgrade.",
        ));
    }
    if one(header::SEC_WEBSOCKET_VERSION) != Some(b"13") {
        return Err(ProxyError::BadHandshake("The WebSocket version is 13."));
    }
    let key = one(header::SEC_WEBSOCKET_KEY).and_then(|key| STANDARD.decode(key).ok());
    if key.is_none_or(|key| key.len() != 16) {
        return Err(ProxyError::BadHandshake(
            "A WebSocket handshake has one key of 16 bytes.",
        ));
    }
    Ok(())
}

/// A connection to the next hop whose handshake has been answered.
pub(crate) struct Upstream {
    /// The connection.
    pub(crate) session: UpstreamSession,
    /// The answer: 101, or the refusal.
    pub(crate) response: ResponseHeader,
}

/// Connects to `peer` and speaks the handshake with it.
///
/// # Errors
/// Errors of connecting have types of Pingora's `Connect…`: nothing has been sent, another peer may
/// be tried. All others end the request. Both have the upstream as their source.
pub(crate) async fn shake_hands(
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

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: [(&str, &str); 4] = [
        ("Upgrade", "WebSocket"),
        ("Connection", "keep-alive, Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    fn request(method: &str, lines: &[(&'static str, &str)]) -> RequestHeader {
        let mut request = RequestHeader::build(method, b"/ws", None).unwrap();
        request.set_version(Version::HTTP_11);
        for (name, value) in lines {
            request.append_header(*name, *value).unwrap();
        }
        request
    }

    #[test]
    fn a_good_handshake_is_valid() {
        let request = request("GET", &GOOD);
        assert!(is_websocket(&request));
        assert_eq!(validate(&request), Ok(()));
    }

    #[test]
    fn a_bad_handshake_is_refused() {
        assert!(validate(&request("POST", &GOOD)).is_err());
        for spoilt in [
            ("Connection", "keep-alive"),
            ("Sec-WebSocket-Version", "8"),
            ("Sec-WebSocket-Key", "short"),
            ("Sec-WebSocket-Key", "AAAA"),
        ] {
            let lines: Vec<_> = GOOD
                .iter()
                .map(|line| if line.0 == spoilt.0 { spoilt } else { *line })
                .collect();
            assert!(validate(&request("GET", &lines)).is_err(), "{spoilt:?}");
        }
        for more in [
            ("Content-Length", "5"),
            ("Transfer-Encoding", "chunked"),
            ("Sec-WebSocket-Version", "13"),
        ] {
            let lines: Vec<_> = GOOD.into_iter().chain([more]).collect();
            assert!(validate(&request("GET", &lines)).is_err(), "{more:?}");
        }
    }

    #[test]
    fn only_http_1_1_asks_for_a_websocket() {
        let mut old = request("GET", &GOOD);
        old.set_version(Version::HTTP_10);
        assert!(!is_websocket(&old));
        assert!(!is_websocket(&request(
            "GET",
            &[("Upgrade", "h2c"), ("Connection", "Upgrade")]
        )));
    }
}
