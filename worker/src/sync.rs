//! Follows the coordinator's app table by long poll, and lets a request wait for a table that its coordinator already has.

use std::sync::Arc;
use std::time::Duration;

use app_proxy_control::client::{Client, ClientError};
use app_proxy_control::table::AppList;
use async_trait::async_trait;
use log::{info, warn};
use pingora_core::server::ShutdownWatch;
use pingora_core::services::background::BackgroundService;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

use crate::apps::{Apps, Fence};
use crate::config::SyncSection;

/// Follows the table; runs as a service of its own.
pub struct Follower {
    apps: Arc<Apps>,
    coordinators: Vec<Client>,
    timing: SyncSection,
    /// Wakes a poll that waits for changes: a request knows of one.
    hurry: Notify,
    /// Counts the syncs.
    synced: watch::Sender<u64>,
}

impl Follower {
    /// A follower of the first of `coordinators` that answers.
    #[must_use]
    pub fn new(apps: Arc<Apps>, coordinators: Vec<Client>, timing: SyncSection) -> Self {
        Self { apps, coordinators, timing, hurry: Notify::new(), synced: watch::Sender::new(0) }
    }

    /// Waits until the table is as new as `fence` asks for, or the time for that is over.
    ///
    /// A table of another epoch than the request's is good enough once it was synced after the request came: the coordinator that
    /// is followed knows better than the one that sent the request.
    pub async fn catch_up(&self, fence: Fence<'_>) {
        let mut synced = self.synced.subscribe();
        let deadline = Instant::now() + self.timing.fence.0;
        loop {
            self.hurry.notify_one();
            if timeout_at(deadline, synced.changed()).await.is_err() {
                return;
            }
            let table = self.apps.load();
            if table.satisfies(Some(fence)) || table.epoch != fence.epoch {
                return;
            }
        }
    }

    /// One poll: waits for a change unless the table has never been synced, or a request knows of one.
    async fn poll(&self, coordinator: &Client) -> Result<(), ClientError> {
        let table = self.apps.load();
        let since = table.is_loaded().then_some((table.epoch.as_str(), table.revision));
        let begun = Instant::now();
        let list = tokio::select! {
            list = coordinator.apps(since, self.timing.wait.0) => {
                let list = list?;
                if !list.has_news() && begun.elapsed() < self.timing.wait.0 / 2 {
                    // A coordinator that does not wait must not be asked without a pause.
                    tokio::time::sleep(self.timing.retry.0).await;
                }
                list
            }
            () = self.hurry.notified() => coordinator.apps(since, Duration::ZERO).await?,
        };
        self.take_over(list, coordinator).await;
        Ok(())
    }

    /// Makes an answer the table. Nothing interrupts this: two of them at once could leave the older one.
    async fn take_over(&self, list: AppList, coordinator: &Client) {
        let changed = list.has_news();
        let (epoch, revision) = (list.epoch.clone(), list.revision);
        let apps = Arc::clone(&self.apps);
        // Looking host names up blocks.
        let applied =
            tokio::task::spawn_blocking(move || if changed { apps.apply(list) } else { apps.look_names_up() });
        if let Err(e) = applied.await {
            warn!("the app table was not taken over: {e}");
        }
        if changed {
            info!("the app table is at revision {revision} of epoch {epoch} now, from {}", coordinator.base());
        }
        self.synced.send_modify(|count| *count += 1);
    }

    async fn follow(&self) {
        let mut current = 0;
        let mut failing = false;
        loop {
            let Some(coordinator) = self.coordinators.get(current) else { return };
            match self.poll(coordinator).await {
                Ok(()) => failing = false,
                Err(e) => {
                    if !failing {
                        warn!("coordinator {} {e}; the table in memory serves on", coordinator.base());
                    }
                    failing = true;
                    current = (current + 1) % self.coordinators.len();
                    tokio::time::sleep(self.timing.retry.0).await;
                }
            }
        }
    }
}

#[async_trait]
impl BackgroundService for Follower {
    /// Follows through a drain as well: what is in flight may still need a newer table.
    async fn start(&self, _shutdown: ShutdownWatch) {
        self.follow().await;
    }
}
