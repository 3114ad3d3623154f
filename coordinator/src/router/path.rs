//! The path of a request: normalised for matching, unchanged for forwarding (`request_filter`).
//!
//! Matching must see the same path as the application, however the client encodes it. Forwarding
//! must not change the client's bytes, because a signature or an application may depend on them. So
//! a path is decoded and its dot segments are resolved for matching only. A request is rejected if
//! its own bytes, interpreted by the most lenient server, lead out of the prefix.

use std::borrow::Cow;

/// The reasons to reject a path (`bad_request`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PathError {
    /// It does not begin with `/` (RFC 9112 section 3.2.1).
    #[error("the path does not begin with '/'")]
    NoLeadingSlash,
    /// A `%` without two hexadecimal digits after it (RFC 3986 section 2.1).
    #[error("the path has a '%' without two hexadecimal digits")]
    BadEscape,
    /// A NUL byte, literal or as `%00`: servers written in C end the path there.
    #[error("the path has a NUL byte")]
    Nul,
    /// It leads to the prefix through escaped slashes or dot segments, so that the client's own
    /// bytes cannot be split after the prefix.
    #[error("the path does not spell the prefix of the app literally")]
    NotLiteral,
    /// The rest of the path climbs above the prefix.
    #[error("the path climbs out of the prefix of the app")]
    Escapes,
}

/// A path, percent-decoded once and without dot segments (RFC 3986 section 5.2.4), with its
/// original bytes.
///
/// `%2F` is a separator like `/`. Empty segments are kept, so that `/apps//x` differs from
/// `/apps/x`; so are path parameters and backslashes. The decoded bytes may be invalid UTF-8.
#[derive(Debug, Clone)]
pub(crate) struct NormalisedPath<'a> {
    raw: &'a str,
    normalised: Cow<'a, [u8]>,
    may_climb: bool,
}

impl<'a> NormalisedPath<'a> {
    /// Parses `raw`, the path of a request without its query.
    ///
    /// Allocates only if `raw` has an escape or a dot segment.
    ///
    /// # Errors
    /// [`PathError::NoLeadingSlash`], [`PathError::BadEscape`] and [`PathError::Nul`].
    pub(crate) fn parse(raw: &'a str) -> Result<Self, PathError> {
        if !raw.starts_with('/') {
            return Err(PathError::NoLeadingSlash);
        }
        let (mut escaped, mut backslash, mut dot_begins) = (false, false, false);
        let mut last = 0;
        for byte in raw.bytes() {
            match byte {
                0 => return Err(PathError::Nul),
                b'%' => escaped = true,
                b'\\' => backslash = true,
                b'.' if last == b'/' => dot_begins = true,
                _ => {}
            }
            last = byte;
        }
        let dots = dot_begins && raw.split('/').any(|segment| matches!(segment, "." | ".."));
        let normalised = if escaped || dots {
            Cow::Owned(normalise(raw)?)
        } else {
            Cow::Borrowed(raw.as_bytes())
        };
        Ok(Self {
            raw,
            normalised,
            may_climb: escaped || backslash || dot_begins,
        })
    }

    /// The normalised path for matching, which begins with `/`.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.normalised
    }

    /// Returns the client's own bytes after `prefix`, for forwarding: empty, or beginning with `/`.
    ///
    /// `prefix` consists of whole segments without a trailing `/`, as in a rule; `""` matches every
    /// path. The check is deliberately stricter than RFC 3986: where servers disagree, it assumes
    /// the least favourable interpretation. `\` and `%2F` may be separators or not, `..;x` may be
    /// `..` (path parameters), and an empty segment may add no depth (merged slashes).
    ///
    /// # Errors
    /// [`PathError::NotLiteral`] if the path does not begin with `prefix`, whose letters may be
    /// escaped, followed by a literal `/` or nothing. [`PathError::Escapes`] if the rest is above
    /// `prefix` at any point.
    pub(crate) fn remainder(&self, prefix: &str) -> Result<&'a str, PathError> {
        let rest = strip_prefix(self.raw, prefix)
            .filter(|rest| rest.is_empty() || rest.starts_with('/'))
            .ok_or(PathError::NotLiteral)?;
        if self.may_climb && climbs(rest)? {
            return Err(PathError::Escapes);
        }
        Ok(rest)
    }
}

