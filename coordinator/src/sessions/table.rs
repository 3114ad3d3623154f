//! The in-memory table of sessions: bounded, with expiry.
//!
//! Clients that never return the cookie create a session with each request. So that they cannot
//! displace others, sessions that were used once are evicted first, and get a quarter of a full
//! table.
//!
//! A lookup writes only one mark next to the entry. A table in order of use would touch a dozen
//! memory locations per request, all of them cold if there are many sessions.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::background::BackgroundService;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, UnitWeighter};

use super::cookie::SessionId;
use super::record::SessionRecord;

/// The share of the table for sessions that were used more than once.
const RETURNED: f64 = 0.75;
/// Approximate number of sessions that share one lock.
const SESSIONS_PER_LOCK: u64 = 2048;
/// Initial capacity for deleted sessions.
const INITIAL_DELETED: usize = 256;
/// Longest interval between sweeps of expired sessions.
const SWEEP: Duration = Duration::from_secs(60);

/// The table of sessions. Clones share it.
#[derive(Clone)]
pub(crate) struct SessionTable {
    sessions: Arc<Cache<SessionId, Arc<SessionRecord>>>,
    /// Deleted sessions with the time of deletion: their values are no longer accepted. Read only
    /// if a session is not in the table.
    deleted: Arc<Cache<SessionId, Instant>>,
    ttl: Duration,
}

impl SessionTable {
    /// Creates a table of at most `max` sessions, which expire after `ttl` without use.
    #[must_use]
    pub(crate) fn new(max: u64, ttl: Duration) -> Self {
        let locks = usize::try_from(max / SESSIONS_PER_LOCK)
            .unwrap_or(usize::MAX)
            .clamp(1, 256);
        let items = usize::try_from(max).unwrap_or(usize::MAX);
        let options = OptionsBuilder::new()
            .estimated_items_capacity(items)
            .weight_capacity(max)
            .hot_allocation(RETURNED)
            .shards(locks)
            .build();
        let hasher = DefaultHashBuilder::default();
        let sessions = match options {
            Ok(options) => {
                Cache::with_options(options, UnitWeighter, hasher, DefaultLifecycle::default())
            }
            // The only error is a missing capacity, and both are set.
            Err(_) => Cache::with(
                items,
                max,
                UnitWeighter,
                hasher,
                DefaultLifecycle::default(),
            ),
        };
        let deleted = Arc::new(Cache::with_weighter(
            INITIAL_DELETED.min(items),
            max,
            UnitWeighter,
        ));
        Self {
            sessions: Arc::new(sessions),
            deleted,
            ttl,
        }
    }

    /// Inserts a new session.
    pub(crate) fn insert(&self, id: &SessionId, record: Arc<SessionRecord>) -> Arc<SessionRecord> {
        self.sessions.insert(*id, Arc::clone(&record));
        record
    }

    /// Finds a session for a request. Counts as a use of the session.
    pub(crate) fn find(&self, id: &SessionId) -> Option<Arc<SessionRecord>> {
        self.sessions
            .get(id)
            .filter(|record| !record.is_expired(self.ttl))
    }

    /// Finds a session for a request, or creates its record, unless the session is deleted.
    /// Concurrent requests get the same record. Counts as a use of the session.
    pub(crate) fn find_or_insert(
        &self,
        id: &SessionId,
        create: impl FnOnce() -> Arc<SessionRecord>,
    ) -> Option<Arc<SessionRecord>> {
        if self.was_deleted(id) {
            return None;
        }
        self.sessions
            .remove_if(id, |record| record.is_expired(self.ttl));
        let record = match self
            .sessions
            .get_or_insert_with(id, || Ok::<_, Infallible>(create()))
        {
            Ok(record) => record,
            Err(never) => match never {},
        };
        // It may have been deleted since the first check.
        if self.was_deleted(id) {
            self.sessions.remove(id);
            return None;
        }
        Some(record)
    }

    /// Keeps the session of an open stream in the table, or inserts it again, unless it is deleted.
    pub(crate) fn keep_alive(&self, record: &Arc<SessionRecord>) {
        if !record.is_deleted() {
            self.find_or_insert(record.id(), || Arc::clone(record));
        }
    }

    /// Deletes a session. Its value is not accepted for the TTL of sessions. The caller closes its
    /// open streams.
    pub(crate) fn delete(&self, id: &SessionId) -> Option<Arc<SessionRecord>> {
        self.get(id)?;
        // First, so that no request that misses the session creates it again.
        self.deleted.insert(*id, Instant::now());
        let (_, record) = self.sessions.remove(id)?;
        record.mark_deleted();
        Some(record)
    }

