//! A connection of HTTP/1: one request after the other.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::Method;
use pingora_core::protocols::Digest;
use pingora_proxy::Session;
use tokio::time::Instant;

use super::arrival::{Arrived, LATE_REQUEST};
use super::session::{begin_session, digest_of, new_session};
use crate::body::Framing;
use crate::client::{Client, HeadError, Http1Client};
use crate::engine::Engine;
use crate::error::rejected;
use crate::exchange::{
    EngineSession, Exchange, Handle, Private, Replay, Timer, Traits, reject, serve as serve_one,
};
use crate::gateway::Gateway;
use crate::head::{RequestHead, salvage_request};
use crate::rejection::Rejection;
use crate::upgrade::OnUpgrade;
use crate::wire::Wire;

/// The time for the rest of a head that is rejected already.
const REST_OF_HEAD: Duration = Duration::from_secs(1);
/// The time for the rest of a request body that is dropped so that the connection can be reused.
const DRAIN_BODY: Duration = Duration::from_secs(5);
/// The time in which a client may read its answer after the connection has closed towards it.
const LINGER: Duration = Duration::from_secs(5);

/// A connection and what its requests share.
struct Connection<'e, G: Gateway> {
    engine: &'e Arc<Engine<G>>,
    handle: Handle,
    timer: Timer,
    digest: Arc<Digest>,
    /// Created for the first request: a silent connection costs no session.
    session: Option<Box<Session>>,
    private: Private,
    requests: u64,
    /// Held until the first request has arrived.
    arriving: Option<G::Arriving>,
    opened: Instant,
}

/// Serves the requests of a connection until it ends.
pub(super) async fn serve<G: Gateway>(engine: &Arc<Engine<G>>, arrived: Arrived<G>) {
    let digest = digest_of(&arrived.stream);
    let wire = Wire::new(arrived.stream, arrived.input);
    let client = Client::Http1(Http1Client::new(wire));
    let mut connection = Connection {
        engine,
        handle: Handle::new(client),
        timer: Timer::default(),
        digest,
        session: None,
        private: None,
        requests: 0,
        arriving: Some(arrived.arriving),
        opened: arrived.opened,
    };
    while let Some(head) = connection.next_head().await {
        // On the heap, so that a connection without a request does not carry the room for one.
        if !Box::pin(connection.exchange(head)).await {
            break;
        }
    }
}

