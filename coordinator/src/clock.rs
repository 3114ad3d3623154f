//! The time of day in milliseconds since 1970, as records and the store keep it, and moments that
//! can be compared although somebody sets the clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// One moment, on the wall clock and on the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// Milliseconds since 1970.
    pub(crate) ms: u64,
    /// The same moment on the monotonic clock.
    pub(crate) at: Instant,
}

impl Moment {
    /// Reads both clocks.
    #[must_use]
    pub(crate) fn now() -> Self {
        Self {
            ms: now_ms(),
            at: Instant::now(),
        }
    }

    /// Converts `ms` to the monotonic clock. A time after this moment becomes this moment.
    pub(crate) fn instant_of(&self, ms: u64) -> Instant {
        self.at
            .checked_sub(Duration::from_millis(self.ms.saturating_sub(ms)))
            .unwrap_or(self.at)
    }
}

/// Returns the current time in milliseconds since 1970.
#[must_use]
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Formats a time in milliseconds since 1970 as the API writes it, by RFC 3339.
#[must_use]
pub(crate) fn rfc3339(ms: u64) -> String {
    app_proxy_hop::observe::access_log::timestamp(UNIX_EPOCH + Duration::from_millis(ms))
}
