//! The two-way relay that a WebSocket is after its handshake.

mod relay;
mod socket;

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use log::{debug, info};
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v1::client::HttpSession as UpstreamSession;
use pingora_core::{Error, ErrorType, Result};
use pingora_proxy::Session as HttpSession;
use rand::RngExt;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, Sleep};

use crate::drain::DrainStage;
use crate::exchange::Exchange;
use crate::observe::access_log::Kind;
use crate::streams::{CloseReason, Watch};
use crate::tunnel::relay::{End, Lane, Passed};
use crate::tunnel::socket::Socket;
use crate::websocket::handshake::Upstream;
use crate::websocket::observer::{Control, Direction, FrameEvent, FrameObserver, close_frame};

/// RFC 6455, section 7.4.1: the endpoint is going away.
const GOING_AWAY: u16 = 1001;
/// How long both ends have to answer a close frame before the connections are cut.
const CLOSE_WAIT: Duration = Duration::from_secs(5);
/// The same when the tunnel is closed from outside: whoever deletes a session or an app can rely on
/// its streams being gone then, also one that is within a frame, or whose receiver takes nothing.
const CLOSE_WAIT_FROM_OUTSIDE: Duration = Duration::from_secs(1);

/// How long an end has left when the other one is gone for good: it broke off, or closed and hung
/// up.
const FAREWELL: Duration = Duration::from_secs(1);

/// Follows a stream for a tier: the coordinator keeps the session's record by it.
pub trait TunnelObserver: Send + Sync + 'static {
    /// Data passed: so many bytes of data frames and what comes with them. Pings and pongs are not
    /// told.
    fn data(&mut self, from: Direction, bytes: u64);
}

/// Nobody follows.
pub struct Unobserved;

impl TunnelObserver for Unobserved {
    fn data(&mut self, _from: Direction, _bytes: u64) {}
}

/// Relays the application's refusal as it is, body included. The header has been made ready for the
/// client.
///
/// # Errors
/// When either side fails within it.
pub(super) async fn relay_refusal(session: &mut HttpSession, upstream: Upstream) -> Result<()> {
    let Upstream {
        session: mut upstream,
        response,
    } = upstream;
    let ends = upstream.is_body_done();
    session
        .write_response_header(Box::new(response), ends)
        .await?;
    while !upstream.is_body_done() {
        let body = upstream.read_body_bytes().await.map_err(Error::into_up)?;
        session.write_response_body(body, false).await?;
    }
    session.write_response_body(None, true).await?;
    upstream.shutdown().await;
    Ok(())
}

/// Sends the 101 to the client, takes both byte streams out of Pingora and lets a task of their own
/// relay them.
///
/// The exchange goes along: it is logged as opened here, and as closed when the tunnel ends.
///
/// # Errors
/// When the 101 cannot be sent; `exchange` is then still the caller's.
pub(super) async fn upgrade(
    session: &mut HttpSession,
    exchange: &mut Exchange,
    upstream: Upstream,
    observer: Box<dyn TunnelObserver>,
) -> Result<()> {
    let Upstream {
        session: mut upstream,
        response,
    } = upstream;
    session
        .write_response_header(Box::new(response), false)
        .await?;
    let from_client = drain_client(session).await?;
    let from_upstream = drain_upstream(&mut upstream).await?;
    let client = take_client(session)?;
    let mut upstream = upstream.into_inner();
    upstream.flush().await.map_err(|e| {
        Error::because(ErrorType::WriteError, "flushing the handshake", e).into_up()
    })?;

    exchange.open_stream(Kind::WebSocket);
    let exchange = exchange.take();
    let tunnel = Tunnel::new(
        exchange,
        observer,
        client,
        upstream,
        from_client,
        from_upstream,
    );
    tokio::spawn(tunnel.run());
    Ok(())
}

/// Bytes that the client sent right behind its handshake.
async fn drain_client(session: &mut HttpSession) -> Result<Vec<u8>> {
    let mut early = Vec::new();
    // Each read takes all that one layer of buffers holds, so the last one goes to the socket and
    // finds nothing.
    while let Some(read) = session
        .downstream_session
        .read_request_body()
        .now_or_never()
    {
        match read? {
            Some(bytes) if !bytes.is_empty() => early.extend_from_slice(&bytes),
            _ => break,
        }
    }
    Ok(early)
}

/// Bytes that the application sent right behind its 101.
async fn drain_upstream(upstream: &mut UpstreamSession) -> Result<Vec<u8>> {
    let mut early = Vec::new();
    while let Some(read) = upstream.read_body_bytes().now_or_never() {
        let bytes: Option<Bytes> = read.map_err(Error::into_up)?;
        match bytes {
            Some(bytes) if !bytes.is_empty() => early.extend_from_slice(&bytes),
            _ => break,
        }
    }
    Ok(early)
}

