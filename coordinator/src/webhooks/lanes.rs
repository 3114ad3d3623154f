//! How many deliveries go on at once: few in all, and fewer to one scheduler, so that a slow one
//! does not hold up the events of others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Deliveries at once.
const AT_ONCE: usize = 16;
/// Deliveries at once to one host and port.
const AT_ONCE_EACH: usize = 4;
/// Hosts that are remembered before those that nobody waits for are forgotten.
const REMEMBERED: usize = 256;

/// The lanes; a delivery takes its place in one before it begins.
pub(super) struct Lanes {
    all: Arc<Semaphore>,
    each: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// A place, until it is dropped.
pub(super) struct Place {
    _own: Option<OwnedSemaphorePermit>,
    _shared: Option<OwnedSemaphorePermit>,
}

impl Default for Lanes {
    fn default() -> Self {
        Self {
            all: Arc::new(Semaphore::new(AT_ONCE)),
            each: Mutex::default(),
        }
    }
}

impl Lanes {
    /// Waits for a place on the way to `host`. Who waits for its host takes nobody else's place.
    pub(super) async fn enter(&self, host: &str) -> Place {
        // The semaphores are never closed.
        let own = self.lane(host).acquire_owned().await.ok();
        let shared = Arc::clone(&self.all).acquire_owned().await.ok();
        Place {
            _own: own,
            _shared: shared,
        }
    }

    fn lane(&self, host: &str) -> Arc<Semaphore> {
        let mut each = self.each.lock().unwrap_or_else(PoisonError::into_inner);
        if each.len() >= REMEMBERED {
            each.retain(|_, lane| Arc::strong_count(lane) > 1);
        }
        let lane = each
            .entry(host.to_owned())
            .or_insert_with(|| Arc::new(Semaphore::new(AT_ONCE_EACH)));
        Arc::clone(lane)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn a_slow_host_does_not_hold_up_another_one() {
        let lanes = Lanes::default();
        let slow: Vec<_> = (0..AT_ONCE_EACH)
            .map(|_| lanes.enter("slow").now_or_never().unwrap())
            .collect();
        assert!(lanes.enter("slow").now_or_never().is_none());
        assert!(lanes.enter("other").now_or_never().is_some());
        drop(slow);
        assert!(lanes.enter("slow").now_or_never().is_some());
    }

    #[test]
    fn there_is_a_bound_for_all_hosts_together() {
        let lanes = Lanes::default();
        let places: Vec<_> = (0..AT_ONCE)
            .map(|n| lanes.enter(&n.to_string()).now_or_never().unwrap())
            .collect();
        assert!(lanes.enter("one more").now_or_never().is_none());
        drop(places);
        assert!(lanes.enter("one more").now_or_never().is_some());
    }

    #[test]
    fn hosts_that_nobody_waits_for_are_forgotten() {
        let lanes = Lanes::default();
        for n in 0..10 * REMEMBERED {
            assert!(lanes.enter(&n.to_string()).now_or_never().is_some());
        }
        assert!(lanes.each.lock().unwrap().len() <= REMEMBERED);
    }
}
