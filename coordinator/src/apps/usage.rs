//! When an app was used last: what its requests note (each phase in which data flows), and what
//! becomes of it.
//!
//! A request says no more than that there is use: it sets a mark, where none is set, and reads no
//! clock for it. Whoever looks takes the mark down and notes its own time, so that what is known is
//! as exact as often somebody looks. Marks are set once between two looks: the threads do not fight
//! over a place in memory.
//!
//! How long an app has been quiet is measured with a clock that nobody sets; when it was used last
//! is told by the one on the wall.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::clock::Now;
use app_proxy_store::AppActivity;

/// Use of one app; all its revisions share it.
#[derive(Debug)]
pub(crate) struct Usage {
    /// Whether data has flowed since somebody looked.
    used: AtomicBool,
    /// Held by each request that is not a stream, for as long as it is in flight.
    busy: Arc<()>,
    /// The revision at which the scheduler was asked to start it.
    asked: AtomicU64,
    /// For those who look; no request takes this lock.
    times: Mutex<Times>,
}

#[derive(Debug)]
struct Times {
    /// When data flowed last, in milliseconds since 1970; 0 when none ever has.
    active_ms: u64,
    /// Since when the app counts as quiet, on both clocks. The milliseconds only ever grow,
    /// whatever becomes of the clock on the wall: they tell one quiet time from the next.
    quiet_since: Instant,
    quiet_since_ms: u64,
    /// Whether the scheduler knows that it is.
    told: bool,
    /// Whether this is more than that the app is new here.
    known: bool,
    /// What was saved last.
    saved: (u64, u64, bool),
}

/// A request in flight, until this is dropped.
#[derive(Debug)]
pub(crate) struct InUse(#[allow(dead_code, reason = "that it is held is what counts")] Arc<()>);

/// How an app looks at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    /// When data flowed last, in milliseconds since 1970; none when none ever has.
    pub(crate) active_ms: Option<u64>,
    /// For how long it has been quiet: since its last use, its creation or the last change of its
    /// endpoints, whichever was last.
    pub(crate) quiet_for: Duration,
    /// Since when that is, in milliseconds since 1970: which of its quiet times it is.
    pub(crate) quiet_since_ms: u64,
    /// Whether the scheduler knows that it is idle.
    pub(crate) told: bool,
}

impl Usage {
    /// Use of an app that is new at `now`.
    #[must_use]
    pub(crate) fn new(now: Now) -> Self {
        Self {
            used: AtomicBool::new(false),
            busy: Arc::new(()),
            asked: AtomicU64::new(0),
            times: Mutex::new(Times {
                active_ms: 0,
                quiet_since: now.at,
                quiet_since_ms: now.ms,
                told: false,
                known: false,
                saved: (0, now.ms, false),
            }),
        }
    }

