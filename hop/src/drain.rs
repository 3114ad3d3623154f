//! What is in flight, and how it comes to its end when the daemon is told to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::watch;

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Serving.
    Serving,
    /// No new connections; what is in flight goes on.
    Draining,
    /// Tunnels close with 1001 (going away).
    ClosingStreams,
}

/// Counts what is in flight and tells the phase; clones share it.
#[derive(Clone, Debug)]
pub struct Drain {
    in_flight: Arc<AtomicUsize>,
    /// Beside the phase, because reading that takes a lock and requests ask at every response.
    draining: Arc<AtomicBool>,
    phase: Arc<watch::Sender<Phase>>,
}

/// Something in flight: a request or a tunnel. Dropping it says that it has ended.
#[derive(Debug)]
pub struct InFlight(Arc<AtomicUsize>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            in_flight: Arc::default(),
            draining: Arc::default(),
            phase: Arc::new(watch::Sender::new(Phase::Serving)),
        }
    }
}

impl Drain {
    /// Counts something in until the guard is dropped.
    #[must_use]
    pub fn enter(&self) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(&self.in_flight))
    }

    /// How many requests and tunnels are in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }

    /// Whether the daemon is ending.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Goes on to a later phase; a phase never goes back.
    pub fn advance(&self, to: Phase) {
        self.draining.fetch_or(to > Phase::Serving, Ordering::Relaxed);
        self.phase.send_if_modified(|phase| {
            let later = to > *phase;
            if later {
                *phase = to;
            }
            later
        });
    }

    /// Follows the phase.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guards_count_what_is_in_flight() {
        let drain = Drain::default();
        let first = drain.enter();
        let second = drain.clone().enter();
        assert_eq!(drain.in_flight(), 2);
        drop((first, second));
        assert_eq!(drain.in_flight(), 0);
    }

    #[test]
    fn a_phase_never_goes_back() {
        let drain = Drain::default();
        drain.advance(Phase::ClosingStreams);
        drain.advance(Phase::Draining);
        assert_eq!(*drain.watch().borrow(), Phase::ClosingStreams);
        assert!(drain.is_draining());
    }
}
