//! When a webhook that was not taken is tried again, and when it is given up.

use std::time::Duration;

use rand::RngExt;

/// For how long a webhook is tried.
const GIVE_UP: Duration = Duration::from_secs(24 * 3600);
/// The first pause, at most.
const FIRST: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(300);

/// The pauses between the tries of one webhook.
#[derive(Debug)]
pub(super) struct Schedule {
    next: Duration,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Schedule {
    /// The next pause: twice the one before, less up to half of it, so that webhooks that failed
    /// together are not tried together.
    pub(super) fn pause(&mut self) -> Duration {
        let longest = self.next;
        self.next = (self.next * 2).min(LONGEST);
        longest.mul_f64(rand::rng().random_range(0.5..=1.0))
    }
}

/// For how long a webhook that is `age` old is still tried.
pub(super) fn time_left(age: Duration) -> Duration {
    GIVE_UP.saturating_sub(age)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_five_minutes() {
        let mut schedule = Schedule::default();
        for longest in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            let pause = schedule.pause().as_secs_f64();
            let longest = f64::from(longest);
            assert!(
                (longest / 2.0..=longest).contains(&pause),
                "{pause} of {longest}"
            );
        }
    }

    #[test]
    fn a_webhook_is_tried_for_a_day() {
        assert_eq!(
            time_left(Duration::from_secs(3600)),
            Duration::from_secs(23 * 3600)
        );
        assert_eq!(time_left(Duration::from_secs(25 * 3600)), Duration::ZERO);
    }
}
