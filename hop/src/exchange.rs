//! The exchange: one request at one tier, its facts, its outcome, and its log lines.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use arc_swap::{ArcSwap, Guard};
use http::{HeaderValue, Method, header};
use log::{error, info};
use pingora_core::protocols::Digest;
use pingora_http::RequestHeader;

use crate::config::{
    AccessLogSection, LimitsSection, RequestIdSection, TimeoutsSection, WebSocketSection,
};
use crate::drain::{Drain, InFlight};
use crate::error::{ErrorCode, ProxyError, Tier};
use crate::header::TRACEPARENT;
use crate::identity::{EstablishedId, IdentityPolicy, RequestId};
use crate::observe::access_log::{
    AccessLog, AccessLogError, ClosedBy, LogEvent, LogLine, RequestFacts, RequestKind,
    RequestOutcome,
};
use crate::observe::metrics::Metrics;
use crate::streams::{StreamHandle, StreamRegistration, Streams};
use crate::tunnel::Direction;

/// The services that every request of a tier needs; created at the start, and shared.
pub struct HopServices {
    /// The tier.
    pub tier: Tier,
    /// The policy of request identifiers.
    pub identity: IdentityPolicy,
    /// The access log.
    pub log: AccessLog,
    /// The metrics.
    pub metrics: Metrics,
    /// The requests in flight, and the stage of the shutdown.
    pub drain: Drain,
    /// The timeouts, which a reload replaces; see [`HopServices::timeouts`].
    timeouts: ArcSwap<TimeoutsSection>,
    /// The limits of a request.
    pub limits: LimitsSection,
    /// The limits of WebSockets.
    pub websocket: WebSocketSection,
}

/// An error of the creation of a tier's services.
#[derive(Debug, thiserror::Error)]
pub enum ServicesError {
    /// The access log cannot be opened.
    #[error(transparent)]
    AccessLog(#[from] AccessLogError),
    /// Two metrics have one name, which a test rules out.
    #[error(transparent)]
    Metrics(#[from] prometheus::Error),
}

impl HopServices {
    /// Opens the access log and creates the metrics of a tier.
    ///
    /// # Errors
    /// If the access log cannot be opened.
    pub fn open(
        tier: Tier,
        request_id: &RequestIdSection,
        access_log: &AccessLogSection,
        timeouts: &TimeoutsSection,
        limits: &LimitsSection,
        websocket: WebSocketSection,
    ) -> Result<Arc<Self>, ServicesError> {
        let metrics = Metrics::new(tier)?;
        Ok(Arc::new(Self {
            tier,
            identity: IdentityPolicy::new(request_id),
            log: AccessLog::open(access_log, metrics.log_dropped.clone())?,
            metrics,
            drain: Drain::default(),
            timeouts: ArcSwap::from_pointee(timeouts.clone()),
            limits: limits.clone(),
            websocket,
        }))
    }

    /// Returns the timeouts at this moment, without a lock.
    #[must_use]
    pub fn timeouts(&self) -> Guard<Arc<TimeoutsSection>> {
        self.timeouts.load()
    }

    /// Replaces the timeouts for later requests.
    pub fn set_timeouts(&self, timeouts: TimeoutsSection) {
        self.timeouts.store(Arc::new(timeouts));
    }
}

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
        if let Some((reason, bytes)) = replaced {
            self.hop.metrics.count_replaced(reason);
            info!("request_id={id} replaces an identifier that is {reason}, {bytes} bytes long");
        }
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
        let mut traces = request.headers.get_all(&TRACEPARENT).iter();
        self.facts.trace_id = traces
            .next()
            .filter(|_| traces.next().is_none())
            .and_then(trace_id);
    }

    /// Begins with a header block that Pingora cannot parse, and rejects itself
    /// (docs/reference/request-id.md, rule 13).
    pub(crate) fn begin_unparsable(&mut self, client: Option<IpAddr>) {
        self.stage = Stage::Begun;
        self.facts.request_id = RequestId::generate();
        self.facts.client = client;
        self.facts.method = Method::from_bytes(b"-").unwrap_or_default();
        self.outcome.error = Some(ErrorCode::BadRequest);
        info!(
            "request_id={} cannot parse the header block",
            self.facts.request_id
        );
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

    /// Turns the exchange into an open stream, and logs it.
    pub(crate) fn open_stream(&mut self, kind: RequestKind) {
        self.facts.kind = kind;
        if self.stage == Stage::Begun {
            self.stage = Stage::Open;
            self.facts.detach();
            self.hop.metrics.open_streams.inc();
            self.log(
                LogEvent::StreamOpen,
                self.facts.clone(),
                self.outcome.clone(),
            );
        }
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

    /// Logs a WebSocket message (docs/reference/request-id.md, rule 16).
    pub(crate) fn log_message(&self, direction: Direction, number: u64, bytes: u64) {
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
        self.log(LogEvent::Message, self.facts.clone(), outcome);
    }

    /// Ends the exchange, and logs it. A second call does nothing.
    pub(crate) fn end(&mut self) {
        let event = match std::mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Idle => return,
            Stage::Begun => LogEvent::Request,
            Stage::Open => {
                self.hop.metrics.open_streams.dec();
                LogEvent::StreamClose
            }
        };
        self.outcome.duration = Some(self.started.elapsed());
        self.hop.metrics.count_request(self.outcome.status);
        let facts = std::mem::replace(&mut self.facts, RequestFacts::unknown());
        let outcome = std::mem::take(&mut self.outcome);
        self.log(event, facts, outcome);
        self.registration = None;
    }

    /// Moves the exchange out, for a tunnel that outlives the request's phases.
    #[must_use]
    pub(crate) fn take(&mut self) -> Self {
        let hop = Arc::clone(&self.hop);
        std::mem::replace(self, Self::idle(&hop))
    }

    fn log(&self, event: LogEvent, facts: RequestFacts, outcome: RequestOutcome) {
        self.hop.log.write(LogLine {
            time: SystemTime::now(),
            tier: self.hop.tier,
            event,
            facts,
            outcome,
        });
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

/// Returns the trace-id of a valid `traceparent` (W3C Trace Context, section 3.2).
fn trace_id(value: &HeaderValue) -> Option<[u8; 32]> {
    let bytes = value.as_bytes();
    let lower_hex = |part: &[u8]| part.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let [version @ .., b'-'] = bytes.get(..3)? else {
        return None;
    };
    let id: [u8; 32] = bytes.get(3..35)?.try_into().ok()?;
    let span = bytes.get(36..52)?;
    let flags = bytes.get(53..55)?;
    let dashes = bytes.get(35) == Some(&b'-') && bytes.get(52) == Some(&b'-');
    let ends = bytes.len() == 55 || (version != b"00" && bytes.get(55) == Some(&b'-'));
    let nonzero = id != [b'0'; 32] && span != [b'0'; 16];
    let valid = dashes
        && ends
        && nonzero
        && version != b"ff"
        && [version, &id, span, flags].into_iter().all(lower_hex);
    valid.then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_21_only_a_valid_traceparent_gives_a_trace_id() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let id = trace_id(&HeaderValue::from_static(good)).unwrap();
        assert_eq!(&id, b"4bf92f3577b34da6a3ce929d0e0e4736");
        for bad in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01",
        ] {
            assert_eq!(
                trace_id(&HeaderValue::from_str(bad).unwrap()),
                None,
                "{bad}"
            );
        }
    }
}
