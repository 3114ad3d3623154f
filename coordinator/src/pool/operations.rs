//! Changes by operators: deleting and draining workers. Each is stored before it takes effect.

use std::time::Duration;

use app_proxy_store::{StoredDrain, StoredWorker};
use log::info;

use super::Pool;
use super::error::PoolError;
use super::registry::Origin;
use crate::clock::now_ms;

impl Pool {
    /// Deletes a worker and its drain, also if its registration has expired.
    ///
    /// # Errors
    /// [`PoolError::Unknown`], [`PoolError::OwnedByFile`] and [`PoolError::Store`].
    pub(crate) async fn delete(&self, id: &str) -> Result<(), PoolError> {
        let saving = self.saving.lock().await;
        match self.registry.lock().await.origin(id) {
            None => return Err(PoolError::Unknown),
            Some(Origin::Fixed) => return Err(PoolError::OwnedByFile),
            Some(Origin::Registered | Origin::Expired) => {}
        }
        if let Some(store) = self.store.get() {
            store.delete_worker(id).await?;
        }
        let mut registry = self.registry.lock().await;
        let needs_publish = registry.unregister(id, None);
        // Deletes an orphaned drain.
        registry.set_drain(id, None);
        drop((registry, saving));
        if needs_publish {
            self.publish().await?;
        }
        info!("worker {id}: deleted by an operator");
        Ok(())
    }

    /// Begins to drain a worker, or changes how long its streams may continue.
    ///
    /// # Errors
    /// [`PoolError::Unknown`] and [`PoolError::Store`].
    pub(crate) async fn drain(&self, id: &str, streams: Duration) -> Result<(), PoolError> {
        let now = now_ms();
        let streams = u64::try_from(streams.as_millis()).unwrap_or(u64::MAX);
        let before = self
            .registry
            .lock()
            .await
            .entries
            .get(id)
            .and_then(|entry| entry.drain);
        let drain = StoredDrain {
            since_ms: before.map_or(now, |drain| drain.since_ms),
            deadline_ms: now.saturating_add(streams),
        };
        self.set_drain(id, Some(drain)).await?;
        info!("worker {id}: drain started");
        Ok(())
    }

    /// Ends the drain of a worker, if there is one.
    ///
    /// # Errors
    /// As [`Pool::drain`].
    pub(crate) async fn undrain(&self, id: &str) -> Result<(), PoolError> {
        if self
            .registry
            .lock()
            .await
            .entries
            .get(id)
            .is_some_and(|entry| entry.drain.is_none())
        {
            return Ok(());
        }
        self.set_drain(id, None).await?;
        info!("worker {id}: drain ended");
        Ok(())
    }

    async fn set_drain(&self, id: &str, drain: Option<StoredDrain>) -> Result<(), PoolError> {
        let _saving = self.saving.lock().await;
        let (is_known, stored) = {
            let registry = self.registry.lock().await;
            (registry.entries.contains_key(id), registry.stored(id))
        };
        if !is_known {
            return Err(PoolError::Unknown);
        }
        if let Some(store) = self.store.get() {
            let registration = stored.and_then(|stored| stored.registration);
            if registration.is_none() && drain.is_none() {
                store.delete_worker(id).await?;
            } else {
                store
                    .save_worker(StoredWorker {
                        id: id.to_owned(),
                        registration,
                        drain,
                    })
                    .await?;
            }
        }
        let mut registry = self.registry.lock().await;
        // If the worker has left meanwhile, its removal is stored after this.
        if let Some(entry) = registry.entries.get_mut(id) {
            entry.set_drain(drain);
            entry.is_stored = true;
        }
        drop(registry);
        self.sweep_due.notify_one();
        Ok(())
    }
}
