//! The workers that an attempt may use.

use std::sync::Arc;

use app_proxy_api::apps::Labels;

use super::snapshot::PoolSnapshot;
use super::worker::PoolWorker;

/// The workers that an attempt may use: those that are healthy, have the labels of the app's
/// `pool`, do not drain, and have not failed in this request.
#[derive(Clone, Copy)]
pub(crate) struct Candidates<'s> {
    snapshot: &'s PoolSnapshot,
    selector: &'s Labels,
    failed: &'s [Arc<PoolWorker>],
}

impl<'s> Candidates<'s> {
    /// The candidates for an app with this selector, after these workers have failed.
    #[must_use]
    pub(crate) const fn new(
        snapshot: &'s PoolSnapshot,
        selector: &'s Labels,
        failed: &'s [Arc<PoolWorker>],
    ) -> Self {
        Self {
            snapshot,
            selector,
            failed,
        }
    }

    /// Returns a worker, or its replacement if it is retired, if it is a candidate.
    #[must_use]
    pub(crate) fn current(&self, worker: &'s Arc<PoolWorker>) -> Option<&'s Arc<PoolWorker>> {
        self.snapshot
            .current(worker)
            .filter(|worker| self.accepts(worker) && self.snapshot.is_healthy(worker))
    }

    /// Returns the first candidate in ketama's order for `key` that `wanted` accepts.
    #[must_use]
    pub(crate) fn first(
        &self,
        key: &[u8],
        wanted: impl Fn(&'s Arc<PoolWorker>) -> bool,
    ) -> Option<&'s Arc<PoolWorker>> {
        self.snapshot.find(self.selector, key, |worker| {
            self.accepts(worker) && wanted(worker)
        })
    }

    /// Iterates over the candidates in the order of their identifiers.
    pub(crate) fn iter(self) -> impl Iterator<Item = &'s Arc<PoolWorker>> {
        self.snapshot
            .iter()
            .filter(move |worker| self.accepts(worker) && self.snapshot.is_healthy(worker))
    }

    fn accepts(&self, worker: &Arc<PoolWorker>) -> bool {
        !worker.is_draining()
            && worker.matches(self.selector)
            && !self.failed.iter().any(|f| Arc::ptr_eq(f, worker))
    }
}
