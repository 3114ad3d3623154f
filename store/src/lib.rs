//! What survives a restart: apps, workers, sessions, and webhooks that are still to be delivered.
//!
//! A store is asked at the start and told of changes; requests are served from memory and never
//! wait for it. What a call of the API changes is in the store before the call is answered.
//! Activity is written behind, in batches.
//!
//! Two processes use a store at once during a graceful upgrade. So a commit names the state that it
//! builds on, and is refused when another process was first; and a process asks, many times a
//! second, what others have changed.

use std::net::IpAddr;
use std::sync::Arc;

use app_proxy_api::table::{StoredApp, TableState};
use app_proxy_api::webhooks::WebhookEvent;
use app_proxy_api::workers::WorkerRegistration;
use async_trait::async_trait;

pub mod late;
pub mod memory;
pub mod sqlite;

#[cfg(test)]
mod conformance;

/// Keeps what survives a restart.
///
/// All methods may be called from any task at any time; a store orders them by itself. None of them
/// is called for a request.
///
/// A method that changes something does all of it or nothing, and what it has begun it carries out
/// even when its future is dropped. Who holds a copy in memory therefore changes store and copy in
/// a task of its own, which no caller's going away ends.
#[async_trait]
pub trait Store: Send + Sync {
    /// All that the store holds, at one moment; each list in the order of names or identifiers,
    /// webhooks oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn load(&self) -> Result<State, StoreError>;

    /// What another process has changed since `seen`; none, at next to no cost, when there is
    /// nothing.
    ///
    /// `seen` is the cursor of the contents or the news before, with the epoch and the revision of
    /// the app table that the caller holds by now: its own commits count as seen because it puts
    /// them there. (A commit that is not there comes back as news, as one of another process would,
    /// so that none is missed.) What this handle has changed besides apps is no news to it; where
    /// both have changed one session, the news is what they come to together. Sessions that were
    /// trimmed are no news.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn news(&self, seen: &Cursor) -> Result<Option<Delta>, StoreError>;

    /// Makes changes of the app table permanent: all of them, or none. The activity and the
    /// sessions of an app that is deleted are forgotten with it.
    ///
    /// # Errors
    /// [`StoreError::Behind`] when the table in the store is not the one that the changes build on.
    /// Any other [`StoreError`].
    async fn commit_apps(&self, commit: AppCommit) -> Result<(), StoreError>;

    /// Notes that requests are served here, from this table. The first such note of a process that
    /// is `alone` takes away what processes that were killed have left behind.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn note_serving(&self, _table: &Served, _alone: bool) -> Result<(), StoreError> {
        Ok(())
    }

    /// Notes that no requests are served here any more; [`Store::note_serving`] does nothing from
    /// then on.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn note_leaving(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Which tables other processes serve requests from, by what they have noted; none when no
    /// other process can have this store.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn served_elsewhere(&self) -> Result<Option<Vec<Served>>, StoreError> {
        Ok(None)
    }

    /// Remembers a worker, in the place of what is known under its identifier.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn save_worker(&self, worker: StoredWorker) -> Result<(), StoreError>;

    /// Forgets a worker. One that is not there is no error.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn remove_worker(&self, id: &str) -> Result<(), StoreError>;

    /// Writes activity of sessions and apps behind. A session that was deleted, by this process or
    /// another, is not brought back, and neither are the activity and the sessions of an app whose
    /// deletion the store remembers.
    ///
    /// Of a session that is there already, counts grow by `more`, `active_ms` is the later one, and
    /// `worker`, `moves` and `last_request_id` are those of whoever was active later (of the
    /// caller, when it was at the same time); `draining_streams` is what the caller says, and the
    /// rest stays. Of an app both times are the later ones.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is written then, and the batch may be given again.
    async fn save_activity(&self, batch: &ActivityBatch) -> Result<(), StoreError>;

    /// Deletes sessions for good: their identifiers are remembered, so that no process brings them
    /// back.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn delete_sessions(&self, ids: &[String], at_ms: u64) -> Result<(), StoreError>;

    /// Forgets sessions that were active last, and deletions of sessions that were made, earlier
    /// than `before_ms`; and of the sessions that are left all but the `most` that were active
    /// last. Says how many sessions that were. It goes piece by piece, so that others write in
    /// between; when it fails, some of it may be done.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn trim_sessions(&self, before_ms: u64, most: u64) -> Result<u64, StoreError>;

    /// Remembers a webhook until it is delivered. One that is there already (by its event's
    /// identifier) stays as it is. Webhooks are no news: whoever has made one delivers it, or
    /// whoever loads it.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn save_webhook(&self, webhook: StoredWebhook) -> Result<(), StoreError>;

    /// Webhooks that are still to be delivered, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn webhooks(&self) -> Result<Vec<StoredWebhook>, StoreError>;

    /// Forgets a webhook that was delivered or given up.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn remove_webhook(&self, event_id: &str) -> Result<(), StoreError>;
}

