//! Metrics of a tier. Labels are resolved once, at the start: an update on the request path is one
//! atomic addition.

use prometheus::{Encoder, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};

use crate::error::Tier;
use crate::identity::InvalidId;
use crate::observe::event::{Event, EventKind};
use crate::observe::observer::Observe;

/// The metrics of both tiers.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    /// `app_proxy_requests_total{tier,class}` by status class: index 0 counts requests without a
    /// response, index 1 counts 1xx, and so on.
    requests: [IntCounter; 6],
    replaced: [IntCounter; 4],
    /// `app_proxy_request_id_missing_total{tier}`: requests of a coordinator without a valid
    /// identifier (docs/reference/request-id.md, rule 6).
    pub request_id_missing: IntCounter,
    /// `app_proxy_unparsable_requests_total{tier}`: invalid request heads, which are answered
    /// itself (docs/reference/request-id.md, rule 13).
    unparsable: IntCounter,
    /// `app_proxy_access_log_dropped_total{tier}`.
    pub(crate) log_dropped: IntCounter,
    /// `app_proxy_open_streams{tier}`.
    pub open_streams: IntGauge,
}

impl Metrics {
    /// Creates the metrics of a tier, all at zero.
    ///
    /// # Errors
    /// If two metrics have one name, which a test rules out.
    pub(crate) fn new(tier: Tier) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let family = |name: &str, help: &str, label: &str| -> prometheus::Result<IntCounterVec> {
            let opts = Opts::new(name, help).const_label("tier", tier.as_str());
            let vec = IntCounterVec::new(opts, &[label])?;
            registry.register(Box::new(vec.clone()))?;
            Ok(vec)
        };
        let counter = |name: &str, help: &str| -> prometheus::Result<IntCounter> {
            let counter =
                IntCounter::with_opts(Opts::new(name, help).const_label("tier", tier.as_str()))?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let requests = family(
            "app_proxy_requests_total",
            "Requests that ended, by status class.",
            "class",
        )?;
        let replaced = family(
            "app_proxy_request_id_replaced_total",
            "Invalid request identifiers of clients.",
            "reason",
        )?;
        let open_streams = IntGauge::with_opts(
            Opts::new(
                "app_proxy_open_streams",
                "WebSockets and event streams that are open.",
            )
            .const_label("tier", tier.as_str()),
        )?;
        registry.register(Box::new(open_streams.clone()))?;
        Ok(Self {
            requests: ["none", "1xx", "2xx", "3xx", "4xx", "5xx"]
                .map(|class| requests.with_label_values(&[class])),
            replaced: InvalidId::ALL.map(|reason| replaced.with_label_values(&[reason.label()])),
            request_id_missing: counter(
                "app_proxy_request_id_missing_total",
                "Requests of a coordinator without a valid identifier.",
            )?,
            unparsable: counter(
                "app_proxy_unparsable_requests_total",
                "Header blocks that are not valid HTTP.",
            )?,
            log_dropped: counter(
                "app_proxy_access_log_dropped_total",
                "Access-log lines that were dropped.",
            )?,
            open_streams,
            registry,
        })
    }

    /// Returns all metrics in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> Vec<u8> {
        let mut text = Vec::new();
        // Encoding into memory cannot fail.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        text
    }
}

impl Observe for Metrics {
    fn event(&self, event: &Event<'_>) {
        match event.kind() {
            EventKind::Request => self.count_request(event.status()),
            EventKind::StreamOpen => self.open_streams.inc(),
            EventKind::StreamClose => {
                self.open_streams.dec();
                self.count_request(event.status());
            }
            EventKind::Message => {}
            EventKind::IdReplaced { reason, .. } => self.count_replaced(reason),
            EventKind::Unparsable => self.unparsable.inc(),
        }
    }
}

impl Metrics {
    /// Counts a request that ended with `status`, or without a response (`None`).
    fn count_request(&self, status: Option<u16>) {
        let class = usize::from(status.unwrap_or(0) / 100);
        if let Some(counter) = self.requests.get(class) {
            counter.inc();
        }
    }

    /// Counts an identifier that was replaced (docs/reference/request-id.md, rule 4).
    fn count_replaced(&self, reason: InvalidId) {
        let index = InvalidId::ALL.iter().position(|r| *r == reason);
        if let Some(counter) = index.and_then(|index| self.replaced.get(index)) {
            counter.inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names are a contract with docs/reference/metrics.md.
    #[test]
    fn metric_names_are_golden() {
        let metrics = Metrics::new(Tier::Coordinator).unwrap();
        metrics.count_replaced(InvalidId::Malformed);
        metrics.count_request(Some(404));
        metrics.count_request(None);
        let text = String::from_utf8(metrics.render()).unwrap();
        for line in [
            r#"app_proxy_request_id_replaced_total{reason="malformed",tier="coordinator"} 1"#,
            r#"app_proxy_request_id_replaced_total{reason="multiple",tier="coordinator"} 0"#,
            r#"app_proxy_requests_total{class="4xx",tier="coordinator"} 1"#,
            r#"app_proxy_requests_total{class="none",tier="coordinator"} 1"#,
            r#"app_proxy_request_id_missing_total{tier="coordinator"} 0"#,
            r#"app_proxy_unparsable_requests_total{tier="coordinator"} 0"#,
            r#"app_proxy_access_log_dropped_total{tier="coordinator"} 0"#,
            r#"app_proxy_open_streams{tier="coordinator"} 0"#,
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