/// Takes the client's stream out of the session, which goes on with one that leads nowhere.
fn take_client(session: &mut HttpSession) -> Result<Stream> {
    let (nowhere, _) = tokio::io::duplex(1);
    let mut idle = ServerSession::new_http1(Box::new(nowhere));
    idle.set_keepalive(None);
    match std::mem::replace(&mut *session.downstream_session, idle) {
        ServerSession::H1(h1) => Ok(h1.into_inner()),
        other => {
            *session.downstream_session = other;
            Err(Error::explain(
                ErrorType::InternalError,
                "only HTTP/1.1 is upgraded",
            ))
        }
    }
}

/// Why a tunnel is being closed by this tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    Draining,
    Idle,
    FromOutside(CloseReason),
}

impl Reason {
    /// `error` of the access log.
    const fn code(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::Idle => "idle_timeout",
            Self::FromOutside(reason) => reason.code(),
        }
    }

    const fn close_code(self) -> u16 {
        match self {
            Self::Draining | Self::Idle => GOING_AWAY,
            Self::FromOutside(reason) => reason.close_code(),
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::Draining => "the proxy is shutting down",
            Self::Idle => "idle for too long",
            Self::FromOutside(reason) => reason.text(),
        }
    }

    const fn wait(self) -> Duration {
        match self {
            Self::Draining | Self::Idle => CLOSE_WAIT,
            Self::FromOutside(_) => CLOSE_WAIT_FROM_OUTSIDE,
        }
    }
}

struct Tunnel {
    exchange: Exchange,
    observer: Box<dyn TunnelObserver>,
    client: Socket,
    upstream: Socket,
    from_client: Lane,
    from_upstream: Lane,
    message_ids: bool,
    idle: Duration,
    last_byte: Instant,
    timer: Pin<Box<Sleep>>,
    /// Completes with the next phase that is of concern. Polled once to be woken, and again only
    /// while the daemon drains.
    next_phase: Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
    registered: bool,
    /// Tells when the tunnel is closed from outside; none once it was.
    watch: Option<Watch>,
    closing: Option<Reason>,
    /// Whether one end is gone for good, and the clock of the other runs.
    deserted: bool,
}

