//! The contents of a store, and the changes that another process made to them.

use app_proxy_api::table::{Epoch, TableState};
use app_proxy_api::webhooks::WebhookEvent;
use app_proxy_api::workers::WorkerRegistration;

use crate::activity::AppActivity;
use crate::session::StoredSession;

/// The contents of a store at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// The app table.
    pub apps: TableState,
    /// Workers.
    pub workers: Vec<StoredWorker>,
    /// Sessions.
    pub sessions: Vec<StoredSession>,
    /// Tombstones of sessions: identifier and time of deletion, in milliseconds since 1970.
    pub deleted_sessions: Vec<(String, u64)>,
    /// The last use of each app.
    pub activity: Vec<AppActivity>,
    /// Webhooks that wait for delivery, oldest first.
    pub webhooks: Vec<StoredWebhook>,
    /// The position of this state in the history of the store.
    pub cursor: Cursor,
}

/// A position in the history of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// The epoch of the app table.
    pub epoch: Epoch,
    /// The revision of the app table.
    pub revision: u64,
    /// The number of the last change of workers, session tombstones and activity. Counted by the
    /// store; opaque to callers.
    pub sequence: u64,
}

/// The changes that other processes made since a [`Cursor`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delta {
    /// Changes of the app table, if it has changed.
    pub apps: Option<AppDelta>,
    /// All workers, if one of them has changed.
    pub workers: Option<Vec<StoredWorker>>,
    /// New tombstones of sessions: identifier and time of deletion, in milliseconds since 1970.
    pub deleted_sessions: Vec<(String, u64)>,
    /// Sessions with activity in other processes.
    pub sessions: Vec<StoredSession>,
    /// Apps used by other processes.
    pub activity: Vec<AppActivity>,
    /// The position up to which changes are included.
    pub cursor: Cursor,
}

/// Changes of the app table that another process committed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AppDelta {
    /// Epoch, revision and horizon of the table, its changed apps and its new tombstones.
    pub state: TableState,
    /// True if `state` is the whole table, false if it has the changes only.
    pub complete: bool,
}

/// A state of the app table from which a process serves requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServedTable {
    /// The epoch of the table.
    pub epoch: Epoch,
    /// The revision of the table.
    pub revision: u64,
}

/// A worker in a store.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredWorker {
    /// The identifier.
    pub id: String,
    /// The last registration; `None` for a worker that only the configuration file names.
    pub registration: Option<WorkerRegistration>,
    /// The drain that is in progress, if any.
    pub drain: Option<StoredDrain>,
}

/// A drain that an operator requested; times are milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredDrain {
    /// The start.
    pub since_ms: u64,
    /// The time when the remaining streams are closed.
    pub deadline_ms: u64,
}

/// A webhook that waits for delivery.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredWebhook {
    /// The target URL.
    pub url: String,
    /// The event.
    pub event: WebhookEvent,
    /// The time of creation, in milliseconds since 1970.
    pub created_ms: u64,
}
