//! Sessions as the API returns them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A session: one client's use of one app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SessionView {
    /// The session's identifier.
    pub id: String,
    /// The name of the app.
    pub app: String,
    /// The worker that the session is pinned to.
    pub worker: Option<String>,
    /// The number of times the session moved to another worker.
    pub moves: u32,
    /// The identifier of the request that created the session.
    pub origin_request_id: String,
    /// The identifier of the last request.
    pub last_request_id: String,
    /// The client's address at the first request.
    #[schema(value_type = Option<String>)]
    pub client: Option<IpAddr>,
    /// The user that the session belongs to, if an access policy has established one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The time of creation, RFC 3339.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// The last time that data was transferred, RFC 3339.
    #[schema(format = DateTime)]
    pub last_active_at: String,
    /// The number of requests.
    pub requests: u64,
    /// The number of open streams.
    pub open_streams: u32,
    /// Body bytes from the client.
    pub bytes_in: u64,
    /// Body bytes to the client.
    pub bytes_out: u64,
}
