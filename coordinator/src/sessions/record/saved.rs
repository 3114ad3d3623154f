//! The stored form of a record: restoring it, and collecting activity that is not saved yet.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use app_proxy_hop::identity::{InlineId, RequestId};
use http::HeaderValue;

use super::SessionRecord;
use crate::pool::PoolWorker;
use crate::sessions::cookie::SessionId;
use app_proxy_store::{Counts, SessionActivity, StoredSession};

impl SessionRecord {
    /// Creates a record from a stored session. Returns `None` if the stored values are invalid.
    #[must_use]
    pub(crate) fn restore(
        stored: &StoredSession,
        app: &Arc<str>,
        worker: Option<Arc<PoolWorker>>,
    ) -> Option<Self> {
        let id = SessionId::parse(stored.id.as_bytes()).ok()?;
        let mac = stored.mac.as_bytes().try_into().ok()?;
        let origin = request_id(&stored.origin_request_id)?;
        let record = Self::new((id, mac), app, stored.client, &origin);
        let record = Self {
            created_ms: stored.created_ms,
            user: stored.user.as_deref().map(Arc::from),
            ..record
        };
        record.worker.store(worker);
        record.moves.store(stored.moves, Ordering::Relaxed);
        let last = request_id(&stored.last_request_id)?;
        *record
            .last_request_id
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = InlineId::new(&last);
        for (counter, saved, value) in [
            (&record.active_ms, &record.saved.active_ms, stored.active_ms),
            (&record.requests, &record.saved.requests, stored.requests),
            (&record.bytes_in, &record.saved.bytes_in, stored.bytes_in),
            (&record.bytes_out, &record.saved.bytes_out, stored.bytes_out),
        ] {
            counter.store(value, Ordering::Relaxed);
            saved.store(value, Ordering::Relaxed);
        }
        record
            .kept_alive_ms
            .store(stored.active_ms, Ordering::Relaxed);
        record
            .streams_elsewhere
            .store(stored.streams_elsewhere, Ordering::Relaxed);
        Some(record)
    }

    /// Returns the activity since the last save, if any.
    #[must_use]
    pub(crate) fn unsaved(&self) -> Option<SessionActivity> {
        let active_ms = self.active_ms();
        let added = Counts {
            requests: unsaved_count(&self.requests, &self.saved.requests),
            bytes_in: unsaved_count(&self.bytes_in, &self.saved.bytes_in),
            bytes_out: unsaved_count(&self.bytes_out, &self.saved.bytes_out),
        };
        let same =
            active_ms == self.saved.active_ms.load(Ordering::Relaxed) && added == Counts::default();
        if same || self.is_deleted() {
            return None;
        }
        let last = self
            .last_request_id
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get();
        let session = StoredSession {
            id: self.id.to_string(),
            mac: String::from_utf8_lossy(&self.mac).into_owned(),
            app: self.app.as_ref().to_owned(),
            worker: self
                .worker
                .load()
                .as_ref()
                .map(|worker| worker.id.as_ref().to_owned()),
            moves: self.moves.load(Ordering::Relaxed),
            origin_request_id: self.origin_request_id.get().as_str().to_owned(),
            last_request_id: last.as_str().to_owned(),
            client: self.client,
            created_ms: self.created_ms,
            active_ms,
            requests: self.requests.load(Ordering::Relaxed),
            bytes_in: self.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
            streams_elsewhere: 0,
            user: self.user.as_deref().map(str::to_owned),
        };
        Some(SessionActivity { session, added })
    }

    /// Records that the store has this result of [`SessionRecord::unsaved`].
    pub(crate) fn mark_saved(&self, activity: &SessionActivity) {
        self.saved
            .active_ms
            .store(activity.session.active_ms, Ordering::Relaxed);
        self.saved
            .requests
            .fetch_add(activity.added.requests, Ordering::Relaxed);
        self.saved
            .bytes_in
            .fetch_add(activity.added.bytes_in, Ordering::Relaxed);
        self.saved
            .bytes_out
            .fetch_add(activity.added.bytes_out, Ordering::Relaxed);
    }

    /// Returns the number of streams that are open here, if other members have another number.
    #[must_use]
    pub(crate) fn unsaved_streams(&self) -> Option<u32> {
        let open = self.open_streams.load(Ordering::Relaxed);
        (open != self.saved.open_streams.load(Ordering::Relaxed)).then_some(open)
    }

