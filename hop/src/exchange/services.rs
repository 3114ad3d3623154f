//! The services that every request of a tier needs.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use http::HeaderMap;
use log::error;

use crate::config::{
    AccessLogSection, Limits, RequestIdSection, TimeoutsSection, WebSocketSection,
};
use crate::drain::Drain;
use crate::error::Tier;
use crate::guard::guarded;
use crate::identity::{EstablishedId, Identify, IdentityPolicy, RequestId};
use crate::observe::access_log::{AccessLog, AccessLogError};
use crate::observe::metrics::Metrics;
use crate::observe::{Event, Observe, Observers, Record};

/// The policies of an embedder that both tiers have; none by default.
///
/// ```
/// use app_proxy_hop::exchange::Policies;
/// use app_proxy_hop::observe::{Event, Observe};
///
/// struct Nothing;
///
/// impl Observe for Nothing {
///     fn event(&self, _event: &Event<'_>) {}
/// }
///
/// let mut policies = Policies::default();
/// policies.observers.add(Nothing);
/// ```
#[derive(Clone, Default)]
pub struct Policies {
    /// Establishes identifiers, in place of the built-in policy.
    pub identify: Option<Arc<dyn Identify>>,
    /// Observe requests, beside the metrics and the access log.
    pub observers: Observers,
}

/// The services that every request of a tier needs; created at the start, and shared.
pub struct HopServices {
    /// The tier.
    pub tier: Tier,
    /// The built-in policy of request identifiers, and the names of their headers.
    pub identity: IdentityPolicy,
    /// The policies of an embedder.
    policies: Policies,
    /// The access log.
    pub log: AccessLog,
    /// The metrics.
    pub metrics: Metrics,
    /// The requests in flight, and the stage of the shutdown.
    pub drain: Drain,
    /// The timeouts, which a reload replaces; see [`HopServices::timeouts`].
    timeouts: ArcSwap<TimeoutsSection>,
    /// The limits of requests and responses.
    pub limits: Limits,
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
        limits: Limits,
        websocket: WebSocketSection,
        policies: Policies,
    ) -> Result<Arc<Self>, ServicesError> {
        let metrics = Metrics::new(tier)?;
        Ok(Arc::new(Self {
            tier,
            identity: IdentityPolicy::new(request_id),
            policies,
            log: AccessLog::open(access_log, metrics.log_dropped.clone())?,
            metrics,
            drain: Drain::default(),
            timeouts: ArcSwap::from_pointee(timeouts.clone()),
            limits,
            websocket,
        }))
    }

    /// Establishes the identifier of a request from `peer`, by the embedder's policy or by the
    /// built-in one.
    #[must_use]
    pub fn establish(&self, headers: &HeaderMap, peer: Option<IpAddr>) -> EstablishedId {
        match &self.policies.identify {
            None => self.identity.identify(headers, peer),
            Some(policy) => call(&**policy, headers, peer),
        }
    }

    /// Makes an identifier of the tier's own for a request from `peer`, of whose headers none
    /// counts.
    #[must_use]
    pub fn own_id(&self, peer: Option<IpAddr>) -> RequestId {
        match &self.policies.identify {
            None => RequestId::generate(),
            Some(policy) => call(&**policy, &HeaderMap::new(), peer).id,
        }
    }

    /// Returns the observers of the embedder.
    pub(crate) const fn observers(&self) -> &Observers {
        &self.policies.observers
    }

    /// Reports an event without a line in the access log.
    #[inline]
    pub(crate) fn observe(&self, event: &Event<'_>) {
        self.metrics.event(event);
        self.policies.observers.event(event);
    }

    /// Reports an event to all observers: the metrics, those of the embedder, and the access log,
    /// which gets the record itself.
    #[inline]
    pub(crate) fn record(&self, record: Box<Record>) {
        self.observe(&record.event());
        self.log.write(record);
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

/// Calls a policy of an embedder.
#[cold]
fn call(policy: &dyn Identify, headers: &HeaderMap, peer: Option<IpAddr>) -> EstablishedId {
    guarded(|| policy.identify(headers, peer)).unwrap_or_else(|panic| {
        let established = EstablishedId::generate();
        error!(
            "request_id={} was generated here: the policy of identifiers panicked: {panic}",
            established.id
        );
        established
    })
}
