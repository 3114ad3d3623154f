//! Header lines (RFC 9112, section 5), of requests, responses and trailer sections.

use bytes::Bytes;
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

/// The header lines that fit on the stack. Heads with more of them are rare.
const FEW_LINES: usize = 24;

/// A line that ends with LF alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BareLf;

/// Takes lines from the front of a head, each ended by CRLF.
#[derive(Debug)]
pub(crate) struct LineScan<'a> {
    bytes: &'a [u8],
    position: usize,
    lines: usize,
}

impl<'a> LineScan<'a> {
    /// Creates a scan of `bytes` from `position` on.
    pub(crate) const fn new(bytes: &'a [u8], position: usize) -> Self {
        Self {
            bytes,
            position,
            lines: 0,
        }
    }

    /// Takes the next line, without its CRLF; `None` if its end is missing.
    pub(crate) fn next_line(&mut self) -> Result<Option<&'a [u8]>, BareLf> {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        let Some(end) = memchr::memchr(b'\n', rest) else {
            return Ok(None);
        };
        let line = rest
            .get(..end)
            .and_then(|line| line.strip_suffix(b"\r"))
            .ok_or(BareLf)?;
        self.position += end + 1;
        self.lines += 1;
        Ok(Some(line))
    }

    /// Returns how many bytes precede the next line.
    pub(crate) const fn position(&self) -> usize {
        self.position
    }

    /// Returns how many lines were taken.
    pub(crate) const fn lines(&self) -> usize {
        self.lines
    }
}

/// A fault of a header line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LineFault {
    /// The line begins with a blank: an obsolete line folding, or a blank before the name.
    Folded,
    /// No colon.
    NoColon,
    /// No name before the colon.
    NoName,
    /// A blank between name and colon.
    BlankBeforeColon,
    /// A byte in the name that is none of a token.
    Name,
    /// A CR in the value.
    BareCr,
    /// A NUL or another control character in the value.
    Control,
    /// A name of more than 64 KiB.
    NameTooLong,
}

impl LineFault {
    /// Returns the fault as a sentence, for the client.
    pub(crate) const fn sentence(self) -> &'static str {
        match self {
            Self::Folded => "A header line begins with a blank.",
            Self::NoColon => "A header line has no colon.",
            Self::NoName => "A header line has no name.",
            Self::BlankBeforeColon => "A header name has a blank before its colon.",
            Self::Name => "A header name has an invalid byte.",
            Self::BareCr => "A header value has a CR without LF.",
            Self::Control => "A header value has a control character.",
            Self::NameTooLong => "A header name is too long.",
        }
    }

    /// Returns the fault as a cause, for the log.
    pub(crate) const fn cause(self) -> &'static str {
        match self {
            Self::Folded => "a header line begins with a blank",
            Self::NoColon => "a header line has no colon",
            Self::NoName => "a header line has no name",
            Self::BlankBeforeColon => "a header name has a blank before its colon",
            Self::Name => "a header name has an invalid byte",
            Self::BareCr => "a header value has a CR without LF",
            Self::Control => "a header value has a control character",
            Self::NameTooLong => "a header name is too long",
        }
    }
}

/// Appends header lines to `map`; values are slices of `head`.
///
/// The lines begin at `start` and end with the end of `head`: `lines` of them, or fewer, and an
/// empty one. Each ends with CRLF (the caller has scanned them). `keep` returns whether a field
/// goes to the map.
///
/// # Errors
///
/// The fault of the first invalid line, or the error of `keep`.
pub(crate) fn append_lines<'a, E: From<LineFault>>(
    head: &'a Bytes,
    start: usize,
    lines: usize,
    map: &mut HeaderMap,
    mut keep: impl FnMut(&HeaderName, &'a [u8]) -> Result<bool, E>,
) -> Result<(), E> {
    let block = head.get(start..).unwrap_or_default();
    let mut few = [httparse::EMPTY_HEADER; FEW_LINES];
    let mut many = Vec::new();
    let room = match few.get_mut(..lines) {
        Some(room) => room,
        None => {
            many.resize(lines, httparse::EMPTY_HEADER);
            many.as_mut_slice()
        }
    };
    let Ok(httparse::Status::Complete((_, fields))) = httparse::parse_headers(block, room) else {
        return Err(find_fault(block).into());
    };
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes())
            .map_err(|_| E::from(LineFault::NameTooLong))?;
        if keep(&name, field.value)? {
            let value = value_of(head, field.value).ok_or(E::from(LineFault::Control))?;
            // The map holds 32,768 fields.
            map.try_append(name, value)
                .map_err(|_| E::from(LineFault::NameTooLong))?;
        }
    }
    Ok(())
}

/// Returns the value that is the part `value` of `head`.
fn value_of(head: &Bytes, value: &[u8]) -> Option<HeaderValue> {
    let start = (value.as_ptr() as usize).checked_sub(head.as_ptr() as usize)?;
    HeaderValue::from_maybe_shared(head.slice(start..start + value.len())).ok()
}

/// Returns the first fault of header lines that the parser rejected.
#[cold]
fn find_fault(block: &[u8]) -> LineFault {
    let mut scan = LineScan::new(block, 0);
    while let Ok(Some(line)) = scan.next_line() {
        if let Err(fault) = check_line(line) {
            return fault;
        }
    }
    LineFault::Control
}

/// Checks one header line, or the empty one.
pub(crate) fn check_line(line: &[u8]) -> Result<(), LineFault> {
    if line.is_empty() {
        return Ok(());
    }
    if line.starts_with(b" ") || line.starts_with(b"\t") {
        return Err(LineFault::Folded);
    }
    let (name, value) = split_line(line).ok_or(LineFault::NoColon)?;
    if name.is_empty() {
        return Err(LineFault::NoName);
    }
    if name
        .trim_ascii_end()
        .iter()
        .all(|&byte| is_token_byte(byte))
    {
        if !name.iter().all(|&byte| is_token_byte(byte)) {
            return Err(LineFault::BlankBeforeColon);
        }
    } else {
        return Err(LineFault::Name);
    }
    if value.contains(&b'\r') {
        return Err(LineFault::BareCr);
    }
    if value
        .iter()
        .any(|&byte| (byte < b' ' && byte != b'\t') || byte == 0x7f)
    {
        return Err(LineFault::Control);
    }
    Ok(())
}

/// Returns the parts of a line before and behind its first colon.
pub(crate) fn split_line(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, rest) = line.split_at(memchr::memchr(b':', line)?);
    Some((name, rest.get(1..)?))
}

/// Returns `value` without blanks (SP and HTAB) at its ends.
pub(crate) fn trim_blanks(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// Returns whether `byte` may be part of a token (RFC 9110, section 5.6.2).
pub(crate) const fn is_token_byte(byte: u8) -> bool {
    matches!(
        byte,
        b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'0'..=b'9' | b'A'..=b'Z' | b'^'..=b'z'
            | b'|' | b'~'
    )
}
