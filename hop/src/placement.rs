//! The next hops of one request: that of the current attempt, and those that failed before.

use std::sync::Arc;

use pingora_core::prelude::HttpPeer;

/// A selected next hop. It counts as busy until this guard is dropped.
pub trait NextHop: Send + Sync + 'static {
    /// The noun for a next hop in log lines.
    const NOUN: &'static str;
    /// The next hop itself.
    type Target: Send + Sync;

    /// The next hop itself.
    fn target(&self) -> &Arc<Self::Target>;

    /// The name in log lines.
    fn name(&self) -> &str;

    /// The address and the time limits of its connections.
    fn peer(&self) -> &HttpPeer;
}

/// The next hops of one request.
pub struct Placement<N: NextHop> {
    current: Option<N>,
    failed: Vec<Arc<N::Target>>,
}

impl<N: NextHop> Default for Placement<N> {
    fn default() -> Self {
        Self {
            current: None,
            failed: Vec::new(),
        }
    }
}

impl<N: NextHop> Placement<N> {
    /// The next hop of the current attempt.
    pub(crate) const fn current(&self) -> Option<&N> {
        self.current.as_ref()
    }

    /// The next hop of the current attempt, for a change of its guard.
    pub const fn current_mut(&mut self) -> Option<&mut N> {
        self.current.as_mut()
    }

    /// The next hops that failed.
    #[must_use]
    pub fn failed(&self) -> &[Arc<N::Target>] {
        &self.failed
    }

    /// Begins an attempt at `next`, and returns it.
    pub(crate) fn begin(&mut self, next: N) -> &N {
        self.current.insert(next)
    }

    /// Excludes the next hop of the current attempt from further attempts.
    pub(crate) fn give_up(&mut self) {
        let given_up = self.current.take();
        self.failed
            .extend(given_up.map(|next| Arc::clone(next.target())));
    }

    /// Ends the current attempt; the guard is returned for a tunnel that lives on.
    pub(crate) const fn end(&mut self) -> Option<N> {
        self.current.take()
    }
}
