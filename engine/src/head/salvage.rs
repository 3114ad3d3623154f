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
