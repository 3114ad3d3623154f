//! The bytes of a connection of HTTP/2.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use pingora_core::protocols::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::exchange::Timer;

/// The stream of a connection, behind the bytes that were read before its protocol was known. A
/// write fails when the client accepts no byte for too long.
pub(super) struct Transport {
    stream: Stream,
    input: Bytes,
    limit: Duration,
    timer: Timer,
    /// The stream accepts no bytes.
    blocked: bool,
}

impl Transport {
    /// Creates the transport of a connection; `limit` is the longest time in which the client
    /// accepts no byte.
    pub(super) fn new(stream: Stream, input: Bytes, limit: Duration) -> Self {
        Self {
            stream,
            input,
            limit,
            timer: Timer::default(),
            blocked: false,
        }
    }

    /// Returns the result of a write, or fails if it has waited for too long.
    fn check<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.blocked = false;
            return written;
        }
        if !std::mem::replace(&mut self.blocked, true) {
            self.timer.set(Some(Instant::now() + self.limit));
        }
        self.timer
            .poll_due(cx)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.input.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let count = self.input.len().min(buf.remaining());
        buf.put_slice(self.input.get(..count).unwrap_or_default());
        self.input.advance(count);
        if self.input.is_empty() {
            self.input = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.check(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.check(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.check(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.check(cx, closed)
    }
}
