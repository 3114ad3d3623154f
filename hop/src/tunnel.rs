//! A two-way relay of bytes that observes them, and closes when it is idle, when the daemon drains
//! or when its stream is closed from outside. It is generic over the protocol within it.

mod close;
mod direction;
mod lane;
mod observe;
mod socket;

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use log::debug;
use pingora_core::protocols::Stream;
use tokio::time::{Instant, Sleep};

pub(crate) use close::CloseCause;
pub use direction::Direction;
pub(crate) use observe::Protocol;
pub use observe::{TunnelObserver, Unobserved};

use crate::drain::DrainStage;
use crate::error::ErrorCode;
use crate::exchange::Exchange;
use crate::observe::ClosedBy;
use crate::streams::CloseWatch;
use crate::tunnel::lane::{End, Lane};
use crate::tunnel::observe::Reporter;
use crate::tunnel::socket::Socket;

/// The time that one end may continue when the other one is gone for good: its connection broke, or
/// it closed and hung up.
const FAREWELL: Duration = Duration::from_secs(1);

/// One end of a tunnel, and the direction that begins there.
pub(crate) struct TunnelEnd<P> {
    /// The connection.
    pub(crate) stream: Stream,
    /// Bytes of the connection that were read already.
    pub(crate) early: Vec<u8>,
    /// Follows the bytes that come from this end.
    pub(crate) protocol: P,
}

/// Relays bytes between two ends in a task of its own, until both directions are over. Then the
/// exchange ends, and is logged. A tunnel in which no byte passes for `idle` is closed.
pub(crate) fn spawn<P: Protocol, O: TunnelObserver>(
    exchange: Exchange,
    observer: O,
    idle: Duration,
    client: TunnelEnd<P>,
    upstream: TunnelEnd<P>,
) {
    tokio::spawn(Tunnel::new(exchange, observer, idle, client, upstream).run());
}

struct Tunnel<P, O> {
    exchange: Exchange,
    observer: O,
    client: Socket,
    upstream: Socket,
    from_client: Lane<P>,
    from_upstream: Lane<P>,
    idle: Duration,
    last_byte: Instant,
    timer: Pin<Box<Sleep>>,
    /// Completes with the next stage of the drain that concerns tunnels. Polled once to register
    /// the task, and again only while the daemon drains.
    next_stage: Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
    registered: bool,
    /// Becomes ready when the tunnel is closed from outside; none once it was.
    watch: Option<CloseWatch>,
    closing: Option<CloseCause>,
    /// `true` once one end is gone for good, and `timer` limits the other one.
    deserted: bool,
}

impl<P: Protocol, O: TunnelObserver> Tunnel<P, O> {
    fn new(
        mut exchange: Exchange,
        mut observer: O,
        idle: Duration,
        client: TunnelEnd<P>,
        upstream: TunnelEnd<P>,
    ) -> Self {
        let mut reporter = Reporter {
            exchange: &mut exchange,
            observer: &mut observer,
        };
        let mut lane = |from, protocol, early| Lane::new(from, protocol, early, &mut reporter);
        Self {
            from_client: lane(Direction::FromClient, client.protocol, client.early),
            from_upstream: lane(Direction::FromServer, upstream.protocol, upstream.early),
            client: Socket::from_pingora(client.stream),
            upstream: Socket::from_pingora(upstream.stream),
            idle,
            last_byte: Instant::now(),
            timer: Box::pin(tokio::time::sleep(idle)),
            next_stage: Box::pin(exchange.hop().drain.reached(DrainStage::ClosingStreams)),
            registered: false,
            watch: exchange.stream().map(CloseWatch::new),
            closing: None,
            deserted: false,
            exchange,
            observer,
        }
    }

    async fn run(mut self) {
        debug!("request_id={} is a tunnel now", self.exchange.id());
        poll_fn(|cx| self.poll(cx)).await;
        self.report();
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Timers first: they must not wait for a direction that never runs dry.
        self.poll_watch(cx);
        if self.poll_stage(cx).is_ready() || self.poll_timer(cx).is_ready() {
            return Poll::Ready(());
        }
        self.poll_lanes(cx);
        if let Some(cause) = self.closing {
            self.insert_close(cause);
            self.poll_lanes(cx);
        }
        if self.is_over() || (self.closing.is_some() && self.close_is_answered()) {
            return Poll::Ready(());
        }
        self.note_desertion(cx)
    }

    /// Limits the time of one end when the other one does not come back: it has closed and hung up,
    /// or its connection broke. An end that only ended its own side may still listen.
    fn note_desertion(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let gone = |lane: &Lane<P>, other: &Lane<P>| match lane.end {
            Some(End::Failed(_)) => true,
            Some(End::Finished) => lane.protocol.has_closed() && !other.protocol.has_closed(),
            None => false,
        };
        let (client, upstream) = (&self.from_client, &self.from_upstream);
        if self.deserted
            || self.closing.is_some()
            || !(gone(client, upstream) || gone(upstream, client))
        {
            return Poll::Pending;
        }
        self.deserted = true;
        self.timer.as_mut().reset(Instant::now() + FAREWELL);
        self.poll_timer(cx)
    }

