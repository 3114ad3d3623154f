//! The next hop's side of an exchange: a connection of HTTP/1.1.

mod handshake;
mod pool;

use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::{HeaderMap, Method};
use pingora_core::connectors::TransportConnector;
use pingora_core::protocols::{Digest, Stream};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorType, Result, RetryType};
use pingora_http::RequestHeader;

pub use handshake::Handshake;
pub(crate) use pool::Pool;

use crate::body::{Decoder, Framing, FramingError, Piece};
use crate::chunk::write_chunk_size;
use crate::error::upstream;
use crate::head::{BadResponse, ResponseHead, parse_response, write_request, write_trailers};
use crate::limits::HeadLimits;
use crate::wire::Wire;

/// Unsent bytes from which on no more of a request body is read from the client.
const UNSENT_BYTES: usize = 16 * 1024;

/// What this hop itself asks of the next one (RFC 9110, sections 7.6.1 and 10.1.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asks {
    /// Nothing.
    Nothing,
    /// Trailers of the response.
    Trailers,
    /// The protocol of the `Upgrade` header.
    Upgrade,
}

/// A connection to a next hop, with the exchange in progress.
#[derive(Debug)]
pub(crate) struct Upstream {
    wire: Wire,
    digest: Digest,
    /// The method of the request in progress: it decides whether the response has a body.
    method: Method,
    /// The framing of the request body.
    sends: Framing,
    /// The bytes that are left of a request body with a known length.
    left: u64,
    request_done: bool,
    decoder: Decoder,
    /// The count of received bytes when the request began.
    began_at: u64,
    /// A final response head was received.
    answered: bool,
    /// The next hop keeps the connection open after the response.
    keep_alive: bool,
    /// The failure of a write: the next hop may have answered before it.
    write_failure: Option<io::Error>,
}

impl Upstream {
    /// Connects to `peer`.
    ///
    /// # Errors
    /// When the peer does not accept the connection in time; nothing was sent.
    pub(crate) async fn connect(connector: &TransportConnector, peer: &HttpPeer) -> Result<Self> {
        let stream = connector.new_stream(peer).await.map_err(Error::into_up)?;
        Ok(Self::new(stream))
    }

    fn new(stream: Stream) -> Self {
        let digest = digest_of(&stream);
        Self {
            wire: Wire::new(stream, Bytes::new()),
            digest,
            method: Method::GET,
            sends: Framing::None,
            left: 0,
            request_done: true,
            decoder: Decoder::new(Framing::None),
            began_at: 0,
            answered: true,
            keep_alive: true,
            write_failure: None,
        }
    }

    /// The addresses and the timing of the connection.
    pub(crate) const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The connection itself.
    pub(crate) const fn stream(&self) -> &Stream {
        self.wire.stream()
    }

    /// Begins an exchange: writes the head of a request whose body has this framing.
    pub(crate) fn begin(&mut self, request: &RequestHeader, sends: Framing, asks: Asks) {
        self.method = request.method.clone();
        self.sends = sends;
        self.left = match sends {
            Framing::Length(length) => length,
            _ => 0,
        };
        self.request_done = matches!(sends, Framing::None | Framing::Length(0));
        self.began_at = self.wire.received;
        self.answered = false;
        self.keep_alive = true;
        let out = self.wire.output.buffer();
        write_request(out, request, sends);
        let lines: &[u8] = match asks {
            Asks::Nothing => return,
            Asks::Trailers => b"te: trailers\r\nconnection: te\r\n\r\n",
            Asks::Upgrade => b"connection: Upgrade\r\n\r\n",
        };
        out.truncate(out.len().saturating_sub(b"\r\n".len()));
        out.extend_from_slice(lines);
    }

    /// Writes a piece of the request body.
    ///
    /// # Errors
    /// When the body is longer than its `Content-Length`.
    pub(crate) fn write_body(&mut self, piece: Bytes) -> Result<()> {
        let length = piece.len() as u64;
        if length == 0 || self.write_failure.is_some() {
            return Ok(());
        }
        let out = &mut self.wire.output;
        match self.sends {
            Framing::Chunked => {
                write_chunk_size(out.buffer(), length);
                out.push(piece);
                out.buffer().extend_from_slice(b"\r\n");
            }
            Framing::Length(_) if length <= self.left => {
                self.left -= length;
                out.push(piece);
            }
            _ => {
                return Err(Error::explain(
                    ErrorType::InternalError,
                    "the request body is longer than its Content-Length",
                ));
            }
        }
        Ok(())
    }

    /// Ends the request body.
    ///
    /// # Errors
    /// When the body is shorter than its `Content-Length`.
    pub(crate) fn finish(&mut self, trailers: Option<Box<HeaderMap>>) -> Result<()> {
        if self.request_done {
            return Ok(());
        }
        if self.left > 0 {
            return Err(Error::explain(
                ErrorType::InternalError,
                "the request body is shorter than its Content-Length",
            ));
        }
        if self.sends == Framing::Chunked {
            let out = self.wire.output.buffer();
            out.extend_from_slice(b"0\r\n");
            if let Some(trailers) = trailers {
                write_trailers(out, &trailers);
            }
            out.extend_from_slice(b"\r\n");
        }
        self.request_done = true;
        Ok(())
    }

