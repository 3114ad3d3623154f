//! The exchange: one request at one tier, its facts, its outcome, and its events.

mod services;
mod trace;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::{HeaderValue, Method, header};
use log::{error, info};
use pingora_core::protocols::Digest;
use pingora_http::RequestHeader;

pub use services::{HopServices, Policies, ServicesError};

use crate::drain::InFlight;
use crate::error::{ErrorCode, ProxyError};
use crate::identity::{EstablishedId, RequestId};
use crate::observe::{
    ClosedBy, Event, EventKind, Record, RequestFacts, RequestKind, RequestOutcome, StreamObservers,
};
use crate::streams::{StreamHandle, StreamRegistration, Streams};
use crate::tunnel::Direction;

/// The stage of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// No request has begun, or it has ended: there is nothing to log.
    Idle,
    /// A request has begun, and is no stream so far.
    Begun,
    /// The request is an open stream.
    Open,
}

/// One request at one tier.
///
/// However a request ends (answered, failed, client gone, a panic in a filter), its exchange writes
/// exactly one `request` line, or one `stream_open` and one `stream_close`: an exchange that is
/// dropped without `Exchange::end` writes the line then.
pub struct Exchange {
    hop: Arc<HopServices>,
    stage: Stage,
    started: Instant,
    /// The facts that are known when the request begins.
    pub facts: RequestFacts,
    /// The outcome so far.
    pub outcome: RequestOutcome,
    /// Held until the exchange is dropped: after its end Pingora still sends the last bytes of the
    /// response.
    in_flight: Option<InFlight>,
    /// The registration among the open streams of the app.
    registration: Option<StreamRegistration>,
    /// Observe the bytes of the stream that the request has become.
    observers: StreamObservers,
}

impl Exchange {
    /// An exchange before its request begins.
    #[must_use]
    pub(crate) fn idle(hop: &Arc<HopServices>) -> Self {
        Self {
            hop: Arc::clone(hop),
            stage: Stage::Idle,
            started: Instant::now(),
            facts: RequestFacts::unknown(),
            outcome: RequestOutcome::default(),
            in_flight: None,
            registration: None,
            observers: StreamObservers::default(),
        }
    }

    /// Begins with a request whose identifier was established (phase `request_filter`).
    pub fn begin(
        &mut self,
        request: &RequestHeader,
        client: Option<IpAddr>,
        established: EstablishedId,
    ) {
        let EstablishedId {
            id,
            refused,
            replaced,
            generated,
        } = established;
        self.stage = Stage::Begun;
        self.in_flight = Some(self.hop.drain.enter());
        // Sessions and tunnels keep the identifier for long: it must not keep the buffer of the
        // whole request header alive.
        self.facts.request_id = if generated { id } else { id.detached() };
        self.facts.client_request_id = refused.map(|id| id.detached());
        self.facts.client = client;
        self.facts.method = request.method.clone();
        self.facts.host = host(request);
        self.facts.uri = request.uri.clone();
        self.facts.version = request.version;
        self.facts.trace_id = trace::of(&request.headers);
        if let Some((reason, bytes)) = replaced {
            info!(
                "request_id={} replaces an identifier that is {reason}, {bytes} bytes long",
                self.id()
            );
            self.remark(EventKind::IdReplaced { reason, bytes });
        }
    }

    /// Begins with a header block that Pingora cannot parse, and rejects itself
    /// (docs/reference/request-id.md, rule 13).
    pub(crate) fn begin_unparsable(&mut self, client: Option<IpAddr>) {
        self.stage = Stage::Begun;
        self.facts.request_id = self.hop.own_id(client);
        self.facts.client = client;
        self.facts.method = Method::from_bytes(b"-").unwrap_or_default();
        self.outcome.error = Some(ErrorCode::BadRequest);
        info!(
            "request_id={} cannot parse the header block",
            self.facts.request_id
        );
        self.remark(EventKind::Unparsable);
    }

    /// Reports that the head of the request was rejected before its first phase.
    pub(crate) fn report_unparsable(&self) {
        self.remark(EventKind::Unparsable);
    }

    /// The services of the tier.
    #[must_use]
    pub(crate) fn hop(&self) -> &Arc<HopServices> {
        &self.hop
    }

    /// The identifier of the request.
    #[must_use]
    pub fn id(&self) -> &RequestId {
        &self.facts.request_id
    }

    /// Returns whether a request has begun and has not ended.
    #[must_use]
    pub(crate) fn is_active(&self) -> bool {
        self.stage != Stage::Idle
    }

    /// Records the connection to the next hop (phase `connected_to_upstream`).
    pub(crate) fn connected(&mut self, reused: bool, digest: Option<&Digest>) {
        self.outcome.reused = Some(reused);
        if !reused {
            let timing = digest
                .and_then(|d| d.timing_digest.first())
                .and_then(Option::as_ref);
            self.outcome.connect = timing.and_then(|t| t.establishment_duration);
        }
    }

    /// Records the final response header.
    pub(crate) fn answered(&mut self, status: u16) {
        self.outcome.status = Some(status);
        self.outcome.first_byte = Some(self.started.elapsed());
    }

