//! Limits of concurrent deliveries: in all, and to each receiver, so that a slow scheduler does not
//! delay the events of others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The maximum number of concurrent deliveries.
const MAX_CONCURRENT: usize = 16;
/// The maximum number of concurrent deliveries to one host and port.
const MAX_CONCURRENT_PER_HOST: usize = 4;
/// The number of hosts at which those without a delivery are removed.
const MAX_HOSTS: usize = 256;

/// The limits. An attempt acquires a permit before it connects.
#[derive(Debug)]
pub(super) struct DeliveryLimits {
    total: Arc<Semaphore>,
    hosts: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// Allows one attempt, until it is dropped.
#[derive(Debug)]
pub(super) struct DeliveryPermit {
    _host: Option<OwnedSemaphorePermit>,
    _total: Option<OwnedSemaphorePermit>,
}

impl Default for DeliveryLimits {
    fn default() -> Self {
        Self {
            total: Arc::new(Semaphore::new(MAX_CONCURRENT)),
            hosts: Mutex::default(),
        }
    }
}

impl DeliveryLimits {
    /// Waits for a permit for `host`. The permit of the host comes first, so that attempts that
    /// wait for their host hold none of the total.
    pub(super) async fn acquire(&self, host: &str) -> DeliveryPermit {
        // The semaphores are never closed.
        let of_host = self.semaphore(host).acquire_owned().await.ok();
        let of_total = Arc::clone(&self.total).acquire_owned().await.ok();
        DeliveryPermit {
            _host: of_host,
            _total: of_total,
        }
    }

    fn semaphore(&self, host: &str) -> Arc<Semaphore> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if hosts.len() >= MAX_HOSTS {
            hosts.retain(|_, semaphore| Arc::strong_count(semaphore) > 1);
        }
        let semaphore = hosts
            .entry(host.to_owned())
            .or_insert_with(|| Arc::new(Semaphore::new(MAX_CONCURRENT_PER_HOST)));
        Arc::clone(semaphore)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn a_slow_host_does_not_delay_another() {
        let limits = DeliveryLimits::default();
        let slow: Vec<_> = (0..MAX_CONCURRENT_PER_HOST)
            .map(|_| limits.acquire("slow").now_or_never().unwrap())
            .collect();
        assert!(limits.acquire("slow").now_or_never().is_none());
        assert!(limits.acquire("other").now_or_never().is_some());
        drop(slow);
        assert!(limits.acquire("slow").now_or_never().is_some());
    }

    #[test]
    fn all_hosts_together_have_a_limit() {
        let limits = DeliveryLimits::default();
        let permits: Vec<_> = (0..MAX_CONCURRENT)
            .map(|n| limits.acquire(&n.to_string()).now_or_never().unwrap())
            .collect();
        assert!(limits.acquire("one more").now_or_never().is_none());
        drop(permits);
        assert!(limits.acquire("one more").now_or_never().is_some());
    }

    #[test]
    fn hosts_without_a_delivery_are_removed() {
        let limits = DeliveryLimits::default();
        for n in 0..10 * MAX_HOSTS {
            assert!(limits.acquire(&n.to_string()).now_or_never().is_some());
        }
        assert!(limits.hosts.lock().unwrap().len() <= MAX_HOSTS);
    }
}
