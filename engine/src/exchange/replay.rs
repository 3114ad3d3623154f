//! The start of a request body, kept so that another attempt can send it again.

use bytes::{Bytes, BytesMut};

/// The longest body that another attempt can send again, in bytes.
const REPLAY_BYTES: usize = 64 * 1024;

/// A piece up to this size is copied and joined with others, so that a client that sends byte by
/// byte costs no more than the bytes, and no piece keeps the rest of a read alive.
const JOINED_BYTES: usize = 8 * 1024;

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
        if self.truncated {
            return;
        }
        self.bytes += piece.len();
        if self.bytes > REPLAY_BYTES {
            return self.forget();
        }
        match self.pieces.last_mut() {
            Some(last) if last.len() + piece.len() <= JOINED_BYTES => join(last, piece),
            _ if piece.len() < JOINED_BYTES => self.pieces.push(Bytes::copy_from_slice(piece)),
            _ => self.pieces.push(piece.clone()),
        }
        // The current attempt sends this piece itself.
        self.sent = self.pieces.len();
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

/// Appends `piece` to `last`, in place if nothing else refers to it.
fn join(last: &mut Bytes, piece: &Bytes) {
    let mut joined = std::mem::take(last)
        .try_into_mut()
        .unwrap_or_else(|shared| BytesMut::from(&*shared));
    joined.extend_from_slice(piece);
    *last = joined.freeze();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_pieces_are_joined_and_large_ones_shared() {
        let mut replay = Replay::default();
        for byte in 0..20_000u32 {
            replay.keep(&Bytes::copy_from_slice(&[byte as u8]));
        }
        assert_eq!(replay.pieces.len(), 3);
        let large = Bytes::from(vec![1; JOINED_BYTES]);
        replay.keep(&large);
        assert_eq!(replay.pieces.last().unwrap().as_ptr(), large.as_ptr());
        assert!(!replay.has_next());
        let expected: Vec<u8> = (0..20_000u32).map(|byte| byte as u8).collect();
        assert_eq!(&replay.joined().unwrap()[..20_000], expected);
    }

    #[test]
    fn a_piece_that_another_attempt_sends_stays_as_it_is() {
        let mut replay = Replay::default();
        replay.keep(&Bytes::from_static(b"one"));
        replay.rewind();
        let sent = replay.next().unwrap();
        replay.keep(&Bytes::from_static(b"two"));
        assert_eq!(&*sent, b"one");
        assert!(!replay.has_next());
        replay.rewind();
        assert_eq!(&*replay.next().unwrap(), b"onetwo");
        assert!(replay.next().is_none());
    }

    #[test]
    fn a_long_body_is_forgotten() {
        let mut replay = Replay::default();
        let piece = Bytes::from(vec![1; JOINED_BYTES]);
        for _ in 0..REPLAY_BYTES / JOINED_BYTES {
            replay.keep(&piece);
            assert!(!replay.is_truncated());
        }
        replay.keep(&Bytes::from_static(b"1"));
        assert!(replay.is_truncated() && replay.joined().is_none() && !replay.has_next());
    }
}
