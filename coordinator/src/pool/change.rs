//! Changes of the pool: by the file, by workers, by operators, by what the store remembers. One at
//! a time, none for a request.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use app_proxy_api::address::Address;
use app_proxy_api::apps::Labels;
use app_proxy_api::units::Period;
use app_proxy_api::workers::{InstanceId, RegistrationReply, WorkerRegistration};
use app_proxy_hop::config::TimeoutsSection;
use log::{info, warn};
use pingora_core::protocols::l4::socket::SocketAddr as PeerAddr;
use tokio::task::spawn_blocking;

use super::book::{Changed, Known, lasting};
use super::{Pool, PoolError};
use crate::clock::now_ms;
use crate::config::WorkerSection;
use app_proxy_hop::forwarding;
use app_proxy_store::{StoreError, StoredDrain, StoredWorker};

/// Most selectors that have a ring of their own; the others share the ring of all workers, which
/// takes longer.
const MOST_RINGS: usize = 256;

/// Workers of the file with where they are.
pub(crate) struct Resolved(Vec<(WorkerSection, PeerAddr)>);

impl Resolved {
    /// Looks the addresses of workers up.
    ///
    /// # Errors
    /// When one does not resolve.
    pub(crate) async fn of(fixed: &[WorkerSection]) -> Result<Self, PoolError> {
        let mut resolved = Vec::with_capacity(fixed.len());
        for worker in fixed {
            resolved.push((worker.clone(), look_up(&worker.address).await?));
        }
        Ok(Self(resolved))
    }
}

impl Pool {
    /// Takes in those workers of the file that are new, before an app asks for them; gives back
    /// what [`Pool::drop_fixed`] takes out again.
    ///
    /// # Errors
    /// [`PoolError::Internal`].
    pub(crate) async fn add_fixed(&self, fixed: &Resolved) -> Result<Vec<String>, PoolError> {
        let added = self.book.lock().await.add_fixed(&fixed.0);
        self.publish().await?;
        Ok(added)
    }

    /// Takes out what [`Pool::add_fixed`] has taken in.
    ///
    /// # Errors
    /// [`PoolError::Internal`].
    pub(crate) async fn drop_fixed(&self, added: &[String]) -> Result<(), PoolError> {
        self.book.lock().await.drop_fixed(added);
        self.publish().await
    }

    /// Makes these the workers of the file; those that have registered stay beside them.
    ///
    /// # Errors
    /// [`PoolError::Internal`].
    pub(crate) async fn set_fixed(&self, fixed: &Resolved) -> Result<(), PoolError> {
        let gone = self.book.lock().await.set_fixed(&fixed.0);
        self.publish().await?;
        for id in gone {
            self.forget(&id).await;
        }
        Ok(())
    }

    /// Changes how long workers are waited for, from the next request on.
    ///
    /// # Errors
    /// [`PoolError::Internal`].
    pub(crate) async fn set_timeouts(&self, timeouts: &TimeoutsSection) -> Result<(), PoolError> {
        self.book.lock().await.set_timeouts(timeouts);
        self.publish().await
    }

    /// Makes rings for the selectors that apps have, and for no others. Does nothing when these are
    /// known.
    ///
    /// # Errors
    /// [`PoolError::Internal`].
    pub(crate) async fn want_selectors(
        &self,
        selectors: impl IntoIterator<Item = Labels>,
    ) -> Result<(), PoolError> {
        let selectors = selectors
            .into_iter()
            .filter(|selector| !selector.is_empty());
        let mut wanted: BTreeSet<_> = selectors.collect();
        while wanted.len() > MOST_RINGS {
            wanted.pop_last();
        }
        if self.book.lock().await.set_selectors(wanted) {
            self.publish().await
        } else {
            Ok(())
        }
    }

