//! Publication of the registry to requests, and the changes that a configuration makes.

use std::collections::BTreeSet;
use std::sync::Arc;

use app_proxy_api::apps::Labels;
use app_proxy_hop::config::TimeoutsSection;
use tokio::task::spawn_blocking;

use super::Pool;
use super::error::PoolError;
use super::resolve::ResolvedWorkers;

/// Maximum number of selectors with a ring of their own. Other selectors use the ring of all
/// workers, which is slower.
const MAX_RINGS: usize = 256;

impl Pool {
    /// Adds the workers of the file that are new, before apps refer to them. The result is passed
    /// to [`Pool::remove_fixed`] to revert this.
    ///
    /// # Errors
    /// [`PoolError::Internal`].
    pub(crate) async fn add_fixed(
        &self,
        fixed: &ResolvedWorkers,
    ) -> Result<Vec<String>, PoolError> {
        let added = self.registry.lock().await.add_fixed(&fixed.0);
        self.publish().await?;
        Ok(added)
    }

    /// Reverts [`Pool::add_fixed`].
    ///
    /// # Errors
    /// [`PoolError::Internal`].
    pub(crate) async fn remove_fixed(&self, added: &[String]) -> Result<(), PoolError> {
        self.registry.lock().await.remove_fixed(added);
        self.publish().await
    }

    /// Replaces the workers of the file. Registered workers stay.
    ///
    /// # Errors
    /// [`PoolError::Internal`].
    pub(crate) async fn set_fixed(&self, fixed: &ResolvedWorkers) -> Result<(), PoolError> {
        let removed = self.registry.lock().await.set_fixed(&fixed.0);
        self.publish().await?;
        for id in removed {
            self.save_removal(&id).await;
        }
        Ok(())
    }

    /// Sets the timeouts of connections to workers for later requests.
    ///
    /// # Errors
    /// [`PoolError::Internal`].
    pub(crate) async fn set_timeouts(&self, timeouts: &TimeoutsSection) -> Result<(), PoolError> {
        self.registry.lock().await.set_timeouts(timeouts);
        self.publish().await
    }

    /// Builds rings for the selectors of apps, and drops all other rings.
    ///
    /// # Errors
    /// [`PoolError::Internal`].
    pub(crate) async fn set_selectors(
        &self,
        selectors: impl IntoIterator<Item = Labels>,
    ) -> Result<(), PoolError> {
        let selectors = selectors
            .into_iter()
            .filter(|selector| !selector.is_empty());
        let mut selectors: BTreeSet<_> = selectors.collect();
        while selectors.len() > MAX_RINGS {
            selectors.pop_last();
        }
        if self.registry.lock().await.set_selectors(selectors) {
            self.publish().await
        } else {
            Ok(())
        }
    }

    /// Publishes the registry to requests, unless its generation is published. Changes during the
    /// construction of rings are published together, so that two hundred workers that register at
    /// once cost a few rings, not two hundred.
    pub(super) async fn publish(&self) -> Result<(), PoolError> {
        let mut published = self.published.lock().await;
        let (generation, workers, selectors) = {
            let registry = self.registry.lock().await;
            if *published == registry.generation {
                return Ok(());
            }
            let workers = registry.workers();
            (registry.generation, workers, registry.selectors.clone())
        };
        let (before, health) = (self.snapshot.load_full(), Arc::clone(&self.health));
        let next = {
            let before = Arc::clone(&before);
            // Building rings takes time if weights are large.
            spawn_blocking(move || before.next(&health, &workers, &selectors)).await
        };
        let next = next.map_err(|e| PoolError::Internal(e.to_string()))?;
        // Before the swap: a request that holds a retired worker looks up its replacement, instead
        // of treating a worker without a ring as unhealthy.
        for worker in before.iter() {
            if !next
                .by_id(&worker.id)
                .is_some_and(|current| Arc::ptr_eq(current, worker))
            {
                worker.retire();
            }
        }
        self.snapshot.store(Arc::new(next));
        *published = generation;
        Ok(())
    }
}