    fn poll_watch(&mut self, cx: &mut Context<'_>) {
        let Some(Poll::Ready(closed)) = self.watch.as_mut().map(|watch| watch.poll(cx)) else {
            return;
        };
        self.watch = None;
        if let Some(reason) = closed {
            self.begin_closing(CloseCause::Requested(reason));
        }
    }

    /// Follows the drain. Waiting for a stage takes a lock that all tunnels share, so a tunnel
    /// registers once, and polls again only while the daemon drains.
    fn poll_stage(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.registered && !self.exchange.hop().drain.is_draining() {
            return Poll::Pending;
        }
        self.registered = true;
        while self.next_stage.as_mut().poll(cx).is_ready() {
            let hop = Arc::clone(self.exchange.hop());
            if hop.drain.stage() >= DrainStage::CuttingOff {
                self.exchange.fail_with(ErrorCode::Aborted);
                return Poll::Ready(());
            }
            if self.closing.is_none() {
                self.begin_closing(CloseCause::Draining);
            }
            self.next_stage = Box::pin(hop.drain.reached(DrainStage::CuttingOff));
        }
        Poll::Pending
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.timer.as_mut().poll(cx).is_ready() {
            let due = self.last_byte + self.idle;
            if self.closing.is_some() || self.deserted {
                return Poll::Ready(());
            } else if due <= Instant::now() {
                self.begin_closing(CloseCause::Idle);
            } else {
                self.timer.as_mut().reset(due);
            }
        }
        Poll::Pending
    }

    fn poll_lanes(&mut self, cx: &mut Context<'_>) {
        let Self {
            exchange,
            observer,
            client,
            upstream,
            from_client,
            from_upstream,
            last_byte,
            ..
        } = self;
        let before = from_client.bytes + from_upstream.bytes;
        let mut reporter = Reporter {
            exchange: &mut *exchange,
            observer: &mut *observer,
        };
        let _ = from_client.poll(cx, client, upstream, &mut reporter);
        let _ = from_upstream.poll(cx, upstream, client, &mut reporter);
        if from_client.bytes + from_upstream.bytes != before {
            *last_byte = Instant::now();
        }
        // The first end that closes counts; the close of the other one answers it.
        for (lane, by) in [
            (&*from_client, ClosedBy::Client),
            (&*from_upstream, ClosedBy::Upstream),
        ] {
            if lane.end.is_some() || lane.protocol.has_closed() {
                exchange.outcome.closed_by.get_or_insert(by);
                if let Some(code) = lane.protocol.close_code() {
                    exchange.outcome.close_code.get_or_insert(code);
                }
            }
        }
        // Both have closed: nothing may follow, and the server's side hangs up first (RFC 6455,
        // section 7.1.1).
        if from_client.protocol.has_closed() && from_upstream.protocol.has_closed() {
            from_client.finish();
            from_upstream.finish();
            let mut reporter = Reporter { exchange, observer };
            let _ = from_client.poll(cx, client, upstream, &mut reporter);
            let _ = from_upstream.poll(cx, upstream, client, &mut reporter);
        }
    }

    fn is_over(&self) -> bool {
        self.from_client.is_over() && self.from_upstream.is_over()
    }

    fn begin_closing(&mut self, cause: CloseCause) {
        self.exchange.close_by_proxy(cause.code());
        if let Some(code) = P::code_of(cause) {
            self.exchange.outcome.close_code.get_or_insert(code);
        }
        let due = Instant::now() + cause.wait();
        // A second cause can only shorten the wait.
        if self.closing.is_none() || due < self.timer.deadline() {
            self.timer.as_mut().reset(due);
        }
        self.closing.get_or_insert(cause);
    }

    /// Inserts a close message into each direction that is between two messages; a later poll tries
    /// again for the other one.
    fn insert_close(&mut self, cause: CloseCause) {
        for lane in [&mut self.from_upstream, &mut self.from_client] {
            if lane.can_close() {
                let message = lane.protocol.close_message(cause);
                self.exchange.observe_data(lane.from, &message);
                lane.close_with(message);
            }
        }
    }

    /// Returns whether both ends have sent a close message, or are gone.
    fn close_is_answered(&self) -> bool {
        [&self.from_client, &self.from_upstream]
            .into_iter()
            .all(|lane| lane.protocol.has_closed() || lane.end.is_some())
    }

    fn report(mut self) {
        let outcome = &mut self.exchange.outcome;
        outcome.bytes_in = self.from_client.bytes;
        outcome.bytes_out = self.from_upstream.bytes;
        outcome.messages = Some((
            self.from_client.protocol.messages(),
            self.from_upstream.protocol.messages(),
        ));
        for (lane, code) in [
            (&self.from_client, ErrorCode::ClientGone),
            (&self.from_upstream, ErrorCode::UpstreamGone),
        ] {
            if let Some(End::Failed(e)) = &lane.end
                && !lane.protocol.has_closed()
            {
                debug!("request_id={} {code}: {e}", self.exchange.id());
                self.exchange.fail_with(code);
            }
        }
        self.exchange.end();
    }
}