    /// Records a failure. Only the first one counts: later ones are its consequences.
    pub fn failed(&mut self, failure: ProxyError) {
        self.fail_with(failure.code());
    }

    /// Records the code of a failure, unless there was one before.
    pub(crate) fn fail_with(&mut self, code: ErrorCode) {
        self.outcome.error.get_or_insert(code);
    }

    /// Records that this tier closes the stream, and logs it.
    pub(crate) fn close_by_proxy(&mut self, code: ErrorCode) {
        info!("request_id={} is closed by this tier: {code}", self.id());
        self.outcome.closed_by.get_or_insert(ClosedBy::Proxy);
        self.fail_with(code);
    }

    /// Turns the exchange into an open stream, and reports it.
    pub(crate) fn open_stream(&mut self, kind: RequestKind) {
        self.facts.kind = kind;
        if self.stage == Stage::Begun {
            self.stage = Stage::Open;
            self.facts.detach();
            let (facts, outcome) = (self.facts.clone(), self.outcome.clone());
            let record = self.record(EventKind::StreamOpen, facts, outcome);
            self.hop.observe(&record.event());
            self.observers = self.hop.observers().stream(&record.event());
            self.hop.log.write(record);
        }
    }

    /// Reports a piece of the stream to its observers. Does nothing before the stream is open.
    #[inline]
    pub(crate) fn observe_data(&mut self, from: Direction, bytes: &[u8]) {
        self.observers.data(&self.facts.request_id, from, bytes);
    }

    /// Returns whether the exchange is an open stream.
    #[must_use]
    pub(crate) fn is_open_stream(&self) -> bool {
        self.stage == Stage::Open
    }

    /// Registers the exchange among the open streams of its app, under its session and its worker.
    pub(crate) fn register(&mut self, streams: &Streams) -> &Arc<StreamHandle> {
        let session = self
            .facts
            .session_id
            .as_ref()
            .and_then(|id| id.to_str().ok());
        let register = || streams.register(session, self.facts.worker.as_ref());
        self.registration.get_or_insert_with(register).handle()
    }

    /// The handle among the open streams of the app, once registered.
    #[must_use]
    pub fn stream(&self) -> Option<&Arc<StreamHandle>> {
        self.registration.as_ref().map(StreamRegistration::handle)
    }

    /// Reports a WebSocket message (docs/reference/request-id.md, rule 16).
    pub(crate) fn record_message(&self, direction: Direction, number: u64, bytes: u64) {
        let (bytes_in, bytes_out) = match direction {
            Direction::FromClient => (bytes, 0),
            Direction::FromServer => (0, bytes),
        };
        let outcome = RequestOutcome {
            message: Some((direction, number)),
            bytes_in,
            bytes_out,
            ..RequestOutcome::default()
        };
        let record = self.record(EventKind::Message, self.facts.clone(), outcome);
        self.hop.record(record);
    }

    /// Ends the exchange, and reports it. A second call does nothing.
    pub(crate) fn end(&mut self) {
        let kind = match std::mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Idle => return,
            Stage::Begun => EventKind::Request,
            Stage::Open => EventKind::StreamClose,
        };
        self.outcome.duration = Some(self.started.elapsed());
        let facts = std::mem::replace(&mut self.facts, RequestFacts::unknown());
        let outcome = std::mem::take(&mut self.outcome);
        let record = self.record(kind, facts, outcome);
        if !self.observers.is_empty() {
            std::mem::take(&mut self.observers).end(&record.event());
        }
        self.hop.record(record);
        self.registration = None;
    }

    /// Moves the exchange out, for a tunnel that outlives the request's phases.
    #[must_use]
    pub(crate) fn take(&mut self) -> Self {
        let hop = Arc::clone(&self.hop);
        std::mem::replace(self, Self::idle(&hop))
    }

    /// Reports an event without a line.
    fn remark(&self, kind: EventKind) {
        let event = Event::now(self.hop.tier, kind, &self.facts, &self.outcome);
        self.hop.observe(&event);
    }

    /// Returns the record of an event that happens now.
    fn record(&self, kind: EventKind, facts: RequestFacts, outcome: RequestOutcome) -> Box<Record> {
        Box::new(Record {
            time: SystemTime::now(),
            tier: self.hop.tier,
            kind,
            facts,
            outcome,
        })
    }
}

/// Returns the host of a request: that of the target in HTTP/2.
fn host(request: &RequestHeader) -> Option<HeaderValue> {
    match request.headers.get(header::HOST) {
        Some(value) => Some(value.clone()),
        None => HeaderValue::from_str(request.uri.authority()?.as_str()).ok(),
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.is_active() {
            // Pingora calls `logging` for every request that is not dropped.
            if let Some(reason) = self.stream().and_then(|stream| stream.closed()) {
                self.close_by_proxy(reason.code());
            } else {
                // A panic, or a task that was aborted.
                error!("request_id={} was cut off before its end", self.id());
                self.fail_with(ErrorCode::Aborted);
                if self.stage == Stage::Open {
                    self.outcome.closed_by.get_or_insert(ClosedBy::Proxy);
                }
            }
            self.end();
        }
    }
}
