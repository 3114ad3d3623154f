//! One stream: a request, in a task of its own.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::Request;
use http::request::Parts;
use pingora_core::protocols::Digest;
use pingora_core::{Error, Result};
use pingora_http::RequestHeader;
use tokio::time::Instant;

use super::request::{Facts, check};
use crate::body::Framing;
use crate::client::{Client, Http2Client, StreamTraits};
use crate::connection::session::{begin_session, new_session};
use crate::engine::Engine;
use crate::error::rejected;
use crate::exchange::{EngineSession, Exchange, Handle, Timer, Traits, reject, serve};
use crate::gateway::Gateway;
use crate::rejection::Rejection;

/// The time in which a client may read an answer that came before the end of its request.
const LINGER: Duration = Duration::from_secs(2);

/// The traits of a request that is rejected.
const REJECTED: Traits = Traits {
    framing: Framing::None,
    accepts_trailers: false,
    hop_by_hop: false,
};

/// A stream whose request head was received.
pub(super) struct Stream<G: Gateway> {
    engine: Arc<Engine<G>>,
    digest: Arc<Digest>,
    handle: Handle,
    header: RequestHeader,
    facts: Result<Facts, Rejection>,
}

impl<G: Gateway> Stream<G> {
    /// Creates a stream, and checks its request head.
    pub(super) fn new(
        engine: &Arc<Engine<G>>,
        digest: &Arc<Digest>,
        request: Request<RecvStream>,
        respond: SendResponse<Bytes>,
    ) -> Self {
        let (mut parts, body): (Parts, RecvStream) = request.into_parts();
        let limits = engine.gateway.request_limits();
        let facts = check(&mut parts, body.is_end_stream(), &limits);
        let traits = facts.map_or(
            StreamTraits {
                head_only: parts.method == http::Method::HEAD,
                ..StreamTraits::default()
            },
            |facts| facts.stream,
        );
        let client = Client::Http2(Http2Client::new(body, respond, traits));
        Self {
            engine: Arc::clone(engine),
            digest: Arc::clone(digest),
            handle: Handle::new(client),
            header: RequestHeader::from(parts),
            facts,
        }
    }

    /// Returns whether the request head is invalid.
    pub(super) const fn is_rejected(&self) -> bool {
        self.facts.is_err()
    }

    /// Serves the request, under the supervision of the gateway. A stream whose exchange ends
    /// before its response is reset with CANCEL: nothing refers to it any more.
    pub(super) async fn run(self) {
        let (engine, handle) = (Arc::clone(&self.engine), self.handle.clone());
        if engine.gateway.supervise(self.serve()).await.is_some() {
            linger(&handle).await;
        }
    }

    async fn serve(self) {
        let mut timer = Timer::default();
        let checked = match self.facts {
            Ok(facts) => self.await_empty_body(facts, &mut timer).await,
            Err(rejection) => Err(rejected(rejection)),
        };
        let traits = checked.as_ref().map_or(REJECTED, |facts| facts.exchange);
        let mut session = Box::new(new_session());
        begin_session(
            &mut session,
            EngineSession::new(
                self.handle.clone(),
                self.header,
                traits.framing != Framing::None,
                self.digest,
                Arc::clone(&self.engine.spelled),
            ),
        );
        let exchange = Exchange {
            engine: &self.engine,
            session: &mut session,
            handle: &self.handle,
            timer: &mut timer,
            traits,
            private: None,
        };
        match checked {
            Ok(_) => serve(exchange).await,
            Err(error) => reject(exchange, error).await,
        }
    }

    /// Waits for the end of a body without content. A request with `Content-Length: 0` is complete
    /// at the next hop once its head was sent, and this one may yet prove to be malformed.
    ///
    /// # Errors
    /// When the body has content, the client leaves, or the end does not arrive in time.
    async fn await_empty_body(&self, facts: Facts, timer: &mut Timer) -> Result<Facts, Box<Error>> {
        if facts.exchange.framing != Framing::Length(0) {
            return Ok(facts);
        }
        timer.set(Some(Instant::now() + self.engine.gateway.timeouts().read));
        poll_fn(|cx| {
            let client = &mut self.handle.lock().client;
            if client.is_body_done() {
                return Poll::Ready(Ok(facts));
            }
            match client.poll_body(cx) {
                Poll::Ready(piece) => Poll::Ready(piece.map(|_| facts)),
                Poll::Pending => {
                    let expired = timer.poll_due(cx);
                    expired.map(|()| Err(rejected(Rejection::Timeout)))
                }
            }
        })
        .await
    }
}

/// Lets a client whose answer came before the end of its request read it. Then h2 resets the stream
/// with NO_ERROR (RFC 9113, section 8.1): a client that finds the reset right behind the answer may
/// drop both, as curl does.
async fn linger(handle: &Handle) {
    let mut timer = Timer::default();
    let due = Instant::now() + LINGER;
    poll_fn(|cx| {
        let Client::Http2(client) = &mut handle.lock().client else {
            return Poll::Ready(());
        };
        if !client.must_linger() || client.poll_discard(cx).is_ready() {
            return Poll::Ready(());
        }
        timer.set(Some(due));
        timer.poll_due(cx)
    })
    .await;
}
