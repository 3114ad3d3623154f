//! Cases of the corpus with some bytes changed.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Pieces of messages that parsers treat with care.
const PIECES: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b"\0",
    b"\x0b",
    b":",
    b",",
    b";",
    b"=",
    b"\"",
    b"#",
    b"%",
    b"/",
    b"0",
    b"1",
    b"5",
    b"a",
    b"x",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"-",
    b"+",
    b"0x",
    b"\r\n ",
    b"\r\n\r\n",
    b"chunked",
    b"identity",
    b"gzip, ",
    b"close",
    b"keep-alive",
    b"100-continue",
    b"upgrade",
    b"Content-Length: 3\r\n",
    b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n",
    b"Host: h.example\r\n",
    b"Expect: 100-continue\r\n",
    b"X-A: b\r\n",
    b"Connection: keep-alive\r\n",
    b"Trailer: X-T\r\n",
    b"TE: trailers\r\n",
    b"HTTP/1.0",
    b"HTTP/1.1",
    b"GET / HTTP/1.1\r\nHost: h.example\r\n\r\n",
    b"POST ",
    b"HEAD ",
    b"0\r\n\r\n",
    b"3\r\nabc\r\n",
    b"ffffffffffffffff",
    b"18446744073709551615",
    b"http://h.example",
];

/// A change of an input.
#[derive(Clone, Debug)]
pub(crate) enum Edit {
    /// Writes a piece over the bytes at a place.
    Replace(Index, &'static [u8]),
    /// Inserts a piece.
    Insert(Index, &'static [u8]),
    /// Inserts a piece at the beginning of a line.
    InsertLine(Index, &'static [u8]),
    /// Removes some bytes.
    Remove(Index, usize),
    /// Writes a line twice.
    Repeat(Index),
    /// Removes a line.
    RemoveLine(Index),
    /// Changes the case of the letter at a place.
    Case(Index),
    /// Cuts the rest.
    Cut(Index),
}

/// Some changes.
pub(crate) fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let place = any::<Index>;
    let piece = || select(PIECES);
    let edit = prop_oneof![
        3 => (place(), piece()).prop_map(|(at, piece)| Edit::Replace(at, piece)),
        4 => (place(), piece()).prop_map(|(at, piece)| Edit::Insert(at, piece)),
        4 => (place(), piece()).prop_map(|(at, piece)| Edit::InsertLine(at, piece)),
        3 => (place(), 1..4_usize).prop_map(|(at, length)| Edit::Remove(at, length)),
        2 => place().prop_map(Edit::Repeat),
        2 => place().prop_map(Edit::RemoveLine),
        1 => place().prop_map(Edit::Case),
        1 => place().prop_map(Edit::Cut),
    ];
    vec(edit, 1..4)
}

/// Applies changes.
pub(crate) fn apply(input: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for edit in edits {
        if !bytes.is_empty() {
            edit.apply(&mut bytes);
        }
    }
    bytes
}

impl Edit {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let length = bytes.len();
        match self {
            Self::Replace(at, piece) => {
                let at = at.index(length);
                let end = length.min(at + piece.len());
                bytes.splice(at..end, piece.iter().copied());
            }
            Self::Insert(at, piece) => {
                let at = at.index(length + 1);
                bytes.splice(at..at, piece.iter().copied());
            }
            Self::InsertLine(at, piece) => {
                let at = line(bytes, at).start;
                bytes.splice(at..at, piece.iter().copied());
            }
            Self::Remove(at, count) => {
                let at = at.index(length);
                bytes.drain(at..length.min(at + count));
            }
            Self::Repeat(at) => {
                let line = line(bytes, at);
                let copy = bytes[line.clone()].to_vec();
                bytes.splice(line.start..line.start, copy);
            }
            Self::RemoveLine(at) => {
                let line = line(bytes, at);
                bytes.drain(line);
            }
            Self::Case(at) => {
                let byte = &mut bytes[at.index(length)];
                if byte.is_ascii_alphabetic() {
                    *byte ^= 0x20;
                }
            }
            Self::Cut(at) => bytes.truncate(at.index(length)),
        }
    }
}

/// The line at a place, with its end.
fn line(bytes: &[u8], at: &Index) -> std::ops::Range<usize> {
    let at = at.index(bytes.len());
    let start = bytes[..at].iter().rposition(|byte| *byte == b'\n');
    let end = bytes[at..].iter().position(|byte| *byte == b'\n');
    start.map_or(0, |start| start + 1)..end.map_or(bytes.len(), |end| at + end + 1)
}
