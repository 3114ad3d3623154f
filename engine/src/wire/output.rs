//! Unsent bytes: small ones are joined, a large piece of a body is sent from where it is.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use pingora_core::protocols::Stream;
use tokio::io::AsyncWrite;

use super::buffers;

/// A piece up to this size is joined with what is before it.
const JOINED_BYTES: usize = 4096;

/// The unsent bytes of a connection: `front`, then `piece`, then `back`.
#[derive(Debug, Default)]
pub(crate) struct Output {
    front: Vec<u8>,
    /// The bytes of `front` that were sent.
    sent_front: usize,
    piece: Bytes,
    back: Vec<u8>,
    /// Bytes were written that the stream may still buffer.
    unflushed: bool,
    /// The count of bytes that were sent.
    pub(crate) sent: u64,
}

impl Output {
    /// Returns the number of unsent bytes.
    pub(crate) fn len(&self) -> usize {
        self.front.len() - self.sent_front + self.piece.len() + self.back.len()
    }

    /// Returns whether there are no unsent bytes.
    pub(crate) fn is_empty(&self) -> bool {
        self.front.is_empty() && self.piece.is_empty() && self.back.is_empty()
    }

    /// Returns whether there are no unsent bytes, and the stream buffers none.
    pub(crate) fn is_flushed(&self) -> bool {
        !self.unflushed && self.is_empty()
    }

    /// Records that the stream buffers no bytes.
    pub(super) fn set_flushed(&mut self) {
        self.unflushed = false;
    }

    /// The buffer to which heads and framing bytes are appended.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        self.unflushed = true;
        let buffer = if self.piece.is_empty() && self.back.is_empty() {
            &mut self.front
        } else {
            &mut self.back
        };
        if buffer.capacity() == 0 {
            *buffer = buffers::take_output();
        }
        buffer
    }

    /// Appends a piece of a body.
    pub(crate) fn push(&mut self, piece: Bytes) {
        if piece.len() > JOINED_BYTES && self.piece.is_empty() && self.back.is_empty() {
            self.unflushed = true;
            self.piece = piece;
        } else {
            self.buffer().extend_from_slice(&piece);
        }
    }

    /// Drops all unsent bytes.
    pub(crate) fn clear(&mut self) {
        *self = Self {
            sent: self.sent,
            ..Self::default()
        };
    }

    /// Writes once. Returns how many bytes were accepted.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
    ) -> Poll<io::Result<usize>> {
        let front = self.front.get(self.sent_front..).unwrap_or_default();
        let stream = Pin::new(stream);
        let count = if self.piece.is_empty() && self.back.is_empty() {
            ready!(stream.poll_write(cx, front))?
        } else {
            let slices = [
                IoSlice::new(front),
                IoSlice::new(&self.piece),
                IoSlice::new(&self.back),
            ];
            ready!(stream.poll_write_vectored(cx, &slices))?
        };
        self.advance(count);
        Poll::Ready(Ok(count))
    }

    /// Drops `count` bytes that were sent, and gives empty buffers back.
    fn advance(&mut self, count: usize) {
        self.sent += count as u64;
        let front = count.min(self.front.len() - self.sent_front);
        self.sent_front += front;
        let piece = (count - front).min(self.piece.len());
        self.piece.advance(piece);
        let back = count - front - piece;
        if self.sent_front == self.front.len() {
            self.sent_front = 0;
            buffers::put_output(std::mem::take(&mut self.front));
        }
        if self.piece.is_empty() {
            self.piece = Bytes::new();
            if self.front.is_empty() && !self.back.is_empty() {
                self.front = std::mem::take(&mut self.back);
                self.sent_front = back;
                if self.sent_front == self.front.len() {
                    self.sent_front = 0;
                    buffers::put_output(std::mem::take(&mut self.front));
                }
            }
        }
    }
}
