//! Activity of sessions and apps, which is written behind in batches.

use crate::session::StoredSession;

/// A batch of activity, written in one transaction. Callers split more than
/// [`ActivityBatch::LARGEST`] entries into several batches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ActivityBatch {
    /// Activity of sessions.
    pub sessions: Vec<SessionActivity>,
    /// Activity of apps.
    pub apps: Vec<AppActivity>,
}

impl ActivityBatch {
    /// The number of entries up to which a batch hardly delays commits of the app table. Larger
    /// batches are accepted, but delay other writers.
    pub const LARGEST: usize = 2_000;

    /// Returns whether the batch has no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty() && self.apps.is_empty()
    }
}

/// The activity of a session since it was last saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionActivity {
    /// The session as this process knows it. Stored unchanged if the store does not have it yet.
    pub session: StoredSession,
    /// Requests and bytes since the session was last saved. Added to the stored counts, because
    /// another process may count as well.
    pub added: Counts,
}

/// Counters of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests.
    pub requests: u64,
    /// Body bytes from the client.
    pub bytes_in: u64,
    /// Body bytes to the client.
    pub bytes_out: u64,
}

/// The last use of an app; times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppActivity {
    /// The name of the app.
    pub app: String,
    /// The time of the last data.
    pub active_ms: u64,
    /// The start of the idle period: the later of the last use and the last change of endpoints.
    pub idle_since_ms: u64,
    /// The `idle_since_ms` of the last idle period for which the idle webhook was sent; 0 if
    /// there was none.
    pub idle_notified_ms: u64,
}
