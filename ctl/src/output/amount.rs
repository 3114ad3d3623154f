//! Times, periods and sizes for people.

use chrono::{DateTime, Utc};

/// Formats an RFC 3339 time relative to `now`. Returns an invalid time unchanged.
pub(crate) fn ago(time: &str, now: DateTime<Utc>) -> String {
    let Ok(time) = DateTime::parse_from_rfc3339(time) else {
        return time.to_owned();
    };
    match (now - time.to_utc()).num_seconds() {
        0 => "now".to_owned(),
        past @ 1.. => format!("{} ago", span(past.unsigned_abs())),
        future => format!("in {}", span(future.unsigned_abs())),
    }
}

/// Formats a number of seconds in the largest unit.
fn span(seconds: u64) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    match seconds {
        0..MINUTE => format!("{seconds}s"),
        MINUTE..HOUR => format!("{}m", seconds / MINUTE),
        HOUR..DAY => format!("{}h", seconds / HOUR),
        _ => format!("{}d", seconds / DAY),
    }
}

/// Formats a number of milliseconds.
pub(crate) fn milliseconds(ms: f64) -> String {
    const SECOND: f64 = 1000.0;
    const MINUTE: f64 = 60.0 * SECOND;
    match ms {
        _ if ms < SECOND => format!("{ms:.1}ms"),
        _ if ms < MINUTE => format!("{:.2}s", ms / SECOND),
        _ => {
            let seconds = (ms / SECOND).round();
            format!("{:.0}m{:02.0}s", (seconds / 60.0).floor(), seconds % 60.0)
        }
    }
}

/// Formats a number of bytes.
pub(crate) fn bytes(number: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if number < 1024 {
        return format!("{number} B");
    }
    let mut amount = number as f64;
    let mut unit = "B";
    for next in UNITS {
        // 1023.96 would be rounded to 1024.0.
        if amount < 1023.95 {
            break;
        }
        (amount, unit) = (amount / 1024.0, next);
    }
    format!("{amount:.1} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_one_unit() {
        let now = DateTime::parse_from_rfc3339("2026-11-23T12:00:00Z")
            .unwrap()
            .to_utc();
        for (time, text) in [
            ("2026-11-23T12:00:00.2Z", "now"),
            ("2026-11-23T11:59:59Z", "1s ago"),
            ("2026-11-23T11:59:00Z", "1m ago"),
            ("2026-11-23T13:00:00+02:00", "1h ago"),
            ("2026-11-21T11:00:00Z", "2d ago"),
            ("2026-11-23T12:00:09Z", "in 9s"),
            ("soon", "soon"),
        ] {
            assert_eq!(ago(time, now), text, "{time}");
        }
    }

    #[test]
    fn sizes_and_periods_are_short() {
        assert_eq!(
            [0, 1023, 1024, 1 << 20, u64::MAX].map(bytes),
            ["0 B", "1023 B", "1.0 KiB", "1.0 MiB", "16384.0 PiB"]
        );
        assert_eq!(
            [0.04, 1.454, 2971.356, 192_400.0].map(milliseconds),
            ["0.0ms", "1.5ms", "2.97s", "3m12s"]
        );
        assert_eq!(milliseconds(119_700.0), "2m00s");
    }
}
