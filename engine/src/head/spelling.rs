//! The spelling of header names in responses. Names have no case (RFC 9110, section 5.1), but some
//! clients compare them as text.

use bytes::Bytes;
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

use super::fields::LineScan;
use super::names::is_spelling;

/// The header names of a response in the application's spelling.
///
/// They are read from the received head. A value that phases did not change is a part of it, so
/// its name is found without a search.
#[derive(Debug, Default)]
pub(crate) struct Spelling {
    head: Bytes,
    /// The position of the first header line.
    start: usize,
    /// Bit `n` is set if a name has `n` bytes, modulo 64.
    lengths: u64,
}

impl Spelling {
    /// Creates the spelling of the header lines of `head` from `start` on, whose names are those of
    /// `headers`.
    pub(super) fn new(head: Bytes, start: usize, headers: &HeaderMap) -> Self {
        let lengths = headers.keys().fold(0, |lengths, name| {
            lengths | length_bit(name.as_str().as_bytes())
        });
        Self {
            head,
            start,
            lengths,
        }
    }

    /// Returns the name of this header as the application spells it.
    pub(super) fn get(&self, name: &HeaderName, value: &HeaderValue) -> Option<&[u8]> {
        let name = name.as_str().as_bytes();
        self.beside(name, value).or_else(|| self.search(name))
    }

    /// Returns the line of this header with its CRLF, if phases did not change the value, and one
    /// space is before it.
    pub(super) fn line(&self, name: &HeaderName, value: &HeaderValue) -> Option<&[u8]> {
        let (name, value) = (name.as_str().as_bytes(), value.as_bytes());
        let at = (value.as_ptr() as usize).checked_sub(self.head.as_ptr() as usize)?;
        let start = at.checked_sub(name.len() + 3)?;
        let (lf, line) = self.head.get(start..at + value.len() + 2)?.split_first()?;
        let (spelled, rest) = line.split_at_checked(name.len())?;
        let is_whole = *lf == b'\n' && rest.starts_with(b": ") && rest.ends_with(b"\r\n");
        (is_whole && is_spelling(spelled, name)).then_some(line)
    }

    /// Returns the name before a value that is a part of the head.
    fn beside(&self, name: &[u8], value: &HeaderValue) -> Option<&[u8]> {
        let at = (value.as_bytes().as_ptr() as usize).checked_sub(self.head.as_ptr() as usize)?;
        let mut before = self.head.get(..at)?;
        while let [rest @ .., b' ' | b'\t'] = before {
            before = rest;
        }
        let before = before.strip_suffix(b":")?;
        let (before, spelled) = before.split_at(before.len().checked_sub(name.len())?);
        (before.ends_with(b"\n") && is_spelling(spelled, name)).then_some(spelled)
    }

    /// Searches the header lines for a name.
    fn search(&self, name: &[u8]) -> Option<&[u8]> {
        if self.lengths & length_bit(name) == 0 {
            return None;
        }
        let mut scan = LineScan::new(&self.head, self.start);
        while let Ok(Some(line)) = scan.next_line() {
            match line.split_at_checked(name.len()) {
                Some((spelled, [b':', ..])) if is_spelling(spelled, name) => return Some(spelled),
                _ => {}
            }
        }
        None
    }
}

/// Returns the bit of [`Spelling::lengths`] for a name.
const fn length_bit(name: &[u8]) -> u64 {
    1 << (name.len() & 63)
}

/// Configured header names in the spelling of the configuration, such as `X-Backend-Request-ID`.
#[derive(Clone, Debug, Default)]
pub(crate) struct SpelledNames(Box<[Box<str>]>);

impl FromIterator<String> for SpelledNames {
    fn from_iter<I: IntoIterator<Item = String>>(names: I) -> Self {
        Self(names.into_iter().map(String::into_boxed_str).collect())
    }
}

impl SpelledNames {
    /// Creates the set of these names.
    pub(crate) fn new(names: impl IntoIterator<Item = String>) -> Self {
        names.into_iter().collect()
    }

    /// Returns the configured spelling of a name in lower case.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let name = name.as_bytes();
        let found = self
            .0
            .iter()
            .find(|spelled| is_spelling(spelled.as_bytes(), name))?;
        Some(found)
    }
}
