//! One turn of an attempt: waits until either side has something to pass on.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorType, Result};
use tokio::time::Instant;

use crate::body::Piece;
use crate::client::{Client, Closed};
use crate::engine::Engine;
use crate::error::{downstream, upstream as upstream_error};
use crate::exchange::{Handle, Shared, Timer};
use crate::gateway::{ClientTimeouts, Gateway};
use crate::head::ResponseHead;
use crate::limits::HeadLimits;
use crate::upstream::Upstream;

/// Unsent bytes for the client from which on the response body is not passed on.
const UNSENT_BYTES: usize = 16 * 1024;

/// What either side has.
pub(super) enum Event {
    /// A piece of the request body, and whether it is the last one.
    Request(Piece, bool),
    /// A response head.
    Head(Box<ResponseHead>),
    /// A piece of the response body.
    Response(Piece),
}

/// The side that an attempt waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    ClientAccepts,
    UpstreamAccepts,
    ClientSends,
    UpstreamSends,
}

/// The state of the two directions, and the deadlines of an attempt.
pub(super) struct Turns {
    /// The whole request was written.
    pub(super) request_done: bool,
    /// The final response head was received.
    pub(super) head_received: bool,
    /// The whole response was written.
    pub(super) response_done: bool,
    /// A piece of the request body was the last event: a fast upload must not delay its answer.
    response_first: bool,
    limits: HeadLimits,
    timeouts: ClientTimeouts,
    upstream_read: Option<Duration>,
    upstream_write: Option<Duration>,
    /// The time at which a client that has closed its sending side is given up.
    half_closed: Option<Instant>,
    /// What the attempt waits for, since when, and the bytes that had passed then.
    wait: Option<(Wait, Instant, u64)>,
}

impl Turns {
    /// Creates the state of an attempt at `peer`.
    pub(super) fn new<G: Gateway>(engine: &Engine<G>, peer: &HttpPeer) -> Self {
        Self {
            request_done: false,
            head_received: false,
            response_done: false,
            response_first: false,
            limits: engine.gateway.response_limits(),
            timeouts: engine.gateway.timeouts(),
            upstream_read: peer.options.read_timeout,
            upstream_write: peer.options.write_timeout,
            half_closed: None,
            wait: None,
        }
    }

    /// Waits for the next event.
    ///
    /// # Errors
    /// The failure of either side, or its silence for too long.
    pub(super) async fn next(
        &mut self,
        handle: &Handle,
        upstream: &mut Upstream,
        timer: &mut Timer,
    ) -> Result<Event> {
        self.wait = None;
        poll_fn(|cx| {
            let shared = &mut *handle.lock();
            if let Poll::Ready(event) = self.poll(cx, shared, upstream) {
                return Poll::Ready(event);
            }
            self.poll_timer(cx, &shared.client, upstream, timer)
        })
        .await
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        shared: &mut Shared,
        upstream: &mut Upstream,
    ) -> Poll<Result<Event>> {
        if let Some(event) = self.buffered(shared, upstream) {
            return Poll::Ready(event);
        }
        let _ = upstream.poll_flush(cx);
        if upstream.has_failed_write() {
            // The response may have come before the failure.
            self.request_done = true;
        }
        if let Poll::Ready(Err(e)) = shared.client.poll_flush(cx) {
            return Poll::Ready(Err(e));
        }
        let response_first = std::mem::take(&mut self.response_first);
        if response_first
            && let Poll::Ready(event) = self.poll_upstream(cx, &mut shared.client, upstream)
        {
            return Poll::Ready(event);
        }
        if let Poll::Ready(event) = self.poll_request(cx, shared, upstream) {
            self.response_first = true;
            return Poll::Ready(event);
        }
        if !response_first
            && let Poll::Ready(event) = self.poll_upstream(cx, &mut shared.client, upstream)
        {
            return Poll::Ready(event);
        }
        self.poll_closed(cx, &mut shared.client)
    }

    fn poll_request(
        &self,
        cx: &mut Context<'_>,
        shared: &mut Shared,
        upstream: &Upstream,
    ) -> Poll<Result<Event>> {
        if self.request_done || !upstream.is_ready() {
            return Poll::Pending;
        }
        if let Some(event) = replayed(shared) {
            return Poll::Ready(Ok(event));
        }
        let piece = shared.client.poll_body(cx);
        piece.map(|piece| piece.map(|piece| request_event(shared, piece)))
    }

