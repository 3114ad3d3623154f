//! The record of a session. Its counters take no lock that sessions share.

mod saved;

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use app_proxy_api::sessions::SessionView;
use app_proxy_hop::identity::{InlineId, RequestId};
use arc_swap::ArcSwapOption;
use http::HeaderValue;
use subtle::ConstantTimeEq;

use super::cookie::{MacText, SessionId};
use crate::clock::{now_ms, rfc3339};
use crate::pool::PoolWorker;

/// The record of a session, in a single allocation: with many sessions, each further memory access
/// of a request is a cache miss.
pub(crate) struct SessionRecord {
    id: SessionId,
    /// The MAC of the session value, verified when the record was created: later requests compare
    /// it and need no hashing.
    mac: MacText,
    app: Arc<str>,
    origin_request_id: InlineId,
    last_request_id: Mutex<InlineId>,
    client: Option<IpAddr>,
    user: Option<Arc<str>>,
    worker: ArcSwapOption<PoolWorker>,
    moves: AtomicU32,
    created_ms: u64,
    active_ms: AtomicU64,
    /// Time of the last [`SessionRecord::keep_alive_is_due`] that returned true.
    kept_alive_ms: AtomicU64,
    requests: AtomicU64,
    open_streams: AtomicU32,
    /// True once the session is deleted.
    deleted: AtomicBool,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    /// Open streams at other members.
    streams_elsewhere: AtomicU32,
    /// Last values written to the store. Written by the journal only.
    saved: Saved,
}

/// The values of a record that the store has.
#[derive(Default)]
struct Saved {
    active_ms: AtomicU64,
    requests: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    open_streams: AtomicU32,
}

impl SessionRecord {
    pub(crate) fn new(
        (id, mac): (SessionId, MacText),
        app: &Arc<str>,
        client: Option<IpAddr>,
        origin: &RequestId,
    ) -> Self {
        let now = now_ms();
        Self {
            id,
            mac,
            app: Arc::clone(app),
            last_request_id: Mutex::new(InlineId::new(origin)),
            origin_request_id: InlineId::new(origin),
            client,
            user: None,
            worker: ArcSwapOption::empty(),
            moves: AtomicU32::new(0),
            created_ms: now,
            active_ms: AtomicU64::new(now),
            kept_alive_ms: AtomicU64::new(now),
            requests: AtomicU64::new(0),
            open_streams: AtomicU32::new(0),
            deleted: AtomicBool::new(false),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            streams_elsewhere: AtomicU32::new(0),
            saved: Saved::default(),
        }
    }

    /// Sets the user that the session belongs to.
    #[must_use]
    pub(super) fn of_user(self, user: Option<Arc<str>>) -> Self {
        Self { user, ..self }
    }

    /// The identifier.
    #[must_use]
    pub(crate) fn id(&self) -> &SessionId {
        &self.id
    }

    /// Returns whether the record has this app, user and MAC. The MAC is compared in constant time.
    pub(super) fn matches(&self, app: &str, user: Option<&str>, mac: &MacText) -> bool {
        self.mac.ct_eq(mac).into() && *self.app == *app && self.user.as_deref() == user
    }

    /// The identifier as a header value.
    #[must_use]
    pub(crate) fn id_value(&self) -> HeaderValue {
        HeaderValue::from_str(self.id.as_str()).unwrap_or_else(|_| HeaderValue::from_static("-"))
    }

    /// The app.
    #[must_use]
    pub(crate) fn app(&self) -> &Arc<str> {
        &self.app
    }

    /// The request that created the session.
    #[must_use]
    pub(crate) fn origin_request_id(&self) -> RequestId {
        self.origin_request_id.get()
    }

    /// The worker that the session is pinned to.
    #[must_use]
    pub(crate) fn worker(&self) -> Option<Arc<PoolWorker>> {
        self.worker.load_full()
    }

    /// Calls `read` with the worker that the session is pinned to, without cloning it.
    pub(crate) fn with_worker<T>(&self, read: impl FnOnce(Option<&PoolWorker>) -> T) -> T {
        read(self.worker.load().as_deref())
    }

