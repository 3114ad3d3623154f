//! A connection as bytes: what was received and not consumed, and what is to be sent.
//!
//! Buffers belong to the thread: a connection that waits owns none, except for bytes that it cannot
//! pass on yet.

mod buffers;
mod output;

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use futures::FutureExt;
use pingora_core::protocols::Stream;
use tokio::io::{AsyncReadExt, AsyncWrite};

pub(crate) use output::Output;

/// Bytes that are read at once, at most.
pub(crate) const READ_BYTES: usize = 32 * 1024;
/// A read of fewer bytes is copied, so that the thread keeps its buffer, and no piece of a body
/// keeps more than twice its size alive.
const COPIED_BYTES: usize = READ_BYTES / 2;

/// A connection with its received bytes and its unsent bytes.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: Stream,
    /// Bytes that were received and not consumed.
    pub(crate) input: Bytes,
    /// Bytes that were not sent.
    pub(crate) output: Output,
    /// The count of bytes that were received.
    pub(crate) received: u64,
    /// The peer has closed its sending side.
    pub(crate) eof: bool,
}

impl Wire {
    /// Creates the wire of a connection, whose first bytes may have been read.
    pub(crate) fn new(stream: Stream, input: Bytes) -> Self {
        Self {
            stream,
            input,
            output: Output::default(),
            received: 0,
            eof: false,
        }
    }

    /// The connection itself.
    pub(crate) const fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Returns the connection and the bytes that were received and not consumed.
    pub(crate) fn into_parts(self) -> (Stream, Bytes) {
        (self.stream, self.input)
    }

    /// Reads at most `limit` bytes behind those that were not consumed. Returns 0 at the end of the
    /// stream.
    pub(crate) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        limit: usize,
    ) -> Poll<io::Result<usize>> {
        if self.eof {
            return Poll::Ready(Ok(0));
        }
        if self.input.is_empty() {
            // An empty slice keeps the whole buffer alive that it was part of.
            self.input = Bytes::new();
        }
        let mut block = buffers::take_block();
        let (stream, limit) = (&mut self.stream, limit.min(READ_BYTES));
        let read = {
            let mut limited = bytes::BufMut::limit(&mut block, limit);
            pin!(stream.read_buf(&mut limited)).poll_unpin(cx)
        };
        let count = match read {
            Poll::Ready(Ok(count)) => count,
            Poll::Ready(Err(e)) => {
                buffers::put_block(block);
                return Poll::Ready(Err(e));
            }
            Poll::Pending => {
                buffers::put_block(block);
                return Poll::Pending;
            }
        };
        self.eof = count == 0;
        self.received += count as u64;
        self.append(block);
        Poll::Ready(Ok(count))
    }

    /// Appends the bytes of `block` to those that were not consumed.
    fn append(&mut self, block: BytesMut) {
        if !self.input.has_remaining() && block.len() > COPIED_BYTES {
            self.input = block.freeze();
            return;
        }
        if self.input.has_remaining() {
            let input = std::mem::take(&mut self.input);
            // The buffer grows in place if nothing else refers to it, so that a peer that sends
            // byte by byte costs no copy of everything for each byte.
            let mut joined = input.try_into_mut().unwrap_or_else(|shared| {
                let mut copy = BytesMut::with_capacity(shared.len() + block.len());
                copy.extend_from_slice(&shared);
                copy
            });
            joined.extend_from_slice(&block);
            self.input = joined.freeze();
        } else {
            self.input = Bytes::copy_from_slice(&block);
        }
        buffers::put_block(block);
    }

    /// Sends the unsent bytes. Completes when there are none left.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.output.is_flushed() {
            return Poll::Ready(Ok(()));
        }
        let stream = &mut self.stream;
        while !self.output.is_empty() {
            let count = ready!(self.output.poll_write(cx, stream))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
        }
        // TLS buffers what is written.
        ready!(Pin::new(stream).poll_flush(cx))?;
        self.output.set_flushed();
        Poll::Ready(Ok(()))
    }

    /// Closes the sending side.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
