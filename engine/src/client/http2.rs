//! A stream of HTTP/2 (RFC 9113): one request of a client, and its response.

mod head;
mod request;
mod response;

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::HeaderMap;
use pingora_core::{Error, Result};
use pingora_http::ResponseHeader;

use super::Closed;
use crate::body::Piece;
use request::RequestBody;
use response::ResponseStream;
pub(crate) use response::STREAM_BYTES;

/// The facts of a request head that its stream needs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StreamTraits {
    /// The `Content-Length`.
    pub(crate) length: Option<u64>,
    /// The method is HEAD: the response has no body.
    pub(crate) head_only: bool,
    /// The client waits for a 100 before it sends the body.
    pub(crate) expects_continue: bool,
}

/// A stream of HTTP/2.
#[derive(Debug)]
pub(crate) struct Http2Client {
    request: RequestBody,
    response: ResponseStream,
    awaits_continue: bool,
}

impl Http2Client {
    /// Creates the client's side of a stream whose request head was received.
    pub(crate) fn new(
        body: RecvStream,
        respond: SendResponse<Bytes>,
        traits: StreamTraits,
    ) -> Self {
        let request = RequestBody::new(body, traits.length);
        Self {
            awaits_continue: traits.expects_continue && !request.is_done(),
            request,
            response: ResponseStream::new(respond, traits.head_only),
        }
    }

    /// See [`super::Client::poll_body`].
    pub(super) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece>> {
        let piece = ready!(self.request.poll_piece(cx));
        // A client that sends its body waits no longer.
        self.awaits_continue = false;
        Poll::Ready(piece)
    }

    /// See [`super::Client::buffered_body`]. What was received is found by
    /// [`Self::poll_body`], which costs the same.
    #[allow(clippy::unused_self)]
    pub(super) const fn buffered_body(&mut self) -> Option<Result<Piece>> {
        None
    }

    /// See [`super::Client::is_body_done`].
    pub(super) const fn is_body_done(&self) -> bool {
        self.request.is_done()
    }

    /// See [`super::Client::bytes_read`].
    pub(super) const fn bytes_read(&self) -> u64 {
        self.request.received()
    }

    /// See [`super::Client::bytes_sent`].
    pub(super) const fn bytes_sent(&self) -> u64 {
        self.response.bytes_sent()
    }

    /// See [`super::Client::poll_closed`]. The reset of a stream is noticed before its request was
    /// received, too.
    pub(super) fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<Closed> {
        self.response.poll_reset(cx).map(Closed::Gone)
    }

    /// Returns whether the response is complete, and the client still sends its request.
    pub(crate) fn must_linger(&self) -> bool {
        self.is_finished() && !self.is_body_done()
    }

    /// Drops what the client still sends; completes when it ends the stream.
    pub(crate) fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.request.poll_discard(cx)
    }

    /// See [`super::Client::write_interim`].
    pub(super) fn write_interim(&mut self, head: &ResponseHeader) {
        if head.status == http::StatusCode::CONTINUE && !std::mem::take(&mut self.awaits_continue) {
            // Not asked for (RFC 9110, section 10.1.1).
            return;
        }
        self.response.write_interim(head);
    }

    /// See [`super::Client::write_head`].
    pub(super) fn write_head(&mut self, head: &ResponseHeader, end: bool) -> Result<()> {
        self.response.write_head(head, end)
    }

    /// See [`super::Client::write_body`].
    pub(super) fn write_body(&mut self, piece: Bytes) -> Result<()> {
        self.response.write_body(piece)
    }

    /// See [`super::Client::finish`].
    pub(super) fn finish(&mut self, trailers: Option<Box<HeaderMap>>) -> Result<()> {
        self.response.finish(trailers)
    }

    /// See [`super::Client::read_limit`].
    pub(super) const fn read_limit(&self) -> usize {
        self.response.read_limit()
    }

    /// See [`super::Client::unsent`].
    pub(super) const fn unsent(&self) -> usize {
        self.response.unsent()
    }

    /// See [`super::Client::awaits_client`].
    pub(super) const fn awaits_client(&self) -> bool {
        self.response.is_blocked()
    }

    /// See [`super::Client::progress`].
    pub(super) const fn progress(&self) -> u64 {
        self.response.progress()
    }

    /// See [`super::Client::poll_ready`].
    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.response.poll_ready(cx)
    }

    /// See [`super::Client::release`].
    pub(super) fn release(&mut self) {
        self.response.release();
    }

    /// See [`super::Client::poll_flush`].
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.response.poll_flush(cx)
    }

    /// See [`super::Client::is_finished`].
    pub(super) fn is_finished(&self) -> bool {
        self.response.is_finished()
    }

    /// See [`super::Client::abort`].
    pub(super) fn abort(&mut self) {
        self.response.abort();
    }
}

/// Returns the error of a stream or connection that has failed.
fn stream_error(what: &'static str, cause: h2::Error) -> Box<Error> {
    Error::because(pingora_core::ErrorType::H2Error, what, cause).into_down()
}
