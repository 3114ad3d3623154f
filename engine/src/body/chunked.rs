//! Chunked bodies (RFC 9112, section 7.1).

use bytes::{Buf, Bytes};

use super::length::Left;
use super::trailers::TrailerBlock;
use super::{FramingError, Piece};

/// The longest size line of a chunk with its extensions, in bytes.
const MAX_LINE_BYTES: u16 = 4096;
/// The most hexadecimal digits of a chunk size.
const MAX_DIGITS: u8 = 16;

/// The state between two inputs. A partial line is part of it.
#[derive(Debug)]
pub(super) enum Chunks {
    /// Within a size line.
    Size(SizeLine),
    /// Within the content of a chunk; more than 0 bytes are left.
    Data(Left),
    /// Before the CR behind the content of a chunk.
    Cr,
    /// Before the LF behind the content of a chunk.
    Lf,
    /// Behind the size line of the last chunk.
    Trailers(Option<Box<TrailerBlock>>),
}

impl Chunks {
    /// Creates the state before the first chunk.
    pub(super) const fn new() -> Self {
        Self::Size(SizeLine::new())
    }

    /// Takes the next piece from the front of `input`; `None` if more bytes are needed.
    pub(super) fn next(&mut self, input: &mut Bytes) -> Result<Option<Piece>, FramingError> {
        loop {
            match self {
                Self::Size(line) => {
                    let Some(size) = line.read(input)? else {
                        return Ok(None);
                    };
                    *self = if size == 0 {
                        Self::Trailers(None)
                    } else {
                        Self::Data(Left(size))
                    };
                }
                Self::Data(left) => {
                    let Some(data) = left.take(input) else {
                        return Ok(None);
                    };
                    if left.0 == 0 {
                        *self = Self::Cr;
                    }
                    return Ok(Some(Piece::Data(data)));
                }
                Self::Cr if input.starts_with(b"\r\n") => {
                    input.advance(2);
                    *self = Self::new();
                }
                Self::Cr | Self::Lf => {
                    let Some(&byte) = input.first() else {
                        return Ok(None);
                    };
                    *self = match (&self, byte) {
                        (Self::Cr, b'\r') => Self::Lf,
                        (Self::Lf, b'\n') => Self::new(),
                        _ => return Err(FramingError("A chunk does not end with CRLF.")),
                    };
                    input.advance(1);
                }
                Self::Trailers(_) if input.is_empty() => return Ok(None),
                Self::Trailers(block) => {
                    if block.is_none() && input.starts_with(b"\r\n") {
                        input.advance(2);
                        return Ok(Some(Piece::End(None)));
                    }
                    let block = block.get_or_insert_default();
                    return Ok(block.read(input)?.map(Piece::End));
                }
            }
        }
    }
}

/// A partial size line: digits, blanks, extensions, CR.
#[derive(Debug)]
pub(super) struct SizeLine {
    size: u64,
    digits: u8,
    part: Part,
    bytes: u16,
}

/// The part of a size line that the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// The digits.
    Digits,
    /// Blanks behind the digits. Only an extension may follow by the grammar, but some servers pad
    /// the size, and every reader understands that.
    Blanks,
    /// The extensions, which are ignored.
    Extensions,
    /// The LF.
    Lf,
}

impl SizeLine {
    /// Creates the state before the line.
    const fn new() -> Self {
        Self {
            size: 0,
            digits: 0,
            part: Part::Digits,
            bytes: 0,
        }
    }

    /// Takes a whole line without extensions from the front of `input`, the usual case. `None` for
    /// any other input, of which nothing is taken.
    fn read_whole(input: &mut Bytes) -> Option<u64> {
        let mut size = 0;
        for (index, &byte) in input.iter().take(usize::from(MAX_DIGITS)).enumerate() {
            let Some(digit) = char::from(byte).to_digit(16) else {
                let is_whole = index > 0 && input.get(index..)?.starts_with(b"\r\n");
                return is_whole.then(|| {
                    input.advance(index + 2);
                    size
                });
            };
            size = size << 4 | u64::from(digit);
        }
        None
    }

    /// Takes bytes of the line from the front of `input`; returns the size at its end.
    fn read(&mut self, input: &mut Bytes) -> Result<Option<u64>, FramingError> {
        if self.bytes == 0
            && let Some(size) = Self::read_whole(input)
        {
            return Ok(Some(size));
        }
        let mut taken = 0;
        for &byte in input.iter() {
            taken += 1;
            self.bytes += 1;
            if self.bytes > MAX_LINE_BYTES {
                return Err(FramingError("The size line of a chunk is too long."));
            }
            if self.part == Part::Lf && byte == b'\n' {
                input.advance(taken);
                return Ok(Some(self.size));
            }
            self.push(byte)?;
        }
        input.advance(taken);
        Ok(None)
    }

    /// Adds a byte other than the final LF.
    fn push(&mut self, byte: u8) -> Result<(), FramingError> {
        match (self.part, byte) {
            (Part::Digits, b'0'..=b'9') => self.digit(byte - b'0')?,
            (Part::Digits, b'a'..=b'f') => self.digit(byte - b'a' + 10)?,
            (Part::Digits, b'A'..=b'F') => self.digit(byte - b'A' + 10)?,
            (Part::Digits, _) if self.digits == 0 => {
                return Err(FramingError("A chunk size has no digits."));
            }
            (Part::Digits | Part::Blanks | Part::Extensions, b'\r') => self.part = Part::Lf,
            (Part::Digits | Part::Blanks, b';') => self.part = Part::Extensions,
            (Part::Digits | Part::Blanks, b' ' | b'\t') => self.part = Part::Blanks,
            (Part::Extensions, b'\t' | b' '..=b'~' | 0x80..) => {}
            _ => {
                return Err(FramingError(
                    "The size line of a chunk has an invalid byte.",
                ));
            }
        }
        Ok(())
    }

    /// Adds a digit. 16 of them fit 64 bits.
    fn digit(&mut self, digit: u8) -> Result<(), FramingError> {
        self.digits += 1;
        if self.digits > MAX_DIGITS {
            return Err(FramingError("A chunk size has more than 16 digits."));
        }
        self.size = self.size << 4 | u64::from(digit);
        Ok(())
    }
}
