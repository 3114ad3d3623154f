//! Calls of an embedder's code, whose panics must end neither a request nor its log.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};

use futures::FutureExt as _;

/// Calls code of an embedder.
///
/// # Errors
/// If the code panics: the message of the panic.
pub fn guarded<R>(call: impl FnOnce() -> R) -> Result<R, String> {
    // A value that the panic left half-changed is the embedder's own, and is not called again or
    // was ready for it: nothing of the tier is borrowed mutably.
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| message(&*panic))
}

/// Awaits code of an embedder. A panic while `call` is dropped counts only if `call` drops it.
///
/// # Errors
/// If the code panics: the message of the panic.
pub async fn guarded_async<R>(call: impl Future<Output = R> + Send) -> Result<R, String> {
    let done = AssertUnwindSafe(call).catch_unwind().await;
    done.map_err(|panic| message(&*panic))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_its_message() {
        assert_eq!(guarded(|| 1), Ok(1));
        assert_eq!(guarded(|| panic!("one")), Err::<(), _>("one".to_owned()));
        let two = 2;
        assert_eq!(guarded(|| panic!("{two}")), Err::<(), _>("2".to_owned()));
    }
}
