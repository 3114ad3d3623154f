//! A session as the API shows it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One client's use of one app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SessionView {
    /// The session's identifier.
    pub id: String,
    /// The app.
    pub app: String,
    /// The worker that it is pinned to.
    pub worker: Option<String>,
    /// How often it has moved to another worker.
    pub moves: u32,
    /// The request that created it.
    pub origin_request_id: String,
    /// Its last request.
    pub last_request_id: String,
    /// Where it came from first.
    #[schema(value_type = Option<String>)]
    pub client: Option<IpAddr>,
    /// When it was created, RFC 3339.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// When data flowed last, RFC 3339.
    #[schema(format = DateTime)]
    pub last_active_at: String,
    /// Requests so far.
    pub requests: u64,
    /// Streams that are open.
    pub open_streams: u32,
    /// Body bytes from the client.
    pub bytes_in: u64,
    /// Body bytes to the client.
    pub bytes_out: u64,
}
