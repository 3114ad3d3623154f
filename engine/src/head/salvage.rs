//! The readable parts of a rejected request head.

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Method, Uri, Version};
use pingora_http::RequestHeader;

use super::fields::{split_line, trim_blanks};
use crate::limits::{HeadLimits, MAX_METHOD_BYTES};

/// The most header lines that are read from a rejected head.
const MAX_LINES: usize = 64;
/// The longest target that is read from a rejected head, in bytes.
const MAX_TARGET_BYTES: usize = 2048;

/// Returns the readable parts of a rejected head: method, target and valid header lines, for the
/// request ID, the format of the answer, and the log.
///
/// It reads the first bytes of `limits.bytes` at most, and never fails. What cannot be read is
/// `GET`, `/` or missing.
pub(crate) fn salvage_request(input: &[u8], limits: &HeadLimits) -> RequestHeader {
    let input = input.strip_prefix(b"\r\n").unwrap_or(input);
    let input = input.get(..limits.bytes).unwrap_or(input);
    let mut lines = input.split(|&byte| byte == b'\n');
    let (mut parts, ()) = http::Request::new(()).into_parts();
    parts.version = Version::HTTP_11;
    let mut words = lines.next().unwrap_or_default().split(|&byte| byte == b' ');
    if let Some(method) = words.next().and_then(read_method) {
        parts.method = method;
        if let Some(uri) = words.next().and_then(read_target) {
            parts.uri = uri;
        }
    }
    let mut headers = HeaderMap::new();
    for line in lines.take(MAX_LINES.min(limits.lines)) {
        // The rest may be the body, or the next request.
        if line.is_empty() || line == b"\r" {
            break;
        }
        if let Some((name, value)) = read_line(line) {
            let _ = headers.try_append(name, value);
        }
    }
    parts.headers = headers;
    RequestHeader::from(parts)
}

/// Returns a valid method.
fn read_method(word: &[u8]) -> Option<Method> {
    if word.len() > MAX_METHOD_BYTES {
        return None;
    }
    Method::from_bytes(word).ok()
}

/// Returns path and query of a target that a `Uri` holds, or of its beginning.
fn read_target(word: &[u8]) -> Option<Uri> {
    let word = word.strip_suffix(b"\r").unwrap_or(word);
    let word = word.get(..MAX_TARGET_BYTES).unwrap_or(word);
    let valid = word
        .iter()
        .position(|byte| matches!(byte, 0..=b' ' | b'#' | 0x7f));
    let word = word.get(..valid.unwrap_or(word.len()))?;
    let uri = Uri::from_maybe_shared(Bytes::copy_from_slice(word)).ok()?;
    uri.into_parts().path_and_query.map(Uri::from)
}

/// Returns name and value of a valid header line.
fn read_line(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let (name, value) = split_line(line)?;
    let name = HeaderName::from_bytes(name).ok()?;
    let value = HeaderValue::from_bytes(trim_blanks(value)).ok()?;
    Some((name, value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: HeadLimits = HeadLimits {
        bytes: 4096,
        lines: 100,
        target: 1024,
    };

    fn salvaged(input: &[u8]) -> RequestHeader {
        salvage_request(input, &LIMITS)
    }

    #[test]
    fn the_request_id_is_read_from_heads_with_faults() {
        for input in [
            "GET /a b HTTP/1.1\r\nAccept: x\r\nX-Backend-Request-ID: id\r\n\r\n",
            "GET /a HTTP/1.1\nAccept: x\nX-Backend-Request-ID: id\n\n",
            "GET /a HTTP/9.9\r\nAccept: x\r\nX-Backend-Request-ID: id\r\n\r\n",
            "\r\nGET /a#b HTTP/1.1\r\nBad : line\r\n folded\r\nAccept: x\r\n\
             X-Backend-Request-ID:\tid ",
            "GET /a",
        ] {
            let request = salvaged(input.as_bytes());
            assert_eq!((request.method.as_str(), request.uri.path()), ("GET", "/a"));
            if input.len() > 6 {
                assert_eq!(request.headers["x-backend-request-id"], "id");
                assert_eq!(request.headers["accept"], "x");
                assert_eq!(request.headers.len(), 2);
            }
        }
    }

    #[test]
    fn bytes_behind_the_head_are_not_read() {
        let request = salvaged(b"POST / HTTP/1.1\r\nA: b\r\n\r\nX-Backend-Request-ID: body\r\n");
        assert_eq!(request.headers.len(), 1);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let target = format!("GET /{} HTTP/1.1\r\n", "a".repeat(100_000));
        assert_eq!(
            salvage_request(
                target.as_bytes(),
                &HeadLimits {
                    bytes: 1 << 20,
                    ..LIMITS
                }
            )
            .uri
            .path()
            .len(),
            2048
        );
        let lines = format!("GET / HTTP/1.1\r\n{}", "A: b\r\n".repeat(500));
        assert_eq!(salvaged(lines.as_bytes()).headers.len(), 64);
        let method = format!("{} /a HTTP/1.1\r\n", "M".repeat(900));
        assert_eq!(salvaged(method.as_bytes()).method, "GET");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(input in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = salvaged(&input);
            let _ = salvaged(&[b"GET ", &*input].concat());
            let _ = salvaged(&[b"GET / HTTP/1.1\r\n", &*input].concat());
        }
    }
}