    /// Returns whether more of the request body can be written.
    pub(crate) fn is_ready(&self) -> bool {
        self.wire.output.len() < UNSENT_BYTES
    }

    /// The count of bytes that the next hop has accepted, for the detection of a stalled one.
    pub(crate) const fn progress(&self) -> u64 {
        self.wire.output.sent
    }

    /// Returns whether bytes are unsent.
    pub(crate) fn has_unsent(&self) -> bool {
        !self.wire.output.is_empty()
    }

    /// Returns whether the connection no longer accepts the request.
    pub(crate) const fn has_failed_write(&self) -> bool {
        self.write_failure.is_some()
    }

    /// Sends what was written. A failure is kept: the response may have come before it.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Err(e) = ready!(self.wire.poll_flush(cx)) {
            self.write_failure = Some(e);
            self.wire.output.clear();
        }
        Poll::Ready(())
    }

    /// Reads the next response head: an interim one, or the final one; at most `limit` bytes at
    /// once.
    pub(crate) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        limits: &HeadLimits,
        limit: usize,
    ) -> Poll<Result<Box<ResponseHead>>> {
        loop {
            if self.wire.input.has_remaining() {
                match parse_response(&self.wire.input, &self.method, limits) {
                    Ok(Some((head, length))) => {
                        self.wire.input.advance(length);
                        self.receive(&head);
                        return Poll::Ready(Ok(Box::new(head)));
                    }
                    Ok(None) => {}
                    Err(BadResponse(fault)) => {
                        return Poll::Ready(Err(upstream(ErrorType::InvalidHTTPHeader, fault)));
                    }
                }
            }
            let read = ready!(self.wire.poll_fill(cx, limit));
            if let Err(e) = self.check_read(read, "response head") {
                return Poll::Ready(Err(e));
            }
        }
    }

    fn receive(&mut self, head: &ResponseHead) {
        if head.header.status.is_informational() && head.header.status.as_u16() != 101 {
            return;
        }
        self.answered = true;
        self.keep_alive = head.keep_alive;
        self.decoder = Decoder::new(head.framing);
    }

    /// Returns the error of a read that ended the connection. Before the first byte of a response,
    /// a connection that was kept open may just have been closed, and another one may be tried.
    fn check_read(&mut self, read: io::Result<usize>, what: &'static str) -> Result<()> {
        let fresh = self.wire.received == self.began_at;
        let mut error = match read {
            Ok(0) => match self.write_failure.take() {
                Some(e) => Error::because(ErrorType::WriteError, "request", e).into_up(),
                None => upstream(ErrorType::ConnectionClosed, what),
            },
            Ok(_) => return Ok(()),
            Err(e) => Error::because(ErrorType::ReadError, what, e).into_up(),
        };
        if fresh {
            error.retry = RetryType::ReusedOnly;
        }
        Err(error)
    }

    /// Reads the next piece of the response body, at most `limit` bytes at once.
    pub(crate) fn poll_body(&mut self, cx: &mut Context<'_>, limit: usize) -> Poll<Result<Piece>> {
        loop {
            if let Some(piece) = self.buffered_body() {
                return Poll::Ready(piece);
            }
            match ready!(self.wire.poll_fill(cx, limit)) {
                Ok(0) => self
                    .decoder
                    .eof()
                    .map_err(|FramingError(fault)| upstream(ErrorType::ConnectionClosed, fault))?,
                Ok(_) => {}
                Err(e) => {
                    let error = Error::because(ErrorType::ReadError, "response body", e).into_up();
                    return Poll::Ready(Err(error));
                }
            }
        }
    }

    /// Returns the next piece of the response body if it was received already.
    pub(crate) fn buffered_body(&mut self) -> Option<Result<Piece>> {
        self.decoder
            .next(&mut self.wire.input)
            .map_err(|FramingError(fault)| upstream(ErrorType::InvalidHTTPHeader, fault))
            .transpose()
    }

    /// Returns whether no more bytes of the response body follow, and no trailers.
    pub(crate) fn is_body_done(&self) -> bool {
        self.decoder.is_done() || self.decoder.remaining() == Some(0)
    }

    /// Returns whether another exchange may use the connection: both messages are complete, and the
    /// next hop has sent nothing more.
    pub(crate) fn is_reusable(&self) -> bool {
        self.request_done
            && self.answered
            && self.is_body_done()
            && self.keep_alive
            && self.write_failure.is_none()
            && self.wire.output.is_flushed()
            && !self.wire.input.has_remaining()
            && !self.wire.eof
    }

    /// Returns whether the next hop has closed the connection, or has sent bytes unasked.
    pub(crate) fn is_stale(&mut self) -> bool {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        self.wire.poll_fill(&mut cx, 1).is_ready()
    }

    /// Returns the connection, and the bytes that came behind the response head.
    pub(crate) fn into_parts(self) -> (Stream, Bytes) {
        self.wire.into_parts()
    }
}

fn digest_of(stream: &Stream) -> Digest {
    Digest {
        ssl_digest: stream.get_ssl_digest(),
        timing_digest: stream.get_timing_digest(),
        proxy_digest: stream.get_proxy_digest(),
        socket_digest: stream.get_socket_digest(),
    }
}