impl<G: Gateway> Connection<'_, G> {
    /// Waits for the next request; `None` at the end of the connection.
    async fn next_head(&mut self) -> Option<Box<RequestHead>> {
        match self.read_head().await {
            Ok(head) => Some(head),
            Err(HeadError::Closed) => None,
            Err(HeadError::Rejected(rejection)) => {
                Box::pin(self.reject(rejection)).await;
                None
            }
        }
    }

    async fn read_head(&mut self) -> Result<Box<RequestHead>, HeadError> {
        let gateway = &self.engine.gateway;
        let (limits, timeouts) = (gateway.request_limits(), gateway.timeouts());
        let is_first = self.requests == 0;
        let (since, idle) = if is_first {
            (self.opened, timeouts.read)
        } else {
            (Instant::now(), timeouts.keepalive)
        };
        let (handle, timer) = (&self.handle, &mut self.timer);
        let mut due: Option<Instant> = None;
        let mut begun = false;
        let mut closing = false;
        poll_fn(|cx| {
            let mut shared = handle.lock();
            let Client::Http1(client) = &mut shared.client else {
                return Poll::Ready(Err(HeadError::Closed));
            };
            if let Poll::Ready(head) = client.poll_head(cx, &limits) {
                return Poll::Ready(head);
            }
            if client.has_request() && !std::mem::replace(&mut begun, true) {
                // The whole head has to arrive in this time, however many pieces it comes in.
                due = Some(Instant::now() + timeouts.read);
            }
            if !begun && !closing && gateway.closes_connections() {
                // A request that is on its way is still served, and its response says that the
                // connection closes.
                closing = true;
                due = Some(Instant::now() + LATE_REQUEST.min(idle));
            }
            timer.set(Some(*due.get_or_insert(since + idle)));
            if timer.poll_due(cx).is_pending() {
                return Poll::Pending;
            }
            Poll::Ready(Err(if begun || (is_first && !closing) {
                HeadError::Rejected(Rejection::Timeout)
            } else {
                HeadError::Closed
            }))
        })
        .await
    }

    /// Serves a request. Returns whether the connection can serve another one.
    async fn exchange(&mut self, head: Box<RequestHead>) -> bool {
        self.requests += 1;
        self.arriving = None;
        let traits = Traits {
            framing: head.framing,
            accepts_trailers: head.accepts_trailers,
            hop_by_hop: head.hop_by_hop,
        };
        let mut request = head.header;
        if head.hop_by_hop && request.headers.contains_key(http::header::UPGRADE) {
            request
                .extensions_mut()
                .insert(OnUpgrade::new(&self.handle));
        }
        self.begin(request, head.framing != Framing::None);
        let Some(session) = self.session.as_deref_mut() else {
            return false;
        };
        serve_one(Exchange {
            engine: self.engine,
            session,
            handle: &self.handle,
            timer: &mut self.timer,
            traits,
            private: Some(&mut self.private),
        })
        .await;
        self.finish().await
    }

    /// Begins the session of a request.
    fn begin(&mut self, request: pingora_http::RequestHeader, has_body: bool) {
        {
            let shared = &mut *self.handle.lock();
            shared.replay = Replay::default();
            shared.spelling = None;
        }
        let session = EngineSession::new(
            self.handle.clone(),
            request,
            has_body,
            Arc::clone(&self.digest),
            Arc::clone(&self.engine.spelled),
        );
        let object = self.session.get_or_insert_with(|| Box::new(new_session()));
        begin_session(object, session);
    }

    /// Answers a request that was rejected, and closes the connection.
    async fn reject(&mut self, rejection: Rejection) {
        if rejection == Rejection::TargetTooLong {
            self.read_rest_of_head().await;
        }
        let request = {
            let shared = &mut *self.handle.lock();
            let Client::Http1(client) = &mut shared.client else {
                return;
            };
            let request = salvage_request(client.input(), &self.engine.gateway.request_limits());
            client.begin_rejected(request.method == Method::HEAD);
            request
        };
        self.begin(request, false);
        let Some(session) = self.session.as_deref_mut() else {
            return;
        };
        let exchange = Exchange {
            engine: self.engine,
            session,
            handle: &self.handle,
            timer: &mut self.timer,
            traits: Traits {
                framing: Framing::None,
                accepts_trailers: false,
                hop_by_hop: false,
            },
            private: None,
        };
        reject(exchange, rejected(rejection)).await;
        self.linger().await;
    }

    /// Reads the rest of a head whose target is too long: the client's identifier is behind it.
    async fn read_rest_of_head(&mut self) {
        let limit = self.engine.gateway.request_limits().bytes;
        let (handle, timer) = (&self.handle, &mut self.timer);
        timer.set(Some(Instant::now() + REST_OF_HEAD));
        poll_fn(|cx| {
            if let Client::Http1(client) = &mut handle.lock().client
                && client.poll_rest_of_head(cx, limit).is_pending()
            {
                return timer.poll_due(cx);
            }
            Poll::Ready(())
        })
        .await;
    }

    /// Ends an exchange. Returns whether the connection can serve another one: the rest of its
    /// request is read and dropped, if it is small.
    async fn finish(&mut self) -> bool {
        let keeps_alive = match &self.handle.lock().client {
            Client::Http1(client) => client.keeps_alive(),
            #[allow(unreachable_patterns)]
            _ => false,
        };
        if !keeps_alive {
            self.linger().await;
            return false;
        }
        if self.handle.lock().client.is_body_done() {
            return true;
        }
        let (handle, timer) = (&self.handle, &mut self.timer);
        timer.set(Some(Instant::now() + DRAIN_BODY));
        poll_fn(|cx| {
            let client = &mut handle.lock().client;
            while !client.is_body_done() {
                match client.poll_body(cx) {
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(_)) => return Poll::Ready(false),
                    Poll::Pending => return timer.poll_due(cx).map(|()| false),
                }
            }
            Poll::Ready(true)
        })
        .await
    }

    /// Closes the sending side, and reads for a while what the client still sends: a connection
    /// that is closed with unread bytes is reset, and the client loses its answer.
    async fn linger(&mut self) {
        let (handle, timer) = (&self.handle, &mut self.timer);
        let mut shut = false;
        let due = Instant::now() + LINGER;
        poll_fn(|cx| {
            let mut shared = handle.lock();
            let Client::Http1(client) = &mut shared.client else {
                return Poll::Ready(());
            };
            if !client.must_linger() {
                return Poll::Ready(());
            }
            if !shut {
                match client.poll_shutdown(cx) {
                    Poll::Ready(()) => shut = true,
                    Poll::Pending => {}
                }
            }
            timer.set(Some(due));
            if client.poll_discard(cx).is_ready() {
                return Poll::Ready(());
            }
            timer.poll_due(cx)
        })
        .await;
    }
}
