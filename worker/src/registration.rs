//! Registration with the coordinators: registers with each of them, renews the registrations, and
//! deregisters at shutdown.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use app_proxy_api::address::Address;
use app_proxy_api::apps::Labels;
use app_proxy_api::client::ClientError;
use app_proxy_api::workers::{HeldTable, InstanceId, Load, WorkerRegistration};
use app_proxy_hop::drain::{Drain, DrainStage, InFlight};
use app_proxy_hop::exchange::HopServices;
use async_trait::async_trait;
use futures::future::join_all;
use log::{info, warn};
use pingora_core::server::{ListenFds, ShutdownWatch};
use pingora_core::services::Service;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::sync::{Follower, Followers};

/// The timeout of a deregistration.
const DEREGISTRATION_TIMEOUT: Duration = Duration::from_secs(2);
/// The interval at which the registrar checks for the listener at startup.
const LISTENER_INTERVAL: Duration = Duration::from_millis(5);
/// The number of renewals within a lease.
const RENEWALS_PER_LEASE: u32 = 3;
/// The shortest pause between two renewals.
const MIN_PAUSE: Duration = Duration::from_millis(10);

/// The constant part of a registration.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    /// The identifier of the worker.
    pub(crate) id: String,
    /// The address at which coordinators reach the worker.
    pub(crate) address: Address,
    /// The share of new sessions, relative to other workers.
    pub(crate) weight: u16,
    /// The labels by which apps select workers.
    pub(crate) labels: Labels,
}

/// The service that registers the worker.
pub(crate) struct Registrar {
    shared: Arc<Shared>,
    /// The name of the listener in Pingora's table of file descriptors.
    listener: String,
}

struct Shared {
    profile: Profile,
    /// Identifies this process among those of the worker; increases with time.
    instance: InstanceId,
    followers: Arc<Followers>,
    hop: Arc<HopServices>,
    retry: Duration,
    /// The coordinators that drain this worker, which is reported to the others.
    drained_by: watch::Sender<Vec<bool>>,
    /// The number of memberships, which count as in flight so that shutdown waits for the
    /// deregistration.
    memberships: AtomicU64,
}

/// A registration that ends with a deregistration; counts as in flight.
struct Membership<'s> {
    shared: &'s Shared,
    _in_flight: InFlight,
}

impl Drop for Membership<'_> {
    fn drop(&mut self) {
        self.shared.memberships.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Registrar {
    /// Creates a service that registers `profile` with all followed coordinators once `listener` is
    /// open.
    #[must_use]
    pub(crate) fn new(
        profile: Profile,
        listener: &str,
        followers: &Arc<Followers>,
        hop: &Arc<HopServices>,
        retry: Duration,
    ) -> Self {
        let drained_by = watch::Sender::new(vec![false; followers.each().len()]);
        let shared = Shared {
            profile,
            instance: InstanceId::unique(),
            followers: Arc::clone(followers),
            hop: Arc::clone(hop),
            retry,
            drained_by,
            memberships: AtomicU64::new(0),
        };
        Self {
            shared: Arc::new(shared),
            listener: listener.to_owned(),
        }
    }
}

#[async_trait]
impl Service for Registrar {
    async fn start_service(
        &mut self,
        fds: Option<ListenFds>,
        _shutdown: ShutdownWatch,
        _listeners_per_fd: usize,
    ) {
        while let Some(fds) = &fds
            && fds.lock().get(&self.listener).is_none()
        {
            sleep(LISTENER_INTERVAL).await;
        }
        let shared = &self.shared;
        join_all(
            shared
                .followers
                .each()
                .iter()
                .enumerate()
                .map(|(number, follower)| shared.maintain(number, follower)),
        )
        .await;
    }

    fn name(&self) -> &'static str {
        "registration"
    }

    fn threads(&self) -> Option<usize> {
        Some(1)
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        Some(Vec::new())
    }
}

impl Shared {
    /// Keeps the worker registered with one coordinator until shutdown.
    async fn maintain(&self, number: usize, follower: &Follower) {
        let mut contacts = follower.contacts();
        tokio::select! {
            biased;
            () = self.drain().reached(DrainStage::Upgrading) => return,
            // The worker cannot serve a coordinator without its table. The followers live as long
            // as the process.
            _ = contacts.wait_for(|count| *count > 0) => {}
        }
        let membership = self.join();
        tokio::select! {
            biased;
            () = self.drain().reached(DrainStage::Upgrading) => {}
            () = self.renew_forever(number, follower, &mut contacts) => {}
        }
        if self.drain().stage() > DrainStage::Upgrading {
            self.deregister(follower).await;
            return;
        }
        // The successor registers with the same identifier. Until then the lease is renewed, and
        // this process does not deregister.
        drop(membership);
        tokio::select! {
            biased;
            () = self.drain().reached(DrainStage::Draining) => {}
            () = self.renew_forever(number, follower, &mut contacts) => {}
        }
    }

