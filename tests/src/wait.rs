//! Waiting for conditions, with a deadline that turns a hang into a sentence.

use std::future::Future;
use std::time::{Duration, Instant};

/// The time limit of every wait. Generous, because the machine may be busy.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Awaits `future`.
///
/// # Panics
/// If the future is not ready after [`DEADLINE`]; the message contains `what`.
pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited {DEADLINE:?} in vain for: {what}"),
    }
}

/// Polls until `condition` returns a value.
///
/// # Panics
/// If it returns none within [`DEADLINE`]; the message has `what`.
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

/// Like [`eventually`], for an asynchronous condition.
///
/// # Panics
/// If it returns none within [`DEADLINE`]; the message has `what`.
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
