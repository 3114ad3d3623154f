//! Drains in the registry, including those of workers that are not in the pool at the moment.

use std::collections::BTreeSet;
use std::time::Duration;

use app_proxy_store::StoredDrain;

use super::Registry;
use super::entry::OrphanedDrain;
use crate::clock::now_ms;

/// The time that the drain of a worker is kept after its registration expired; at least until the
/// deadline of the drain.
const ORPHANED_RETENTION: Duration = Duration::from_secs(24 * 3600);

impl Registry {
    /// Sets the drain of a worker, in the pool or not.
    pub(in crate::pool) fn set_drain(&mut self, id: &str, drain: Option<StoredDrain>) {
        match (self.entries.get_mut(id), drain) {
            (Some(entry), drain) => entry.set_drain(drain),
            (None, Some(drain)) => {
                let since_ms = self
                    .orphaned_drains
                    .get(id)
                    .map_or_else(now_ms, |orphaned| orphaned.since_ms);
                self.orphaned_drains
                    .insert(id.to_owned(), OrphanedDrain { drain, since_ms });
            }
            (None, None) => drop(self.orphaned_drains.remove(id)),
        }
    }

    /// Removes the orphaned drains that are past their retention. Returns their workers.
    pub(in crate::pool) fn remove_overdue_drains(&mut self, now_ms: u64) -> Vec<String> {
        let retention = u64::try_from(ORPHANED_RETENTION.as_millis()).unwrap_or(u64::MAX);
        let is_overdue = |orphaned: &OrphanedDrain| {
            orphaned
                .since_ms
                .saturating_add(retention)
                .max(orphaned.drain.deadline_ms)
                < now_ms
        };
        self.orphaned_drains
            .extract_if(.., |_, orphaned| is_overdue(orphaned))
            .map(|(id, _)| id)
            .collect()
    }

    /// Removes the orphaned drains of workers that are not in `ids`.
    pub(in crate::pool) fn retain_orphaned_drains(&mut self, ids: &BTreeSet<String>) {
        self.orphaned_drains.retain(|id, _| ids.contains(id));
    }
}