    /// Renews the registration; returns when a successor has registered.
    async fn renew_forever(
        &self,
        number: usize,
        follower: &Follower,
        contacts: &mut watch::Receiver<u64>,
    ) {
        let mut drained_by = self.drained_by.subscribe();
        let mut failing = false;
        loop {
            let registration = self.registration(number, follower, &mut drained_by);
            let pause = match follower
                .coordinator()
                .register(&self.profile.id, &registration)
                .await
            {
                Ok(reply) => {
                    Self::log_recovery(follower, &mut failing);
                    self.record_drain(number, reply.drain);
                    (reply.lease.0 / RENEWALS_PER_LEASE).max(MIN_PAUSE)
                }
                Err(e) if is_superseded(&e) && self.drain().closes_connections() => return,
                Err(e) => {
                    Self::log_failure(follower, &e, &mut failing);
                    self.retry
                }
            };
            tokio::select! {
                () = sleep(pause) => {}
                _ = contacts.changed() => {}
                _ = drained_by.changed() => {}
            }
        }
    }

    async fn deregister(&self, follower: &Follower) {
        let base = follower.coordinator().base();
        match timeout(
            DEREGISTRATION_TIMEOUT,
            follower
                .coordinator()
                .deregister(&self.profile.id, &self.instance),
        )
        .await
        {
            Ok(Ok(())) => info!("coordinator {base}: worker deregistered"),
            Ok(Err(e)) => {
                warn!("cannot deregister: coordinator {base} {e}; the lease ends by itself");
            }
            Err(_) => {
                warn!("cannot deregister: coordinator {base} is silent; the lease ends by itself");
            }
        }
    }

    /// Returns the current registration for one coordinator.
    fn registration(
        &self,
        number: usize,
        follower: &Follower,
        drained_by: &mut watch::Receiver<Vec<bool>>,
    ) -> WorkerRegistration {
        let held = follower.position().map(|at| HeldTable {
            epoch: at.epoch.clone(),
            revision: at.revision,
        });
        let others = |(other, drains): (usize, &bool)| *drains && other != number;
        // A drain by this coordinator is not reported back to it.
        let draining = drained_by
            .borrow_and_update()
            .iter()
            .enumerate()
            .any(others);
        let Profile {
            address,
            weight,
            labels,
            ..
        } = self.profile.clone();
        WorkerRegistration {
            address,
            weight,
            labels,
            instance: Some(self.instance.clone()),
            lease: None,
            held,
            load: self.load(),
            draining,
            version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        }
    }

    fn load(&self) -> Load {
        let in_flight = u64::try_from(self.drain().in_flight()).unwrap_or(u64::MAX);
        Load {
            in_flight: in_flight.saturating_sub(self.memberships.load(Ordering::Relaxed)),
            open_streams: u64::try_from(self.hop.metrics.open_streams.get()).unwrap_or(0),
        }
    }

    /// Begins a membership: shutdown waits until it is dropped.
    fn join(&self) -> Membership<'_> {
        self.memberships.fetch_add(1, Ordering::Relaxed);
        Membership {
            shared: self,
            _in_flight: self.drain().enter(),
        }
    }

    fn drain(&self) -> &Drain {
        &self.hop.drain
    }

    fn log_recovery(follower: &Follower, failing: &mut bool) {
        if std::mem::take(failing) {
            let base = follower.coordinator().base();
            info!("coordinator {base}: worker is registered again");
        }
    }

    fn log_failure(follower: &Follower, error: &ClientError, failing: &mut bool) {
        if !std::mem::replace(failing, true) {
            let base = follower.coordinator().base();
            warn!("cannot register: coordinator {base} {error}");
        }
    }

    fn record_drain(&self, number: usize, drains: bool) {
        self.drained_by
            .send_if_modified(|all| match all.get_mut(number) {
                Some(before) => std::mem::replace(before, drains) != drains,
                None => false,
            });
    }
}

fn is_superseded(error: &ClientError) -> bool {
    matches!(error, ClientError::Refused { problem, .. } if problem.code == "superseded")
}
