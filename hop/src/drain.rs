//! The requests in flight, and the stages of a shutdown.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;

use tokio::sync::watch;

/// The stage of a shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DrainStage {
    /// The daemon serves.
    Serving,
    /// A successor takes the place of this process in an upgrade: responses close their
    /// connections, while this process still accepts new ones.
    Upgrading,
    /// No new connections are accepted; requests in flight continue.
    Draining,
    /// Tunnels close with 1001 (going away).
    ClosingStreams,
    /// The time limit is reached: requests that are still in flight are cut off, and logged as
    /// such.
    CuttingOff,
}

/// Counts requests in flight and publishes the stage of the shutdown; clones share it.
#[derive(Clone, Debug)]
pub struct Drain {
    in_flight: Arc<AtomicUsize>,
    /// Beside the stage, because every response reads it, and reading the stage takes a lock.
    draining: Arc<AtomicBool>,
    closing_connections: Arc<AtomicBool>,
    stage: Arc<watch::Sender<DrainStage>>,
}

/// Counts a request or a tunnel as in flight until it is dropped.
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
            stage: Arc::new(watch::Sender::new(DrainStage::Serving)),
        }
    }
}

impl Drain {
    /// Counts a request or a tunnel as in flight until the guard is dropped.
    #[must_use]
    pub fn enter(&self) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(&self.in_flight))
    }

    /// Returns how many requests and tunnels are in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }

    /// Returns whether the daemon drains.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Returns whether responses close their connections, so that the next request reaches the
    /// process that serves then.
    #[must_use]
    pub fn closes_connections(&self) -> bool {
        self.closing_connections.load(Ordering::Relaxed)
    }

    /// Returns the stage. It takes a lock that all tasks share: not for a request of a daemon that
    /// serves.
    #[must_use]
    pub fn stage(&self) -> DrainStage {
        *self.stage.borrow()
    }

    /// Advances to a later stage; an earlier one is ignored.
    pub fn advance(&self, to: DrainStage) {
        self.closing_connections
            .fetch_or(to > DrainStage::Serving, Ordering::Relaxed);
        self.draining
            .fetch_or(to >= DrainStage::Draining, Ordering::Relaxed);
        self.stage.send_if_modified(|stage| {
            let later = to > *stage;
            if later {
                *stage = to;
            }
            later
        });
    }

    /// Completes when `stage` is reached.
    pub fn reached(&self, stage: DrainStage) -> impl Future<Output = ()> + Send + Sync + use<> {
        let mut watch = self.watch();
        // Unconstrained: in a task that has used up its budget, the watch would return pending
        // without registering the waker.
        tokio::task::unconstrained(async move {
            // The sender lives as long as the daemon; without it no stage is reached any more.
            if watch.wait_for(|now| *now >= stage).await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }

    /// Runs `work`, and drops it unfinished when [`DrainStage::CuttingOff`] is reached.
    ///
    /// Waiting for a stage takes a lock that all tasks share: a task registers once, and polls
    /// again only while the daemon drains.
    pub async fn unless_cut_off<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = std::pin::pin!(work);
        let mut cut_off = Box::pin(self.reached(DrainStage::CuttingOff));
        let mut registered = false;
        poll_fn(|cx| {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(Some(done));
            }
            if !std::mem::replace(&mut registered, true) || self.closes_connections() {
                return cut_off.as_mut().poll(cx).map(|()| None);
            }
            Poll::Pending
        })
        .await
    }

    /// Follows the stage.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<DrainStage> {
        self.stage.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guards_count_requests_in_flight() {
        let drain = Drain::default();
        let first = drain.enter();
        let second = drain.enter();
        assert_eq!(drain.in_flight(), 2);
        drop((first, second));
        assert_eq!(drain.in_flight(), 0);
    }

    #[test]
    fn an_earlier_stage_is_ignored() {
        let drain = Drain::default();
        drain.advance(DrainStage::ClosingStreams);
        drain.advance(DrainStage::Draining);
        assert_eq!(*drain.watch().borrow(), DrainStage::ClosingStreams);
        assert!(drain.is_draining());
    }
}
