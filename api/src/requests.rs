//! The trace of one request: the response of `GET /api/v1/requests/{request_id}`.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// The access-log events of one request at a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RequestEvents {
    /// The requested identifier.
    pub request_id: String,
    /// The access-log events with this identifier as `request_id`, or as `client_request_id` if
    /// the request was given another identifier. Oldest first; empty when the worker has none.
    #[schema(value_type = Vec<Object>)]
    pub events: Vec<Value>,
}

/// The access-log events of one request at both tiers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RequestTrace {
    /// The requested identifier.
    pub request_id: String,
    /// The access-log events of both tiers, ordered by `ts`.
    #[schema(value_type = Vec<Object>)]
    pub events: Vec<Value>,
    /// The workers that responded.
    pub workers_asked: Vec<String>,
    /// The workers that could not be queried. Their events are missing in `events`.
    pub workers_failed: Vec<WorkerFailure>,
}

/// A worker that could not be queried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkerFailure {
    /// The worker's identifier.
    pub worker: String,
    /// The cause.
    pub error: String,
}
