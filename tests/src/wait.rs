//! Waiting for conditions, with a deadline that turns a hang into a sentence.

use std::future::Future;
use std::time::{Duration, Instant};

/// How long anything may take before it counts as not happening. Generous: the machine may be busy.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Awaits `future`.
///
/// # Panics
/// When it takes longer than [`DEADLINE`]; `what` says what was awaited.
pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited {DEADLINE:?} in vain for: {what}"),
    }
}

/// Asks again and again until `condition` yields something.
///
/// # Panics
/// When it yields nothing within [`DEADLINE`]; `what` says what was awaited.
pub async fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(
            begin.elapsed() < DEADLINE,
            "waited {DEADLINE:?} in vain for: {what}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// As [`eventually`], for a condition that itself has to be awaited.
///
/// # Panics
/// When it yields nothing within [`DEADLINE`]; `what` says what was awaited.
pub async fn eventually_async<T, F>(what: &str, mut condition: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let begin = Instant::now();
    loop {
        if let Some(found) = within(what, condition()).await {
            return found;
        }
        assert!(
            begin.elapsed() < DEADLINE,
            "waited {DEADLINE:?} in vain for: {what}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
