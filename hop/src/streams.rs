//! The streams of an app that are open at a tier, so that they can be ended from outside: with
//! their session, their app or their worker.
//!
//! A stream registers when it opens and is taken out when it ends; both take the lock of its app's
//! registry. A request that is no stream never comes here. Closing marks streams and wakes their
//! tasks: each task ends its own stream, in the way that fits it.

mod opened;
mod until_closed;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use opened::{CloseReason, StreamHandle, Watch};
pub(crate) use until_closed::{hand_over, until_closed};

/// The open streams of one app at one tier; clones share them.
#[derive(Clone, Default)]
pub struct Streams(Arc<Mutex<Registry>>);

#[derive(Default)]
struct Registry {
    open: Vec<Arc<StreamHandle>>,
    /// Why streams that open from now on are closed at once, if they are.
    over: Option<CloseReason>,
}

/// A stream's place in the registry of its app; dropping it says that the stream has ended.
#[derive(Debug)]
pub struct StreamRegistration {
    streams: Streams,
    opened: Arc<StreamHandle>,
}

impl StreamRegistration {
    /// The stream.
    #[must_use]
    pub fn opened(&self) -> &Arc<StreamHandle> {
        &self.opened
    }
}

impl Drop for StreamRegistration {
    fn drop(&mut self) {
        self.opened.end();
        self.streams.lock().take_out(&self.opened);
    }
}

impl Streams {
    /// Takes in a stream of a session and a worker, as far as it has them. After
    /// [`Streams::end_all`] it is closed at once.
    #[must_use]
    pub fn register(&self, session: Option<&str>, worker: Option<&Arc<str>>) -> StreamRegistration {
        let opened = Arc::new(StreamHandle::new(session, worker));
        let mut registry = self.lock();
        registry.take_in(&opened);
        if let Some(reason) = registry.over {
            opened.close(reason);
        }
        drop(registry);
        StreamRegistration {
            streams: self.clone(),
            opened,
        }
    }

    /// Closes the open streams that `wanted` picks; says how many were told now. What opens later
    /// is not concerned.
    pub fn close_where(
        &self,
        reason: CloseReason,
        wanted: impl Fn(&StreamHandle) -> bool,
    ) -> usize {
        let picked: Vec<_> = self
            .lock()
            .open
            .iter()
            .filter(|opened| wanted(opened))
            .cloned()
            .collect();
        // Without the lock: whoever is woken may be at work before this is done.
        picked.iter().filter(|opened| opened.close(reason)).count()
    }

    /// Closes all streams, and those that open from now on: the app is gone, and what was on its
    /// way to it still may become a stream.
    pub fn end_all(&self, reason: CloseReason) -> usize {
        self.lock().over = Some(reason);
        self.close_where(reason, |_| true)
    }

    /// How many open streams `wanted` picks.
    #[must_use]
    pub fn count_where(&self, wanted: impl Fn(&StreamHandle) -> bool) -> usize {
        self.lock()
            .open
            .iter()
            .filter(|opened| wanted(opened))
            .count()
    }

    /// How many streams are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().open.len()
    }

    /// Whether no stream is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    fn take_in(&mut self, opened: &Arc<StreamHandle>) {
        opened.put_at(self.open.len());
        self.open.push(Arc::clone(opened));
    }

    /// The last one takes the place that becomes free.
    fn take_out(&mut self, opened: &Arc<StreamHandle>) {
        let place = opened.place();
        debug_assert!(
            self.open
                .get(place)
                .is_some_and(|there| Arc::ptr_eq(there, opened))
        );
        if place < self.open.len() {
            self.open.swap_remove(place);
        }
        if let Some(moved) = self.open.get(place) {
            moved.put_at(place);
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
