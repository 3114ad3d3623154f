//! The periodic sweep of the pool: expiry of registrations and the end of drains.

use std::sync::Arc;
use std::time::Duration;

use app_proxy_store::MemberStage;
use async_trait::async_trait;
use log::{error, info, warn};
use pingora_core::server::ShutdownWatch;
use pingora_core::services::background::BackgroundService;
use tokio::time::Instant;

use super::Pool;
use crate::clock::now_ms;
use crate::state::members::Members;

/// The interval at which a worker's streams are closed after its drain's deadline: requests may
/// still become streams.
const CLOSE_INTERVAL: Duration = Duration::from_secs(1);
/// The maximum sleep of the sweep if nothing is due.
const MAX_SLEEP: Duration = Duration::from_secs(3600);

/// The background service that sweeps the pool.
pub(crate) struct Sweep {
    pool: Arc<Pool>,
    members: Arc<Members>,
}

impl Sweep {
    /// Creates the sweep of `pool`. A registration that other `members` may know to be renewed does
    /// not expire here; its lease begins here when one of them is gone.
    #[must_use]
    pub(crate) fn new(pool: &Arc<Pool>, members: &Arc<Members>) -> Self {
        Self {
            pool: Arc::clone(pool),
            members: Arc::clone(members),
        }
    }
}

#[async_trait]
impl BackgroundService for Sweep {
    async fn start(&self, _shutdown: ShutdownWatch) {
        let mut changed = self.members.watch();
        let mut gone = 0;
        loop {
            let mut due = self.pool.close_overdue().await;
            // Not in a member that leaves: workers renew at others, and would be removed from the
            // common store.
            if self.members.stage() == MemberStage::Serving {
                let gone_now = self.members.gone();
                if std::mem::replace(&mut gone, gone_now) != gone_now || self.members.is_alone() {
                    self.pool.begin_leases().await;
                }
                let expiry = self.pool.remove_expired().await;
                due = expiry.map_or(due, |expiry| due.min(expiry));
            }
            tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                () = self.pool.sweep_due.notified() => {}
                Ok(()) = changed.changed() => {}
            }
        }
    }
}

impl Pool {
    /// Begins the leases of workers that other members do not renew any more.
    pub(super) async fn begin_leases(&self) {
        self.registry.lock().await.begin_leases(Instant::now());
    }

    /// Removes the workers whose registration has expired. Returns the time of the next expiry.
    pub(super) async fn remove_expired(&self) -> Option<Instant> {
        let mut registry = self.registry.lock().await;
        let expired = registry.expired(Instant::now());
        for id in &expired {
            warn!("worker {id}: registration expired; removed from the pool");
            registry.expire(id);
        }
        let overdue = registry.remove_overdue_drains(now_ms());
        let next = registry.next_expiry();
        drop(registry);
        if let Err(e) = self.publish().await {
            error!("cannot remove expired workers from the pool: {e}");
        }
        for id in expired
            .iter()
            .map(AsRef::as_ref)
            .chain(overdue.iter().map(String::as_str))
        {
            self.save_removal(id).await;
        }
        next
    }

    /// Closes streams at workers past the deadline of their drain. Returns the time of the next
    /// call.
    pub(super) async fn close_overdue(&self) -> Instant {
        let (now, now_ms) = (Instant::now(), now_ms());
        let mut due = MAX_SLEEP;
        let mut overdue = Vec::new();
        {
            let registry = self.registry.lock().await;
            for entry in registry.entries.values() {
                let Some(drain) = entry.drain else { continue };
                if drain.deadline_ms > now_ms {
                    due = due.min(Duration::from_millis(drain.deadline_ms - now_ms));
                } else if entry.worker.in_flight() > 0 {
                    due = due.min(CLOSE_INTERVAL);
                    overdue.push(Arc::clone(&entry.worker.id));
                }
            }
        }
        if let Some(close) = self.close_streams.get() {
            for id in overdue {
                let closed = close(&id);
                if closed > 0 {
                    info!("worker {id}: drain deadline reached; {closed} open streams closed");
                }
            }
        }
        now + due
    }
}
