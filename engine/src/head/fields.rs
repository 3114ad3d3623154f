//! Header lines (RFC 9112, section 5), of requests, responses and trailer sections.

use bytes::Bytes;
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

use super::fault::LineFault;
use super::names;
use super::scan::{ControlSearch, position};

/// The lines whose ends are kept. The ends of further lines are searched a second time.
const KEPT_ENDS: usize = 32;

/// The header lines of a whole head, and the copy of the head that their values are slices of. The
/// ends of the lines and the bytes of the values were checked.
#[derive(Debug)]
pub(crate) struct Fields {
    head: Bytes,
    start: usize,
    count: usize,
    ends: [u32; KEPT_ENDS],
    is_ascii: bool,
}

impl Fields {
    /// Scans header lines from `start` up to the empty line, and copies `bytes` up to there; `None`
    /// if the empty line has not arrived.
    ///
    /// # Errors
    ///
    /// The first line that does not end with CRLF, that has a control character, or that is more
    /// than `max_lines`. A prefix of `bytes` gives the same error, or none.
    pub(crate) fn scan(
        bytes: &[u8],
        start: usize,
        max_lines: usize,
    ) -> Result<Option<Self>, LineFault> {
        let mut search = ControlSearch::new(bytes);
        let mut ends = [0; KEPT_ENDS];
        let mut count = 0;
        let mut line = start;
        loop {
            let Some(end) = find_line_end(&mut search, bytes, line)? else {
                return Ok(None);
            };
            if end == line {
                return Ok(Some(Self {
                    head: Bytes::copy_from_slice(bytes.get(..end + 2).unwrap_or_default()),
                    start,
                    count,
                    ends,
                    is_ascii: search.is_ascii(),
                }));
            }
            if count == max_lines {
                return Err(LineFault::TooMany);
            }
            if let (Some(kept), Ok(end)) = (ends.get_mut(count), u32::try_from(end)) {
                *kept = end;
            }
            count += 1;
            line = end + 2;
        }
    }

    /// Returns the copy of the head, with the empty line.
    pub(crate) const fn head(&self) -> &Bytes {
        &self.head
    }

    /// Returns the number of header lines.
    pub(crate) const fn count(&self) -> usize {
        self.count
    }

    /// Appends the header lines to `map`; values are slices of the copied head. `keep` returns
    /// whether a field goes to the map.
    ///
    /// # Errors
    ///
    /// The first line without valid name, or the error of `keep`.
    pub(crate) fn append_to<'a, E: From<LineFault>>(
        &'a self,
        map: &mut HeaderMap,
        mut keep: impl FnMut(&HeaderName, &'a [u8]) -> Result<bool, E>,
    ) -> Result<(), E> {
        let mut start = self.start;
        for index in 0..self.count {
            let end = match self.ends.get(index) {
                Some(&end) => end as usize,
                None => start + line_end(&self.head, start),
            };
            let line = self.head.get(start..end).unwrap_or_default();
            let Some(colon) = position(b':', line) else {
                return Err(find_fault(line).into());
            };
            let (name, rest) = line.split_at(colon);
            let Some(name) = names::find(name).or_else(|| HeaderName::from_bytes(name).ok()) else {
                return Err(find_fault(line).into());
            };
            let value = trim_blanks(rest.get(1..).unwrap_or_default());
            if keep(&name, value)? {
                let Some(value) = self.value(value) else {
                    return Err(LineFault::Control.into());
                };
                // The map holds 32,768 fields.
                if map.try_append(name, value).is_err() {
                    return Err(LineFault::TooMany.into());
                }
            }
            start = end + 2;
        }
        Ok(())
    }

    /// Returns the value that is the part `value` of the head.
    fn value(&self, value: &[u8]) -> Option<HeaderValue> {
        let start = (value.as_ptr() as usize).checked_sub(self.head.as_ptr() as usize)?;
        let value = self.head.slice(start..start + value.len());
        if self.is_ascii {
            return Some(ascii_value(value));
        }
        HeaderValue::from_maybe_shared(value).ok()
    }
}

