//! Times as logs and the API have them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, SecondsFormat, Utc};

use super::fields::three_digits;

/// The length of a time without its fraction, and the point before it: `1970-01-01T00:00:00.`.
const SECONDS: usize = 20;

/// Formats a time as logs and the API have it: RFC 3339, UTC, with milliseconds.
#[must_use]
pub fn timestamp(time: SystemTime) -> String {
    DateTime::<Utc>::from(time).to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Formats times like [`timestamp`], most of which are in the second of the time before.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// The second since the epoch that `text` is of.
    second: u64,
    /// The second as text, with the point; empty before the first time.
    text: String,
}

impl Clock {
    /// Appends a time.
    pub(super) fn write(&mut self, time: SystemTime, buffer: &mut Vec<u8>) {
        match time.duration_since(UNIX_EPOCH) {
            Ok(since) if self.knows(since.as_secs()) => {
                buffer.extend_from_slice(self.text.as_bytes());
                three_digits(buffer, u64::from(since.subsec_millis()));
                buffer.push(b'Z');
            }
            // Before 1970, or after 9999, when a year has more digits.
            _ => buffer.extend_from_slice(timestamp(time).as_bytes()),
        }
    }

    /// Returns whether `text` is that of a second, after formatting it where it was another.
    fn knows(&mut self, second: u64) -> bool {
        if self.second != second || self.text.is_empty() {
            self.second = second;
            let Some(time) = UNIX_EPOCH.checked_add(Duration::from_secs(second)) else {
                return false;
            };
            self.text = timestamp(time);
            self.text.truncate(SECONDS);
        }
        self.text.ends_with('.')
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_time_before_the_epoch_and_one_after_the_year_9999_are_written_too() {
        let mut clock = Clock::default();
        for (time, expected) in [
            (UNIX_EPOCH, "1970-01-01T00:00:00.000Z"),
            (
                UNIX_EPOCH - Duration::from_millis(1),
                "1969-12-31T23:59:59.999Z",
            ),
            (
                UNIX_EPOCH + Duration::from_secs(253_402_300_800),
                "+10000-01-01T00:00:00.000Z",
            ),
            (
                UNIX_EPOCH + Duration::from_micros(1_999_999),
                "1970-01-01T00:00:01.999Z",
            ),
        ] {
            let mut buffer = Vec::new();
            clock.write(time, &mut buffer);
            assert_eq!(String::from_utf8(buffer).unwrap(), expected);
        }
    }

    proptest! {
        #[test]
        fn times_in_any_order_are_written_as_without_the_clock(
            times in prop::collection::vec(0_u64..400_000_000_000_000, 1..20)
        ) {
            let mut clock = Clock::default();
            for millis in times {
                for millis in [millis, millis, millis + 1, millis + 999] {
                    let time = UNIX_EPOCH + Duration::from_millis(millis);
                    let mut buffer = Vec::new();
                    clock.write(time, &mut buffer);
                    prop_assert_eq!(String::from_utf8(buffer).unwrap(), timestamp(time));
                }
            }
        }
    }
}
