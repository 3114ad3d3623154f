//! One direction of a tunnel: bytes go on as they come, observed on the way.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::tunnel::socket::Socket;
use crate::websocket::observer::{FrameActivity, FrameEvent, FrameObserver};

/// Size of the buffer that all tunnels of a thread share.
const BUFFER_BYTES: usize = 64 * 1024;
/// Reads of one direction before the other has its turn.
const READS_PER_TURN: usize = 8;

thread_local! {
    /// Bytes stay here only within one poll, so that an idle tunnel owns no buffer.
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; BUFFER_BYTES].into_boxed_slice());
}

/// How a direction has ended.
#[derive(Debug)]
pub(super) enum End {
    /// The sender has closed its side.
    Finished,
    /// Reading or writing failed.
    Failed(io::Error),
}

/// One direction.
pub(super) struct Lane {
    pub(super) observer: FrameObserver,
    /// Bytes that the receiver has not taken yet; while there are any, nothing is read.
    held: Vec<u8>,
    written: usize,
    /// Bytes that have passed.
    pub(super) bytes: u64,
    /// Whether a close frame of our own was put in: what the sender says after it is observed, and
    /// not passed on.
    closing: bool,
    /// How it has ended, if it has.
    pub(super) end: Option<End>,
    /// Whether the receiver has been told of the end.
    shut: bool,
}

impl Lane {
    /// A direction that begins with `early`: bytes that came right behind the handshake.
    pub(super) fn new(
        mut observer: FrameObserver,
        early: Vec<u8>,
        mut on: impl FnMut(Passed),
    ) -> Self {
        let bytes = early.len() as u64;
        let activity = observer.observe(&early, |event| on(Passed::Event(event)));
        on(Passed::Bytes(bytes, activity));
        Self {
            observer,
            held: early,
            written: 0,
            bytes,
            closing: false,
            end: None,
            shut: false,
        }
    }

    /// Whether it has ended and the receiver knows.
    pub(super) fn is_over(&self) -> bool {
        self.shut
    }

    /// Whether a close frame can be put in now: between frames, with nothing held back.
    pub(super) fn can_close(&self) -> bool {
        self.end.is_none()
            && !self.closing
            && self.held.is_empty()
            && self.observer.at_frame_boundary()
    }

    /// Puts a close frame in. The next poll sends it.
    pub(super) fn close_with(&mut self, frame: Vec<u8>) {
        debug_assert!(self.can_close());
        self.closing = true;
        self.held = frame;
        self.written = 0;
    }

    /// Whether a close frame of our own was put in and is on its way.
    pub(super) fn has_closed(&self) -> bool {
        self.closing && self.held.is_empty()
    }

    /// Ends the direction as soon as what it holds is written.
    pub(super) fn finish(&mut self) {
        self.end.get_or_insert(End::Finished);
    }

    /// Moves bytes from `from` to `to` until one of them has to wait or the direction is over;
    /// tells `on` what passed.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Socket,
        to: &mut Socket,
        mut on: impl FnMut(Passed),
    ) -> Poll<()> {
        BUFFER.with(|buffer| match buffer.try_borrow_mut() {
            Ok(mut buffer) => self.poll_with(cx, from, to, &mut buffer, &mut on),
            // A stream cannot poll a tunnel from within its own poll; should it, it gets a buffer
            // of its own.
            Err(_) => self.poll_with(cx, from, to, &mut vec![0; 4096], &mut on),
        })
    }

    fn poll_with(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Socket,
        to: &mut Socket,
        buffer: &mut [u8],
        on: &mut impl FnMut(Passed),
    ) -> Poll<()> {
        for _ in 0..READS_PER_TURN {
            if !self.held.is_empty() {
                ready!(self.poll_write_held(cx, to));
            }
            if self.end.is_some() {
                if !self.shut {
                    // The receiver may be gone already, which is what this would tell it.
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
                Poll::Ready(Ok(())) => self.pass(cx, to, read.filled(), on),
            }
        }
        // The other direction and the tunnel's own clocks have their turn before this one goes on.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Observes `bytes` and writes what the receiver takes at once; the rest is held.
    fn pass(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut Socket,
        bytes: &[u8],
        on: &mut impl FnMut(Passed),
    ) {
        self.bytes += bytes.len() as u64;
        let activity = self
            .observer
            .observe(bytes, |event| on(Passed::Event(event)));
        on(Passed::Bytes(bytes.len() as u64, activity));
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
        // The memory goes back at once: an idle tunnel owns no buffer.
        self.held = Vec::new();
        self.written = 0;
        Poll::Ready(())
    }
}

/// What passed in one direction.
pub(super) enum Passed {
    /// So many bytes.
    Bytes(u64, FrameActivity),
    /// Something was completed by them.
    Event(FrameEvent),
}
