//! The body of a request on a stream.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http::HeaderMap;
use pingora_core::{Error, Result};

use super::stream_error;
use crate::body::{Piece, check_trailers};
use crate::error::rejected;
use crate::rejection::Rejection;

const LENGTH: Rejection =
    Rejection::BadRequest("The request body is not as long as its Content-Length.");
const INVALID: Rejection = Rejection::BadRequest("The request body is not valid HTTP/2.");

/// The body of a request.
///
/// With a `Content-Length`, its last piece is held back until the stream has ended: a length that
/// is wrong never becomes a complete request at the next hop.
#[derive(Debug)]
pub(super) struct RequestBody {
    stream: RecvStream,
    /// The `Content-Length`.
    length: Option<u64>,
    received: u64,
    held: Bytes,
    done: bool,
}

impl RequestBody {
    /// Creates the body of a stream whose request head was received.
    pub(super) fn new(stream: RecvStream, length: Option<u64>) -> Self {
        Self {
            done: stream.is_end_stream(),
            stream,
            length,
            received: 0,
            held: Bytes::new(),
        }
    }

    /// Returns whether the body was read to its end.
    pub(super) const fn is_done(&self) -> bool {
        self.done
    }

    /// The count of bytes that were received.
    pub(super) const fn received(&self) -> u64 {
        self.received
    }

    /// Reads the next piece. The client may send as many bytes again.
    pub(super) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece>> {
        while !self.done {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    if let Some(piece) = self.receive(data)? {
                        return Poll::Ready(Ok(Piece::Data(piece)));
                    }
                }
                Some(Err(e)) => return Poll::Ready(Err(self.failure(e))),
                None => {
                    let trailers = ready!(self.stream.poll_trailers(cx));
                    let trailers = trailers.map_err(|e| self.failure(e))?;
                    self.done = true;
                    return Poll::Ready(self.end(trailers));
                }
            }
        }
        Poll::Ready(self.end(None))
    }

    /// Accounts for the content of a frame, and returns the bytes to pass on.
    fn receive(&mut self, data: Bytes) -> Result<Option<Bytes>> {
        // An error means that the stream has failed meanwhile; the next read returns its cause.
        let _ = self.stream.flow_control().release_capacity(data.len());
        self.done = self.stream.is_end_stream();
        self.received += data.len() as u64;
        let missing = match self.length {
            Some(length) => length.checked_sub(self.received),
            None => Some(u64::from(!self.done)),
        };
        match missing {
            None => Err(rejected(LENGTH)),
            Some(missing) if self.done && missing > 0 => Err(rejected(LENGTH)),
            Some(0) if !self.done => {
                self.hold(data);
                Ok(None)
            }
            _ if data.is_empty() => Ok(self.take_held()),
            _ => Ok(Some(data)),
        }
    }

    /// Reads and drops the rest of the body; completes at its end, or if the stream fails.
    pub(super) fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.held = Bytes::new();
        while !self.done {
            let Some(Ok(data)) = ready!(self.stream.poll_data(cx)) else {
                break;
            };
            let _ = self.stream.flow_control().release_capacity(data.len());
            self.done = self.stream.is_end_stream();
        }
        Poll::Ready(())
    }

    fn hold(&mut self, data: Bytes) {
        if !data.is_empty() {
            self.held = data;
        }
    }

    fn take_held(&mut self) -> Option<Bytes> {
        Some(std::mem::take(&mut self.held)).filter(|held| !held.is_empty())
    }

    /// Returns the last piece.
    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<Piece> {
        if self.length.is_some_and(|length| length != self.received) {
            return Err(rejected(LENGTH));
        }
        if let Some(held) = self.take_held() {
            // A body with a length has no place for trailers in HTTP/1.1.
            return Ok(Piece::Data(held));
        }
        let Some(trailers) = trailers else {
            return Ok(Piece::End(None));
        };
        match check_trailers(trailers) {
            Ok(trailers) => Ok(Piece::End(trailers.map(Box::new))),
            Err(_) => Err(rejected(INVALID)),
        }
    }

    /// Returns the error of a stream that has ended early: the client has reset it, or this side
    /// has, because it is malformed (RFC 9113, section 8.1.1).
    fn failure(&self, cause: h2::Error) -> Box<Error> {
        if !(cause.is_reset() && cause.is_library()) {
            return stream_error("request body", cause);
        }
        rejected(if self.length.is_some() {
            LENGTH
        } else {
            INVALID
        })
    }
}
