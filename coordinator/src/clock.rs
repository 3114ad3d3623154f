//! The time of day in milliseconds since 1970, as records and the store keep it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The present moment.
#[must_use]
pub fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A moment as the API writes it, RFC 3339.
#[must_use]
pub fn rfc3339(ms: u64) -> String {
    app_proxy_hop::observe::access_log::timestamp(UNIX_EPOCH + Duration::from_millis(ms))
}