    /// Takes in what a worker says of itself; it is in the pool at once. Says whether it was not
    /// known before.
    ///
    /// A store that does not take it is no error: traffic goes on, and the worker says it again by
    /// itself.
    ///
    /// # Errors
    /// When its address does not resolve, or somebody else owns the address or the identifier.
    pub(crate) async fn register(
        &self,
        id: &str,
        said: WorkerRegistration,
    ) -> Result<(RegistrationReply, bool), PoolError> {
        let lasts = self.lease(said.lease.map(|lease| lease.0));
        let (registered, changed) = self.take_in(id, said, lasts).await?;
        if changed.stored
            && let Err(e) = self.save(id).await
        {
            warn!("the registration of worker {id} would not survive a restart: {e}");
        }
        Ok((registered, changed.is_new))
    }

    async fn take_in(
        &self,
        id: &str,
        said: WorkerRegistration,
        lasts: Duration,
    ) -> Result<(RegistrationReply, Changed), PoolError> {
        let taken = self.write_down(id, said, lasts).await?;
        if taken.1.members {
            self.publish().await?;
        }
        self.changed.notify_one();
        Ok(taken)
    }

    /// Takes a registration in without telling requests of it.
    async fn write_down(
        &self,
        id: &str,
        said: WorkerRegistration,
        lasts: Duration,
    ) -> Result<(RegistrationReply, Changed), PoolError> {
        let address = self.address_of(id, &said).await?;
        let described = said.address.to_string();
        let mut book = self.book.lock().await;
        let changed = book.register(id, said, address, lasts)?;
        let drain = book
            .members
            .get(id)
            .is_some_and(|member| member.drain.is_some());
        drop(book);
        if changed.is_new {
            info!("worker {id} at {described} has joined the pool");
        } else if changed.members {
            info!("worker {id} at {described} has registered anew");
        }
        Ok((
            RegistrationReply {
                lease: Period(lasts),
                drain,
            },
            changed,
        ))
    }

    /// Where a worker is reached. A name is looked up again when another process of the worker
    /// registers, or when it is not reached any more: one with several addresses must not change
    /// with each renewal.
    async fn address_of(&self, id: &str, said: &WorkerRegistration) -> Result<PeerAddr, PoolError> {
        let known = {
            let book = self.book.lock().await;
            let member = book
                .members
                .get(id)
                .filter(|member| member.worker.address == said.address);
            member.map(|member| {
                let same = said
                    .instance
                    .as_ref()
                    .is_some_and(|instance| member.is_registered_as(instance));
                (
                    member.worker.peer._address.clone(),
                    same && self.is_healthy(&member.worker),
                )
            })
        };
        match known {
            Some((known, true)) => Ok(known),
            Some((known, false)) => Ok(look_up(&said.address).await.unwrap_or(known)),
            None => look_up(&said.address).await,
        }
    }

    /// Takes a worker out that its process `instance` leaves. Has no effect when another process of
    /// the worker has registered since. A store that does not take it is no error: the worker is
    /// gone.
    ///
    /// # Errors
    /// [`PoolError::Internal`].
    pub(crate) async fn leave(&self, id: &str, instance: &InstanceId) -> Result<(), PoolError> {
        let mut book = self.book.lock().await;
        if !book
            .members
            .get(id)
            .is_some_and(|member| member.is_registered_as(instance))
        {
            return Ok(());
        }
        let visible = book.unregister(id, Some(instance));
        drop(book);
        if visible {
            self.publish().await?;
        }
        info!("worker {id} has left the pool");
        self.forget(id).await;
        Ok(())
    }

