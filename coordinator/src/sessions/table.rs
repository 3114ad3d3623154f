//! The sessions of this coordinator, in memory: bounded and expiring.
//!
//! Clients that never return the cookie make a new session with each request. So that they cannot push others out, a session that
//! has been seen once waits in a part of its own (a quarter of the bound), and only a return brings it among the others.

use std::sync::Arc;
use std::time::Duration;

use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use super::cookie::SessionId;
use super::record::SessionRecord;

/// The table; clones share it.
#[derive(Clone)]
pub struct SessionTable {
    seen_once: Cache<SessionId, Arc<SessionRecord>>,
    returned: Cache<SessionId, Arc<SessionRecord>>,
    ttl: Duration,
}

impl SessionTable {
    /// A table of at most `max` sessions, which forgets one that was unused for `ttl`.
    #[must_use]
    pub fn new(max: u64, ttl: Duration) -> Self {
        let part = |capacity| {
            Cache::builder().max_capacity(capacity).time_to_idle(ttl).eviction_policy(EvictionPolicy::lru()).build()
        };
        Self { seen_once: part(max / 4), returned: part(max - max / 4), ttl }
    }

    /// Takes in a session that is new.
    pub fn admit(&self, id: &SessionId, record: Arc<SessionRecord>) -> Arc<SessionRecord> {
        self.seen_once.insert(*id, Arc::clone(&record));
        record
    }

    /// The session of a client that has come back before, if it is here.
    pub fn returned(&self, id: &SessionId) -> Option<Arc<SessionRecord>> {
        self.returned.get(id).filter(|record| !record.is_expired(self.ttl))
    }

    /// The session of a client that has come back; one that is not here any more is made anew.
    pub fn recall(&self, id: &SessionId, make: impl FnOnce() -> Arc<SessionRecord>) -> Arc<SessionRecord> {
        match self.returned.get(id) {
            Some(record) if !record.is_expired(self.ttl) => return record,
            Some(_) => self.returned.invalidate(id),
            None => {}
        }
        // Two requests that come back at once must find one record.
        let kept = || self.seen_once.remove(id).filter(|record| !record.is_expired(self.ttl));
        self.returned.get_with(*id, || kept().unwrap_or_else(make))
    }

    /// Keeps a session that is used by an open stream, or brings it back.
    pub fn keep(&self, record: &Arc<SessionRecord>) {
        self.recall(record.id(), || Arc::clone(record));
    }

    /// How often an open stream has to keep its session, if data flows in it: well within the time after which the session would be forgotten.
    #[must_use]
    pub fn keep_every(&self) -> Duration {
        (self.ttl / 4).min(Duration::from_secs(60))
    }

    /// One session. The cache takes a look for a use; whether a session has expired is told by its own activity.
    #[must_use]
    pub fn get(&self, id: &SessionId) -> Option<Arc<SessionRecord>> {
        self.returned.get(id).or_else(|| self.seen_once.get(id)).filter(|record| !record.is_expired(self.ttl))
    }

    /// All sessions, in no order. What the caches have put off (evictions after a flood) is carried out first, so that the answer keeps the bound.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<SessionRecord>> {
        self.seen_once.run_pending_tasks();
        self.returned.run_pending_tasks();
        let records = self.returned.iter().chain(self.seen_once.iter()).map(|(_, record)| record);
        records.filter(|record| !record.is_expired(self.ttl)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sessions::cookie::SessionKey;
    use app_proxy_hop::request_id::RequestId;

    fn record(key: &SessionKey) -> Arc<SessionRecord> {
        Arc::new(SessionRecord::new(key.issue("a"), &"a".into(), None, &RequestId::generate()))
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
        assert!(table.all().len() <= 100, "{}", table.all().len());
        for record in &returning {
            assert!(table.get(record.id()).is_some_and(|found| Arc::ptr_eq(&found, record)));
        }
    }

    #[test]
    fn a_session_that_is_gone_is_made_anew_under_its_identifier() {
        let key = SessionKey::new(&[1; 32]).unwrap();
        let table = SessionTable::new(100, Duration::from_secs(60));
        let gone = record(&key);
        let made = table.recall(gone.id(), || Arc::clone(&gone));
        assert!(Arc::ptr_eq(&made, &gone));
        assert!(Arc::ptr_eq(&table.recall(gone.id(), || record(&key)), &gone));
    }
}