    /// Returns an event of bytes that were received already.
    fn buffered(&self, shared: &mut Shared, upstream: &mut Upstream) -> Option<Result<Event>> {
        if !self.request_done && upstream.is_ready() {
            if let Some(event) = replayed(shared) {
                return Some(Ok(event));
            }
            if let Some(piece) = shared.client.buffered_body() {
                return Some(piece.map(|piece| request_event(shared, piece)));
            }
        }
        if self.head_received && shared.client.unsent() < UNSENT_BYTES {
            return Some(upstream.buffered_body()?.map(Event::Response));
        }
        None
    }

    fn poll_upstream(
        &self,
        cx: &mut Context<'_>,
        client: &mut Client,
        upstream: &mut Upstream,
    ) -> Poll<Result<Event>> {
        if !self.head_received {
            let head = upstream.poll_head(cx, &self.limits, client.read_limit());
            return head.map(|head| head.map(Event::Head));
        }
        match client.poll_ready(cx) {
            Poll::Ready(Ok(())) => {
                let body = upstream.poll_body(cx, client.read_limit());
                if body.is_pending() {
                    client.release();
                }
                body.map(|piece| piece.map(Event::Response))
            }
            Poll::Ready(Err(e)) => Poll::Ready(Err(e)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Watches for a client that leaves while it waits for its response.
    fn poll_closed(&mut self, cx: &mut Context<'_>, client: &mut Client) -> Poll<Result<Event>> {
        let can_watch = self.request_done || client.reports_resets();
        if !can_watch || self.half_closed.is_some() {
            return Poll::Pending;
        }
        match client.poll_closed(cx) {
            Poll::Ready(Closed::Gone(e)) => Poll::Ready(Err(e)),
            Poll::Ready(Closed::Half) => {
                self.half_closed = Some(Instant::now() + self.timeouts.half_closed);
                Poll::Pending
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_timer(
        &mut self,
        cx: &mut Context<'_>,
        client: &Client,
        upstream: &Upstream,
        timer: &mut Timer,
    ) -> Poll<Result<Event>> {
        loop {
            let (wait, limit) = self.current_wait(client, upstream);
            let progress = client.progress() + upstream.progress();
            let since = match self.wait {
                Some((armed, since, before)) if armed == wait && before == progress => since,
                _ => Instant::now(),
            };
            self.wait = Some((wait, since, progress));
            let due = limit.map(|limit| since + limit);
            let first = [due, self.half_closed].into_iter().flatten().min();
            timer.set(first);
            if timer.poll_due(cx).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            if self.half_closed.is_some_and(|due| due <= now) {
                return Poll::Ready(Err(downstream(
                    ErrorType::ConnectionClosed,
                    "the client has closed its side",
                )));
            }
            if due.is_some_and(|due| due <= now) {
                return Poll::Ready(Err(expired(wait)));
            }
        }
    }

    /// Returns what the attempt waits for, and for how long at most.
    fn current_wait(&self, client: &Client, upstream: &Upstream) -> (Wait, Option<Duration>) {
        if client.awaits_client() {
            (Wait::ClientAccepts, Some(self.timeouts.write))
        } else if upstream.has_unsent() {
            (Wait::UpstreamAccepts, self.upstream_write)
        } else if !self.request_done {
            (Wait::ClientSends, Some(self.timeouts.read))
        } else {
            (Wait::UpstreamSends, self.upstream_read)
        }
    }
}

/// Returns the event of the next piece that an earlier attempt has sent.
fn replayed(shared: &mut Shared) -> Option<Event> {
    let piece = shared.replay.next()?;
    let end = !shared.replay.has_next() && shared.client.is_body_done();
    Some(Event::Request(Piece::Data(piece), end))
}

/// Keeps a piece of the request body for another attempt, and returns its event.
fn request_event(shared: &mut Shared, piece: Piece) -> Event {
    let end = match &piece {
        Piece::Data(data) => {
            shared.replay.keep(data);
            shared.client.is_body_done()
        }
        Piece::End(_) => true,
    };
    Event::Request(piece, end)
}

fn expired(wait: Wait) -> Box<Error> {
    match wait {
        Wait::ClientAccepts => downstream(
            ErrorType::WriteTimedout,
            "the client accepts no bytes of the response",
        ),
        Wait::UpstreamAccepts => upstream_error(
            ErrorType::WriteTimedout,
            "the next hop accepts no bytes of the request",
        ),
        Wait::ClientSends => downstream(
            ErrorType::ReadTimedout,
            "the request body does not arrive in time",
        ),
        Wait::UpstreamSends => upstream_error(
            ErrorType::ReadTimedout,
            "the next hop sends nothing for too long",
        ),
    }
}
