//! Sessions as a store keeps them.

use std::net::IpAddr;

/// A session in a store; times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSession {
    /// The identifier, 22 characters.
    pub id: String,
    /// The MAC that the client presents, 22 characters.
    pub mac: String,
    /// The name of the app.
    pub app: String,
    /// The worker that the session is pinned to.
    pub worker: Option<String>,
    /// The number of moves to another worker.
    pub moves: u32,
    /// The identifier of the request that created the session.
    pub origin_request_id: String,
    /// The identifier of the last request.
    pub last_request_id: String,
    /// The address of the client that created the session.
    pub client: Option<IpAddr>,
    /// The time of creation.
    pub created_ms: u64,
    /// The time of the last data.
    pub active_ms: u64,
    /// The number of requests.
    pub requests: u64,
    /// Body bytes from the client.
    pub bytes_in: u64,
    /// Body bytes to the client.
    pub bytes_out: u64,
    /// Open streams of other members. Not saved with the session.
    pub streams_elsewhere: u32,
    /// The authenticated user of the request that created the session.
    pub user: Option<String>,
}
