//! The response on a stream: it holds no more than the client's window has room for.

use std::collections::VecDeque;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::SendStream;
use h2::server::SendResponse;
use http::{HeaderMap, StatusCode};
use pingora_core::{Error, ErrorType, Result};
use pingora_http::ResponseHeader;

use super::head::{interim, last, remove_connection_headers};
use super::stream_error;
use crate::client::http1::length_of;
use crate::error::downstream;

/// The bytes of a stream that are given to the connection at once, at most.
pub(crate) const STREAM_BYTES: usize = 16 * 1024;
/// The bytes that are read from the next hop before the client's window is known, at most.
const HEAD_BYTES: usize = 8 * 1024;

/// The response in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// No final head was written.
    Pending,
    /// The head was written; a body follows.
    Body,
    /// The response is complete.
    Finished,
    /// The stream was reset.
    Aborted,
}

/// The end of a body that was not given to the connection.
#[derive(Debug)]
enum End {
    Plain,
    Trailers(Box<HeaderMap>),
}

/// The response on a stream.
#[derive(Debug)]
pub(super) struct ResponseStream {
    respond: SendResponse<Bytes>,
    /// The body, from its head on.
    stream: Option<SendStream<Bytes>>,
    stage: Stage,
    head_only: bool,
    /// The bytes that are left of a body with a known length.
    left: Option<u64>,
    /// Pieces that were not given to the connection.
    pieces: VecDeque<Bytes>,
    /// The bytes of `pieces`.
    unsent: usize,
    end: Option<End>,
    /// The bytes that the client's windows have room for.
    granted: usize,
    /// The client's windows have no room.
    blocked: bool,
    /// The bytes that were given to the connection.
    given: u64,
    bytes_sent: u64,
}

impl ResponseStream {
    /// Creates the response of a stream; `head_only`: to a HEAD.
    pub(super) const fn new(respond: SendResponse<Bytes>, head_only: bool) -> Self {
        Self {
            respond,
            stream: None,
            stage: Stage::Pending,
            head_only,
            left: None,
            pieces: VecDeque::new(),
            unsent: 0,
            end: None,
            granted: 0,
            blocked: false,
            given: 0,
            bytes_sent: 0,
        }
    }

    /// The count of bytes of the body that were written.
    pub(super) const fn bytes_sent(&self) -> u64 {
        self.bytes_sent
    }

    /// Returns the number of bytes that were not given to the connection.
    pub(super) const fn unsent(&self) -> usize {
        self.unsent
    }

    /// The count of bytes that were given to the connection.
    pub(super) const fn progress(&self) -> u64 {
        self.given
    }

    /// Returns whether the client's windows have no room for bytes that wait for it.
    pub(super) const fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Returns whether the response is complete.
    pub(super) fn is_finished(&self) -> bool {
        self.stage == Stage::Finished
    }

    /// Returns how many bytes can be read for the client at the moment.
    pub(super) const fn read_limit(&self) -> usize {
        match self.stage {
            Stage::Pending => HEAD_BYTES,
            _ => self.granted,
        }
    }

    /// Writes an interim response.
    pub(super) fn write_interim(&mut self, head: &ResponseHeader) {
        if self.stage == Stage::Pending {
            // A stream that has failed is noticed by the next read or write.
            let _ = self.respond.send_informational(interim(head));
        }
    }

    /// Writes the final response head.
    pub(super) fn write_head(&mut self, head: &ResponseHeader, end: bool) -> Result<()> {
        if head.status.is_informational() {
            return Err(Error::explain(
                ErrorType::InternalError,
                "HTTP/2 has no final response of class 1xx",
            ));
        }
        let bodiless = self.head_only
            || matches!(
                head.status,
                StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
            );
        let length = length_of(head).filter(|_| !bodiless);
        let end = end || bodiless || length == Some(0);
        let stream = self.respond.send_response(last(head), end);
        self.stream = Some(stream.map_err(|e| stream_error("response head", e))?);
        self.left = length;
        self.stage = if end { Stage::Finished } else { Stage::Body };
        Ok(())
    }

