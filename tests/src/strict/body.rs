//! Bodies and their framing.

use super::head::{self, Fields};
use super::{Ending, Message};

/// The framing of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    None,
    Length(usize),
    Chunked,
    UntilClose,
}

/// A body, and its length with framing.
pub(super) struct Body {
    pub(super) content: Vec<u8>,
    pub(super) trailers: Fields,
    pub(super) ending: Ending,
    pub(super) length: usize,
}

impl Framing {
    pub(super) fn of_request(message: &Message) -> Result<Self, String> {
        Ok(Self::of(message)?.unwrap_or(Self::None))
    }

    pub(super) fn of_response(message: &Message, method: &[u8]) -> Result<Self, String> {
        let framing = Self::of(message)?;
        match message.status() {
            100..=199 | 204 if framing.is_some() => Err(format!(
                "a {} with Content-Length or Transfer-Encoding",
                message.status()
            )),
            100..=199 | 204 | 304 => Ok(Self::None),
            _ if method == b"HEAD" => Ok(Self::None),
            _ => Ok(framing.unwrap_or(Self::UntilClose)),
        }
    }

    fn of(message: &Message) -> Result<Option<Self>, String> {
        let lengths = message.all("content-length");
        let codings = message.all("transfer-encoding");
        match (lengths.as_slice(), codings.as_slice()) {
            ([], []) => Ok(None),
            ([], [b"chunked"]) => Ok(Some(Self::Chunked)),
            ([length], []) => Ok(Some(Self::Length(decimal(length)?))),
            _ => Err(format!(
                "framing: Content-Length \"{}\", Transfer-Encoding \"{}\"",
                lengths.join(&b"; "[..]).escape_ascii(),
                codings.join(&b"; "[..]).escape_ascii()
            )),
        }
    }
}

/// Parses a length without sign and leading zeros.
fn decimal(text: &[u8]) -> Result<usize, String> {
    let fault = || format!("a length: \"{}\"", text.escape_ascii());
    let number = String::from_utf8_lossy(text).parse::<usize>();
    let number = number.map_err(|_| fault())?;
    if number.to_string().as_bytes() == text {
        Ok(number)
    } else {
        Err(fault())
    }
}

/// Reads a body; `None` if it is not whole and bytes may follow.
pub(super) fn read(framing: Framing, bytes: &[u8], ended: bool) -> Result<Option<Body>, String> {
    let of = |content: &[u8], ending| Body {
        content: content.to_vec(),
        trailers: Fields::new(),
        ending,
        length: content.len(),
    };
    match framing {
        Framing::None => Ok(Some(of(&[], Ending::Framed))),
        Framing::Length(length) => match bytes.get(..length) {
            Some(content) => Ok(Some(of(content, Ending::Framed))),
            None => Ok(ended.then(|| of(bytes, Ending::Truncated))),
        },
        Framing::UntilClose => Ok(ended.then(|| of(bytes, Ending::Closed))),
        Framing::Chunked => chunked(bytes, ended),
    }
}

fn chunked(bytes: &[u8], ended: bool) -> Result<Option<Body>, String> {
    let mut content = Vec::new();
    let mut at = 0;
    while let Some(size) = take_chunk(bytes, &mut at, &mut content)? {
        if size > 0 {
            continue;
        }
        let Some(trailers) = head::take_fields(bytes, &mut at)? else {
            break;
        };
        let ending = Ending::Framed;
        return Ok(Some(Body {
            content,
            trailers,
            ending,
            length: at,
        }));
    }
    Ok(ended.then(|| Body {
        content,
        trailers: Fields::new(),
        ending: Ending::Truncated,
        length: bytes.len(),
    }))
}

/// Takes a chunk and returns its size; `None` if it is not whole.
fn take_chunk(
    bytes: &[u8],
    at: &mut usize,
    content: &mut Vec<u8>,
) -> Result<Option<usize>, String> {
    let Some((line, begin)) = head::take_line(bytes, *at)? else {
        return Ok(None);
    };
    let fault = || format!("a chunk size: \"{}\"", line.escape_ascii());
    if !(1..=16).contains(&line.len()) || !line.iter().all(u8::is_ascii_hexdigit) {
        return Err(fault());
    }
    let size = usize::from_str_radix(&String::from_utf8_lossy(line), 16);
    let size = size.map_err(|_| fault())?;
    if size == 0 {
        *at = begin;
        return Ok(Some(0));
    }
    let Some(data) = bytes.get(begin..).and_then(|rest| rest.get(..size)) else {
        content.extend_from_slice(bytes.get(begin..).unwrap_or_default());
        *at = bytes.len();
        return Ok(None);
    };
    let Some(end) = bytes.get(begin + size..begin + size + 2) else {
        return Ok(None);
    };
    if end != b"\r\n" {
        return Err(format!("behind a chunk: \"{}\"", end.escape_ascii()));
    }
    content.extend_from_slice(data);
    *at = begin + size + 2;
    Ok(Some(size))
}
