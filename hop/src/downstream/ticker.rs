//! Keeps the runtime of each thread awake enough for cheap time limits.
//!
//! Each request sets a few time limits that hardly ever end. Where a new one ends before every
//! other, tokio wakes its own thread by writing to a descriptor, and the thread takes another turn
//! of its loop for nothing: two or three system calls for each limit. A timer that is always about
//! to end keeps new ones from being the first.

use std::cell::Cell;
use std::time::Duration;

/// Shorter than any time limit of a request.
const TICK: Duration = Duration::from_millis(250);

thread_local! {
    static TICKING: Cell<bool> = const { Cell::new(false) };
}

/// Starts the timer of this thread, if it has none. Called within its runtime.
pub(super) fn start() {
    if !TICKING.replace(true) {
        tokio::spawn(async {
            loop {
                tokio::time::sleep(TICK).await;
            }
        });
    }
}
