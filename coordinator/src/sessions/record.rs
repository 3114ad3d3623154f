//! What is remembered of a session. Counting in it takes no lock that other sessions share.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use app_proxy_api::sessions::SessionView;
use app_proxy_hop::identity::{KeptId, RequestId};
use app_proxy_hop::streams::{CloseReason, StreamHandle};
use app_proxy_hop::websocket::TunnelObserver;
use app_proxy_hop::websocket::observer::Direction;
use arc_swap::ArcSwapOption;
use http::HeaderValue;
use subtle::ConstantTimeEq;

use super::cookie::{MacText, SessionId};
use super::table::SessionTable;
use crate::clock::{now_ms, rfc3339};
use crate::pool::PoolWorker;

/// A session's record, all in one place: where there are many, each further place that a request
/// looks at is a miss.
pub(crate) struct SessionRecord {
    id: SessionId,
    /// The MAC that its client shows, verified when the record was made: a request that shows the
    /// same needs no hashing.
    mac: MacText,
    app: Arc<str>,
    origin_request_id: KeptId,
    last_request_id: Mutex<KeptId>,
    client: Option<IpAddr>,
    worker: ArcSwapOption<PoolWorker>,
    moves: AtomicU32,
    created_ms: u64,
    active_ms: AtomicU64,
    kept_ms: AtomicU64,
    requests: AtomicU64,
    open_streams: AtomicU32,
    /// Whether it is out of the table for good.
    deleted: AtomicBool,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    /// Streams that are open in a process that has handed over to this one.
    elsewhere: AtomicU32,
    /// What the store has of it; the journal alone writes here.
    saved: Saved,
}

/// What a store has of a record.
#[derive(Default)]
struct Saved {
    active_ms: AtomicU64,
    requests: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    draining_streams: AtomicU32,
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
            last_request_id: Mutex::new(KeptId::new(origin)),
            origin_request_id: KeptId::new(origin),
            client,
            worker: ArcSwapOption::empty(),
            moves: AtomicU32::new(0),
            created_ms: now,
            active_ms: AtomicU64::new(now),
            kept_ms: AtomicU64::new(now),
            requests: AtomicU64::new(0),
            open_streams: AtomicU32::new(0),
            deleted: AtomicBool::new(false),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            elsewhere: AtomicU32::new(0),
            saved: Saved::default(),
        }
    }

    /// Its identifier.
    #[must_use]
    pub(crate) fn id(&self) -> &SessionId {
        &self.id
    }

    /// Whether it is a session of `app` whose client shows `mac`; takes as long whichever byte
    /// differs.
    pub(super) fn is_shown_by(&self, app: &str, mac: &MacText) -> bool {
        self.mac.ct_eq(mac).into() && *self.app == *app
    }

    /// Its identifier as a header value.
    #[must_use]
    pub(crate) fn id_value(&self) -> HeaderValue {
        HeaderValue::from_str(self.id.as_str()).unwrap_or_else(|_| HeaderValue::from_static("-"))
    }

    /// The app.
    #[must_use]
    pub(crate) fn app(&self) -> &Arc<str> {
        &self.app
    }

    /// The request that created it.
    #[must_use]
    pub(crate) fn origin_request_id(&self) -> RequestId {
        self.origin_request_id.get()
    }

    /// The worker that it is pinned to.
    #[must_use]
    pub(crate) fn worker(&self) -> Option<Arc<PoolWorker>> {
        self.worker.load_full()
    }

    /// Shows the worker that it is pinned to, at the cost of a look.
    pub(crate) fn with_worker<T>(&self, show: impl FnOnce(Option<&PoolWorker>) -> T) -> T {
        show(self.worker.load().as_deref())
    }

    /// Pins it to a worker; says which one it had, if it was another. A worker that has registered
    /// anew is no other.
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
            .unwrap_or_else(PoisonError::into_inner) = KeptId::new(id);
    }

    /// Counts data that flowed: so many bytes from the client and to it.
    pub(crate) fn data(&self, bytes_in: u64, bytes_out: u64) {
        self.bytes_in.fetch_add(bytes_in, Ordering::Relaxed);
        self.bytes_out.fetch_add(bytes_out, Ordering::Relaxed);
        self.touch();
    }

    /// Streams that are open, in this process and in one that has handed over to it.
    #[must_use]
    pub(crate) fn open_streams(&self) -> u32 {
        self.open_streams
            .load(Ordering::Relaxed)
            .saturating_add(self.elsewhere.load(Ordering::Relaxed))
    }

    /// When data flowed last, in milliseconds since 1970.
    #[must_use]
    pub(crate) fn active_ms(&self) -> u64 {
        self.active_ms.load(Ordering::Relaxed)
    }

    /// Whether nothing has flowed for `ttl` and no stream is open.
    pub(super) fn is_expired(&self, ttl: Duration) -> bool {
        self.idle_for() > ttl && self.open_streams() == 0
    }

    /// Says that it is out of the table for good: what of it still runs does not bring it back.
    pub(super) fn delete(&self) {
        self.deleted.store(true, Ordering::Release);
    }

    /// Whether it is out of the table for good.
    #[must_use]
    pub(crate) fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::Acquire)
    }

    /// How long nothing has flowed.
    #[must_use]
    pub(crate) fn idle_for(&self) -> Duration {
        Duration::from_millis(now_ms().saturating_sub(self.active_ms.load(Ordering::Relaxed)))
    }

    fn touch(&self) {
        self.active_ms.store(now_ms(), Ordering::Relaxed);
    }

    /// What the API shows.
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
            created_at: rfc3339(self.created_ms),
            last_active_at: rfc3339(self.active_ms.load(Ordering::Relaxed)),
            requests: self.requests.load(Ordering::Relaxed),
            open_streams: self.open_streams(),
            bytes_in: self.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
        }
    }
}

mod saved;

/// An open stream of a session, or a long download: counts it, and keeps the session from expiring
/// while data flows.
pub(crate) struct OpenStream {
    record: Arc<SessionRecord>,
    table: SessionTable,
}

impl OpenStream {
    /// Counts one more open stream, until this is dropped. It has registered as `opened`, and is
    /// closed at once when the session was deleted before that.
    #[must_use]
    pub(crate) fn new(
        record: &Arc<SessionRecord>,
        table: &SessionTable,
        opened: &StreamHandle,
    ) -> Self {
        record.open_streams.fetch_add(1, Ordering::Relaxed);
        if record.is_deleted() {
            opened.close(CloseReason::SessionDeleted);
        }
        Self {
            record: Arc::clone(record),
            table: table.clone(),
        }
    }

    /// Counts data that flowed in the stream.
    pub(crate) fn data(&self, bytes_in: u64, bytes_out: u64) {
        self.record.data(bytes_in, bytes_out);
        let now = self.record.active_ms.load(Ordering::Relaxed);
        let kept = self.record.kept_ms.load(Ordering::Relaxed);
        if u128::from(now.saturating_sub(kept)) >= self.table.keep_every().as_millis() {
            self.record.kept_ms.store(now, Ordering::Relaxed);
            self.table.keep(&self.record);
        }
    }
}

impl TunnelObserver for OpenStream {
    fn data(&mut self, from: Direction, bytes: u64) {
        match from {
            Direction::FromClient => Self::data(self, bytes, 0),
            Direction::FromServer => Self::data(self, 0, bytes),
        }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.record.open_streams.fetch_sub(1, Ordering::Relaxed);
    }
}