/// Strips `prefix` from `raw`, in which letters of the prefix may be escaped, but not slashes.
fn strip_prefix<'a>(raw: &'a str, prefix: &str) -> Option<&'a str> {
    if let Some(rest) = raw.strip_prefix(prefix) {
        return Some(rest);
    }
    let mut rest = raw;
    for wanted in prefix.bytes() {
        let found = *rest.as_bytes().first()?;
        let escaped = || u8::from_str_radix(rest.get(1..3)?, 16).ok();
        rest = if found == wanted {
            rest.get(1..)?
        } else if found == b'%' && wanted != b'/' && escaped() == Some(wanted) {
            rest.get(3..)?
        } else {
            return None;
        };
    }
    Some(rest)
}

/// Decodes a path that begins with `/` and removes its dot segments.
fn normalise(raw: &str) -> Result<Vec<u8>, PathError> {
    let mut path = Vec::with_capacity(raw.len());
    for byte in decoded(raw) {
        let byte = byte?;
        // A dot segment is removed together with the slash after it.
        if byte != b'/' || !remove_dot_segment(&mut path) {
            path.push(byte);
        }
    }
    remove_dot_segment(&mut path);
    Ok(path)
}

/// Removes the last segment of `path` if it is `.`, and the last two if it is `..`; `path` then
/// ends with `/`. Returns whether a segment was removed.
fn remove_dot_segment(path: &mut Vec<u8>) -> bool {
    if path.ends_with(b"/.") {
        path.pop();
        true
    } else if path.ends_with(b"/..") {
        path.truncate(path.len() - b"/..".len());
        let parent = path.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
        path.truncate(parent);
        path.push(b'/');
        true
    } else {
        false
    }
}

/// Returns whether a path climbs above its start at any point, as any server interprets it.
fn climbs(rest: &str) -> Result<bool, PathError> {
    let mut depth = 0_usize;
    for segment in rest.split('/') {
        let steps = Steps::of(segment)?;
        match depth.checked_sub(steps.up) {
            None => return Ok(true),
            Some(below) => depth = below + usize::from(steps.down),
        }
    }
    Ok(false)
}

/// The effect of a segment on depth, in the interpretation that descends least.
struct Steps {
    up: usize,
    down: bool,
}

impl Steps {
    /// Parses the bytes between two literal slashes.
    ///
    /// Some servers treat `%2F` and `\` as separators, others do not. So each `..` between them is
    /// one step up, but together they are at most one step down, and none next to a `..`.
    fn of(segment: &str) -> Result<Self, PathError> {
        let mut up = 0;
        let mut first = None;
        let mut piece = Piece::default();
        for byte in decoded(segment).chain([Ok(b'/')]) {
            let byte = byte?;
            if !matches!(byte, b'/' | b'\\') {
                piece.push(byte);
                continue;
            }
            let kind = std::mem::take(&mut piece).kind;
            up += usize::from(kind == Kind::DotDot);
            first.get_or_insert(kind);
        }
        let down = up == 0 && first == Some(Kind::Name);
        Ok(Self { up, down })
    }
}

/// A possible segment, classified by the bytes read so far.
#[derive(Default)]
struct Piece {
    kind: Kind,
    /// True after `;`: some servers ignore path parameters.
    ended: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Empty,
    Dot,
    DotDot,
    Name,
}

impl Piece {
    fn push(&mut self, byte: u8) {
        self.ended |= byte == b';';
        if self.ended {
            return;
        }
        self.kind = match (self.kind, byte) {
            (Kind::Empty, b'.') => Kind::Dot,
            (Kind::Dot, b'.') => Kind::DotDot,
            _ => Kind::Name,
        };
    }
}

/// Decodes the escapes of a path once.
fn decoded(raw: &str) -> impl Iterator<Item = Result<u8, PathError>> {
    let mut bytes = raw.bytes();
    std::iter::from_fn(move || {
        let byte = bytes.next()?;
        if byte != b'%' {
            return Some(Ok(byte));
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        Some(match digit().zip(digit()) {
            None => Err(PathError::BadEscape),
            Some((0, 0)) => Err(PathError::Nul),
            // Two hexadecimal digits are a byte.
            Some((high, low)) => Ok((high << 4 | low) as u8),
        })
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
