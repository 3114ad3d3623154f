//! What is in flight, and how it comes to its end when the daemon is told to end.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use std::task::Poll;

use tokio::sync::watch;

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DrainStage {
    /// Serving.
    Serving,
    /// A successor takes over: clients are asked to connect anew, while this process still takes
    /// connections.
    HandingOver,
    /// No new connections; what is in flight goes on.
    Draining,
    /// Tunnels close with 1001 (going away).
    ClosingStreams,
    /// The time is over: what is still in flight is cut off, and logged as such.
    CuttingOff,
}

/// Counts what is in flight and tells the phase; clones share it.
#[derive(Clone, Debug)]
pub struct Drain {
    in_flight: Arc<AtomicUsize>,
    /// Beside the phase, because reading that takes a lock and requests ask at every response.
    draining: Arc<AtomicBool>,
    closing_connections: Arc<AtomicBool>,
    phase: Arc<watch::Sender<DrainStage>>,
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
            closing_connections: Arc::default(),
            phase: Arc::new(watch::Sender::new(DrainStage::Serving)),
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

    /// Whether clients are asked to connect anew: their next request should go to whoever serves
    /// then.
    #[must_use]
    pub fn closes_connections(&self) -> bool {
        self.closing_connections.load(Ordering::Relaxed)
    }

    /// How far the end has come. Takes a lock that all share: for a daemon that drains.
    #[must_use]
    pub fn phase(&self) -> DrainStage {
        *self.phase.borrow()
    }

    /// Goes on to a later phase; a phase never goes back.
    pub fn advance(&self, to: DrainStage) {
        self.closing_connections
            .fetch_or(to > DrainStage::Serving, Ordering::Relaxed);
        self.draining
            .fetch_or(to >= DrainStage::Draining, Ordering::Relaxed);
        self.phase.send_if_modified(|phase| {
            let later = to > *phase;
            if later {
                *phase = to;
            }
            later
        });
    }

    /// Completes when the phase has come to `phase`.
    pub fn reached(&self, phase: DrainStage) -> impl Future<Output = ()> + Send + Sync + use<> {
        let mut watch = self.watch();
        // Unconstrained: a task that has used up its turn would be told to wait without being
        // registered to be woken.
        tokio::task::unconstrained(async move {
            // The sender lives as long as the daemon; should it go, there is nothing to wait for.
            if watch.wait_for(|now| *now >= phase).await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }

    /// Runs `work`, and drops it unfinished when the phase comes to [`DrainStage::CuttingOff`].
    ///
    /// Waiting for a phase takes a lock that all tasks share: a task asks once, to be woken, and
    /// then only once the daemon drains.
    pub async fn unless_cut_off<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = std::pin::pin!(work);
        let mut cut_off = Box::pin(self.reached(DrainStage::CuttingOff));
        let mut asked = false;
        poll_fn(|cx| {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(Some(done));
            }
            if !std::mem::replace(&mut asked, true) || self.is_draining() {
                return cut_off.as_mut().poll(cx).map(|()| None);
            }
            Poll::Pending
        })
        .await
    }

    /// Follows the phase.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<DrainStage> {
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
        let second = drain.enter();
        assert_eq!(drain.in_flight(), 2);
        drop((first, second));
        assert_eq!(drain.in_flight(), 0);
    }

    #[test]
    fn a_phase_never_goes_back() {
        let drain = Drain::default();
        drain.advance(DrainStage::ClosingStreams);
        drain.advance(DrainStage::Draining);
        assert_eq!(*drain.watch().borrow(), DrainStage::ClosingStreams);
        assert!(drain.is_draining());
    }
}
