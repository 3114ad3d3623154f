//! The last use of an app: what its requests record while data flows (several phases), and what the
//! idle watch, the journal and the API read.
//!
//! A request sets a flag, unless it is set, and reads no clock. A reader clears it and records
//! its own time as the time of the last use, so that this time is as exact as reads are frequent.
//! The flag is written once between two reads, so that threads do not contend for its cache line.
//!
//! The length of an idle period is measured with the monotonic clock; the time of the last use is
//! reported by the wall clock.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::clock::Moment;
use app_proxy_store::AppActivity;

/// The use of one app; all revisions of the app share it.
#[derive(Debug)]
pub(crate) struct Usage {
    /// Set when data has flowed since the last read.
    used: AtomicBool,
    /// Cloned by each request in flight that is not a stream.
    in_flight: Arc<()>,
    /// The revision for which the scheduler got a wake event; 0 for none.
    activated: AtomicU64,
    /// For readers; requests do not acquire this lock.
    times: Mutex<Times>,
}

#[derive(Debug)]
struct Times {
    /// The last time at which data flowed, in milliseconds since 1970; 0 for never.
    last_active_ms: u64,
    /// The start of the current idle period, on both clocks. The milliseconds only grow, whatever
    /// happens to the wall clock: they identify the period.
    idle_since: Instant,
    idle_since_ms: u64,
    /// True when the scheduler got the idle event of this period.
    notified: bool,
    /// False while nothing is known but that this process has just learnt of the app.
    known: bool,
    /// The state that was returned for storing last.
    saved: (u64, u64, bool),
}

/// Keeps an app in use while one of its requests is in flight.
#[derive(Debug)]
pub(crate) struct UsageGuard(#[allow(dead_code, reason = "its lifetime counts")] Arc<()>);

/// The use of an app at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UsageStatus {
    /// The last time at which data flowed, in milliseconds since 1970; none if there was no use.
    pub(crate) last_active_ms: Option<u64>,
    /// The time since the last use, the app's creation or the last change of its endpoints,
    /// whichever came last.
    pub(crate) idle_for: Duration,
    /// The start of this period in milliseconds since 1970, which identifies the period.
    pub(crate) idle_since_ms: u64,
    /// True when the scheduler got the idle event of this period.
    pub(crate) notified: bool,
}

impl Usage {
    /// The use of an app that is created at `now`.
    #[must_use]
    pub(crate) fn new(now: Moment) -> Self {
        Self {
            used: AtomicBool::new(false),
            in_flight: Arc::new(()),
            activated: AtomicU64::new(0),
            times: Mutex::new(Times {
                last_active_ms: 0,
                idle_since: now.at,
                idle_since_ms: now.ms,
                notified: false,
                known: false,
                saved: (0, now.ms, false),
            }),
        }
    }

    /// Records that data flows.
    #[inline]
    pub(crate) fn mark(&self) {
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    /// Records the beginning of a request. The app is in use until the guard is dropped, whether or
    /// not data flows: the app may be computing.
    #[must_use]
    pub(crate) fn begin(&self) -> UsageGuard {
        self.mark();
        UsageGuard(Arc::clone(&self.in_flight))
    }

    /// Returns the use of the app at `now`.
    pub(crate) fn status(&self, now: Moment) -> UsageStatus {
        let times = self.updated_times(now);
        UsageStatus {
            last_active_ms: (times.last_active_ms > 0).then_some(times.last_active_ms),
            idle_for: now.at.saturating_duration_since(times.idle_since),
            idle_since_ms: times.idle_since_ms,
            notified: times.notified,
        }
    }

    /// Records that the idle event of the period of `status` was sent; ignored if the app was used
    /// meanwhile.
    pub(crate) fn mark_notified(&self, status: UsageStatus) {
        let mut times = self.times();
        if times.idle_since_ms == status.idle_since_ms {
            times.notified = true;
            times.known = true;
        }
    }

    /// Begins a new idle period at `now`, because the app's endpoints have changed.
    pub(crate) fn restart_idle_period(&self, now: Moment) {
        self.updated_times(now).begin_idle_period(now);
    }

    /// Returns the activity for the store.
    #[must_use]
    pub(crate) fn activity(&self, app: &str, now: Moment) -> AppActivity {
        self.updated_times(now).activity(app)
    }

    /// Returns the activity for the store if it has changed since the last call.
    pub(crate) fn take_unsaved(&self, app: &str, now: Moment) -> Option<AppActivity> {
        let mut times = self.updated_times(now);
        let state = times.state();
        let unsaved = std::mem::replace(&mut times.saved, state) != state;
        unsaved.then(|| times.activity(app))
    }

    /// Merges the activity that the store has, written earlier or by another process: of each time
    /// the later one wins.
    pub(crate) fn merge(&self, activity: &AppActivity, now: Moment) {
        let mut times = self.updated_times(now);
        // After the clock was set back, a stored time must not keep the app in use until the clock
        // reaches that time again.
        let last_active_ms = activity.active_ms.min(now.ms);
        let idle_since_ms = activity.idle_since_ms.min(now.ms);
        let notified =
            activity.idle_notified_ms != 0 && activity.idle_notified_ms >= activity.idle_since_ms;
        times.last_active_ms = times.last_active_ms.max(last_active_ms);
        if !times.known || idle_since_ms > times.idle_since_ms {
            times.idle_since_ms = idle_since_ms;
            times.idle_since = now.instant_of(idle_since_ms);
            times.notified = notified;
            times.known = true;
        } else if idle_since_ms == times.idle_since_ms {
            times.notified |= notified;
        } else {
            return;
        }
        // Activity that only this process has is still to be saved.
        times.saved = (last_active_ms, idle_since_ms, notified);
    }

    /// Claims the wake event of a revision. Returns true to the first caller, however many call at
    /// once.
    pub(crate) fn claim_activation(&self, revision: u64) -> bool {
        self.activated.load(Ordering::Relaxed) != revision
            && self.activated.swap(revision, Ordering::Relaxed) != revision
    }

    /// Allows another wake event, for any revision: the scheduler is another one, or the app has
    /// run since.
    pub(crate) fn reset_activation(&self) {
        self.activated.store(0, Ordering::Relaxed);
    }

    /// Returns the times with the use that was recorded up to `now`.
    fn updated_times(&self, now: Moment) -> MutexGuard<'_, Times> {
        let used =
            self.used.swap(false, Ordering::Relaxed) || Arc::strong_count(&self.in_flight) > 1;
        let mut times = self.times();
        if used {
            times.last_active_ms = now.ms.max(1);
            times.begin_idle_period(now);
        }
        times
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Times {
    /// Begins an idle period, of which the scheduler has not been notified.
    fn begin_idle_period(&mut self, now: Moment) {
        self.idle_since = now.at;
        self.idle_since_ms = now.ms.max(self.idle_since_ms.saturating_add(1));
        self.notified = false;
        self.known = true;
    }

    /// The part that is stored when it has changed.
    fn state(&self) -> (u64, u64, bool) {
        (self.last_active_ms, self.idle_since_ms, self.notified)
    }

    fn activity(&self, app: &str) -> AppActivity {
        AppActivity {
            app: app.to_owned(),
            active_ms: self.last_active_ms,
            idle_since_ms: self.idle_since_ms,
            idle_notified_ms: if self.notified { self.idle_since_ms } else { 0 },
        }
    }
}

#[cfg(test)]
mod tests;
