//! The descriptions of the probes, which both tiers serve (`runtime::admin`).

// Only the descriptions are used.
#![allow(dead_code)]

use serde::Serialize;
use utoipa::ToSchema;

/// The health of the coordinator.
#[derive(Serialize, ToSchema)]
pub(super) struct Health {
    /// The state: `alive`, `ready` or `not ready`.
    #[schema(example = "ready")]
    status: String,
    /// The cause, if it is not ready.
    #[schema(nullable = false, example = "no worker is healthy")]
    reason: Option<String>,
}

/// Liveness probe
#[utoipa::path(get, path = "/healthz", operation_id = "get_health", tag = "probes", security(()),
    responses(
        (status = 200, description = "The process runs, with or without healthy workers.",
            body = Health),
    ),
)]
pub(super) fn alive() {}

/// Readiness probe
#[utoipa::path(get, path = "/readyz", operation_id = "get_readiness", tag = "probes", security(()),
    responses(
        (status = 200, description = "The state is loaded and a worker is healthy.",
            body = Health),
        (status = 503, description = "Not ready, or draining; `reason` has the cause.",
            body = Health),
    ),
)]
pub(super) fn ready() {}

/// Get metrics
///
/// Returns metrics in the text format of Prometheus.
#[utoipa::path(get, path = "/metrics", operation_id = "get_metrics", tag = "probes", security(()),
    responses(
        (status = 200, description = "All metrics.", body = String, content_type = "text/plain"),
    ),
)]
pub(super) fn metrics() {}
