//! A request that asks the next hop for another protocol, and its answer: for phases that take the
//! connection out of HTTP.

use std::future::{Future, poll_fn};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use pingora_core::connectors::TransportConnector;
use pingora_core::protocols::Digest;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use tokio::time::timeout;

use super::{Asks, Upstream};
use crate::body::{Framing, Piece};
use crate::error::upstream;
use crate::limits::HeadLimits;
use crate::upgrade::Upgraded;
use crate::wire::READ_BYTES;

/// The interim responses before the answer, at most.
const INTERIM_RESPONSES: usize = 32;

/// A connection to the next hop on which another protocol is asked for.
#[derive(Debug)]
pub struct Handshake {
    upstream: Upstream,
    read: Option<Duration>,
}

impl Handshake {
    /// Connects to `peer`, sends `request`, which has an `Upgrade` header and no body, and reads
    /// the final response head: a 101, or a refusal. `longest` is the time for the answer, unless
    /// that of the peer is shorter.
    ///
    /// # Errors
    /// After an error of Pingora's types `Connect…` nothing was sent, and another peer may be
    /// tried. The upstream is the source of all errors.
    pub async fn start(
        connector: &TransportConnector,
        peer: &HttpPeer,
        request: &RequestHeader,
        limits: HeadLimits,
        longest: Duration,
    ) -> Result<(Self, ResponseHeader)> {
        let upstream = Upstream::connect(connector, peer).await?;
        let read = peer.options.read_timeout;
        let mut handshake = Self { upstream, read };
        handshake
            .upstream
            .begin(request, Framing::None, Asks::Upgrade);
        let within = read.map_or(longest, |read| read.min(longest));
        let response = limited(Some(within), handshake.answer(&limits)).await?;
        Ok((handshake, response))
    }

    async fn answer(&mut self, limits: &HeadLimits) -> Result<ResponseHeader> {
        let upstream = &mut self.upstream;
        poll_fn(|cx| upstream.poll_flush(cx)).await;
        for _ in 0..=INTERIM_RESPONSES {
            let head = poll_fn(|cx| upstream.poll_head(cx, limits, READ_BYTES))
                .await?
                .header;
            let is_final =
                !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS;
            if is_final {
                return Ok(head);
            }
        }
        Err(crate::error::upstream(
            ErrorType::InvalidHTTPHeader,
            "too many interim responses",
        ))
    }

    /// The addresses and the timing of the connection.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        self.upstream.digest()
    }

    /// Returns whether the body of a refusal has ended.
    #[must_use]
    pub fn is_body_done(&self) -> bool {
        self.upstream.is_body_done()
    }

    /// Reads the next piece of the body of a refusal; `None` at its end.
    ///
    /// # Errors
    /// When the body is invalid, incomplete, or too slow.
    pub async fn read_body(&mut self) -> Result<Option<Bytes>> {
        if self.upstream.is_body_done() {
            return Ok(None);
        }
        let upstream = &mut self.upstream;
        let read = poll_fn(|cx| upstream.poll_body(cx, usize::MAX));
        match limited(self.read, read).await? {
            Piece::Data(data) => Ok(Some(data)),
            Piece::End(_) => Ok(None),
        }
    }

    /// Takes the connection, after a 101.
    #[must_use]
    pub fn into_upgraded(self) -> Upgraded {
        let (stream, early) = self.upstream.into_parts();
        Upgraded { stream, early }
    }
}

/// Runs `work` for at most `limit`.
async fn limited<T>(
    limit: Option<Duration>,
    work: impl Future<Output = Result<T>>,
) -> Result<T, Box<Error>> {
    match limit {
        None => work.await,
        Some(limit) => timeout(limit, work).await.unwrap_or_else(|_| {
            Err(upstream(
                ErrorType::ReadTimedout,
                "the next hop does not answer the handshake in time",
            ))
        }),
    }
}
