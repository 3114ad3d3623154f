//! Joins the pools of the coordinators: registers with each of them, renews that, and leaves them
//! all at the end.

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

/// How long a coordinator may take to be told that this worker leaves.
const LEAVING: Duration = Duration::from_secs(2);
/// How often the listener is looked for at the start.
const LISTEN_EVERY: Duration = Duration::from_millis(5);
/// Part of its lease after which a registration is renewed.
const RENEWED_WITHIN_LEASE: u32 = 3;

/// Shortest pause between two renewals, whatever the lease is.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

/// What a worker says of itself, the same each time.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Its identifier.
    pub id: String,
    /// How coordinators reach it.
    pub address: Address,
    /// Its share of new sessions.
    pub weight: u16,
    /// What apps may ask for.
    pub labels: Labels,
}

/// Registers the worker; a service of its own.
pub struct Registrar {
    shared: Arc<Shared>,
    /// The worker's listener, as Pingora's table of descriptors calls it.
    listener: String,
}

struct Shared {
    profile: Profile,
    /// Tells this process from its predecessors and successors: it grows with time.
    instance: InstanceId,
    followers: Arc<Followers>,
    hop: Arc<HopServices>,
    retry: Duration,
    /// Which coordinators drain this worker, by their number: the others have to know.
    drained_by: watch::Sender<Vec<bool>>,
    /// How many of what is in flight are registrations, which count so that leaving is not cut
    /// short.
    own: AtomicU64,
}

/// A registration that is left at the end: counted as in flight.
struct Joined<'s> {
    shared: &'s Shared,
    _in_flight: InFlight,
}

impl Drop for Joined<'_> {
    fn drop(&mut self) {
        self.shared.own.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Registrar {
    /// Registers `profile` with all coordinators that are followed, once `listener` is listened on.
    #[must_use]
    pub fn new(
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
            own: AtomicU64::new(0),
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
            sleep(LISTEN_EVERY).await;
        }
        let shared = &self.shared;
        join_all(
            shared
                .followers
                .each()
                .iter()
                .enumerate()
                .map(|(number, one)| shared.keep(number, one)),
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
    /// Keeps the worker in the pool of one coordinator until the daemon ends.
    async fn keep(&self, number: usize, follower: &Follower) {
        let mut found = follower.found();
        tokio::select! {
            biased;
            () = self.drain().reached(DrainStage::HandingOver) => return,
            // Without its table, requests of this coordinator could not be served. The followers
            // live as long as the daemon.
            _ = found.wait_for(|times| *times > 0) => {}
        }
        let joined = self.join();
        tokio::select! {
            biased;
            () = self.drain().reached(DrainStage::HandingOver) => {}
            () = self.renew_forever(number, follower, &mut found) => {}
        }
        if self.drain().phase() > DrainStage::HandingOver {
            self.leave(follower).await;
            return;
        }
        // The successor registers under the same identifier: until it does, the lease must not
        // lapse, and there is nothing to leave.
        drop(joined);
        tokio::select! {
            biased;
            () = self.drain().reached(DrainStage::Draining) => {}
            () = self.renew_forever(number, follower, &mut found) => {}
        }
    }

    /// Renews the registration; ends when a successor has taken it over.
    async fn renew_forever(
        &self,
        number: usize,
        follower: &Follower,
        found: &mut watch::Receiver<u64>,
    ) {
        let mut drained_by = self.drained_by.subscribe();
        let mut failing = false;
        loop {
            let said = self.registration(number, follower, &mut drained_by);
            let pause = match follower
                .coordinator()
                .register(&self.profile.id, &said)
                .await
            {
                Ok(registered) => {
                    self.note_success(follower, &mut failing);
                    self.note_drain(number, registered.drain);
                    (registered.lease.0 / RENEWED_WITHIN_LEASE).max(SHORTEST_PAUSE)
                }
                Err(e) if is_superseded(&e) && self.drain().closes_connections() => return,
                Err(e) => {
                    self.note_failure(follower, &e, &mut failing);
                    self.retry
                }
            };
            tokio::select! {
                () = sleep(pause) => {}
                _ = found.changed() => {}
                _ = drained_by.changed() => {}
            }
        }
    }

    async fn leave(&self, follower: &Follower) {
        let base = follower.coordinator().base();
        match timeout(
            LEAVING,
            follower
                .coordinator()
                .leave(&self.profile.id, &self.instance),
        )
        .await
        {
            Ok(Ok(())) => info!("has left coordinator {base}"),
            Ok(Err(e)) => {
                warn!("coordinator {base} {e}: it will miss this worker, and take it out by itself")
            }
            Err(_) => warn!(
                "coordinator {base} does not answer: it will miss this worker, and take it out by itself"
            ),
        }
    }

    /// What is said at this moment to one coordinator.
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
        // What this coordinator says of the drain is not said back to it.
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
            in_flight: in_flight.saturating_sub(self.own.load(Ordering::Relaxed)),
            open_streams: u64::try_from(self.hop.metrics.open_streams.get()).unwrap_or(0),
        }
    }

    /// From now on the daemon does not end before it has left.
    fn join(&self) -> Joined<'_> {
        self.own.fetch_add(1, Ordering::Relaxed);
        Joined {
            shared: self,
            _in_flight: self.drain().enter(),
        }
    }

    fn drain(&self) -> &Drain {
        &self.hop.drain
    }

    fn note_success(&self, follower: &Follower, failing: &mut bool) {
        if std::mem::take(failing) {
            info!(
                "is registered with coordinator {} again",
                follower.coordinator().base()
            );
        }
    }

    fn note_failure(&self, follower: &Follower, error: &ClientError, failing: &mut bool) {
        if !std::mem::replace(failing, true) {
            warn!(
                "cannot register with coordinator {}: it {error}",
                follower.coordinator().base()
            );
        }
    }

    fn note_drain(&self, number: usize, drains: bool) {
        self.drained_by
            .send_if_modified(|all| match all.get_mut(number) {
                Some(known) => std::mem::replace(known, drains) != drains,
                None => false,
            });
    }
}

fn is_superseded(error: &ClientError) -> bool {
    matches!(error, ClientError::Refused { problem, .. } if problem.code == "superseded")
}
