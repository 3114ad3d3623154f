//! The decoder of a body.

use bytes::Bytes;

use super::{Framing, FramingError, Piece};

/// Takes the pieces of a body from received bytes.
#[derive(Debug)]
pub(crate) struct Decoder {
    framing: Framing,
}

impl Decoder {
    /// Creates the decoder of a body with this framing.
    pub(crate) const fn new(framing: Framing) -> Self {
        Self { framing }
    }

    /// Takes the next piece from the front of `input`; `None` if more bytes are needed.
    pub(crate) fn next(&mut self, _input: &mut Bytes) -> Result<Option<Piece>, FramingError> {
        Err(FramingError("not written"))
    }

    /// Records that the peer has closed the connection.
    pub(crate) fn eof(&mut self) -> Result<(), FramingError> {
        Err(FramingError("not written"))
    }

    /// Returns whether the end of the body was returned.
    pub(crate) const fn is_done(&self) -> bool {
        matches!(self.framing, Framing::None)
    }

    /// Returns how many bytes are left, if the length is known.
    pub(crate) const fn remaining(&self) -> Option<u64> {
        None
    }
}
