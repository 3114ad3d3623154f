//! The client's side of the opening handshake (RFC 6455, section 4.2.1).

use base64::Engine;
use base64::alphabet;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use http::request::Parts;
use http::{Method, Version, header};
use pingora_http::RequestHeader;

use crate::error::ProxyError;
use crate::header::has_token;

/// Decodes a key. The bits after its 16 bytes may be set, as in the example of RFC 6455, section
/// 4.1.
const KEY: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// Returns whether a request asks for a WebSocket. Only HTTP/1.1 can: an HTTP/1.0 `Upgrade` is
/// ignored (RFC 9110, section 7.8), and RFC 8441 is not implemented.
#[must_use]
pub fn is_websocket(request: &Parts) -> bool {
    request.version == Version::HTTP_11
        && request.headers.contains_key(header::UPGRADE)
        && has_token(&request.headers, &header::UPGRADE, "websocket")
}

/// Validates a client's handshake before it is forwarded.
///
/// # Errors
/// [`ProxyError::BadHandshake`] with the fault.
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
    let key = one(header::SEC_WEBSOCKET_KEY).and_then(|key| KEY.decode(key).ok());
    if key.is_none_or(|key| key.len() != 16) {
        return Err(ProxyError::BadHandshake(
            "A WebSocket handshake has one key of 16 bytes.",
        ));
    }
    Ok(())
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

    /// Regression: the example of RFC 6455, section 4.1, was refused.
    #[test]
    fn a_key_is_valid_whatever_the_bits_after_its_bytes_are() {
        let with = |key: &'static str| {
            let mut request = request("GET", &GOOD);
            request.insert_header("Sec-WebSocket-Key", key).unwrap();
            validate(&request)
        };
        assert_eq!(with("AQIDBAUGBwgJCgsMDQ4PEC=="), Ok(()));
        assert_eq!(with("AQIDBAUGBwgJCgsMDQ4PEA=="), Ok(()));
        for bad in [
            "AQIDBAUGBwgJCgsMDQ4PEC",
            "AQIDBAUGBwgJCgsMDQ4PEC=",
            "AQIDBAUGBwgJCgsMDQ4PEBE=",
            "AQIDBAUGBwgJCgsMDQ4P",
            "AQIDBAUGBwgJCgsMDQ4PE-==",
            "",
        ] {
            assert!(with(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_bad_handshake_is_rejected() {
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
