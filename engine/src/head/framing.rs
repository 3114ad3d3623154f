//! The headers that frame a body: `Content-Length` (RFC 9110, section 8.6), `Transfer-Encoding`
//! (RFC 9112, section 6.1), and `Connection` (RFC 9110, section 7.6.1).

use super::fields::{is_token_byte, trim_blanks};

/// Returns the number of a `Content-Length` value: digits alone, at most 2^64 - 1.
pub(crate) fn parse_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0_u64, |number, &byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// Returns whether `value` is the shortest spelling of its number.
pub(super) const fn is_canonical_length(value: &[u8]) -> bool {
    !matches!(value, [b'0', _, ..])
}

/// The codings of all `Transfer-Encoding` lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Codings {
    /// No line.
    #[default]
    None,
    /// `chunked` alone.
    Chunked,
    /// `identity` alone, which RFC 7230 removed.
    Identity,
    /// Other codings, with or without `chunked` behind them.
    Other {
        /// `chunked` is the last one.
        chunked: bool,
    },
    /// An empty element, an invalid byte, or a coding behind `chunked`.
    Malformed,
}

impl Codings {
    /// Adds the codings of one line.
    pub(super) fn add(&mut self, value: &[u8]) {
        if *self == Self::None && value.eq_ignore_ascii_case(b"chunked") {
            *self = Self::Chunked;
            return;
        }
        for coding in value.split(|&byte| byte == b',') {
            *self = self.and(trim_blanks(coding));
        }
    }

    /// Returns the codings with one more behind them.
    fn and(self, coding: &[u8]) -> Self {
        let (name, parameters) = match coding.iter().position(|&byte| byte == b';') {
            Some(end) => coding.split_at(end),
            None => (coding, &[][..]),
        };
        let name = trim_blanks(name);
        let is_token = !name.is_empty() && name.iter().all(|&byte| is_token_byte(byte));
        let is_chunked = name.eq_ignore_ascii_case(b"chunked");
        match self {
            _ if !is_token || (is_chunked && !parameters.is_empty()) => Self::Malformed,
            Self::Malformed | Self::Chunked | Self::Other { chunked: true } => Self::Malformed,
            Self::None if is_chunked => Self::Chunked,
            Self::None if coding.eq_ignore_ascii_case(b"identity") => Self::Identity,
            Self::None | Self::Identity | Self::Other { chunked: false } => Self::Other {
                chunked: is_chunked,
            },
        }
    }
}

/// The options of all `Connection` lines that concern the connection itself.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ConnectionOptions {
    close: bool,
    keep_alive: bool,
}

impl ConnectionOptions {
    /// Adds the options of one line.
    pub(super) fn add(&mut self, value: &[u8]) {
        if value.eq_ignore_ascii_case(b"keep-alive") {
            self.keep_alive = true;
            return;
        }
        self.close |= has_token(value, b"close");
        self.keep_alive |= has_token(value, b"keep-alive");
    }

    /// Returns whether the connection persists (RFC 9112, section 9.3).
    pub(super) const fn persists(self, is_http_10: bool) -> bool {
        !self.close && (self.keep_alive || !is_http_10)
    }
}

/// Returns whether a list contains `token`, compared without case. Parameters are ignored.
pub(super) fn has_token(list: &[u8], token: &[u8]) -> bool {
    list.split(|&byte| byte == b',').any(|element| {
        let name = element
            .split(|&byte| byte == b';')
            .next()
            .unwrap_or_default();
        trim_blanks(name).eq_ignore_ascii_case(token)
    })
}
