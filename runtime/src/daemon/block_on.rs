//! Asynchronous steps of a start, from code that may itself run in a runtime.

use std::future::Future;
use std::panic::resume_unwind;
use std::thread;

use crate::daemon::error::StartError;

/// Runs the future that `work` returns to its end, on a thread and a runtime of its own: a runtime
/// around the caller would forbid to wait. A panic goes on in the caller.
///
/// # Errors
/// If the system refuses the thread or the runtime.
pub fn block_on<F: Future>(work: impl FnOnce() -> F + Send) -> Result<F::Output, StartError>
where
    F::Output: Send,
{
    let run = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map(|runtime| runtime.block_on(work()))
    };
    let done = thread::scope(|scope| {
        let thread = thread::Builder::new().name("start".to_owned());
        let thread = thread.spawn_scoped(scope, run)?;
        thread.join().unwrap_or_else(|panic| resume_unwind(panic))
    });
    done.map_err(StartError::thread)
}