    /// Takes a worker out for an operator, also one that is missed; its drain ends with that. It is
    /// so in the store before this returns.
    ///
    /// # Errors
    /// [`PoolError::Unknown`], [`PoolError::OwnedByFile`] and [`PoolError::Store`].
    pub(crate) async fn take_out(&self, id: &str) -> Result<(), PoolError> {
        let saving = self.saving.lock().await;
        match self.book.lock().await.knows(id) {
            None => return Err(PoolError::Unknown),
            Some(Known::Fixed) => return Err(PoolError::OwnedByFile),
            Some(Known::RegistrationReply | Known::Missed) => {}
        }
        if let Some(store) = self.store.get() {
            store.delete_worker(id).await?;
        }
        let mut book = self.book.lock().await;
        let visible = book.unregister(id, None);
        // One that is missed, too.
        book.set_drain(id, None);
        drop((book, saving));
        if visible {
            self.publish().await?;
        }
        info!("worker {id} has left the pool, taken out by an operator");
        Ok(())
    }

    /// Begins to drain a worker, or says anew until when streams may go on there. It is in the
    /// store before this returns.
    ///
    /// # Errors
    /// [`PoolError::Unknown`] and [`PoolError::Store`].
    pub(crate) async fn drain(&self, id: &str, streams: Duration) -> Result<(), PoolError> {
        let now = now_ms();
        let streams = u64::try_from(streams.as_millis()).unwrap_or(u64::MAX);
        let before = self
            .book
            .lock()
            .await
            .members
            .get(id)
            .and_then(|member| member.drain);
        let since_ms = before.map_or(now, |drain| drain.since_ms);
        self.set_drain(
            id,
            Some(StoredDrain {
                since_ms,
                deadline_ms: now.saturating_add(streams),
            }),
        )
        .await?;
        info!("worker {id} drains");
        Ok(())
    }

    /// Ends a drain. A worker that is not drained stays as it is.
    ///
    /// # Errors
    /// As [`Pool::drain`].
    pub(crate) async fn undrain(&self, id: &str) -> Result<(), PoolError> {
        if self
            .book
            .lock()
            .await
            .members
            .get(id)
            .is_some_and(|member| member.drain.is_none())
        {
            return Ok(());
        }
        self.set_drain(id, None).await?;
        info!("worker {id} drains no more");
        Ok(())
    }