    /// Deletes all sessions of deleted apps. Returns their number. Visits every session.
    pub(crate) fn delete_of_apps(&self, apps: &HashSet<&str>) -> usize {
        let deleted = AtomicUsize::new(0);
        self.sessions.retain(|_, record| {
            let stays = !apps.contains(&**record.app());
            if !stays {
                record.mark_deleted();
                deleted.fetch_add(1, Ordering::Relaxed);
            }
            stays
        });
        deleted.into_inner()
    }

    fn was_deleted(&self, id: &SessionId) -> bool {
        self.deleted
            .peek(id)
            .is_some_and(|at| at.elapsed() <= self.ttl)
    }

    /// The interval of [`SessionTable::keep_alive`] while data flows in a stream, well below the
    /// TTL.
    #[must_use]
    pub(crate) fn keep_alive_interval(&self) -> Duration {
        (self.ttl / 4).min(Duration::from_secs(60))
    }

    /// Returns a session. Does not count as a use of the session.
    #[must_use]
    pub(crate) fn get(&self, id: &SessionId) -> Option<Arc<SessionRecord>> {
        self.sessions
            .peek(id)
            .filter(|record| !record.is_expired(self.ttl))
    }

    /// The time after which an unused session expires.
    #[must_use]
    pub(crate) fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Iterates over all sessions, expired ones included, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Arc<SessionRecord>> {
        self.sessions.iter().map(|(_, record)| record)
    }

    /// Inserts a stored session, unless it is present or deleted.
    pub(crate) fn restore(&self, record: Arc<SessionRecord>) {
        let id = *record.id();
        self.find_or_insert(&id, || record);
    }

    /// Applies the deletion of a session by another process, now or before this process started.
    pub(crate) fn apply_deletion(&self, id: &SessionId) -> Option<Arc<SessionRecord>> {
        self.deleted.insert(*id, Instant::now());
        let (_, record) = self.sessions.remove(id)?;
        record.mark_deleted();
        Some(record)
    }

    /// Iterates over the sessions that have not expired, in no order.
    pub(crate) fn live(&self) -> impl Iterator<Item = Arc<SessionRecord>> {
        self.iter().filter(|record| !record.is_expired(self.ttl))
    }

    /// Counts the sessions of each worker that `wanted` selects. Visits every session.
    #[must_use]
    pub(crate) fn count_by_worker(&self, wanted: impl Fn(&str) -> bool) -> HashMap<Arc<str>, u64> {
        let mut counts = HashMap::new();
        for record in self.live() {
            record.with_worker(|worker| {
                if let Some(worker) = worker.filter(|worker| wanted(&worker.id)) {
                    *counts.entry(Arc::clone(&worker.id)).or_default() += 1;
                }
            });
        }
        counts
    }

    /// Returns the first `limit` sessions after `cursor`, by identifier, that `wanted` selects, and
    /// whether there are more. Visits every session, but holds at most `limit` + 1.
    #[must_use]
    pub(crate) fn page(
        &self,
        cursor: Option<&str>,
        limit: usize,
        wanted: impl Fn(&SessionRecord) -> bool,
    ) -> (Vec<Arc<SessionRecord>>, bool) {
        let mut first = BTreeMap::new();
        let mut more = false;
        for record in self.live() {
            let id = *record.id();
            let is_beyond =
                first.len() >= limit && first.last_key_value().is_some_and(|(last, _)| id > *last);
            if cursor.is_some_and(|cursor| id.as_str() <= cursor)
                || (more && is_beyond)
                || !wanted(&record)
            {
                continue;
            }
            first.insert(id, record);
            if first.len() > limit {
                more = true;
                first.pop_last();
            }
        }
        (first.into_values().collect(), more)
    }

    fn sweep(&self) {
        self.sessions
            .retain(|_, record| !record.is_expired(self.ttl));
        self.deleted.retain(|_, at| at.elapsed() <= self.ttl);
    }
}

/// Frees the memory of expired sessions. Lookups ignore them without it.
#[async_trait]
impl BackgroundService for SessionTable {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let mut due = tokio::time::interval((self.ttl / 4).clamp(Duration::from_secs(1), SWEEP));
        loop {
            tokio::select! {
                _ = shutdown.changed() => return,
                _ = due.tick() => self.sweep(),
            }
        }
    }
}

#[cfg(test)]
mod tests;