/// Returns the end of the line from `start` on: the position of its CRLF; `None` if that has not
/// arrived.
fn find_line_end(
    search: &mut ControlSearch<'_>,
    bytes: &[u8],
    start: usize,
) -> Result<Option<usize>, LineFault> {
    let mut from = start;
    while let Some(at) = search.next(from) {
        match bytes.get(at..).unwrap_or_default() {
            [b'\r', b'\n', ..] => return Ok(Some(at)),
            [b'\r'] => return Ok(None),
            [b'\t', ..] => from = at + 1,
            [b'\n', ..] => return Err(LineFault::BareLf),
            [byte, ..] => return Err(control_fault(*byte)),
            [] => return Ok(None),
        }
    }
    Ok(None)
}

/// Returns the length of the line at `start` of a scanned head.
fn line_end(head: &[u8], start: usize) -> usize {
    memchr::memchr(b'\r', head.get(start..).unwrap_or_default()).unwrap_or_default()
}

/// Creates a value of bytes that [`Fields::scan`] has checked, without a second check.
#[allow(unsafe_code)]
fn ascii_value(value: Bytes) -> HeaderValue {
    // SAFETY: `Fields::scan` found no byte from 0x80 on, so the bytes are UTF-8. Nor did it find a
    // control character other than HTAB within a line, so they are a valid value.
    unsafe { HeaderValue::from_maybe_shared_unchecked(value) }
}

/// Takes lines from the front of a head, each ended by CRLF.
#[derive(Debug)]
pub(super) struct LineScan<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> LineScan<'a> {
    /// Creates a scan of `bytes` from `position` on.
    pub(super) const fn new(bytes: &'a [u8], position: usize) -> Self {
        Self { bytes, position }
    }

    /// Takes the next line, without its CRLF; `None` if its end is missing.
    pub(super) fn next_line(&mut self) -> Result<Option<&'a [u8]>, LineFault> {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        let Some(end) = memchr::memchr(b'\n', rest) else {
            return Ok(None);
        };
        let line = rest.get(..end).and_then(|line| line.strip_suffix(b"\r"));
        self.position += end + 1;
        line.map(Some).ok_or(LineFault::BareLf)
    }

    /// Returns how many bytes precede the next line.
    pub(super) const fn position(&self) -> usize {
        self.position
    }
}

/// Returns the fault of a control character in a line.
#[cold]
fn control_fault(byte: u8) -> LineFault {
    if byte == b'\r' {
        LineFault::BareCr
    } else {
        LineFault::Control
    }
}

/// Returns the fault of a header line without a valid name.
#[cold]
fn find_fault(line: &[u8]) -> LineFault {
    if line.starts_with(b" ") || line.starts_with(b"\t") {
        return LineFault::Folded;
    }
    let Some((name, _)) = split_line(line) else {
        return LineFault::NoColon;
    };
    let is_token = |name: &[u8]| name.iter().all(|&byte| is_token_byte(byte));
    match name {
        [] => LineFault::NoName,
        _ if is_token(name) => LineFault::NameTooLong,
        [name @ .., b' ' | b'\t'] if is_token(name.trim_ascii_end()) => LineFault::BlankBeforeColon,
        _ => LineFault::Name,
    }
}

/// Returns the parts of a line before and behind its first colon.
pub(super) fn split_line(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, rest) = line.split_at(position(b':', line)?);
    Some((name, rest.get(1..)?))
}

/// Returns `value` without blanks (SP and HTAB) at its ends.
pub(super) fn trim_blanks(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// Returns whether `byte` may be part of a token (RFC 9110, section 5.6.2).
pub(super) const fn is_token_byte(byte: u8) -> bool {
    matches!(
        byte,
        b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'0'..=b'9' | b'A'..=b'Z' | b'^'..=b'z'
            | b'|' | b'~'
    )
}