    async fn set_drain(&self, id: &str, drain: Option<StoredDrain>) -> Result<(), PoolError> {
        let _saving = self.saving.lock().await;
        let (known, stored) = {
            let book = self.book.lock().await;
            (book.members.contains_key(id), book.stored(id))
        };
        if !known {
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
        let mut book = self.book.lock().await;
        // One that has left meanwhile is taken out of the store by whoever waits for it now.
        if let Some(member) = book.members.get_mut(id) {
            member.set_drain(drain);
            member.is_stored = true;
        }
        drop(book);
        self.changed.notify_one();
        Ok(())
    }

    /// Takes over what the store remembers: registrations hold for their lease from now, and drains
    /// go on.
    pub(crate) async fn restore(&self, workers: Vec<StoredWorker>) {
        for worker in workers {
            self.restore_one(worker).await;
        }
        // Once for all of them: rings take some time.
        if let Err(e) = self.publish().await {
            warn!("the workers of the store are not in the pool: {e}");
        }
        self.changed.notify_one();
    }

    /// Takes over what another process has changed in the store: `workers` is all that is there
    /// now.
    pub(crate) async fn follow(&self, workers: Vec<StoredWorker>) {
        let named: BTreeSet<String> = workers.iter().map(|worker| worker.id.clone()).collect();
        for worker in workers {
            let same = {
                let book = self.book.lock().await;
                let lease = book
                    .members
                    .get(worker.id.as_str())
                    .and_then(|member| member.lease.as_ref());
                lease.map(|lease| lasting(&lease.said)) == worker.registration
            };
            // One that says the same renews it by itself.
            self.restore_one(if same {
                StoredWorker {
                    registration: None,
                    ..worker
                }
            } else {
                worker
            })
            .await;
        }
        self.changed.notify_one();
        let mut book = self.book.lock().await;
        let gone = |id: &str, stored: bool| stored && !named.contains(id);
        let members = book
            .members
            .iter()
            .filter(|(id, member)| gone(id, member.is_stored));
        let ids: Vec<Arc<str>> = members.map(|(id, _)| Arc::clone(id)).collect();
        for id in ids {
            book.set_drain(&id, None);
            if book
                .members
                .get(&id)
                .is_some_and(|member| member.lease.is_some())
            {
                book.unregister(&id, None);
                info!("worker {id} has left the pool, says the store");
            }
        }
        book.keep_missed(&named);
        drop(book);
        if let Err(e) = self.publish().await {
            warn!("what the store says of workers counts later: {e}");
        }
    }

    /// Takes over what is remembered of a worker, without telling requests of it.
    async fn restore_one(&self, worker: StoredWorker) {
        let StoredWorker {
            id,
            registration,
            drain,
        } = worker;
        if let Some(said) = registration {
            let lasts = self.lease(said.lease.map(|lease| lease.0));
            if let Err(e) = self.write_down(&id, said, lasts).await {
                warn!("worker {id} is not taken over from the store: {e}");
            }
        }
        let mut book = self.book.lock().await;
        book.set_drain(&id, drain);
        if let Some(member) = book.members.get_mut(id.as_str()) {
            member.is_stored = true;
        }
    }

    /// Writes what is known of a worker now.
    pub(super) async fn save(&self, id: &str) -> Result<(), StoreError> {
        let Some(store) = self.store.get() else {
            return Ok(());
        };
        let _saving = self.saving.lock().await;
        let stored = self.book.lock().await.stored(id);
        let is_stored = stored.is_some();
        match stored {
            Some(worker) => store.save_worker(worker).await?,
            None => store.delete_worker(id).await?,
        }
        if let Some(member) = self.book.lock().await.members.get_mut(id) {
            member.is_stored = is_stored;
        }
        Ok(())
    }

    /// Writes that a worker is not here any more.
    pub(super) async fn forget(&self, id: &str) {
        if let Err(e) = self.save(id).await {
            warn!(
                "worker {id} would be back after a restart, for as long as it is not missed: {e}"
            );
        }
    }

    /// Makes what the book says visible to requests, if it is not. Changes that come while rings
    /// are built are made visible together, so that two hundred workers that register at once cost
    /// a few rings of them and not two hundred.
    pub(super) async fn publish(&self) -> Result<(), PoolError> {
        let mut published = self.published.lock().await;
        let (edition, workers, selectors) = {
            let book = self.book.lock().await;
            if *published == book.edition {
                return Ok(());
            }
            (book.edition, book.workers(), book.selectors.clone())
        };
        let (before, registry) = (self.members.load_full(), Arc::clone(&self.registry));
        let next = {
            let before = Arc::clone(&before);
            // Building rings takes some time where weights are large.
            spawn_blocking(move || before.next(&registry, &workers, &selectors)).await
        };
        let next = next.map_err(|e| PoolError::Internal(e.to_string()))?;
        // Whoever still holds one of these asks by its identifier who is in its place; first of all
        // this, so that nobody takes a worker that is not on the rings any more for an unhealthy
        // one.
        for worker in before.iter() {
            if !next
                .by_id(&worker.id)
                .is_some_and(|present| Arc::ptr_eq(present, worker))
            {
                worker.retire();
            }
        }
        self.members.store(Arc::new(next));
        *published = edition;
        Ok(())
    }
}

/// The socket address that an address names.
async fn look_up(address: &Address) -> Result<PeerAddr, PoolError> {
    let unresolved = |cause| PoolError::Unresolved {
        address: address.clone(),
        cause,
    };
    if !address.is_name() {
        return forwarding::resolve(address).map_err(unresolved);
    }
    let name = address.clone();
    match spawn_blocking(move || forwarding::resolve(&name)).await {
        Ok(resolved) => resolved.map_err(unresolved),
        Err(e) => Err(PoolError::Internal(e.to_string())),
    }
}