    /// Notes that data flows.
    #[inline]
    pub(crate) fn mark(&self) {
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    /// Notes that a request begins. As long as the guard is held, the app is in use, whether data
    /// flows or not: it may be computing.
    #[must_use]
    pub(crate) fn begin(&self) -> InUse {
        self.mark();
        InUse(Arc::clone(&self.busy))
    }

    /// How the app looks at `now`.
    pub(crate) fn look(&self, now: Now) -> Look {
        let times = self.settled(now);
        Look {
            active_ms: (times.active_ms > 0).then_some(times.active_ms),
            quiet_for: now.at.saturating_duration_since(times.quiet_since),
            quiet_since_ms: times.quiet_since_ms,
            told: times.told,
        }
    }

    /// Notes that the scheduler knows that the app is idle, as it looked when that was found; until
    /// it is used again, which it may have been.
    pub(crate) fn told(&self, look: Look) {
        let mut times = self.times();
        if times.quiet_since_ms == look.quiet_since_ms {
            times.told = true;
            times.known = true;
        }
    }

    /// Lets the app count as quiet from `now` on at the earliest: its endpoints have changed.
    pub(crate) fn renewed(&self, now: Now) {
        self.settled(now).begin_quiet(now);
    }

    /// What a store keeps of it.
    #[must_use]
    pub(crate) fn activity(&self, app: &str, now: Now) -> AppActivity {
        self.settled(now).activity(app)
    }

    /// What a store is still to be told: none when nothing has changed since this was asked last.
    pub(crate) fn unsaved(&self, app: &str, now: Now) -> Option<AppActivity> {
        let mut times = self.settled(now);
        let state = times.state();
        let unsaved = std::mem::replace(&mut times.saved, state) != state;
        unsaved.then(|| times.activity(app))
    }

    /// Takes over what a store has kept, or another process has seen: it counts when it is later
    /// than what is known here.
    pub(crate) fn adopt(&self, activity: &AppActivity, now: Now) {
        let mut times = self.settled(now);
        // A clock that was set back must not keep an app in use until it is there again.
        let active_ms = activity.active_ms.min(now.ms);
        let quiet_since_ms = activity.quiet_since_ms.min(now.ms);
        let told = activity.idle_told_ms != 0 && activity.idle_told_ms >= activity.quiet_since_ms;
        times.active_ms = times.active_ms.max(active_ms);
        if !times.known || quiet_since_ms > times.quiet_since_ms {
            times.quiet_since_ms = quiet_since_ms;
            times.quiet_since = now.instant_of(quiet_since_ms);
            times.told = told;
            times.known = true;
        } else if quiet_since_ms == times.quiet_since_ms {
            times.told |= told;
        } else {
            return;
        }
        // What is known here alone is still to be saved.
        times.saved = (active_ms, quiet_since_ms, told);
    }

    /// Whether the scheduler is to be asked to start the app at this revision: true once, however
    /// many ask at once.
    pub(crate) fn ask(&self, revision: u64) -> bool {
        self.asked.load(Ordering::Relaxed) != revision
            && self.asked.swap(revision, Ordering::Relaxed) != revision
    }

    /// Lets the scheduler be asked again, at whatever revision: it was another one, or the app has
    /// run since.
    pub(crate) fn may_be_asked_again(&self) {
        self.asked.store(0, Ordering::Relaxed);
    }

    /// The times, with what has been noted up to `now`.
    fn settled(&self, now: Now) -> MutexGuard<'_, Times> {
        let used = self.used.swap(false, Ordering::Relaxed) || Arc::strong_count(&self.busy) > 1;
        let mut times = self.times();
        if used {
            times.active_ms = now.ms.max(1);
            times.begin_quiet(now);
        }
        times
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Times {
    /// From here on the app is quiet, and nobody was told so.
    fn begin_quiet(&mut self, now: Now) {
        self.quiet_since = now.at;
        self.quiet_since_ms = now.ms.max(self.quiet_since_ms.saturating_add(1));
        self.told = false;
        self.known = true;
    }

    /// What is saved when it has changed.
    fn state(&self) -> (u64, u64, bool) {
        (self.active_ms, self.quiet_since_ms, self.told)
    }

    fn activity(&self, app: &str) -> AppActivity {
        let Self {
            active_ms,
            quiet_since_ms,
            ..
        } = *self;
        let idle_told_ms = if self.told { quiet_since_ms } else { 0 };
        AppActivity {
            app: app.to_owned(),
            active_ms,
            quiet_since_ms,
            idle_told_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `seconds` after `start`, on both clocks.
    fn after(start: Now, seconds: u64) -> Now {
        Now {
            ms: start.ms + seconds * 1000,
            at: start.at + Duration::from_secs(seconds),
        }
    }

    fn tell(usage: &Usage, now: Now) {
        usage.told(usage.look(now));
    }

    fn quiet(usage: &Usage, now: Now) -> u64 {
        usage.look(now).quiet_for.as_secs()
    }

    #[test]
    fn an_app_is_quiet_since_its_creation_or_its_last_use() {
        let start = Now::read();
        let usage = Usage::new(start);
        let look = usage.look(after(start, 5));
        assert_eq!(
            (look.active_ms, look.quiet_for.as_secs(), look.told),
            (None, 5, false)
        );
        usage.mark();
        assert_eq!(usage.look(after(start, 6)).active_ms, Some(start.ms + 6000));
        assert_eq!(quiet(&usage, after(start, 9)), 3);
        usage.renewed(after(start, 10));
        assert_eq!(quiet(&usage, after(start, 12)), 2);
        assert_eq!(
            usage.look(after(start, 12)).active_ms,
            Some(start.ms + 6000),
            "new endpoints are no use"
        );
    }

    #[test]
    fn a_request_in_flight_is_use_until_it_ends() {
        let start = Now::read();
        let usage = Usage::new(start);
        let computing = usage.begin();
        assert_eq!(quiet(&usage, after(start, 2400)), 0);
        drop(computing);
        assert_eq!(quiet(&usage, after(start, 2410)), 10);
    }

    #[test]
    fn what_was_told_is_told_until_the_app_is_used_again() {
        let start = Now::read();
        let usage = Usage::new(start);
        tell(&usage, start);
        assert!(usage.look(after(start, 1)).told);
        usage.mark();
        assert!(!usage.look(after(start, 2)).told);
        tell(&usage, after(start, 2));
        usage.renewed(after(start, 3));
        assert!(!usage.look(after(start, 3)).told);
    }

    /// Keeps out: an app was used while its scheduler was being told, and counted as told of for
    /// its next quiet time.
    #[test]
    fn what_was_told_is_told_of_the_time_that_was_meant() {
        let start = Now::read();
        let usage = Usage::new(start);
        let look = usage.look(start);
        usage.mark();
        usage.look(after(start, 1));
        usage.told(look);
        assert!(!usage.look(after(start, 2)).told);
    }

    /// Keeps out: that an app has other endpoints was not stored, so that after a restart it
    /// counted as told of, or as quiet for long.
    #[test]
    fn that_an_app_was_quiet_anew_goes_on_after_a_restart() {
        let start = Now::read();
        let usage = Usage::new(start);
        usage.mark();
        tell(&usage, start);
        let mut kept = usage.unsaved("a", start).unwrap();
        usage.renewed(after(start, 100));
        let later = usage.unsaved("a", after(start, 101)).unwrap();
        // As a store merges it.
        kept.quiet_since_ms = kept.quiet_since_ms.max(later.quiet_since_ms);
        kept.idle_told_ms = kept.idle_told_ms.max(later.idle_told_ms);
        let again = Usage::new(after(start, 110));
        again.adopt(&kept, after(start, 110));
        let look = again.look(after(start, 110));
        assert_eq!(
            (look.active_ms, look.quiet_for.as_secs(), look.told),
            (Some(start.ms), 10, false)
        );
    }

    #[test]
    fn what_a_store_has_kept_goes_on_after_a_restart() {
        let start = Now::read();
        let usage = Usage::new(start);
        usage.mark();
        tell(&usage, after(start, 1));
        let kept = usage.activity("a", after(start, 5));
        let active_ms = start.ms + 1000;
        assert_eq!(
            (kept.active_ms, kept.quiet_since_ms, kept.idle_told_ms),
            (active_ms, active_ms, active_ms)
        );
        let again = Usage::new(after(start, 60));
        again.adopt(&kept, after(start, 60));
        let look = again.look(after(start, 61));
        assert_eq!(
            (look.active_ms, look.quiet_for.as_secs(), look.told),
            (Some(active_ms), 60, true)
        );
        let older = AppActivity {
            active_ms: 1,
            quiet_since_ms: 1,
            idle_told_ms: 0,
            ..kept
        };
        again.adopt(&older, after(start, 62));
        assert_eq!(
            again.look(after(start, 62)),
            Look {
                quiet_for: Duration::from_secs(61),
                ..look
            }
        );
    }

    /// Keeps out: what had happened here alone counted as saved when another process told of
    /// something later.
    #[test]
    fn what_is_known_here_alone_is_saved_after_another_process_has_told() {
        let start = Now::read();
        let usage = Usage::new(start);
        usage.mark();
        usage.look(after(start, 1));
        let theirs = AppActivity {
            app: "a".to_owned(),
            active_ms: start.ms,
            quiet_since_ms: start.ms + 2000,
            idle_told_ms: 0,
        };
        usage.adopt(&theirs, after(start, 3));
        let saved = usage.unsaved("a", after(start, 3)).unwrap();
        assert_eq!(
            (saved.active_ms, saved.quiet_since_ms),
            (start.ms + 1000, start.ms + 2000)
        );
    }

    #[test]
    fn that_an_app_was_never_used_and_that_this_was_told_is_kept_too() {
        let start = Now::read();
        let usage = Usage::new(start);
        assert_eq!(usage.unsaved("a", start), None);
        tell(&usage, start);
        let kept = usage.unsaved("a", start).unwrap();
        assert_eq!(kept.active_ms, 0);
        assert_eq!(usage.unsaved("a", start), None);
        let again = Usage::new(start);
        again.adopt(&kept, start);
        assert!(again.look(start).told);
    }

    #[test]
    fn only_what_has_changed_is_saved_again() {
        let start = Now::read();
        let usage = Usage::new(start);
        usage.mark();
        assert!(usage.unsaved("a", start).is_some());
        assert_eq!(usage.unsaved("a", after(start, 1)), None);
        usage.mark();
        assert!(usage.unsaved("a", after(start, 2)).is_some());
    }

    #[test]
    fn a_clock_that_is_set_moves_nothing() {
        let start = Now::read();
        let usage = Usage::new(start);
        usage.mark();
        usage.look(start);
        for ms in [0, start.ms + 86_400_000, u64::MAX] {
            let set = Now {
                ms,
                at: start.at + Duration::from_secs(7),
            };
            assert_eq!(quiet(&usage, set), 7);
        }
        let future_ms = start.ms + 86_400_000;
        let future = AppActivity {
            app: "a".to_owned(),
            active_ms: future_ms,
            quiet_since_ms: future_ms,
            idle_told_ms: 0,
        };
        usage.adopt(&future, after(start, 8));
        assert_eq!(
            quiet(&usage, after(start, 9)),
            1,
            "what is still to come counts as of now"
        );
        let earlier = Now {
            ms: start.ms,
            at: start.at.checked_sub(Duration::from_secs(1)).unwrap(),
        };
        assert_eq!(quiet(&usage, earlier), 0);
    }

    #[test]
    fn of_many_that_ask_at_once_one_is_the_first() {
        let usage = Usage::new(Now::read());
        let firsts = |revision| {
            std::thread::scope(|scope| {
                let threads: Vec<_> = (0..8)
                    .map(|_| scope.spawn(|| usage.ask(revision)))
                    .collect();
                threads
                    .into_iter()
                    .filter_map(|thread| thread.join().ok())
                    .filter(|first| *first)
                    .count()
            })
        };
        assert_eq!((firsts(3), firsts(3), firsts(4)), (1, 0, 1));
    }
}
