//! The start of a request body, kept so that another attempt can send it again.

use bytes::{Bytes, BytesMut};

/// The longest body that another attempt can send again, in bytes.
const REPLAY_BYTES: usize = 64 * 1024;

/// The start of a request body.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    pieces: Vec<Bytes>,
    bytes: usize,
    truncated: bool,
    /// The pieces that the current attempt has sent.
    sent: usize,
}

impl Replay {
    /// Keeps a piece of the body. A body that is too long is kept no longer.
    pub(crate) fn keep(&mut self, piece: &Bytes) {
        self.sent += 1;
        if self.truncated {
            return;
        }
        self.bytes += piece.len();
        if self.bytes > REPLAY_BYTES {
            self.truncated = true;
            self.pieces = Vec::new();
        } else {
            self.pieces.push(piece.clone());
        }
    }

    /// Returns the next piece that the current attempt has not sent.
    pub(crate) fn next(&mut self) -> Option<Bytes> {
        let piece = self.pieces.get(self.sent).cloned();
        self.sent += usize::from(piece.is_some());
        piece
    }

    /// Returns whether the current attempt has pieces to send.
    pub(crate) fn has_next(&self) -> bool {
        self.sent < self.pieces.len()
    }

    /// Begins another attempt.
    pub(crate) fn rewind(&mut self) {
        self.sent = 0;
    }

    /// Forgets the body: no other attempt follows.
    pub(crate) fn forget(&mut self) {
        self.truncated = true;
        self.pieces = Vec::new();
    }

    /// Returns whether a part of the body is lost for another attempt.
    pub(crate) const fn is_truncated(&self) -> bool {
        self.truncated
    }

    /// Returns the whole of what is kept.
    pub(crate) fn joined(&self) -> Option<Bytes> {
        if self.truncated || self.bytes == 0 {
            return None;
        }
        let mut joined = BytesMut::with_capacity(self.bytes);
        for piece in &self.pieces {
            joined.extend_from_slice(piece);
        }
        Some(joined.freeze())
    }
}