impl Tunnel {
    fn new(
        mut exchange: Exchange,
        mut observer: Box<dyn TunnelObserver>,
        client: Stream,
        upstream: Stream,
        from_client: Vec<u8>,
        from_upstream: Vec<u8>,
    ) -> Self {
        let hop = std::sync::Arc::clone(exchange.hop());
        let message_ids = hop.websocket.message_ids;
        let idle = hop.websocket.idle.0;
        let mut notes = Notes {
            exchange: &mut exchange,
            observer: observer.as_mut(),
            message_ids,
        };
        let mut lane = |from, early| {
            Lane::new(FrameObserver::new(from), early, |passed| {
                notes.take(from, passed)
            })
        };
        Self {
            client: Socket::from_pingora(client),
            upstream: Socket::from_pingora(upstream),
            from_client: lane(Direction::FromClient, from_client),
            from_upstream: lane(Direction::FromServer, from_upstream),
            message_ids,
            idle,
            last_byte: Instant::now(),
            timer: Box::pin(tokio::time::sleep(idle)),
            next_phase: Box::pin(hop.drain.reached(DrainStage::ClosingStreams)),
            registered: false,
            watch: exchange.opened().map(Watch::new),
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
        // The clocks come first: they must not wait for a direction that never runs dry.
        self.poll_watch(cx);
        if self.poll_phase(cx).is_ready() || self.poll_timer(cx).is_ready() {
            return Poll::Ready(());
        }
        self.poll_lanes(cx);
        if self.closing.is_some() {
            self.put_close_frames();
            self.poll_lanes(cx);
        }
        if self.is_over() || (self.closing.is_some() && self.close_is_answered()) {
            return Poll::Ready(());
        }
        self.note_desertion(cx)
    }

    /// An end that has sent a close frame and hung up, or that broke off, does not come back: the
    /// other one may not keep the tunnel open for nobody. One that has merely ended its side may
    /// still listen.
    fn note_desertion(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let gone = |lane: &Lane, other: &Lane| match lane.end {
            Some(End::Failed(_)) => true,
            Some(End::Finished) => lane.observer.saw_close() && !other.observer.saw_close(),
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
            self.begin_closing(Reason::FromOutside(reason));
        }
    }

    /// Waiting for a phase takes a lock that all tunnels share: a tunnel asks once, and then only
    /// while the daemon drains.
    fn poll_phase(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.registered && !self.exchange.hop().drain.is_draining() {
            return Poll::Pending;
        }
        self.registered = true;
        while self.next_phase.as_mut().poll(cx).is_ready() {
            let drain = self.exchange.hop().drain.clone();
            if drain.phase() >= DrainStage::CuttingOff {
                self.exchange.outcome.error.get_or_insert("aborted");
                return Poll::Ready(());
            }
            if self.closing.is_none() {
                self.begin_closing(Reason::Draining);
            }
            self.next_phase = Box::pin(drain.reached(DrainStage::CuttingOff));
        }
        Poll::Pending
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.timer.as_mut().poll(cx).is_ready() {
            let due = self.last_byte + self.idle;
            if self.closing.is_some() || self.deserted {
                return Poll::Ready(());
            } else if due <= Instant::now() {
                self.begin_closing(Reason::Idle);
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
            message_ids,
            last_byte,
            ..
        } = self;
        let mut notes = Notes {
            exchange,
            observer: observer.as_mut(),
            message_ids: *message_ids,
        };
        let before = from_client.bytes + from_upstream.bytes;
        let _ = from_client.poll(cx, client, upstream, |passed| {
            notes.take(Direction::FromClient, passed)
        });
        let _ = from_upstream.poll(cx, upstream, client, |passed| {
            notes.take(Direction::FromServer, passed)
        });
        if from_client.bytes + from_upstream.bytes != before {
            *last_byte = Instant::now();
        }
        // Whoever ends first has closed it; what follows is the answer.
        for (lane, name) in [(&*from_client, "client"), (&*from_upstream, "upstream")] {
            if lane.end.is_some() || lane.observer.saw_close() {
                exchange.outcome.closed_by.get_or_insert(name);
                if let Some(code) = lane.observer.close_code() {
                    exchange.outcome.close_code.get_or_insert(code);
                }
            }
        }
        // The closing handshake is complete: nothing may follow, and the server's side closes first
        // (RFC 6455, section 7.1.1).
        if from_client.observer.saw_close() && from_upstream.observer.saw_close() {
            from_client.finish();
            from_upstream.finish();
            let _ = from_client.poll(cx, client, upstream, |_| {});
            let _ = from_upstream.poll(cx, upstream, client, |_| {});
        }
    }

    fn is_over(&self) -> bool {
        self.from_client.is_over() && self.from_upstream.is_over()
    }

    fn begin_closing(&mut self, reason: Reason) {
        info!(
            "request_id={} is closed by this tier: {}",
            self.exchange.id(),
            reason.code()
        );
        self.exchange.outcome.closed_by.get_or_insert("proxy");
        self.exchange
            .outcome
            .close_code
            .get_or_insert(reason.close_code());
        self.exchange.outcome.error.get_or_insert(reason.code());
        let due = Instant::now() + reason.wait();
        // A second reason can only make it shorter.
        if self.closing.is_none() || due < self.timer.deadline() {
            self.timer.as_mut().reset(due);
        }
        self.closing.get_or_insert(reason);
    }

    /// Puts a close frame into each direction that is between two frames; a later poll tries again
    /// for the other.
    fn put_close_frames(&mut self) {
        let Some(reason) = self.closing else { return };
        let (code, text) = (reason.close_code(), reason.text());
        if self.from_upstream.can_close() {
            self.from_upstream.close_with(close_frame(code, text, None));
        }
        if self.from_client.can_close() {
            let mask: [u8; 4] = rand::rng().random();
            self.from_client
                .close_with(close_frame(code, text, Some(mask)));
        }
    }

    /// Whether our close frames are out and both ends have answered, or are gone.
    fn close_is_answered(&self) -> bool {
        [&self.from_client, &self.from_upstream]
            .into_iter()
            .all(|lane| {
                let sent = lane.has_closed() || lane.end.is_some() || lane.observer.saw_close();
                let answered = lane.observer.saw_close() || lane.end.is_some();
                sent && answered
            })
    }

    fn report(mut self) {
        let outcome = &mut self.exchange.outcome;
        outcome.bytes_in = self.from_client.bytes;
        outcome.bytes_out = self.from_upstream.bytes;
        outcome.messages = Some((
            self.from_client.observer.messages(),
            self.from_upstream.observer.messages(),
        ));
        for (lane, code) in [
            (&self.from_client, "client_gone"),
            (&self.from_upstream, "upstream_gone"),
        ] {
            if let Some(End::Failed(e)) = &lane.end
                && !lane.observer.saw_close()
            {
                debug!("request_id={} {code}: {e}", self.exchange.facts.request_id);
                outcome.error.get_or_insert(code);
            }
        }
        self.exchange.end();
    }
}

/// Where what passed is told.
struct Notes<'t> {
    exchange: &'t mut Exchange,
    observer: &'t mut dyn TunnelObserver,
    message_ids: bool,
}

impl Notes<'_> {
    fn take(&mut self, from: Direction, passed: Passed) {
        match passed {
            Passed::Bytes(bytes, activity) if activity.data => self.observer.data(from, bytes),
            Passed::Event(FrameEvent::Message(message)) if self.message_ids => {
                self.exchange
                    .log_message(from, message.number, message.payload_bytes);
            }
            Passed::Event(FrameEvent::Lost(reason)) => {
                info!(
                    "request_id={} cannot be observed further: {reason}",
                    self.exchange.id()
                );
            }
            Passed::Event(FrameEvent::Control(Control::Close(code))) => {
                debug!(
                    "request_id={} close frame, code {code:?}",
                    self.exchange.id()
                );
            }
            _ => {}
        }
    }
}