/// What a store holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// The app table.
    pub apps: TableState,
    /// Workers.
    pub workers: Vec<StoredWorker>,
    /// Sessions.
    pub sessions: Vec<StoredSession>,
    /// Sessions that were deleted, and when, in milliseconds since 1970.
    pub deleted_sessions: Vec<(String, u64)>,
    /// When apps were used last.
    pub activity: Vec<AppActivity>,
    /// Webhooks that are still to be delivered, oldest first.
    pub webhooks: Vec<StoredWebhook>,
    /// How far this has come.
    pub cursor: Cursor,
}

/// How far a process has followed a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// The epoch of the app table.
    pub epoch: String,
    /// The revision of the app table.
    pub revision: u64,
    /// Changes of workers, deletions of sessions and activity that were seen; counted by the store,
    /// and of meaning to it alone.
    pub sequence: u64,
}

/// What others have changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delta {
    /// The app table, when it has changed: all that changed after the cursor's revision, or
    /// everything when `complete`.
    pub apps: Option<AppDelta>,
    /// All workers, when one of them has changed.
    pub workers: Option<Vec<StoredWorker>>,
    /// Sessions that were deleted, and when.
    pub deleted_sessions: Vec<(String, u64)>,
    /// Sessions that were active elsewhere.
    pub sessions: Vec<StoredSession>,
    /// Apps that were used elsewhere.
    pub activity: Vec<AppActivity>,
    /// How far this has come.
    pub cursor: Cursor,
}

/// Changes of the app table by another process.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AppDelta {
    /// The table's epoch, revision and horizon, the apps that have changed, and those that are
    /// gone.
    pub state: TableState,
    /// Whether `state` is the whole table.
    pub complete: bool,
}

/// Changes of the app table that belong together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AppCommit {
    /// The epoch and the revision of the table that the changes build on; empty and 0 when there
    /// has been none.
    pub base: (String, u64),
    /// The epoch after the changes; another one than before makes `changes` the whole table,
    /// remembered deletions included.
    pub epoch: String,
    /// The revision after the changes.
    pub revision: u64,
    /// Deletions up to this revision may be forgotten; within an epoch it never goes back.
    pub horizon: u64,
    /// The changes, by revision.
    pub changes: Vec<AppChange>,
}

/// One change of the app table.
#[derive(Clone, Debug, PartialEq)]
pub enum AppChange {
    /// An app is new, or in the place of the one of its name.
    Put(Arc<StoredApp>),
    /// An app is gone.
    Delete {
        /// Its name.
        name: String,
        /// Since when.
        revision: u64,
    },
}

/// A worker as a store keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredWorker {
    /// Its identifier.
    pub id: String,
    /// What it has said of itself; none of a worker that only the file knows.
    pub registration: Option<WorkerRegistration>,
    /// How it is drained, if it is.
    pub drain: Option<StoredDrain>,
}

/// A drain that an operator has asked for; times are milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredDrain {
    /// Since when.
    pub since_ms: u64,
    /// When what is left is closed.
    pub deadline_ms: u64,
}

