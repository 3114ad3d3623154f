//! One direction of a tunnel: bytes are passed on as they arrive, and observed on the way.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::tunnel::direction::Direction;
use crate::tunnel::observe::{Protocol, Reporter, TunnelObserver};
use crate::tunnel::socket::Socket;

/// The size of the buffer that all tunnels of a thread share.
const BUFFER_BYTES: usize = 64 * 1024;
/// The number of reads of one direction before the other one is polled.
const READS_PER_TURN: usize = 8;

thread_local! {
    /// Bytes stay here only within one poll, so an idle tunnel owns no buffer.
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; BUFFER_BYTES].into_boxed_slice());
}

/// The end of a direction.
#[derive(Debug)]
pub(super) enum End {
    /// The sender has closed its side.
    Finished,
    /// Reading or writing failed.
    Failed(io::Error),
}

/// One direction.
pub(super) struct Lane<P> {
    pub(super) from: Direction,
    pub(super) protocol: P,
    /// Bytes that the receiver has not accepted yet; while there are any, nothing is read.
    held: Vec<u8>,
    written: usize,
    /// The count of bytes that have passed.
    pub(super) bytes: u64,
    /// `true` once the tier has inserted a close message: later bytes of the sender are observed,
    /// and not passed on.
    closing: bool,
    /// The end of the direction, if it has ended.
    pub(super) end: Option<End>,
    /// `true` once the end was passed on to the receiver.
    shut: bool,
}

impl<P: Protocol> Lane<P> {
    /// A direction that begins with `early`: bytes that came right behind the handshake.
    pub(super) fn new<O: TunnelObserver>(
        from: Direction,
        mut protocol: P,
        early: Vec<u8>,
        reporter: &mut Reporter<'_, O>,
    ) -> Self {
        reporter.passed_on(from, &early);
        reporter.received(from, &mut protocol, &early);
        Self {
            from,
            protocol,
            bytes: early.len() as u64,
            held: early,
            written: 0,
            closing: false,
            end: None,
            shut: false,
        }
    }

    /// Returns whether the direction has ended and its end was passed on.
    pub(super) fn is_over(&self) -> bool {
        self.shut
    }

    /// Returns whether a close message can be inserted now: between messages, with no byte held.
    pub(super) fn can_close(&self) -> bool {
        self.end.is_none() && !self.closing && self.held.is_empty() && self.protocol.accepts_close()
    }

    /// Inserts a close message. The next poll sends it.
    pub(super) fn close_with(&mut self, message: Vec<u8>) {
        debug_assert!(self.can_close());
        self.closing = true;
        self.held = message;
        self.written = 0;
    }

    /// Ends the direction as soon as the held bytes are written.
    pub(super) fn finish(&mut self) {
        self.end.get_or_insert(End::Finished);
    }

    /// Moves bytes from `from` to `to`, and reports them, until one of the sockets is not ready or
    /// the direction is over.
    pub(super) fn poll<O: TunnelObserver>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Socket,
        to: &mut Socket,
        reporter: &mut Reporter<'_, O>,
    ) -> Poll<()> {
        BUFFER.with(|buffer| match buffer.try_borrow_mut() {
            Ok(mut buffer) => self.poll_with(cx, from, to, &mut buffer, reporter),
            // No stream polls a tunnel from within its own poll; if one did, the inner tunnel would
            // use a buffer of its own.
            Err(_) => self.poll_with(cx, from, to, &mut vec![0; 4096], reporter),
        })
    }

    fn poll_with<O: TunnelObserver>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Socket,
        to: &mut Socket,
        buffer: &mut [u8],
        reporter: &mut Reporter<'_, O>,
    ) -> Poll<()> {
        for _ in 0..READS_PER_TURN {
            if !self.held.is_empty() {
                ready!(self.poll_write_held(cx, to));
            }
            if self.end.is_some() {
                if !self.shut {
                    // An error means that the receiver is gone already.
                    let _ = ready!(Pin::new(&mut *to).poll_shutdown(cx));
                    self.shut = true;
                }
                return Poll::Ready(());
            }
            let mut read = ReadBuf::new(buffer);
            match Pin::new(&mut *from).poll_read(cx, &mut read) {
                Poll::Pending => {
                    // Only a stream with a buffer of its own (TLS) has something to flush.
                    if let Poll::Ready(Err(e)) = Pin::new(&mut *to).poll_flush(cx) {
                        self.end = Some(End::Failed(e));
                        continue;
                    }
                    return Poll::Pending;
                }
                Poll::Ready(Err(e)) => self.end = Some(End::Failed(e)),
                Poll::Ready(Ok(())) if read.filled().is_empty() => self.end = Some(End::Finished),
                Poll::Ready(Ok(())) => self.pass(cx, to, read.filled(), reporter),
            }
        }
        // The other direction and the tunnel's timers are polled before this one continues.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Observes `bytes` and writes as many as the receiver accepts at once; the rest is held.
    fn pass<O: TunnelObserver>(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut Socket,
        bytes: &[u8],
        reporter: &mut Reporter<'_, O>,
    ) {
        self.bytes += bytes.len() as u64;
        if !self.closing {
            reporter.passed_on(self.from, bytes);
        }
        reporter.received(self.from, &mut self.protocol, bytes);
        if self.closing {
            return;
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            match Pin::new(&mut *to).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => {
                    return self.end = Some(End::Failed(io::ErrorKind::WriteZero.into()));
                }
                Poll::Ready(Ok(n)) => rest = rest.get(n..).unwrap_or_default(),
                Poll::Ready(Err(e)) => return self.end = Some(End::Failed(e)),
                Poll::Pending => {
                    self.held = rest.to_vec();
                    self.written = 0;
                    return;
                }
            }
        }
    }

    fn poll_write_held(&mut self, cx: &mut Context<'_>, to: &mut Socket) -> Poll<()> {
        while let Some(rest) = self
            .held
            .get(self.written..)
            .filter(|rest| !rest.is_empty())
        {
            match ready!(Pin::new(&mut *to).poll_write(cx, rest)) {
                Ok(0) => self.end = Some(End::Failed(io::ErrorKind::WriteZero.into())),
                Ok(n) => {
                    self.written += n;
                    continue;
                }
                Err(e) => self.end = Some(End::Failed(e)),
            }
            break;
        }
        // The memory is freed at once: an idle tunnel owns no buffer.
        self.held = Vec::new();
        self.written = 0;
        Poll::Ready(())
    }
}
