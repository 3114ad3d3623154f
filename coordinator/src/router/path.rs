//! The path of a request as matching sees it, and the part of it that is forwarded
//! (`request_filter`).
//!
//! Matching must see what the application will see, however a client spells it; forwarding must not
//! change the client's bytes, because a signature or an application may depend on them. So a
//! path is decoded and its dot segments are resolved for matching only, and a request is refused
//! when its own bytes, read as the most lenient server would read them, lead out of the prefix.

use std::borrow::Cow;

/// Why a path is refused; the client is told `bad_request`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PathError {
    /// It does not begin with `/` (RFC 9112 section 3.2.1).
    #[error("the path does not begin with '/'")]
    NoLeadingSlash,
    /// A `%` that two hexadecimal digits do not follow (RFC 3986 section 2.1).
    #[error("the path has a '%' without two hexadecimal digits")]
    BadEscape,
    /// A NUL byte, as it is or as `%00`: servers in C end the path there.
    #[error("the path has a NUL byte")]
    Nul,
    /// It leads to the prefix, but by escaped slashes or dot segments, so that the prefix cannot be
    /// told from the rest in the client's own bytes.
    #[error("the path does not spell the prefix of the app literally")]
    NotLiteral,
    /// What follows the prefix climbs above it.
    #[error("the path climbs out of the prefix of the app")]
    Escapes,
}

/// A path, percent-decoded once and without dot segments (RFC 3986 section 5.2.4), beside its own
/// bytes.
///
/// `%2F` is a separator like `/`. Empty segments are kept, so that `/apps//x` is not `/apps/x`, and
/// so are path parameters and backslashes. What the decoded bytes are need not be UTF-8.
#[derive(Debug, Clone)]
pub(crate) struct NormalisedPath<'a> {
    raw: &'a str,
    normalised: Cow<'a, [u8]>,
    may_climb: bool,
}

impl<'a> NormalisedPath<'a> {
    /// Reads `raw`, the path of a request without its query.
    ///
    /// Allocates only where `raw` has an escape or a dot segment.
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

    /// The normalised path, for matching; it begins with `/`.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.normalised
    }

    /// The client's own bytes behind `prefix`, for forwarding: empty, or beginning with `/`.
    ///
    /// `prefix` is whole segments without a trailing `/`, as a rule has it; `""` is every path. The
    /// check is deliberately broader than RFC 3986 and takes the least favourable reading of what
    /// servers disagree on: `\` and `%2F` may separate or not, `..;x` may be `..` (path
    /// parameters), and an empty segment may be no depth (merged slashes).
    ///
    /// # Errors
    /// [`PathError::NotLiteral`] when the path does not begin with `prefix`, whose letters may be
    /// escaped, and a literal `/` or nothing, [`PathError::Escapes`] when the rest is above
    /// `prefix` at any point.
    pub(crate) fn remainder(&self, prefix: &str) -> Result<&'a str, PathError> {
        let rest = strip_spelled(self.raw, prefix)
            .filter(|rest| rest.is_empty() || rest.starts_with('/'))
            .ok_or(PathError::NotLiteral)?;
        if self.may_climb && climbs(rest)? {
            return Err(PathError::Escapes);
        }
        Ok(rest)
    }
}

/// What follows `prefix` in `raw`, which may spell its letters by escapes, but not its slashes.
fn strip_spelled<'a>(raw: &'a str, prefix: &str) -> Option<&'a str> {
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
        // A dot segment goes together with the slash that ends it.
        if byte != b'/' || !remove_dot_segment(&mut path) {
            path.push(byte);
        }
    }
    remove_dot_segment(&mut path);
    Ok(path)
}

/// Removes the last segment of `path` when it is `.`, and the one before it too when it is `..`,
/// and says whether it did; `path` then ends with `/`.
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

/// Whether a path is above where it begins at any point, in any server's reading of it.
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

/// Where a segment leads, in the reading that leads least far down.
struct Steps {
    up: usize,
    down: bool,
}

impl Steps {
    /// Reads what stands between two literal slashes.
    ///
    /// To some servers `%2F` and `\` separate, to others they do not: each `..` between them is a
    /// step up, but together they are one step down at most, and none beside a `..`.
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

/// What may be a segment, by the bytes of it that have been read.
#[derive(Default)]
struct Piece {
    kind: Kind,
    /// Whether its parameters have begun; some servers do not see them.
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

/// The bytes of a path with its escapes decoded, once.
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
