//! Workers in the store: restoring them, applying changes of another member, and saving.

use std::collections::BTreeSet;
use std::sync::Arc;

use app_proxy_store::{StoreError, StoredWorker};
use log::{info, warn};

use super::Pool;
use super::registry::durable;

impl Pool {
    /// Restores the workers of the store: leases restart when no other member may have renewed
    /// them, drains continue.
    pub(crate) async fn restore(&self, workers: Vec<StoredWorker>) {
        for worker in workers {
            self.apply_stored(worker).await;
        }
        // Once for all workers, because building rings takes time.
        if let Err(e) = self.publish().await {
            warn!("cannot add the workers of the store to the pool: {e}");
        }
        self.sweep_due.notify_one();
    }

    /// Applies the changes of another member: `workers` are all workers in the store.
    pub(crate) async fn follow(&self, workers: Vec<StoredWorker>) {
        let stored: BTreeSet<String> = workers.iter().map(|worker| worker.id.clone()).collect();
        for worker in workers {
            let is_same = {
                let registry = self.registry.lock().await;
                let lease = registry
                    .entries
                    .get(worker.id.as_str())
                    .and_then(|entry| entry.lease.as_ref());
                lease.map(|lease| durable(&lease.registration)) == worker.registration
            };
            // The worker itself renews an unchanged registration.
            self.apply_stored(if is_same {
                StoredWorker {
                    registration: None,
                    ..worker
                }
            } else {
                worker
            })
            .await;
        }
        self.sweep_due.notify_one();
        self.remove_unstored(&stored).await;
        if let Err(e) = self.publish().await {
            warn!("cannot publish the workers of the store, requests see the previous ones: {e}");
        }
    }

    /// Removes the registrations and drains that are no longer in the store.
    async fn remove_unstored(&self, stored: &BTreeSet<String>) {
        let mut registry = self.registry.lock().await;
        let ids: Vec<Arc<str>> = registry
            .entries
            .iter()
            .filter(|(id, entry)| entry.is_stored && !stored.contains(&***id))
            .map(|(id, _)| Arc::clone(id))
            .collect();
        for id in ids {
            registry.set_drain(&id, None);
            if registry
                .entries
                .get(&id)
                .is_some_and(|entry| entry.lease.is_some())
            {
                registry.unregister(&id, None);
                info!("worker {id}: removed by another member");
            }
        }
        registry.retain_orphaned_drains(stored);
    }

    /// Applies a stored worker without publishing it.
    async fn apply_stored(&self, worker: StoredWorker) {
        let StoredWorker {
            id,
            registration,
            drain,
        } = worker;
        let runs_here = self.registry.lock().await.runs_here(&id);
        if let Some(registration) = registration
            && let Err(e) = self.apply_registration(&id, registration).await
        {
            warn!("cannot restore worker {id} from the store: {e}");
        }
        let mut registry = self.registry.lock().await;
        registry.set_drain(&id, drain);
        if let Some(entry) = registry.entries.get_mut(id.as_str()) {
            entry.is_stored = true;
            // Only the worker itself renews its lease.
            if let Some(lease) = &mut entry.lease {
                lease.runs_here = runs_here;
            }
        }
    }

    /// Saves the current state of a worker.
    pub(super) async fn save(&self, id: &str) -> Result<(), StoreError> {
        let Some(store) = self.store.get() else {
            return Ok(());
        };
        let _saving = self.saving.lock().await;
        let stored = self.registry.lock().await.stored(id);
        let is_stored = stored.is_some();
        match stored {
            Some(worker) => store.save_worker(worker).await?,
            None => store.delete_worker(id).await?,
        }
        if let Some(entry) = self.registry.lock().await.entries.get_mut(id) {
            entry.is_stored = is_stored;
        }
        Ok(())
    }

    /// Saves that a worker is no longer in the pool. A failure is logged only.
    pub(super) async fn save_removal(&self, id: &str) {
        if let Err(e) = self.save(id).await {
            warn!(
                "cannot store the removal of worker {id}, a restart would restore it until its \
                 registration expires: {e}"
            );
        }
    }
}
