//! A connection of HTTP/2 (RFC 9113): its streams, each in a task of its own, and its end.

mod request;
mod stream;
mod tasks;
mod transport;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::Request;
use log::debug;
use pingora_core::protocols::Digest;
use pingora_core::protocols::http::v2::server::{H2Options, default_h2_options};
use pingora_core::server::ShutdownWatch;
use tokio::time::{Instant, timeout};

use super::arrival::Arrived;
use super::session::digest_of;
use crate::client::STREAM_BYTES;
use crate::engine::Engine;
use crate::exchange::Timer;
use crate::gateway::Gateway;
use crate::limits::HeadLimits;
use stream::Stream;
use tasks::Tasks;
use transport::Transport;

/// The streams of a connection that are open at once, at most.
const STREAMS: u32 = 100;
/// The bytes of a request body that the client may send before they are passed on.
const STREAM_WINDOW: u32 = 64 * 1024;
/// The bytes of all request bodies of a connection that the client may send before they are passed
/// on.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// The invalid requests of a connection from which on the client has to open another one.
const REJECTED_REQUESTS: usize = 32;
/// The time in which a client may confirm the end of a connection without streams.
const FAREWELL: Duration = Duration::from_secs(1);

/// Serves the streams of a connection until it ends.
pub(super) async fn serve<G: Gateway>(
    engine: &Arc<Engine<G>>,
    arrived: Arrived<G>,
    shutdown: &ShutdownWatch,
) {
    let timeouts = engine.gateway.timeouts();
    let digest = digest_of(&arrived.stream);
    let options = options(engine.gateway.request_limits());
    let transport = Transport::new(arrived.stream, arrived.input, timeouts.write);
    let handshake = options.handshake(transport);
    let connection = match timeout(timeouts.read, handshake).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(e)) => return debug!("a connection of HTTP/2 does not begin: {e}"),
        Err(_) => return debug!("a connection of HTTP/2 does not begin in time"),
    };
    let mut streams = Streams {
        engine,
        connection,
        digest,
        stage: Stage::Open,
        arriving: Some(arrived.arriving),
        tasks: Tasks::default(),
        rejected: 0,
        timer: Timer::default(),
        due: None,
    };
    let mut ending = shutdown.clone();
    let mut ends = pin!(async {
        // Without a sender, only the gateway ends connections.
        if ending.wait_for(|ending| *ending).await.is_err() {
            std::future::pending::<()>().await;
        }
    });
    let (mut is_watched, mut is_ending) = (false, false);
    poll_fn(|cx| {
        // Polled again after a change alone: that takes a lock that all connections share.
        let may_end = !is_watched || shutdown.has_changed().unwrap_or_default();
        is_watched = true;
        is_ending = is_ending || (may_end && ends.as_mut().poll(cx).is_ready());
        streams.poll(cx, is_ending)
    })
    .await;
}

/// Returns the settings of a connection.
///
/// A header list counts 32 bytes more for each line than `limits` does. The room above them is for
/// requests that exceed the limits and get a proper answer: h2 rejects longer ones itself.
fn options(limits: HeadLimits) -> H2Options {
    let list = limits
        .bytes
        .saturating_add(limits.lines * 32)
        .saturating_mul(2);
    let mut options = default_h2_options();
    options
        .max_concurrent_streams(STREAMS)
        .max_send_buffer_size(STREAM_BYTES)
        .max_header_list_size(u32::try_from(list).unwrap_or(u32::MAX))
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    options
}

/// The life of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The client may open streams.
    Open,
    /// The client was asked to open no more streams (section 6.8).
    GoingAway,
    /// The last stream has ended, and the client has not confirmed the end in time.
    Closing,
}

/// A request head with its body, and the handle of its response.
type Accepted = Result<(Request<RecvStream>, SendResponse<Bytes>), h2::Error>;

/// A connection with its streams.
struct Streams<'e, G: Gateway> {
    engine: &'e Arc<Engine<G>>,
    connection: h2::server::Connection<Transport, Bytes>,
    digest: Arc<Digest>,
    stage: Stage,
    /// Held until the first request has arrived.
    arriving: Option<G::Arriving>,
    tasks: Tasks,
    /// The count of invalid requests.
    rejected: usize,
    timer: Timer,
    /// The end of the time without streams.
    due: Option<Instant>,
}

impl<G: Gateway> Streams<'_, G> {
    /// Accepts streams, and completes at the end of the connection. `is_ending`: the process ends.
    fn poll(&mut self, cx: &mut Context<'_>, is_ending: bool) -> Poll<()> {
        loop {
            match self.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    self.begin(request, respond);
                    continue;
                }
                Poll::Ready(Some(Err(e))) => {
                    debug!("a connection of HTTP/2 fails: {e}");
                    return Poll::Ready(());
                }
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => {}
            }
            let leaves = is_ending
                || self.rejected >= REJECTED_REQUESTS
                || self.engine.gateway.closes_connections();
            if leaves && self.stage == Stage::Open {
                self.go_away();
                continue;
            }
            if self.poll_idle(cx).is_pending() {
                return Poll::Pending;
            }
            match self.stage {
                Stage::Open => self.go_away(),
                Stage::GoingAway => {
                    self.stage = Stage::Closing;
                    self.connection.abrupt_shutdown(h2::Reason::NO_ERROR);
                }
                Stage::Closing => return Poll::Ready(()),
            }
            self.due = None;
        }
    }

    /// Waits for the head of the next request; `None` at the end of the connection. This drives the
    /// connection.
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Option<Accepted>> {
        if self.tasks.have_room(cx) {
            return pin!(self.connection.accept()).poll(cx);
        }
        let closed = self.connection.poll_closed(cx);
        closed.map(|closed| closed.err().map(Err))
    }

    /// Asks the client to open no more streams.
    fn go_away(&mut self) {
        self.stage = Stage::GoingAway;
        self.due = None;
        self.connection.graceful_shutdown();
    }

    /// Completes when the connection has had no streams for too long.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.connection.has_streams() {
            self.due = None;
            return Poll::Pending;
        }
        let limit = match self.stage {
            Stage::Open => self.engine.protocols.h2_idle,
            Stage::GoingAway | Stage::Closing => Some(FAREWELL),
        };
        let Some(limit) = limit else {
            return Poll::Pending;
        };
        let due = *self.due.get_or_insert_with(|| Instant::now() + limit);
        self.timer.set(Some(due));
        self.timer.poll_due(cx)
    }

    /// Begins the task of a stream.
    fn begin(&mut self, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
        let stream = Stream::new(self.engine, &self.digest, request, respond);
        self.rejected += usize::from(stream.is_rejected());
        let task = self.tasks.begin();
        tokio::spawn(async move {
            stream.run().await;
            drop(task);
        });
        self.arriving = None;
    }
}
