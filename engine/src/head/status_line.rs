//! The status line (RFC 9112, section 4): version, status, reason phrase.

use http::{StatusCode, Version};

use super::fault::BadResponse;

/// A status line.
#[derive(Debug)]
pub(super) struct StatusLine<'a> {
    /// HTTP/1.0 or HTTP/1.1.
    pub(super) version: Version,
    /// The status, 100 to 999.
    pub(super) status: StatusCode,
    /// The reason phrase; `None` if it is not UTF-8.
    pub(super) reason: Option<&'a str>,
}

impl<'a> StatusLine<'a> {
    /// Parses a line, without its CRLF. The space behind the status may be missing with the phrase.
    pub(super) fn parse(line: &'a [u8]) -> Result<Self, BadResponse> {
        let (version, rest) = line.split_at_checked(9).unwrap_or_default();
        let version = match version {
            b"HTTP/1.1 " => Version::HTTP_11,
            b"HTTP/1.0 " => Version::HTTP_10,
            [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'2'..=b'9', b' '] => Version::HTTP_11,
            _ => return Err(BadResponse("the status line is invalid")),
        };
        let (status, rest) = rest.split_at_checked(3).unwrap_or_default();
        let status = StatusCode::from_bytes(status)
            .map_err(|_| BadResponse("the status is not a number from 100 on"))?;
        let reason = match rest {
            [] => rest,
            [b' ', reason @ ..] => reason,
            _ => return Err(BadResponse("the status line is invalid")),
        };
        if reason
            .iter()
            .any(|&byte| (byte < b' ' && byte != b'\t') || byte == 0x7f)
        {
            return Err(BadResponse("the reason phrase has a control character"));
        }
        let reason = std::str::from_utf8(reason).ok();
        Ok(Self {
            version,
            status,
            reason,
        })
    }
}
