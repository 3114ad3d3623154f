//! A client's connection of HTTP/1: requests are read from it, responses are written to it.

use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::{HeaderMap, Method, StatusCode, Version, header};
use pingora_core::protocols::Stream;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::ResponseHeader;

use super::Closed;
use crate::body::{Decoder, Framing, FramingError, Piece};
use crate::chunk::write_chunk_size;
use crate::error::{downstream, rejected};
use crate::head::{
    Persistence, RequestHead, SpelledNames, Spelling, parse_request, write_interim, write_response,
    write_trailers,
};
use crate::limits::HeadLimits;
use crate::rejection::Rejection;
use crate::wire::{READ_BYTES, Wire};

/// Unsent bytes from which on no more of a body is written.
const UNSENT_BYTES: usize = 16 * 1024;
/// Pipelined bytes from which on the connection is not read before its next request.
const PIPELINED_BYTES: usize = 16 * 1024;
/// The rest of a request body that is read and dropped so that the connection can be reused.
const DRAINED_BYTES: u64 = 64 * 1024;

/// The end of a connection instead of a request head.
#[derive(Debug)]
pub(crate) enum HeadError {
    /// The connection ended, or failed, before a head began.
    Closed,
    /// The head is invalid, or incomplete.
    Rejected(Rejection),
}

/// The response in progress.
#[derive(Debug)]
enum Response {
    /// No final head was written.
    Pending,
    /// The head was written; a body follows.
    Body(Framing),
    /// The response is complete.
    Finished,
    /// The response cannot be completed.
    Aborted,
}

/// A client's connection of HTTP/1.
#[derive(Debug)]
pub(crate) struct Http1Client {
    /// `None` once another protocol has taken the connection.
    wire: Option<Wire>,
    decoder: Decoder,
    bytes_read: u64,
    bytes_sent: u64,
    response: Response,
    /// The bytes that are left of a response with a known length.
    left: u64,
    version: Version,
    head_only: bool,
    keep_alive: bool,
    awaits_continue: bool,
    accepts_trailers: bool,
}

impl Http1Client {
    /// Creates the client's side of a connection.
    pub(crate) fn new(wire: Wire) -> Self {
        Self {
            wire: Some(wire),
            decoder: Decoder::new(Framing::None),
            bytes_read: 0,
            bytes_sent: 0,
            response: Response::Finished,
            left: 0,
            version: Version::HTTP_11,
            head_only: false,
            keep_alive: true,
            awaits_continue: false,
            accepts_trailers: false,
        }
    }

    /// The connection; an error once it was taken.
    fn wire(&mut self) -> Result<&mut Wire> {
        self.wire
            .as_mut()
            .ok_or_else(|| Error::explain(ErrorType::InternalError, "the connection was taken"))
    }

    /// Returns whether bytes were received and not consumed.
    fn has_input(&self) -> bool {
        !self.input().is_empty()
    }

    /// Returns whether bytes of the next request were received.
    pub(crate) fn has_request(&self) -> bool {
        begins_request(self.input())
    }

    /// Returns the bytes that were received and not consumed.
    pub(crate) fn input(&self) -> &[u8] {
        self.wire.as_ref().map_or(&[], |wire| &wire.input)
    }

