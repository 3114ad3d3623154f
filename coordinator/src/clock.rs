//! Time: milliseconds since 1970, as records and the store hold it, and the monotonic clock beside
//! it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// One moment on both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// Wall clock, in milliseconds since 1970.
    pub(crate) ms: u64,
    /// Monotonic clock.
    pub(crate) at: Instant,
}

impl Now {
    /// Reads both clocks.
    #[must_use]
    pub(crate) fn read() -> Self {
        Self {
            ms: now_ms(),
            at: Instant::now(),
        }
    }

    /// Converts `ms` of the wall clock to the monotonic clock; a time in the future becomes now.
    pub(crate) fn instant_of(&self, ms: u64) -> Instant {
        self.at
            .checked_sub(Duration::from_millis(self.ms.saturating_sub(ms)))
            .unwrap_or(self.at)
    }
}

/// Returns the time in milliseconds since 1970.
#[must_use]
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Formats a time in milliseconds since 1970 as RFC 3339, as the API does.
#[must_use]
pub(crate) fn rfc3339(ms: u64) -> String {
    app_proxy_hop::observe::access_log::timestamp(UNIX_EPOCH + Duration::from_millis(ms))
}