    /// Pins the session to a worker. Returns the previous worker if its identifier differs.
    pub(crate) fn pin(&self, worker: &Arc<PoolWorker>) -> Option<Arc<PoolWorker>> {
        if self
            .worker
            .load()
            .as_ref()
            .is_some_and(|pinned| Arc::ptr_eq(pinned, worker))
        {
            return None;
        }
        let before = self
            .worker
            .swap(Some(Arc::clone(worker)))
            .filter(|before| before.id != worker.id)?;
        self.moves.fetch_add(1, Ordering::Relaxed);
        Some(before)
    }

    pub(super) fn begin_request(&self, id: &RequestId) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.touch();
        *self
            .last_request_id
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = InlineId::new(id);
    }

    /// Counts bytes from the client and to it.
    pub(crate) fn count_bytes(&self, bytes_in: u64, bytes_out: u64) {
        self.bytes_in.fetch_add(bytes_in, Ordering::Relaxed);
        self.bytes_out.fetch_add(bytes_out, Ordering::Relaxed);
        self.touch();
    }

    /// Number of open streams, here and at other members.
    #[must_use]
    pub(crate) fn open_streams(&self) -> u32 {
        self.open_streams
            .load(Ordering::Relaxed)
            .saturating_add(self.streams_elsewhere.load(Ordering::Relaxed))
    }

    /// Time of the last data, in milliseconds since 1970.
    #[must_use]
    pub(crate) fn active_ms(&self) -> u64 {
        self.active_ms.load(Ordering::Relaxed)
    }

    /// Returns whether no data has flowed for `ttl` and no stream is open.
    pub(super) fn is_expired(&self, ttl: Duration) -> bool {
        self.idle_for() > ttl && self.open_streams() == 0
    }

    /// Marks the session as deleted: its open streams do not insert it into the table again.
    pub(super) fn mark_deleted(&self) {
        self.deleted.store(true, Ordering::Release);
    }

    /// Returns whether the session is deleted.
    #[must_use]
    pub(crate) fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::Acquire)
    }

    /// Returns the time since the last data.
    #[must_use]
    pub(crate) fn idle_for(&self) -> Duration {
        Duration::from_millis(now_ms().saturating_sub(self.active_ms.load(Ordering::Relaxed)))
    }

    pub(super) fn begin_stream(&self) {
        self.open_streams.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn end_stream(&self) {
        self.open_streams.fetch_sub(1, Ordering::Relaxed);
    }

    /// Returns true once per `interval`, while data flows.
    pub(super) fn keep_alive_is_due(&self, interval: Duration) -> bool {
        let now = self.active_ms.load(Ordering::Relaxed);
        let before = self.kept_alive_ms.load(Ordering::Relaxed);
        let due = u128::from(now.saturating_sub(before)) >= interval.as_millis();
        if due {
            self.kept_alive_ms.store(now, Ordering::Relaxed);
        }
        due
    }

    fn touch(&self) {
        self.active_ms.store(now_ms(), Ordering::Relaxed);
    }

    /// The session as the API returns it.
    #[must_use]
    pub(crate) fn view(&self) -> SessionView {
        SessionView {
            id: self.id.to_string(),
            app: self.app.as_ref().to_owned(),
            worker: self
                .worker
                .load()
                .as_ref()
                .map(|worker| worker.id.as_ref().to_owned()),
            moves: self.moves.load(Ordering::Relaxed),
            origin_request_id: self.origin_request_id.get().as_str().to_owned(),
            last_request_id: self
                .last_request_id
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get()
                .as_str()
                .to_owned(),
            client: self.client,
            user: self.user.as_deref().map(str::to_owned),
            created_at: rfc3339(self.created_ms),
            last_active_at: rfc3339(self.active_ms.load(Ordering::Relaxed)),
            requests: self.requests.load(Ordering::Relaxed),
            open_streams: self.open_streams(),
            bytes_in: self.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
        }
    }
}
