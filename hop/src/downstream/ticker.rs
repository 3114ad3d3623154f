//! A timer for each thread that makes the timeouts of requests cheap.
//!
//! Each request sets a few timeouts that hardly ever fire. When a new timeout is due before all
//! others, Tokio wakes its own thread through a descriptor: two or three system calls for nothing.
//! A timer that is always about to fire keeps new timeouts from being the first.

use std::cell::Cell;
use std::time::Duration;

/// Interval of the timer, shorter than any timeout of a request.
const TICK: Duration = Duration::from_millis(250);

thread_local! {
    static TICKING: Cell<bool> = const { Cell::new(false) };
}

/// Starts the timer of this thread unless it runs. Must be called within the thread's runtime.
pub(super) fn start() {
    if !TICKING.replace(true) {
        tokio::spawn(async {
            loop {
                tokio::time::sleep(TICK).await;
            }
        });
    }
}
