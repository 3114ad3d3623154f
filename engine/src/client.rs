//! The client's side of an exchange, for both versions of HTTP.

mod http1;
mod http2;

use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use pingora_core::protocols::Stream;
use pingora_core::{Error, Result};
use pingora_http::ResponseHeader;

use crate::body::Piece;
use crate::head::{SpelledNames, Spelling};

pub(crate) use http1::{HeadError, Http1Client};
pub(crate) use http2::{Http2Client, STREAM_BYTES, StreamTraits};

/// How a client left after its request was received.
#[derive(Debug)]
pub(crate) enum Closed {
    /// It has closed its sending side, and may still read.
    Half,
    /// Its connection or stream was reset.
    Gone(Box<Error>),
}

/// The client's side of an exchange.
pub(crate) enum Client {
    /// A connection of HTTP/1.
    Http1(Http1Client),
    /// A stream of HTTP/2.
    Http2(Http2Client),
}

/// Calls a method of the protocol.
macro_rules! dispatch {
    ($client:expr, $inner:ident => $call:expr) => {
        match $client {
            Client::Http1($inner) => $call,
            Client::Http2($inner) => $call,
        }
    };
}

impl Client {
    /// Reads the next piece of the request body.
    pub(crate) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece>> {
        dispatch!(self, client => client.poll_body(cx))
    }

    /// Returns the next piece of the request body if it was received already.
    pub(crate) fn buffered_body(&mut self) -> Option<Result<Piece>> {
        dispatch!(self, client => client.buffered_body())
    }

    /// Returns whether the whole request was received.
    pub(crate) fn is_body_done(&self) -> bool {
        dispatch!(self, client => client.is_body_done())
    }

    /// The count of bytes of the request body that were received.
    pub(crate) fn bytes_read(&self) -> u64 {
        dispatch!(self, client => client.bytes_read())
    }

    /// The count of bytes of the response body that were passed on.
    pub(crate) fn bytes_sent(&self) -> u64 {
        dispatch!(self, client => client.bytes_sent())
    }

    /// Returns whether [`Self::poll_closed`] can be called before the whole request was received.
    pub(crate) const fn reports_resets(&self) -> bool {
        matches!(self, Self::Http2(_))
    }

    /// Completes when the client leaves after its request.
    pub(crate) fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<Closed> {
        dispatch!(self, client => client.poll_closed(cx))
    }

    /// Writes an interim response, if the client can read one.
    pub(crate) fn write_interim(&mut self, head: &ResponseHeader) {
        dispatch!(self, client => client.write_interim(head));
    }

    /// Writes the final response head; `spelling` is that of the application, and `spelled` has
    /// names of the phases. `end`: no body follows.
    pub(crate) fn write_head(
        &mut self,
        head: &ResponseHeader,
        spelling: Option<&Spelling>,
        spelled: &SpelledNames,
        end: bool,
    ) -> Result<()> {
        match self {
            Self::Http1(client) => client.write_head(head, spelling, spelled, end),
            Self::Http2(client) => client.write_head(head, end),
        }
    }

    /// Writes a piece of the response body.
    pub(crate) fn write_body(&mut self, piece: Bytes) -> Result<()> {
        dispatch!(self, client => client.write_body(piece))
    }

    /// Ends the response.
    pub(crate) fn finish(&mut self, trailers: Option<Box<HeaderMap>>) -> Result<()> {
        dispatch!(self, client => client.finish(trailers))
    }

    /// Returns how many bytes of a body can be written at the moment.
    pub(crate) fn read_limit(&self) -> usize {
        dispatch!(self, client => client.read_limit())
    }

    /// Returns the number of bytes that the client has not accepted.
    pub(crate) fn unsent(&self) -> usize {
        dispatch!(self, client => client.unsent())
    }

    /// Returns whether the response waits until the client accepts bytes of it.
    pub(crate) fn awaits_client(&self) -> bool {
        match self {
            Self::Http1(client) => client.unsent() > 0,
            Self::Http2(client) => client.awaits_client(),
        }
    }

    /// The count of bytes that the client has accepted, for the detection of a stalled one.
    pub(crate) fn progress(&self) -> u64 {
        dispatch!(self, client => client.progress())
    }

    /// Completes when the client accepts more of a body.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        dispatch!(self, client => client.poll_ready(cx))
    }

    /// Ends the wait of [`Self::poll_ready`] without a write: there is nothing to write yet.
    pub(crate) fn release(&mut self) {
        if let Self::Http2(client) = self {
            client.release();
        }
    }

    /// Sends what was written.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        dispatch!(self, client => client.poll_flush(cx))
    }

    /// Returns whether the response is complete.
    pub(crate) fn is_finished(&self) -> bool {
        dispatch!(self, client => client.is_finished())
    }

    /// Ends a response that cannot be completed, so that the client notices.
    pub(crate) fn abort(&mut self) {
        dispatch!(self, client => client.abort());
    }

    /// Takes the connection for another protocol, with the bytes that came behind the request.
    pub(crate) fn take(&mut self) -> Option<(Stream, Bytes)> {
        match self {
            Self::Http1(client) => client.take(),
            Self::Http2(_) => None,
        }
    }
}
