//! The open streams of an app at a tier, so that they can be closed from outside: with their
//! session, their app or their worker.
//!
//! A stream registers when it opens and deregisters when it ends; both take the lock of its app's
//! registry. A request that is no stream never registers. Closing marks streams and wakes their
//! tasks: each task ends its own stream, by the means of its protocol.

mod handle;
mod until_closed;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(crate) use handle::CloseWatch;
pub use handle::{CloseReason, StreamHandle};
pub(crate) use until_closed::{notify_opened, until_closed};

/// The open streams of one app at one tier; clones share them.
#[derive(Clone, Default)]
pub struct Streams(Arc<Mutex<Registry>>);

#[derive(Default)]
struct Registry {
    open: Vec<Arc<StreamHandle>>,
    /// The reason for which later streams are closed at once, after [`Streams::end_all`].
    closed: Option<CloseReason>,
}

/// The registration of a stream with its app; dropping it ends the stream.
#[derive(Debug)]
pub struct StreamRegistration {
    streams: Streams,
    handle: Arc<StreamHandle>,
}

impl StreamRegistration {
    /// The handle of the stream.
    #[must_use]
    pub fn handle(&self) -> &Arc<StreamHandle> {
        &self.handle
    }
}

impl Drop for StreamRegistration {
    fn drop(&mut self) {
        self.handle.end();
        self.streams.lock().remove(&self.handle);
    }
}

impl Streams {
    /// Registers a stream of a session and a worker, if it has them. After [`Streams::end_all`] it
    /// is closed at once.
    #[must_use]
    pub fn register(&self, session: Option<&str>, worker: Option<&Arc<str>>) -> StreamRegistration {
        let handle = Arc::new(StreamHandle::new(session, worker));
        let mut registry = self.lock();
        registry.add(&handle);
        if let Some(reason) = registry.closed {
            handle.close(reason);
        }
        drop(registry);
        StreamRegistration {
            streams: self.clone(),
            handle,
        }
    }

    /// Closes the open streams that `matches` selects, and returns how many this call closed.
    /// Streams that open later stay open.
    pub fn close_where(
        &self,
        reason: CloseReason,
        matches: impl Fn(&StreamHandle) -> bool,
    ) -> usize {
        let selected: Vec<_> = self
            .lock()
            .open
            .iter()
            .filter(|stream| matches(stream))
            .cloned()
            .collect();
        // Without the lock: a task that wakes up deregisters its stream.
        selected
            .iter()
            .filter(|stream| stream.close(reason))
            .count()
    }

    /// Closes all streams, and every stream that opens later: after the deletion of an app,
    /// requests that are on their way to it may still become streams.
    pub fn end_all(&self, reason: CloseReason) -> usize {
        self.lock().closed = Some(reason);
        self.close_where(reason, |_| true)
    }

    /// Returns how many open streams `matches` selects.
    #[must_use]
    pub fn count_where(&self, matches: impl Fn(&StreamHandle) -> bool) -> usize {
        self.lock()
            .open
            .iter()
            .filter(|stream| matches(stream))
            .count()
    }

    /// Returns how many streams are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().open.len()
    }

    /// Returns whether no stream is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    fn add(&mut self, stream: &Arc<StreamHandle>) {
        stream.set_index(self.open.len());
        self.open.push(Arc::clone(stream));
    }

    /// Removes a stream; the last one moves to its index.
    fn remove(&mut self, stream: &Arc<StreamHandle>) {
        let index = stream.index();
        debug_assert!(
            self.open
                .get(index)
                .is_some_and(|found| Arc::ptr_eq(found, stream))
        );
        if index < self.open.len() {
            self.open.swap_remove(index);
        }
        if let Some(moved) = self.open.get(index) {
            moved.set_index(index);
        }
    }
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams")
            .field("open", &self.len())
            .finish()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests;