    /// Records that the store has this number of streams that are open here.
    pub(crate) fn mark_streams_saved(&self, open: u32) {
        self.saved.open_streams.store(open, Ordering::Relaxed);
    }

    /// Merges the values that another member saved for the same session.
    pub(crate) fn merge(&self, stored: &StoredSession) {
        self.active_ms
            .fetch_max(stored.active_ms, Ordering::Relaxed);
        self.saved
            .active_ms
            .fetch_max(stored.active_ms, Ordering::Relaxed);
        self.streams_elsewhere
            .store(stored.streams_elsewhere, Ordering::Relaxed);
        for (counter, saved, value) in [
            (&self.requests, &self.saved.requests, stored.requests),
            (&self.bytes_in, &self.saved.bytes_in, stored.bytes_in),
            (&self.bytes_out, &self.saved.bytes_out, stored.bytes_out),
        ] {
            let before = saved.swap(value, Ordering::Relaxed);
            counter.fetch_add(value.saturating_sub(before), Ordering::Relaxed);
        }
    }
}

fn unsaved_count(counter: &AtomicU64, saved: &AtomicU64) -> u64 {
    counter
        .load(Ordering::Relaxed)
        .saturating_sub(saved.load(Ordering::Relaxed))
}

fn request_id(text: &str) -> Option<RequestId> {
    RequestId::accept(&HeaderValue::from_str(text).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sessions::cookie::SessionKey;

    fn record() -> SessionRecord {
        let key = SessionKey::new(&[3; 32]).unwrap();
        SessionRecord::new(key.issue("a"), &"a".into(), None, &RequestId::generate())
    }

    #[test]
    fn activity_is_reported_once_and_restores_the_record() {
        let record = record().of_user(Some("anna".into()));
        assert_eq!(record.view().user.as_deref(), Some("anna"));
        record.begin_request(&RequestId::generate());
        record.count_bytes(3, 4);
        let first = record.unsaved().unwrap();
        assert_eq!(
            first.added,
            Counts {
                requests: 1,
                bytes_in: 3,
                bytes_out: 4
            }
        );
        record.mark_saved(&first);
        assert!(record.unsaved().is_none());
        let again = SessionRecord::restore(&first.session, record.app(), None).unwrap();
        assert_eq!(again.view(), record.view());
        assert!(again.unsaved().is_none());
        again.count_bytes(0, 5);
        assert_eq!(
            again.unsaved().unwrap().added,
            Counts {
                bytes_out: 5,
                ..Counts::default()
            }
        );
    }

    #[test]
    fn activity_during_a_save_is_reported_next_time() {
        let record = record();
        record.count_bytes(1, 0);
        let first = record.unsaved().unwrap();
        record.count_bytes(2, 0);
        record.mark_saved(&first);
        assert_eq!(record.unsaved().unwrap().added.bytes_in, 2);
    }

    #[test]
    fn counts_of_two_members_add_up() {
        let (mine, theirs) = {
            let record = record();
            let stored = record.unsaved().unwrap().session;
            let restore = || SessionRecord::restore(&stored, record.app(), None).unwrap();
            (restore(), restore())
        };
        mine.count_bytes(10, 0);
        theirs.count_bytes(1, 0);
        let activity = theirs.unsaved().unwrap();
        theirs.mark_saved(&activity);
        mine.merge(&StoredSession {
            bytes_in: 1,
            streams_elsewhere: 2,
            ..activity.session
        });
        assert_eq!((mine.view().bytes_in, mine.open_streams()), (11, 2));
        assert_eq!(mine.unsaved().unwrap().added.bytes_in, 10);
    }

    #[test]
    fn open_streams_are_reported_when_their_number_changes() {
        let record = record();
        assert_eq!(record.unsaved_streams(), None);
        record.begin_stream();
        assert_eq!(record.unsaved_streams(), Some(1));
        record.mark_streams_saved(1);
        assert_eq!(record.unsaved_streams(), None);
        record.end_stream();
        assert_eq!(record.unsaved_streams(), Some(0));
        record.mark_streams_saved(0);
    }

    #[test]
    fn invalid_stored_sessions_are_not_restored() {
        let stored = record().unsaved().unwrap().session;
        for broken in [
            StoredSession {
                id: "x".to_owned(),
                ..stored.clone()
            },
            StoredSession {
                mac: "x".to_owned(),
                ..stored.clone()
            },
            StoredSession {
                origin_request_id: "a b".to_owned(),
                ..stored
            },
        ] {
            assert!(SessionRecord::restore(&broken, &"a".into(), None).is_none());
        }
    }
}
