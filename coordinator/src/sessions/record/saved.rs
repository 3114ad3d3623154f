//! A record as a store keeps it: made from a stored one, and what has happened since it was saved
//! last.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use app_proxy_hop::identity::{KeptId, RequestId};
use http::HeaderValue;

use super::SessionRecord;
use crate::pool::PoolWorker;
use crate::sessions::cookie::SessionId;
use app_proxy_store::{Counts, SessionActivity, StoredSession};

impl SessionRecord {
    /// The record of a stored session; none when what is stored is none of ours.
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
            ..record
        };
        record.worker.store(worker);
        record.moves.store(stored.moves, Ordering::Relaxed);
        let last = request_id(&stored.last_request_id)?;
        *record
            .last_request_id
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = KeptId::new(&last);
        for (counter, saved, value) in [
            (&record.active_ms, &record.saved.active_ms, stored.active_ms),
            (&record.requests, &record.saved.requests, stored.requests),
            (&record.bytes_in, &record.saved.bytes_in, stored.bytes_in),
            (&record.bytes_out, &record.saved.bytes_out, stored.bytes_out),
        ] {
            counter.store(value, Ordering::Relaxed);
            saved.store(value, Ordering::Relaxed);
        }
        record.kept_ms.store(stored.active_ms, Ordering::Relaxed);
        record
            .elsewhere
            .store(stored.draining_streams, Ordering::Relaxed);
        Some(record)
    }

    /// What has happened since it was saved last, if anything has. A process that has handed over
    /// is `draining`, and says which streams are still open in it.
    #[must_use]
    pub(crate) fn unsaved(&self, draining: bool) -> Option<SessionActivity> {
        let draining_streams = if draining {
            self.open_streams.load(Ordering::Relaxed)
        } else {
            0
        };
        let active_ms = self.active_ms();
        let more = Counts {
            requests: more(&self.requests, &self.saved.requests),
            bytes_in: more(&self.bytes_in, &self.saved.bytes_in),
            bytes_out: more(&self.bytes_out, &self.saved.bytes_out),
        };
        let same = active_ms == self.saved.active_ms.load(Ordering::Relaxed)
            && more == Counts::default()
            && draining_streams == self.saved.draining_streams.load(Ordering::Relaxed);
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
            draining_streams,
        };
        Some(SessionActivity {
            session,
            added: more,
        })
    }

    /// Notes that a store has what [`SessionRecord::unsaved`] said.
    pub(crate) fn note_saved(&self, activity: &SessionActivity) {
        self.saved
            .active_ms
            .store(activity.session.active_ms, Ordering::Relaxed);
        self.saved
            .draining_streams
            .store(activity.session.draining_streams, Ordering::Relaxed);
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

    /// Forgets streams of a process that has ended: one that was killed does not say so itself.
    pub(crate) fn forget_elsewhere(&self) {
        self.elsewhere.store(0, Ordering::Relaxed);
    }

    /// Takes over what another process has saved of the same session.
    pub(crate) fn merge(&self, stored: &StoredSession) {
        self.active_ms
            .fetch_max(stored.active_ms, Ordering::Relaxed);
        self.saved
            .active_ms
            .fetch_max(stored.active_ms, Ordering::Relaxed);
        self.elsewhere
            .store(stored.draining_streams, Ordering::Relaxed);
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

fn more(counter: &AtomicU64, saved: &AtomicU64) -> u64 {
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
    fn what_is_saved_is_said_once_and_restores_the_record() {
        let record = record();
        record.begin_request(&RequestId::generate());
        record.data(3, 4);
        let first = record.unsaved(false).unwrap();
        assert_eq!(
            first.added,
            Counts {
                requests: 1,
                bytes_in: 3,
                bytes_out: 4
            }
        );
        record.note_saved(&first);
        assert!(record.unsaved(false).is_none());
        let again = SessionRecord::restore(&first.session, record.app(), None).unwrap();
        assert_eq!(again.view(), record.view());
        assert!(again.unsaved(false).is_none());
        again.data(0, 5);
        assert_eq!(
            again.unsaved(false).unwrap().added,
            Counts {
                bytes_out: 5,
                ..Counts::default()
            }
        );
    }

    #[test]
    fn what_happens_while_it_is_saved_is_said_the_next_time() {
        let record = record();
        record.data(1, 0);
        let first = record.unsaved(false).unwrap();
        record.data(2, 0);
        record.note_saved(&first);
        assert_eq!(record.unsaved(false).unwrap().added.bytes_in, 2);
    }

    #[test]
    fn two_processes_that_count_come_to_the_same() {
        let (mine, theirs) = {
            let record = record();
            let stored = record.unsaved(false).unwrap().session;
            let restore = || SessionRecord::restore(&stored, record.app(), None).unwrap();
            (restore(), restore())
        };
        mine.data(10, 0);
        theirs.data(1, 0);
        let activity = theirs.unsaved(true).unwrap();
        theirs.note_saved(&activity);
        mine.merge(&StoredSession {
            bytes_in: 1,
            draining_streams: 2,
            ..activity.session
        });
        assert_eq!((mine.view().bytes_in, mine.open_streams()), (11, 2));
        assert_eq!(mine.unsaved(false).unwrap().added.bytes_in, 10);
    }

    #[test]
    fn what_is_no_session_of_ours_is_not_restored() {
        let stored = record().unsaved(false).unwrap().session;
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
