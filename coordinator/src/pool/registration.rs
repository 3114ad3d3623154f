//! Registration of workers and their departure.

use std::time::Duration;

use app_proxy_api::units::Period;
use app_proxy_api::workers::{InstanceId, RegistrationReply, WorkerRegistration};
use log::{info, warn};
use pingora_core::protocols::l4::socket::SocketAddr as PeerAddr;

use super::Pool;
use super::error::PoolError;
use super::registry::Change;
use super::resolve::resolve;
use crate::config::RegistrationSection;

impl Pool {
    /// Registers a worker, which is in the pool at once. Returns whether it is new.
    ///
    /// A failure to store the registration is logged only: requests are not affected, and the
    /// worker repeats the registration.
    ///
    /// # Errors
    /// [`PoolError`], for instance if another worker owns the address.
    pub(crate) async fn register(
        &self,
        id: &str,
        registration: WorkerRegistration,
    ) -> Result<(RegistrationReply, bool), PoolError> {
        let (reply, change) = self.apply_registration(id, registration).await?;
        if change.needs_publish {
            self.publish().await?;
        }
        self.sweep_due.notify_one();
        if change.needs_save
            && let Err(e) = self.save(id).await
        {
            warn!("cannot store the registration of worker {id}, a restart would lose it: {e}");
        }
        Ok((reply, change.is_new))
    }

    /// Applies a registration to the registry without publishing it.
    pub(super) async fn apply_registration(
        &self,
        id: &str,
        registration: WorkerRegistration,
    ) -> Result<(RegistrationReply, Change), PoolError> {
        let lease = self.lease(registration.lease.map(|lease| lease.0));
        let resolved = self.resolve_registered(id, &registration).await?;
        let address = registration.address.to_string();
        let mut registry = self.registry.lock().await;
        let change = registry.register(id, registration, resolved, lease)?;
        let drain = registry
            .entries
            .get(id)
            .is_some_and(|entry| entry.drain.is_some());
        drop(registry);
        if change.is_new {
            info!("worker {id}: joined the pool at {address}");
        } else if change.needs_publish {
            info!("worker {id}: registration changed, address {address}");
        }
        let lease = Period(lease);
        Ok((RegistrationReply { lease, drain }, change))
    }

    /// Limits the lease that a worker requests.
    fn lease(&self, requested: Option<Duration>) -> Duration {
        requested
            .unwrap_or(self.registration.lease.0)
            .clamp(RegistrationSection::SHORTEST, RegistrationSection::LONGEST)
    }

    /// Resolves the address of a worker. A name is resolved again only for a new instance or for an
    /// unhealthy worker, so that a name with several addresses does not change with each renewal.
    async fn resolve_registered(
        &self,
        id: &str,
        registration: &WorkerRegistration,
    ) -> Result<PeerAddr, PoolError> {
        let known = {
            let registry = self.registry.lock().await;
            let entry = registry
                .entries
                .get(id)
                .filter(|entry| entry.worker.address == registration.address);
            entry.map(|entry| {
                let is_same = registration
                    .instance
                    .as_ref()
                    .is_some_and(|instance| entry.is_registered_as(instance));
                (
                    entry.worker.resolved().clone(),
                    is_same && self.is_healthy(&entry.worker),
                )
            })
        };
        match known {
            Some((known, true)) => Ok(known),
            Some((known, false)) => Ok(resolve(&registration.address).await.unwrap_or(known)),
            None => resolve(&registration.address).await,
        }
    }

    /// Removes a worker whose `instance` leaves. Does nothing if another instance has registered
    /// since. A failure to store the removal is logged only.
    ///
    /// # Errors
    /// [`PoolError::Internal`].
    pub(crate) async fn leave(&self, id: &str, instance: &InstanceId) -> Result<(), PoolError> {
        let mut registry = self.registry.lock().await;
        if !registry
            .entries
            .get(id)
            .is_some_and(|entry| entry.is_registered_as(instance))
        {
            return Ok(());
        }
        let needs_publish = registry.unregister(id, Some(instance));
        drop(registry);
        if needs_publish {
            self.publish().await?;
        }
        info!("worker {id}: left the pool");
        self.save_removal(id).await;
        Ok(())
    }
}