    /// Reads the head of the next request.
    pub(crate) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        limits: &HeadLimits,
    ) -> Poll<Result<Box<RequestHead>, HeadError>> {
        let Some(wire) = self.wire.as_mut() else {
            return Poll::Ready(Err(HeadError::Closed));
        };
        loop {
            if wire.input.has_remaining() {
                match parse_request(&wire.input, limits) {
                    Ok(Some((head, length))) => {
                        wire.input.advance(length);
                        self.begin(&head);
                        return Poll::Ready(Ok(Box::new(head)));
                    }
                    Ok(None) => {}
                    Err(rejection) => return Poll::Ready(Err(HeadError::Rejected(rejection))),
                }
            }
            match ready!(wire.poll_fill(cx, READ_BYTES)) {
                Ok(0) if begins_request(&wire.input) => {
                    return Poll::Ready(Err(HeadError::Rejected(Rejection::BadRequest(
                        "The request ends within its head.",
                    ))));
                }
                Ok(0) | Err(_) => return Poll::Ready(Err(HeadError::Closed)),
                Ok(_) => {}
            }
        }
    }

    /// Reads the rest of a head that was rejected early, up to `limit` bytes in all, for the
    /// identifier in it.
    pub(crate) fn poll_rest_of_head(&mut self, cx: &mut Context<'_>, limit: usize) -> Poll<()> {
        let Some(wire) = self.wire.as_mut() else {
            return Poll::Ready(());
        };
        while wire.input.len() < limit && memchr::memmem::find(&wire.input, b"\r\n\r\n").is_none() {
            match ready!(wire.poll_fill(cx, READ_BYTES)) {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
        Poll::Ready(())
    }

    /// Begins an exchange with this request.
    fn begin(&mut self, head: &RequestHead) {
        self.decoder = Decoder::new(head.framing);
        self.bytes_read = 0;
        self.bytes_sent = 0;
        self.response = Response::Pending;
        self.version = head.header.version;
        self.head_only = head.header.method == Method::HEAD;
        self.keep_alive = head.keep_alive;
        self.awaits_continue = head.expects_continue && !self.decoder.is_done();
        self.accepts_trailers = head.accepts_trailers;
    }

    /// Begins an exchange with a request that was rejected: its connection closes after the answer.
    pub(crate) fn begin_rejected(&mut self, head_only: bool) {
        self.decoder = Decoder::new(Framing::None);
        self.bytes_read = 0;
        self.bytes_sent = 0;
        self.response = Response::Pending;
        self.version = Version::HTTP_11;
        self.head_only = head_only;
        self.keep_alive = false;
        self.awaits_continue = false;
    }

    /// See [`super::Client::poll_body`].
    pub(super) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece>> {
        loop {
            if let Some(piece) = self.buffered_body() {
                return Poll::Ready(piece);
            }
            let wire = self.wire()?;
            match ready!(wire.poll_fill(cx, READ_BYTES)) {
                Ok(0) => self.decoder.eof().map_err(|_| {
                    downstream(
                        ErrorType::ConnectionClosed,
                        "the request body is incomplete",
                    )
                })?,
                Ok(_) => {}
                Err(e) => {
                    return Poll::Ready(Err(downstream_io(
                        ErrorType::ReadError,
                        "request body",
                        e,
                    )));
                }
            }
        }
    }

    /// See [`super::Client::buffered_body`].
    pub(super) fn buffered_body(&mut self) -> Option<Result<Piece>> {
        let wire = self.wire.as_mut()?;
        match self.decoder.next(&mut wire.input) {
            Ok(Some(piece)) => {
                if let Piece::Data(data) = &piece {
                    self.bytes_read += data.len() as u64;
                    // A client that sends its body waits no longer.
                    self.awaits_continue = false;
                }
                Some(Ok(piece))
            }
            Ok(None) => None,
            Err(FramingError(fault)) => {
                self.keep_alive = false;
                Some(Err(rejected(Rejection::BadRequest(fault))))
            }
        }
    }

    /// See [`super::Client::is_body_done`].
    pub(super) fn is_body_done(&self) -> bool {
        self.decoder.is_done() || self.decoder.remaining() == Some(0)
    }

    /// See [`super::Client::bytes_read`].
    pub(super) const fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// See [`super::Client::bytes_sent`].
    pub(super) const fn bytes_sent(&self) -> u64 {
        self.bytes_sent
    }

    /// See [`super::Client::poll_closed`].
    pub(super) fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<Closed> {
        let wire = match self.wire() {
            Ok(wire) => wire,
            Err(e) => return Poll::Ready(Closed::Gone(e)),
        };
        while wire.input.len() < PIPELINED_BYTES {
            match ready!(wire.poll_fill(cx, PIPELINED_BYTES)) {
                Ok(0) => return Poll::Ready(Closed::Half),
                Ok(_) => {}
                Err(e) => {
                    let error = downstream_io(ErrorType::ReadError, "while it waits", e);
                    return Poll::Ready(Closed::Gone(error));
                }
            }
        }
        // The connection is read again when the next request is.
        Poll::Pending
    }

    /// See [`super::Client::write_interim`].
    pub(super) fn write_interim(&mut self, head: &ResponseHeader) {
        if self.version == Version::HTTP_10 || !matches!(self.response, Response::Pending) {
            return;
        }
        if head.status == StatusCode::CONTINUE && !std::mem::take(&mut self.awaits_continue) {
            // Not asked for (RFC 9110, section 10.1.1): the client would take it for the response.
            return;
        }
        if let Some(wire) = self.wire.as_mut() {
            write_interim(wire.output.buffer(), head);
        }
    }

    /// See [`super::Client::write_head`].
    pub(super) fn write_head(
        &mut self,
        head: &ResponseHeader,
        spelling: Option<&Spelling>,
        spelled: &SpelledNames,
        end: bool,
    ) -> Result<()> {
        let framing = self.framing_of(head, end);
        self.keep_alive &= framing != Framing::UntilClose
            && !self.must_close(head)
            && head.status != StatusCode::SWITCHING_PROTOCOLS;
        let persistence = match (self.keep_alive, self.version) {
            (false, _) => Persistence::Close,
            (true, Version::HTTP_10) => Persistence::KeepAlive,
            (true, _) => Persistence::Implied,
        };
        let wire = self.wire()?;
        let out = wire.output.buffer();
        write_response(out, head, spelling, spelled, framing, persistence);
        self.left = match framing {
            Framing::Length(length) => length,
            _ => 0,
        };
        self.response = match framing {
            Framing::None | Framing::Length(0) => Response::Finished,
            framing => Response::Body(framing),
        };
        Ok(())
    }

    /// Returns the framing of a response body for this client.
    fn framing_of(&self, head: &ResponseHeader, end: bool) -> Framing {
        let bodiless = self.head_only
            || head.status.is_informational()
            || matches!(
                head.status,
                StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
            );
        if bodiless {
            return Framing::None;
        }
        if let Some(length) = length_of(head) {
            return Framing::Length(length);
        }
        match self.version {
            _ if end => Framing::Length(0),
            Version::HTTP_10 => Framing::UntilClose,
            _ => Framing::Chunked,
        }
    }

    /// Returns whether the connection closes after this response: a phase says so, or too much of
    /// the request is still to come.
    fn must_close(&self, head: &ResponseHeader) -> bool {
        let said = head
            .headers
            .get(header::CONNECTION)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"));
        // Without its 100, a client may send the body or leave it out: what follows is unknown.
        let undone = !self.is_body_done()
            && (self.awaits_continue
                || self
                    .decoder
                    .remaining()
                    .is_none_or(|left| left > DRAINED_BYTES));
        said || undone
    }

    /// See [`super::Client::write_body`].
    pub(super) fn write_body(&mut self, piece: Bytes) -> Result<()> {
        let length = piece.len() as u64;
        let framing = match self.response {
            Response::Body(framing) => framing,
            // The body of a response that has none by rule (HEAD) is dropped.
            _ => return Ok(()),
        };
        if length == 0 {
            return Ok(());
        }
        let left = self.left;
        let wire = self.wire()?;
        match framing {
            Framing::Chunked => {
                write_chunk_size(wire.output.buffer(), length);
                wire.output.push(piece);
                wire.output.buffer().extend_from_slice(b"\r\n");
            }
            Framing::Length(_) if length > left => {
                return Err(Error::explain(
                    ErrorType::InternalError,
                    "the body is longer than its Content-Length",
                ));
            }
            _ => wire.output.push(piece),
        }
        self.left = left.saturating_sub(length);
        self.bytes_sent += length;
        Ok(())
    }

    /// See [`super::Client::finish`].
    pub(super) fn finish(&mut self, trailers: Option<Box<HeaderMap>>) -> Result<()> {
        let Response::Body(framing) = self.response else {
            return Ok(());
        };
        if self.left > 0 {
            self.abort();
            return Err(Error::explain(
                ErrorType::InternalError,
                "the body is shorter than its Content-Length",
            ));
        }
        let trailers = trailers.filter(|_| self.accepts_trailers);
        let wire = self.wire()?;
        if framing == Framing::Chunked {
            let out = wire.output.buffer();
            out.extend_from_slice(b"0\r\n");
            if let Some(trailers) = trailers {
                write_trailers(out, &trailers);
            }
            out.extend_from_slice(b"\r\n");
        }
        self.response = Response::Finished;
        Ok(())
    }

    /// See [`super::Client::read_limit`].
    pub(super) const fn read_limit(&self) -> usize {
        READ_BYTES
    }

    /// See [`super::Client::unsent`].
    pub(super) fn unsent(&self) -> usize {
        self.wire.as_ref().map_or(0, |wire| wire.output.len())
    }

    /// See [`super::Client::progress`].
    pub(super) fn progress(&self) -> u64 {
        self.wire.as_ref().map_or(0, |wire| wire.output.sent)
    }

    /// See [`super::Client::poll_ready`].
    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.unsent() < UNSENT_BYTES {
            return Poll::Ready(Ok(()));
        }
        self.poll_flush(cx)
    }

    /// See [`super::Client::poll_flush`].
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let Some(wire) = self.wire.as_mut() else {
            return Poll::Ready(Ok(()));
        };
        wire.poll_flush(cx).map_err(|e| {
            self.keep_alive = false;
            downstream_io(ErrorType::WriteError, "response", e)
        })
    }

    /// See [`super::Client::is_finished`].
    pub(super) const fn is_finished(&self) -> bool {
        matches!(self.response, Response::Finished)
    }

    /// See [`super::Client::abort`].
    pub(super) fn abort(&mut self) {
        self.keep_alive = false;
        if matches!(self.response, Response::Body(_)) {
            self.response = Response::Aborted;
        }
    }

    /// Returns whether the connection can serve another request once the rest of this one was
    /// drained.
    pub(crate) fn keeps_alive(&self) -> bool {
        // A client that has closed its side may have pipelined more requests before.
        let may_follow = |wire: &Wire| !wire.eof || wire.input.has_remaining();
        self.keep_alive && self.is_finished() && self.wire.as_ref().is_some_and(may_follow)
    }

    /// Reads and drops what the client still sends, until it closes its side.
    pub(crate) fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(wire) = self.wire.as_mut() else {
            return Poll::Ready(());
        };
        loop {
            wire.input = Bytes::new();
            match ready!(wire.poll_fill(cx, READ_BYTES)) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(_) => {}
            }
        }
    }

    /// Closes the sending side.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.wire.as_mut() {
            Some(wire) => wire.poll_shutdown(cx).map(|_| ()),
            None => Poll::Ready(()),
        }
    }

    /// Returns whether the client may still send bytes that nothing has read: closing the
    /// connection now would reset it, and the client could lose its answer.
    pub(crate) fn must_linger(&self) -> bool {
        self.wire.as_ref().is_some_and(|wire| !wire.eof)
            && (!self.is_body_done() || self.has_input())
    }

    /// See [`super::Client::take`].
    pub(super) fn take(&mut self) -> Option<(Stream, Bytes)> {
        self.keep_alive = false;
        self.response = Response::Finished;
        self.wire.take().map(Wire::into_parts)
    }
}

/// Returns whether a request begins in `input`. The empty line that some clients send behind a body
/// belongs to none (RFC 9112, section 2.2).
fn begins_request(input: &[u8]) -> bool {
    !matches!(input, b"" | b"\r" | b"\r\n")
}

/// Returns the value of a valid `Content-Length`.
pub(crate) fn length_of(head: &ResponseHeader) -> Option<u64> {
    let value = head.headers.get(header::CONTENT_LENGTH)?.as_bytes();
    str::from_utf8(value).ok()?.parse().ok()
}

/// Returns the error of a failed read or write at the client's connection.
fn downstream_io(kind: ErrorType, what: &'static str, e: std::io::Error) -> Box<Error> {
    Error::because(kind, what, e).into_down()
}
