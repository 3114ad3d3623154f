//! What is known of one request: the answers of `GET /api/v1/requests/{request_id}`.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// What a worker knows of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RequestEvents {
    /// The identifier that was asked for.
    pub request_id: String,
    /// The lines of the access log that it is in, the oldest first: under `request_id`, or under
    /// `client_request_id` where the request was given another identifier. Empty when the worker
    /// does not know it, or not any more.
    #[schema(value_type = Vec<Object>)]
    pub events: Vec<Value>,
}

/// What both tiers know of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RequestTrace {
    /// The identifier that was asked for.
    pub request_id: String,
    /// The lines of the access logs of both tiers that it is in, in the order of their `ts`.
    #[schema(value_type = Vec<Object>)]
    pub events: Vec<Value>,
    /// The workers that have answered.
    pub workers_asked: Vec<String>,
    /// The workers that could not be asked: what they know is missing in `events`.
    pub workers_failed: Vec<WorkerFailure>,
}

/// A worker that could not be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkerFailure {
    /// Its name.
    pub worker: String,
    /// Why not.
    pub error: String,
}
