//! The tasks of the streams of one connection: no more than streams may be open.
//!
//! A client that resets its streams as soon as it has opened them (CVE-2023-44487) has few open
//! streams, but each of them may have begun work. Streams beyond the bound wait in h2, which ends
//! the connection when many of those are reset.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Context;

use futures::task::AtomicWaker;

use super::STREAMS;

/// The tasks that run; clones share the count.
#[derive(Clone, Debug, Default)]
pub(super) struct Tasks(Arc<Running>);

#[derive(Debug, Default)]
struct Running {
    count: AtomicU32,
    waker: AtomicWaker,
}

/// A task that runs until this is dropped.
#[derive(Debug)]
pub(super) struct Task(Arc<Running>);

impl Tasks {
    /// Returns whether another task may begin; if not, the task of the connection is woken when it
    /// may.
    pub(super) fn have_room(&self, cx: &Context<'_>) -> bool {
        let have_room = || self.0.count.load(Ordering::Acquire) < STREAMS;
        have_room() || {
            self.0.waker.register(cx.waker());
            have_room()
        }
    }

    /// Counts a task.
    pub(super) fn begin(&self) -> Task {
        self.0.count.fetch_add(1, Ordering::AcqRel);
        Task(Arc::clone(&self.0))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::AcqRel) >= STREAMS {
            self.0.waker.wake();
        }
    }
}
