//! The decoder of a body.

use bytes::Bytes;

use super::chunked::Chunks;
use super::length::Left;
use super::{Framing, FramingError, Piece};

/// Takes the pieces of a body from received bytes.
///
/// Pieces are slices of the input. Any split of a body into inputs gives the same content, and the
/// same trailers.
#[derive(Debug)]
pub(crate) struct Decoder {
    state: State,
}

/// The rest of a body.
#[derive(Debug)]
enum State {
    /// This many bytes, more than 0.
    Length(Left),
    /// A chunked body.
    Chunked(Chunks),
    /// All bytes until the peer closes the connection.
    UntilClose,
    /// No bytes; the end was not returned.
    Ending,
    /// Nothing.
    Done,
}

impl Decoder {
    /// Creates the decoder of a body with this framing.
    pub(crate) const fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(Left(length)),
            Framing::Chunked => State::Chunked(Chunks::new()),
            Framing::UntilClose => State::UntilClose,
        };
        Self { state }
    }

    /// Takes the next piece from the front of `input`, with the framing before it; `None` if more
    /// bytes are needed. The end follows the last content without more input, where the framing
    /// allows that. After the end, the end again.
    ///
    /// # Errors
    ///
    /// A [`FramingError`] if the framing is invalid or exceeds a limit. The rest of the connection
    /// is meaningless then.
    pub(crate) fn next(&mut self, input: &mut Bytes) -> Result<Option<Piece>, FramingError> {
        match &mut self.state {
            State::Length(left) => {
                let Some(data) = left.take(input) else {
                    return Ok(None);
                };
                if left.0 == 0 {
                    self.state = State::Ending;
                }
                Ok(Some(Piece::Data(data)))
            }
            State::Chunked(chunks) => {
                let piece = chunks.next(input)?;
                if matches!(piece, Some(Piece::End(_))) {
                    self.state = State::Done;
                }
                Ok(piece)
            }
            State::UntilClose if input.is_empty() => Ok(None),
            State::UntilClose => Ok(Some(Piece::Data(std::mem::take(input)))),
            State::Ending | State::Done => {
                self.state = State::Done;
                Ok(Some(Piece::End(None)))
            }
        }
    }

    /// Records that the peer has closed the connection. A body until close ends here.
    ///
    /// # Errors
    ///
    /// A [`FramingError`] if the body is not complete.
    pub(crate) fn eof(&mut self) -> Result<(), FramingError> {
        match self.state {
            State::Length(_) => Err(FramingError("The body is shorter than its Content-Length.")),
            State::Chunked(_) => Err(FramingError("The chunked body has no end.")),
            State::UntilClose => {
                self.state = State::Ending;
                Ok(())
            }
            State::Ending | State::Done => Ok(()),
        }
    }

    /// Returns whether nothing is left: the end was returned, or there is no body.
    pub(crate) const fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Returns how many bytes are left, if that is known.
    pub(crate) const fn remaining(&self) -> Option<u64> {
        match self.state {
            State::Length(left) => Some(left.0),
            State::Chunked(_) | State::UntilClose => None,
            State::Ending | State::Done => Some(0),
        }
    }
}

#[cfg(test)]
mod tests;