/// A session as a store keeps it; times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSession {
    /// Its identifier, 22 characters.
    pub id: String,
    /// The MAC that its client shows, 22 characters.
    pub mac: String,
    /// The app.
    pub app: String,
    /// The worker that it is pinned to.
    pub worker: Option<String>,
    /// How often it has moved.
    pub moves: u32,
    /// The request that created it.
    pub origin_request_id: String,
    /// Its last request.
    pub last_request_id: String,
    /// Where it came from first.
    pub client: Option<IpAddr>,
    /// When it was created.
    pub created_ms: u64,
    /// When data flowed last.
    pub active_ms: u64,
    /// Requests so far.
    pub requests: u64,
    /// Body bytes from the client.
    pub bytes_in: u64,
    /// Body bytes to the client.
    pub bytes_out: u64,
    /// Streams that are open in a process that has handed over and ends; of one that serves always
    /// 0.
    pub draining_streams: u32,
}

/// A state of the app table that requests are served from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// What the revision counts in.
    pub epoch: String,
    /// Up to which change.
    pub revision: u64,
}

/// What has happened in a session since it was saved last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionActivity {
    /// The session as this process knows it; what the store has after this call, when it does not
    /// have the session yet.
    pub session: StoredSession,
    /// Requests and bytes since the last time, to be added to what the store has: another process
    /// may count too.
    pub more: Counts,
}

/// What is counted of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests.
    pub requests: u64,
    /// Body bytes from the client.
    pub bytes_in: u64,
    /// Body bytes to the client.
    pub bytes_out: u64,
}

/// When an app was used last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppActivity {
    /// The app.
    pub app: String,
    /// When data flowed last, in milliseconds since 1970.
    pub active_ms: u64,
    /// Since when it counts as quiet: its last use, or the last change of its endpoints, whichever
    /// was later; in milliseconds since 1970.
    pub quiet_since_ms: u64,
    /// The last of its quiet times (`quiet_since_ms`) that its scheduler was told of; 0 when there
    /// was none.
    pub idle_told_ms: u64,
}

/// A batch of activity. It is written whole or not at all, so who has more than
/// [`ActivityBatch::LARGEST`] makes several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ActivityBatch {
    /// Sessions.
    pub sessions: Vec<SessionActivity>,
    /// Apps.
    pub apps: Vec<AppActivity>,
}

impl ActivityBatch {
    /// Sessions and apps in one batch for which a commit of the app table hardly waits; a larger
    /// one works, but keeps others waiting.
    pub const LARGEST: usize = 2_000;

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty() && self.apps.is_empty()
    }
}

/// A webhook that is to be delivered.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredWebhook {
    /// Where to.
    pub url: String,
    /// What it says.
    pub event: WebhookEvent,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
}

/// Why a store cannot do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no room left, or no permission to take more.
    #[error("the store is full: {0}")]
    Full(String),
    /// Another process holds the store for too long.
    #[error("the store is locked: {0}")]
    Locked(String),
    /// Its file cannot be read or written.
    #[error("the store cannot be used: {0}")]
    Unusable(String),
    /// What is in the file is no store of ours, or is damaged. It is left as it is.
    #[error("{file} is damaged or is no store: {cause}")]
    Corrupt {
        /// The file.
        file: String,
        /// What is wrong with it.
        cause: String,
    },
    /// A later version of the program has written it.
    #[error("{file} has schema version {found}, this program knows versions up to {known}")]
    Newer {
        /// The file.
        file: String,
        /// The version in the file.
        found: i64,
        /// The latest version that is known here.
        known: i64,
    },
    /// Another process has changed the app table.
    #[error("another process has changed the app table")]
    Behind,
}

impl StoreError {
    /// The stable code that a caller of the API reads.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Full(_) => "store_full",
            Self::Locked(_) | Self::Behind => "store_locked",
            Self::Unusable(_) | Self::Corrupt { .. } | Self::Newer { .. } => "store_unavailable",
        }
    }
}
