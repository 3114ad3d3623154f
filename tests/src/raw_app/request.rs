//! A request as bytes, read strictly.

use std::io;

use crate::REQUEST_ID;
use crate::wire::Wire;

/// A request as the application received it.
#[derive(Clone, Debug, Default)]
pub struct RawRequest {
    /// The number of its connection, from 0.
    pub connection: usize,
    /// The head, from the first byte to the empty line.
    pub head: Vec<u8>,
    /// The body without its framing, as far as it was read.
    pub body: Vec<u8>,
    /// The trailer lines of a chunked body.
    pub trailers: Vec<Vec<u8>>,
    /// The whole body was read.
    pub whole: bool,
}

impl RawRequest {
    fn lines(&self) -> impl Iterator<Item = &[u8]> {
        let lines = self.head.split(|byte| *byte == b'\n');
        lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line))
    }

    /// The request line.
    #[must_use]
    pub fn line(&self) -> &[u8] {
        self.lines().next().unwrap_or_default()
    }

    /// The n-th word of the request line, from 0.
    #[must_use]
    pub fn word(&self, n: usize) -> &[u8] {
        let mut words = self.line().splitn(3, |byte| *byte == b' ');
        words.nth(n).unwrap_or_default()
    }

    /// The request target.
    #[must_use]
    pub fn target(&self) -> &[u8] {
        self.word(1)
    }

    /// The values of the header lines called `name`.
    #[must_use]
    pub fn values(&self, name: &str) -> Vec<&[u8]> {
        self.lines()
            .skip(1)
            .filter_map(|line| {
                let colon = line.iter().position(|byte| *byte == b':')?;
                line[..colon]
                    .eq_ignore_ascii_case(name.as_bytes())
                    .then(|| line[colon + 1..].trim_ascii())
            })
            .collect()
    }

    /// The only value of the header `name`, as text.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<String> {
        match self.values(name)[..] {
            [value] => Some(String::from_utf8_lossy(value).into_owned()),
            _ => None,
        }
    }

    /// The request ID.
    ///
    /// # Panics
    /// Unless there is exactly one.
    #[must_use]
    pub fn id(&self) -> String {
        let id = self.value(REQUEST_ID);
        id.unwrap_or_else(|| panic!("one {REQUEST_ID} in {}", self.head.escape_ascii()))
    }

    /// The path, without the query.
    #[must_use]
    pub fn path(&self) -> String {
        let path = self.target().split(|byte| *byte == b'?').next();
        String::from_utf8_lossy(path.unwrap_or_default()).into_owned()
    }
}

fn fault(text: &str, bytes: &[u8]) -> io::Error {
    let text = format!("{text}: {}", bytes.escape_ascii());
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// Checks what a strict parser checks of a head.
pub(super) fn check_head(request: &RawRequest) -> io::Result<()> {
    let words: Vec<&[u8]> = request.line().split(|byte| *byte == b' ').collect();
    if words.len() != 3 || words.iter().any(|word| word.is_empty()) || words[2] != b"HTTP/1.1" {
        return Err(fault("a request line", request.line()));
    }
    let bare = |pair: &[u8]| (pair[1] == b'\n') != (pair[0] == b'\r');
    if request.head.windows(2).any(bare) {
        return Err(fault("a bare CR or LF", &request.head));
    }
    for line in request.lines().skip(1).filter(|line| !line.is_empty()) {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        let is_name = name.len() < line.len()
            && !name.is_empty()
            && name.iter().all(|byte| byte.is_ascii_graphic());
        let is_control = |byte: &u8| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f;
        if !is_name || line.iter().any(is_control) {
            return Err(fault("a header line", line));
        }
    }
    if request.values("host").len() != 1 {
        return Err(fault("no Host, or several", &request.head));
    }
    Ok(())
}

/// A part of a request body.
pub(super) enum Part {
    Data(Vec<u8>),
    Trailer(Vec<u8>),
    End,
}

/// The unread body of a request.
pub(super) struct Body {
    left: u64,
    chunked: bool,
    in_trailers: bool,
    /// The end was read.
    pub(super) done: bool,
}

impl Body {
    /// The body of a request with this head.
    pub(super) fn of(request: &RawRequest) -> io::Result<Self> {
        let lengths = request.values("content-length");
        let codings = request.values("transfer-encoding");
        let (left, chunked) = match (&lengths[..], &codings[..]) {
            ([], []) => (0, false),
            ([], [b"chunked"]) => (0, true),
            ([length], []) if length.iter().all(u8::is_ascii_digit) => {
                let number = String::from_utf8_lossy(length).parse();
                (number.map_err(|_| fault("a length", &request.head))?, false)
            }
            _ => return Err(fault("an ambiguous framing", &request.head)),
        };
        Ok(Self {
            left,
            chunked,
            in_trailers: false,
            done: false,
        })
    }

    /// Reads the next part.
    pub(super) async fn next(&mut self, wire: &mut Wire) -> io::Result<Part> {
        if self.chunked && self.left == 0 && !self.in_trailers {
            self.left = chunk_size(wire).await?;
            self.in_trailers = self.left == 0;
        }
        if self.left > 0 {
            return self.data(wire).await.map(Part::Data);
        }
        if self.in_trailers {
            let line = line(wire).await?;
            if !line.is_empty() {
                return Ok(Part::Trailer(line));
            }
        }
        self.done = true;
        Ok(Part::End)
    }

    async fn data(&mut self, wire: &mut Wire) -> io::Result<Vec<u8>> {
        let limit = usize::try_from(self.left).unwrap_or(usize::MAX);
        let piece = wire.take_some(limit).await?.to_vec();
        if piece.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= piece.len() as u64;
        if self.chunked && self.left == 0 && &wire.take(2).await?[..] != b"\r\n" {
            return Err(fault("no CRLF behind a chunk", b""));
        }
        Ok(piece)
    }
}

async fn line(wire: &mut Wire) -> io::Result<Vec<u8>> {
    let line = wire.take_through(b"\r\n").await?;
    let line = line.ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(line[..line.len() - 2].to_vec())
}

async fn chunk_size(wire: &mut Wire) -> io::Result<u64> {
    let digits = line(wire).await?;
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit);
    let text = String::from_utf8_lossy(&digits).into_owned();
    let size = u64::from_str_radix(&text, 16).ok().filter(|_| is_number);
    size.ok_or_else(|| fault("a chunk size", &digits))
}
