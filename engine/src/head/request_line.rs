//! The request line (RFC 9112, section 3): method, target, version.

use http::{Method, Version};

use super::fields::is_token_byte;
use crate::limits::MAX_METHOD_BYTES;
use crate::rejection::Rejection;

const SHAPE: Rejection = Rejection::BadRequest(
    "The request line is not a method, a target and a version with one space between them.",
);
const METHOD: Rejection = Rejection::BadRequest("The method has an invalid byte.");
const METHOD_TOO_LONG: Rejection = Rejection::NotImplemented("The method is too long.");

/// A request line. The form of the target is not checked.
#[derive(Debug)]
pub(super) struct RequestLine<'a> {
    /// The method.
    pub(super) method: Method,
    /// The target: no control characters, blanks, or `#`.
    pub(super) target: &'a [u8],
    /// HTTP/1.0 or HTTP/1.1.
    pub(super) version: Version,
}

impl<'a> RequestLine<'a> {
    /// Parses a whole line, without its CRLF.
    ///
    /// # Errors
    ///
    /// The rejection of the first fault, in the order of the line. [`check_prefix`] of any prefix
    /// gives the same one, or none.
    pub(super) fn parse(line: &'a [u8], max_target: usize) -> Result<Self, Rejection> {
        if line.is_empty() {
            return Err(Rejection::BadRequest("The request line is empty."));
        }
        let (method, rest) = split_at_space(line).ok_or_else(|| shape_or_method(line))?;
        check_whole_method(method)?;
        let method = Method::from_bytes(method).map_err(|_| METHOD)?;
        let (target, version) = split_at_space(rest).unwrap_or((rest, &[]));
        check_target_length(target, max_target)?;
        check_target_bytes(target)?;
        let version = parse_version(version)?;
        Ok(Self {
            method,
            target,
            version,
        })
    }
}

/// Checks the part of a request line that has arrived: a method that is invalid or too long, and a
/// target that is too long.
pub(super) fn check_prefix(prefix: &[u8], max_target: usize) -> Result<(), Rejection> {
    match split_at_space(prefix) {
        None => check_method(prefix),
        Some((method, rest)) => {
            check_whole_method(method)?;
            check_target_length(
                split_at_space(rest).map_or(rest, |(target, _)| target),
                max_target,
            )
        }
    }
}

/// Returns the parts before and behind the first space.
fn split_at_space(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (before, rest) = line.split_at(memchr::memchr(b' ', line)?);
    Some((before, rest.get(1..)?))
}

/// Returns the fault of a line without any space.
#[cold]
fn shape_or_method(line: &[u8]) -> Rejection {
    check_method(line).err().unwrap_or(SHAPE)
}

/// Checks length and bytes of a method, or of its beginning.
fn check_method(method: &[u8]) -> Result<(), Rejection> {
    let beginning = method.get(..MAX_METHOD_BYTES).unwrap_or(method);
    if !beginning.iter().all(|&byte| is_token_byte(byte)) {
        return Err(METHOD);
    }
    if method.len() > MAX_METHOD_BYTES {
        Err(METHOD_TOO_LONG)
    } else {
        Ok(())
    }
}

/// Checks a method that a space follows.
fn check_whole_method(method: &[u8]) -> Result<(), Rejection> {
    if method.is_empty() {
        Err(SHAPE)
    } else {
        check_method(method)
    }
}

/// Checks the length of a target. An invalid byte within the limit counts first.
fn check_target_length(target: &[u8], max: usize) -> Result<(), Rejection> {
    match target.get(..max) {
        Some(beginning) if target.len() > max => {
            check_target_bytes(beginning)?;
            Err(Rejection::TargetTooLong)
        }
        _ => Ok(()),
    }
}

/// Checks that a target has no control character, blank, or `#`.
fn check_target_bytes(target: &[u8]) -> Result<(), Rejection> {
    // No early return, so that the loop is vectorised.
    let mut is_invalid = false;
    for &byte in target {
        is_invalid |= byte <= b' ' || byte == 0x7f || byte == b'#';
    }
    if is_invalid {
        Err(target_fault(target))
    } else {
        Ok(())
    }
}

/// Returns the rejection of a target with an invalid byte.
#[cold]
fn target_fault(target: &[u8]) -> Rejection {
    if target.iter().any(|&byte| byte <= b' ' || byte == 0x7f) {
        Rejection::BadRequest("The request target has a control character or a blank.")
    } else {
        Rejection::BadRequest("The request target has a fragment.")
    }
}

/// Parses `HTTP/1.1`. A minor version above 1 is read as 1 (RFC 9110, section 2.5).
fn parse_version(version: &[u8]) -> Result<Version, Rejection> {
    match version {
        b"HTTP/1.1" => Ok(Version::HTTP_11),
        b"HTTP/1.0" => Ok(Version::HTTP_10),
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'2'..=b'9'] => Ok(Version::HTTP_11),
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
            Err(Rejection::VersionNotSupported)
        }
        _ => Err(SHAPE),
    }
}
