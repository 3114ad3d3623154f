//! How the probes, which both tiers have (`hop::admin`), are described.

// Only the descriptions count.
#![allow(dead_code)]

use serde::Serialize;
use utoipa::ToSchema;

/// How the coordinator is.
#[derive(Serialize, ToSchema)]
pub(super) struct Health {
    /// In a word.
    #[schema(example = "ready")]
    status: String,
    /// Why it is not ready.
    #[schema(nullable = false, example = "no worker is healthy")]
    reason: Option<String>,
}

/// Whether it is alive
#[utoipa::path(get, path = "/healthz", operation_id = "get_health", tag = "probes", security(()), responses(
    (status = 200, description = "It is, whatever its workers are.", body = Health),
))]
pub(super) fn alive() {}

/// Whether it is ready
#[utoipa::path(get, path = "/readyz", operation_id = "get_readiness", tag = "probes", security(()), responses(
    (status = 200, description = "It has its tables and a healthy worker.", body = Health),
    (status = 503, description = "It has not, or it drains; `reason` says which.", body = Health),
))]
pub(super) fn ready() {}

/// Its metrics
///
/// In the text format of Prometheus.
#[utoipa::path(get, path = "/metrics", operation_id = "get_metrics", tag = "probes", security(()), responses(
    (status = 200, description = "All metrics.", body = String, content_type = "text/plain"),
))]
pub(super) fn metrics() {}