    /// Writes a piece of the body. The body of a response that has none by rule is dropped.
    pub(super) fn write_body(&mut self, piece: Bytes) -> Result<()> {
        if self.stage != Stage::Body || piece.is_empty() {
            return Ok(());
        }
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(piece.len() as u64).ok_or_else(|| {
                Error::explain(
                    ErrorType::InternalError,
                    "the body is longer than its Content-Length",
                )
            })?;
        }
        self.bytes_sent += piece.len() as u64;
        self.unsent += piece.len();
        self.pieces.push_back(piece);
        Ok(())
    }

    /// Ends the response.
    pub(super) fn finish(&mut self, trailers: Option<Box<HeaderMap>>) -> Result<()> {
        if self.stage != Stage::Body {
            return Ok(());
        }
        if self.left.is_some_and(|left| left > 0) {
            self.abort();
            return Err(Error::explain(
                ErrorType::InternalError,
                "the body is shorter than its Content-Length",
            ));
        }
        self.end = Some(match trailers {
            Some(mut trailers) => {
                remove_connection_headers(&mut trailers);
                End::Trailers(trailers)
            }
            None => End::Plain,
        });
        self.stage = Stage::Finished;
        Ok(())
    }

    /// Resets the stream, if its response is not complete.
    pub(super) fn abort(&mut self) {
        if self.stage == Stage::Finished {
            return;
        }
        self.stage = Stage::Aborted;
        self.pieces.clear();
        self.unsent = 0;
        self.blocked = false;
        self.respond.send_reset(h2::Reason::INTERNAL_ERROR);
    }

    /// Completes when more of the body can be read for the client: at least one byte, and at most
    /// [`STREAM_BYTES`]. That much of the connection's window belongs to this stream until the
    /// bytes are written, or [`Self::release`] is called.
    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        ready!(self.poll_flush(cx))?;
        if self.stage != Stage::Body {
            return Poll::Ready(Ok(()));
        }
        self.poll_granted(cx, STREAM_BYTES)
    }

    /// Gives the reserved part of the connection's window to its other streams.
    pub(super) fn release(&mut self) {
        if let Some(stream) = self.stream.as_mut().filter(|_| self.granted > 0) {
            stream.reserve_capacity(0);
            self.granted = 0;
        }
    }

    /// Waits until the windows have room for some of `wanted` bytes.
    fn poll_granted(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<Result<()>> {
        let Some(stream) = self.stream.as_mut() else {
            return Poll::Ready(Ok(()));
        };
        stream.reserve_capacity(wanted.min(STREAM_BYTES));
        loop {
            self.granted = stream.capacity().min(STREAM_BYTES);
            if self.granted > 0 {
                self.blocked = false;
                return Poll::Ready(Ok(()));
            }
            match stream.poll_capacity(cx) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(e))) => {
                    return Poll::Ready(Err(stream_error("response body", e)));
                }
                Poll::Ready(None) => {
                    let reset = self.poll_reset(cx);
                    return reset.map(Err);
                }
                Poll::Pending => {
                    self.blocked = true;
                    return Poll::Pending;
                }
            }
        }
    }

    /// Gives what was written to the connection, as far as the windows have room for it.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        while self.unsent > 0 {
            ready!(self.poll_granted(cx, self.unsent))?;
            let Some(piece) = self.next_piece() else {
                break;
            };
            self.unsent -= piece.len();
            self.granted -= piece.len();
            self.given += piece.len() as u64;
            let is_last = self.unsent == 0 && matches!(self.end, Some(End::Plain));
            if is_last {
                self.end = None;
            }
            self.send(piece, is_last)?;
        }
        match self.end.take() {
            None => {}
            Some(End::Plain) => self.send(Bytes::new(), true)?,
            Some(End::Trailers(trailers)) => {
                let stream = self.stream.as_mut();
                stream
                    .map_or(Ok(()), |stream| stream.send_trailers(*trailers))
                    .map_err(|e| stream_error("response trailers", e))?;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn send(&mut self, piece: Bytes, is_last: bool) -> Result<()> {
        let Some(stream) = self.stream.as_mut() else {
            return Ok(());
        };
        stream
            .send_data(piece, is_last)
            .map_err(|e| stream_error("response body", e))
    }

    /// Takes as much of the first piece as was granted.
    fn next_piece(&mut self) -> Option<Bytes> {
        let first = self.pieces.front_mut()?;
        if first.len() > self.granted {
            return Some(first.split_to(self.granted));
        }
        self.pieces.pop_front()
    }

    /// Completes when the client resets the stream, or its connection fails.
    pub(super) fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<Box<Error>> {
        let reset = match self.stream.as_mut() {
            Some(stream) => stream.poll_reset(cx),
            None => self.respond.poll_reset(cx),
        };
        reset.map(|reset| match reset {
            Ok(reason) => downstream(
                ErrorType::H2Error,
                format!("the stream was reset: {reason}"),
            ),
            Err(e) => stream_error("the connection failed", e),
        })
    }
}
