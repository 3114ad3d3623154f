//! The sessions of this coordinator, in memory: bounded and expiring.
//!
//! Clients that never return the cookie make a new session with each request. So that they cannot
//! push others out, sessions that have been seen once are the first to go, and have a quarter of
//! the room when there is none left.
//!
//! Finding a session writes nothing but a mark beside it: a table that kept its sessions in the
//! order of their use would touch a dozen places in memory for each request, all cold where there
//! are many sessions.

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

/// The part of the room that sessions have which were used again.
const RETURNED: f64 = 0.75;
/// As many sessions as share one lock, about.
const SESSIONS_PER_LOCK: u64 = 2048;
/// Room that is made for deleted sessions before there are any.
const DELETED_AT_FIRST: usize = 256;
/// How often expired sessions are let go of, at most.
const SWEEP: Duration = Duration::from_secs(60);

/// The table; clones share it.
#[derive(Clone)]
pub(crate) struct SessionTable {
    sessions: Arc<Cache<SessionId, Arc<SessionRecord>>>,
    /// Sessions that were deleted, and when: a client that still shows one gets another. Asked only
    /// for a session that is not there.
    deleted: Arc<Cache<SessionId, Instant>>,
    ttl: Duration,
}

impl SessionTable {
    /// A table of at most `max` sessions, which forgets one that was unused for `ttl`.
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
            // Only missing capacities are an error, and both are there.
            Err(_) => Cache::with(
                items,
                max,
                UnitWeighter,
                hasher,
                DefaultLifecycle::default(),
            ),
        };
        let deleted = Arc::new(Cache::with_weighter(
            DELETED_AT_FIRST.min(items),
            max,
            UnitWeighter,
        ));
        Self {
            sessions: Arc::new(sessions),
            deleted,
            ttl,
        }
    }

    /// Takes in a session that is new.
    pub(crate) fn admit(&self, id: &SessionId, record: Arc<SessionRecord>) -> Arc<SessionRecord> {
        self.sessions.insert(*id, Arc::clone(&record));
        record
    }

    /// The session of a client that has come back, if it is here.
    pub(crate) fn returned(&self, id: &SessionId) -> Option<Arc<SessionRecord>> {
        self.sessions
            .get(id)
            .filter(|record| !record.is_expired(self.ttl))
    }

    /// The session of a client that has come back; one that is not here any more is made anew,
    /// unless it was deleted. Two requests that come back at once find one record.
    pub(crate) fn recall(
        &self,
        id: &SessionId,
        make: impl FnOnce() -> Arc<SessionRecord>,
    ) -> Option<Arc<SessionRecord>> {
        if self.was_deleted(id) {
            return None;
        }
        self.sessions
            .remove_if(id, |record| record.is_expired(self.ttl));
        let record = match self
            .sessions
            .get_or_insert_with(id, || Ok::<_, Infallible>(make()))
        {
            Ok(record) => record,
            Err(never) => match never {},
        };
        // It may have been deleted since the first look, and must not be back now.
        if self.was_deleted(id) {
            self.sessions.remove(id);
            return None;
        }
        Some(record)
    }

    /// Keeps a session that is used by an open stream, or brings it back; one that was deleted
    /// stays away.
    pub(crate) fn keep(&self, record: &Arc<SessionRecord>) {
        if !record.is_deleted() {
            self.recall(record.id(), || Arc::clone(record));
        }
    }

    /// Takes a session out for good: for as long as it could have lived, no client is recognised by
    /// it. Its open streams are the caller's to close.
    pub(crate) fn remove(&self, id: &SessionId) -> Option<Arc<SessionRecord>> {
        self.get(id)?;
        // First, so that nobody who does not find the session any more makes it anew.
        self.deleted.insert(*id, Instant::now());
        let (_, record) = self.sessions.remove(id)?;
        record.delete();
        Some(record)
    }

    /// Takes all sessions of apps out, which themselves are gone; says how many. Looks at every
    /// session.
    pub(crate) fn remove_apps(&self, apps: &HashSet<&str>) -> usize {
        let removed = AtomicUsize::new(0);
        self.sessions.retain(|_, record| {
            let stays = !apps.contains(&**record.app());
            if !stays {
                record.delete();
                removed.fetch_add(1, Ordering::Relaxed);
            }
            stays
        });
        removed.into_inner()
    }

    fn was_deleted(&self, id: &SessionId) -> bool {
        self.deleted
            .peek(id)
            .is_some_and(|at| at.elapsed() <= self.ttl)
    }

    /// How often an open stream has to keep its session, if data flows in it: well within the time
    /// after which the session would be forgotten.
    #[must_use]
    pub(crate) fn keep_every(&self) -> Duration {
        (self.ttl / 4).min(Duration::from_secs(60))
    }

    /// One session. Looking is no use of it.
    #[must_use]
    pub(crate) fn get(&self, id: &SessionId) -> Option<Arc<SessionRecord>> {
        self.sessions
            .peek(id)
            .filter(|record| !record.is_expired(self.ttl))
    }

    /// How long an unused session is remembered.
    #[must_use]
    pub(crate) fn ttl(&self) -> Duration {
        self.ttl
    }

    /// All sessions one by one, in no order, expired ones too.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Arc<SessionRecord>> {
        self.sessions.iter().map(|(_, record)| record)
    }

    /// Takes in a session that a store or another process has, unless it is there or was deleted.
    pub(crate) fn restore(&self, record: Arc<SessionRecord>) {
        let id = *record.id();
        self.recall(&id, || record);
    }

    /// Notes that another process has deleted a session, or did before this one began.
    pub(crate) fn note_deleted(&self, id: &SessionId) -> Option<Arc<SessionRecord>> {
        self.deleted.insert(*id, Instant::now());
        let (_, record) = self.sessions.remove(id)?;
        record.delete();
        Some(record)
    }

    /// All sessions one by one, in no order, but those that have expired.
    pub(crate) fn live(&self) -> impl Iterator<Item = Arc<SessionRecord>> {
        self.iter().filter(|record| !record.is_expired(self.ttl))
    }

    /// How many sessions have the worker of each identifier, of those that `wanted` says. Looks at
    /// every session.
    #[must_use]
    pub(crate) fn by_worker(&self, wanted: impl Fn(&str) -> bool) -> HashMap<Arc<str>, u64> {
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

    /// The first `limit` sessions by identifier of those behind `cursor` that `wanted` says, and
    /// whether there are more. Looks at every session, and holds no more of them than it gives
    /// back.
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
            let is_late =
                first.len() >= limit && first.last_key_value().is_some_and(|(last, _)| id > *last);
            if cursor.is_some_and(|cursor| id.as_str() <= cursor)
                || (more && is_late)
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

/// Lets go of the memory of expired sessions; that they have expired is seen without it.
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
mod tests {
    use super::*;
    use crate::sessions::cookie::SessionKey;
    use app_proxy_hop::identity::RequestId;

    fn record(key: &SessionKey) -> Arc<SessionRecord> {
        Arc::new(SessionRecord::new(
            key.issue("a"),
            &"a".into(),
            None,
            &RequestId::generate(),
        ))
    }

    #[test]
    fn sessions_seen_once_are_the_first_to_go() {
        let key = SessionKey::new(&[1; 32]).unwrap();
        let table = SessionTable::new(100, Duration::from_secs(60));
        let returning: Vec<_> = (0..50).map(|_| record(&key)).collect();
        for record in &returning {
            table.admit(record.id(), Arc::clone(record));
            table.recall(record.id(), || panic!("it is there"));
        }
        for _ in 0..10_000 {
            let once = record(&key);
            table.admit(once.id(), once.clone());
        }
        assert!(table.live().count() <= 100, "{}", table.live().count());
        for record in &returning {
            assert!(
                table
                    .get(record.id())
                    .is_some_and(|found| Arc::ptr_eq(&found, record))
            );
        }
    }

    #[test]
    fn a_session_that_is_gone_is_made_anew_under_its_identifier() {
        let key = SessionKey::new(&[1; 32]).unwrap();
        let table = SessionTable::new(100, Duration::from_secs(60));
        let gone = record(&key);
        let made = table.recall(gone.id(), || Arc::clone(&gone)).unwrap();
        assert!(Arc::ptr_eq(&made, &gone));
        assert!(Arc::ptr_eq(
            &table.recall(gone.id(), || record(&key)).unwrap(),
            &gone
        ));
    }

    #[test]
    fn a_session_that_was_deleted_does_not_come_back() {
        let key = SessionKey::new(&[1; 32]).unwrap();
        let table = SessionTable::new(100, Duration::from_secs(60));
        let (gone, other) = (record(&key), record(&key));
        for session in [&gone, &other] {
            table.admit(session.id(), Arc::clone(session));
        }
        assert!(Arc::ptr_eq(&table.remove(gone.id()).unwrap(), &gone));
        assert!(gone.is_deleted() && table.remove(gone.id()).is_none());
        assert!(table.recall(gone.id(), || record(&key)).is_none());
        table.keep(&gone);
        assert!(table.get(gone.id()).is_none() && table.get(other.id()).is_some());
    }

    #[test]
    fn an_app_that_is_gone_takes_its_sessions_along() {
        let key = SessionKey::new(&[1; 32]).unwrap();
        let table = SessionTable::new(100, Duration::from_secs(60));
        let gone = record(&key);
        let other = Arc::new(SessionRecord::new(
            key.issue("b"),
            &"b".into(),
            None,
            &RequestId::generate(),
        ));
        for session in [&gone, &other] {
            table.admit(session.id(), Arc::clone(session));
        }
        assert_eq!(table.remove_apps(&HashSet::from(["a"])), 1);
        table.keep(&gone);
        assert!(table.get(gone.id()).is_none() && table.get(other.id()).is_some());
    }

    #[test]
    fn pages_of_sessions_follow_each_other_without_gap_or_overlap() {
        let key = SessionKey::new(&[1; 32]).unwrap();
        let table = SessionTable::new(100, Duration::from_secs(60));
        let mut expected = Vec::new();
        for number in 0..47 {
            let app = if number % 3 == 0 { "b" } else { "a" };
            let session = Arc::new(SessionRecord::new(
                key.issue(app),
                &app.into(),
                None,
                &RequestId::generate(),
            ));
            table.admit(session.id(), Arc::clone(&session));
            if app == "a" {
                expected.push(*session.id());
            }
        }
        expected.sort();
        for limit in [1, 10, 31, 100] {
            let (mut seen, mut cursor) = (Vec::new(), None::<SessionId>);
            loop {
                let cursor_text = cursor.as_ref().map(SessionId::as_str);
                let (page, more) = table.page(cursor_text, limit, |record| **record.app() == *"a");
                assert!(page.len() <= limit && (!more || page.len() == limit));
                seen.extend(page.iter().map(|record| *record.id()));
                cursor = page.last().map(|record| *record.id());
                if !more {
                    break;
                }
            }
            assert_eq!(seen, expected, "{limit} on a page");
        }
    }

    #[test]
    fn an_expired_session_leaves_no_memory_behind() {
        let key = SessionKey::new(&[1; 32]).unwrap();
        let table = SessionTable::new(100, Duration::ZERO);
        let gone = record(&key);
        table.admit(gone.id(), Arc::clone(&gone));
        while !gone.is_expired(Duration::ZERO) {
            std::thread::yield_now();
        }
        table.sweep();
        assert_eq!((Arc::strong_count(&gone), table.sessions.len()), (1, 0));
    }
}
