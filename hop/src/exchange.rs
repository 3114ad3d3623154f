//! One request at one tier: what is known of it, what becomes of it, and that it is logged exactly
//! once.

use std::net::IpAddr;
use std::time::{Instant, SystemTime};

use arc_swap::{ArcSwap, Guard};
use http::{HeaderValue, Method, header};
use log::{error, info};
use pingora_core::protocols::Digest;
use pingora_http::RequestHeader;

use std::sync::Arc;

use crate::config::{
    AccessLogSection, LimitsSection, RequestIdSection, TimeoutsSection, WebSocketSection,
};
use crate::drain::{Drain, InFlight};
use crate::error::{ProxyError, Tier};
use crate::header::TRACEPARENT;
use crate::identity::{EstablishedId, IdentityPolicy, RequestId};
use crate::observe::access_log::{
    AccessLog, Kind, LogEvent, LogLine, OpenError, RequestFacts, RequestOutcome,
};
use crate::observe::metrics::Metrics;
use crate::streams::{StreamHandle, StreamRegistration, Streams};
use crate::websocket::observer::Direction;

/// What every request of a tier needs; made once at the start and shared.
pub struct HopServices {
    /// Which tier this is.
    pub tier: Tier,
    /// How requests are identified.
    pub identity: IdentityPolicy,
    /// Where requests are logged.
    pub log: AccessLog,
    /// Where they are counted.
    pub metrics: Metrics,
    /// What is in flight.
    pub drain: Drain,
    /// How long the tier waits; see [`HopServices::timeouts`].
    timeouts: ArcSwap<TimeoutsSection>,
    /// What it refuses.
    pub limits: LimitsSection,
    /// What it does with WebSockets.
    pub websocket: WebSocketSection,
}

/// A tier's services cannot be created.
#[derive(Debug, thiserror::Error)]
pub enum ServicesError {
    /// The access log cannot be opened.
    #[error(transparent)]
    AccessLog(#[from] OpenError),
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

    /// How long the tier waits at this moment; takes no lock.
    #[must_use]
    pub fn timeouts(&self) -> Guard<Arc<TimeoutsSection>> {
        self.timeouts.load()
    }

    /// Changes how long the tier waits, from the next request on.
    pub fn set_timeouts(&self, timeouts: TimeoutsSection) {
        self.timeouts.store(Arc::new(timeouts));
    }
}

/// How far an exchange has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// No request has been taken up: there is nothing to log.
    Idle,
    /// Begun, not a stream so far.
    Begun,
    /// An open stream.
    Open,
}

/// One request at one tier.
///
/// However it ends (answered, failed, the client gone, a panic in a filter), it leaves exactly one
/// `request` line, or one `stream_open` and one `stream_close`: what [`Exchange::end`] has not
/// written, dropping it writes.
pub struct Exchange {
    hop: Arc<HopServices>,
    stage: Stage,
    started: Instant,
    /// What is known from the beginning on.
    pub facts: RequestFacts,
    /// What has become of it so far.
    pub outcome: RequestOutcome,
    /// Held until the exchange is dropped: when it has ended, Pingora still has the last of the
    /// response to send.
    in_flight: Option<InFlight>,
    /// Its place among the open streams of its app, while it is one.
    registration: Option<StreamRegistration>,
}

impl Exchange {
    /// An exchange that no request has taken up yet.
    #[must_use]
    pub fn idle(hop: &Arc<HopServices>) -> Self {
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

    /// Takes up a request whose identifier was established (phase `request_filter`).
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
            info!("request_id={id} replaces one that is {reason}, {bytes} bytes long");
        }
        self.stage = Stage::Begun;
        self.in_flight = Some(self.hop.drain.enter());
        // Sessions and tunnels keep it for long: it must not keep the request's whole header buffer
        // alive.
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

    /// Takes up what the framework could not read as a request, and refuses itself
    /// (docs/reference/request-id.md, rule 13).
    pub fn begin_unparsable(&mut self, client: Option<IpAddr>) {
        self.stage = Stage::Begun;
        self.facts.request_id = RequestId::generate();
        self.facts.client = client;
        self.facts.method = Method::from_bytes(b"-").unwrap_or_default();
        self.outcome.error = Some("bad_request");
        info!(
            "request_id={} is a header block that does not parse",
            self.facts.request_id
        );
    }

    /// The hop that this is an exchange of.
    #[must_use]
    pub fn hop(&self) -> &Arc<HopServices> {
        &self.hop
    }

    /// The request's identifier.
    #[must_use]
    pub fn id(&self) -> &RequestId {
        &self.facts.request_id
    }

    /// Whether a request has taken it up and has not ended.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.stage != Stage::Idle
    }

    /// Records what connecting to the next hop took (phase `connected_to_upstream`).
    pub fn connected(&mut self, reused: bool, digest: Option<&Digest>) {
        self.outcome.reused = Some(reused);
        if !reused {
            let timing = digest
                .and_then(|d| d.timing_digest.first())
                .and_then(Option::as_ref);
            self.outcome.connect = timing.and_then(|t| t.establishment_duration);
        }
    }

    /// Records the final response header.
    pub fn answered(&mut self, status: u16) {
        self.outcome.status = Some(status);
        self.outcome.first_byte = Some(self.started.elapsed());
    }

    /// Records a failure. The first one counts: what follows is its consequence.
    pub fn failed(&mut self, failure: ProxyError) {
        self.outcome.error.get_or_insert(failure.code());
    }

    /// Makes this exchange a stream, and logs that it has opened.
    pub fn open_stream(&mut self, kind: Kind) {
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

    /// Whether this exchange is an open stream.
    #[must_use]
    pub fn is_open_stream(&self) -> bool {
        self.stage == Stage::Open
    }

    /// Registers it among the open streams of its app, under its session and its worker.
    pub fn register(&mut self, streams: &Streams) -> &Arc<StreamHandle> {
        let session = self
            .facts
            .session_id
            .as_ref()
            .and_then(|id| id.to_str().ok());
        let register = || streams.register(session, self.facts.worker.as_ref());
        self.registration.get_or_insert_with(register).opened()
    }

    /// What it is among the open streams of its app, if it has registered.
    #[must_use]
    pub fn opened(&self) -> Option<&Arc<StreamHandle>> {
        self.registration.as_ref().map(StreamRegistration::opened)
    }

    /// Logs one WebSocket message (docs/reference/request-id.md, rule 16).
    pub fn log_message(&self, direction: Direction, number: u64, bytes: u64) {
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

    /// Ends the exchange and logs it. A second call does nothing.
    pub fn end(&mut self) {
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

    /// Moves a running exchange out, for a tunnel that outlives the request's phases.
    #[must_use]
    pub fn take(&mut self) -> Self {
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

/// The host that a request is for: HTTP/2 says it in its target.
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
            if let Some(reason) = self.opened().and_then(|opened| opened.closed()) {
                info!(
                    "request_id={} is closed by this tier: {}",
                    self.facts.request_id,
                    reason.code()
                );
                self.outcome.error.get_or_insert(reason.code());
                self.outcome.closed_by.get_or_insert("proxy");
            } else {
                // A panic, or a task that was aborted.
                error!(
                    "request_id={} was cut off before its end",
                    self.facts.request_id
                );
                self.outcome.error.get_or_insert("aborted");
                if self.stage == Stage::Open {
                    self.outcome.closed_by.get_or_insert("proxy");
                }
            }
            self.end();
        }
    }
}

/// The trace-id of a valid `traceparent` (W3C Trace Context, section 3.2).
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
