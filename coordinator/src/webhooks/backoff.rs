//! The pauses between attempts to deliver a webhook, and the age at which it is given up.

use std::time::Duration;

use rand::RngExt;

/// The age at which a webhook is given up.
const GIVE_UP: Duration = Duration::from_secs(24 * 3600);
/// The upper bound of the first pause.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The upper bound of all pauses.
const MAX_PAUSE: Duration = Duration::from_secs(300);

/// The pauses between the attempts of one webhook: exponential, with jitter.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST_PAUSE }
    }
}

impl Backoff {
    /// Returns the next pause. The bound doubles with each pause; the pause is between half of its
    /// bound and the bound, so that webhooks that failed together are not retried together.
    pub(super) fn next_pause(&mut self) -> Duration {
        let bound = self.next;
        self.next = (self.next * 2).min(MAX_PAUSE);
        bound.mul_f64(rand::rng().random_range(0.5..=1.0))
    }
}

/// Returns how long a webhook of this age is still retried.
pub(super) fn time_left(age: Duration) -> Duration {
    GIVE_UP.saturating_sub(age)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_five_minutes() {
        let mut backoff = Backoff::default();
        for bound in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            let pause = backoff.next_pause().as_secs_f64();
            let bound = f64::from(bound);
            assert!((bound / 2.0..=bound).contains(&pause), "{pause} of {bound}");
        }
    }

    #[test]
    fn a_webhook_is_retried_for_a_day() {
        assert_eq!(
            time_left(Duration::from_secs(3600)),
            Duration::from_secs(23 * 3600)
        );
        assert_eq!(time_left(Duration::from_secs(25 * 3600)), Duration::ZERO);
    }
}
