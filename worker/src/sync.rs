//! Synchronization of the app tables: follows each coordinator by long poll. A request can wait for
//! a revision that its coordinator has and the worker does not.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use app_proxy_api::client::{Call, Client, ClientError};
use app_proxy_api::table::AppList;
use async_trait::async_trait;
use futures::StreamExt;
use futures::future::join_all;
use log::{info, warn};
use pingora_core::server::ShutdownWatch;
use pingora_core::services::background::BackgroundService;
use tokio::sync::{Notify, watch};
use tokio::task::JoinError;
use tokio::time::{Instant, sleep, timeout_at};

use crate::apps::{
    Apps, LOOKUP_PATIENCE, Position, RequiredRevision, Resolved, Resolver, names_of,
};
use crate::config::SyncSection;

/// The pause after a failed poll while a request waits for the next one.
const URGENT_RETRY: Duration = Duration::from_millis(20);

/// The service that follows all coordinators.
pub(crate) struct Followers {
    apps: Arc<Apps>,
    timing: SyncSection,
    each: Vec<Arc<Follower>>,
    /// Resolves the host names of changed apps.
    resolver: Resolver,
    /// Resolves all host names again. Separate, so that changes do not wait for refreshes.
    refresher: Resolver,
    /// The number of polls that have ended.
    synced: watch::Sender<u64>,
}

/// The state of one followed coordinator.
pub(crate) struct Follower {
    number: usize,
    coordinator: Client,
    /// Interrupts a poll that waits for changes, and the pause after a failed poll, because a
    /// request waits for a revision.
    poll_now: Notify,
    /// The number of the last poll that has begun.
    begun: AtomicU64,
    /// The number of the last poll that has ended.
    ended: AtomicU64,
    position: Mutex<Option<Position>>,
    /// The number of contacts: the first successful poll, the first after failed ones, and each
    /// change of epoch.
    contacts: watch::Sender<u64>,
}

impl Follower {
    /// Returns the client of the coordinator.
    #[must_use]
    pub(crate) fn coordinator(&self) -> &Client {
        &self.coordinator
    }

    /// Returns the position in the table of the coordinator; `None` before the first sync.
    #[must_use]
    pub(crate) fn position(&self) -> Option<Position> {
        self.position
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Watches the number of contacts: the first successful poll, the first after failed ones, and
    /// each change of epoch.
    #[must_use]
    pub(crate) fn contacts(&self) -> watch::Receiver<u64> {
        self.contacts.subscribe()
    }

    /// Returns the number of a new poll.
    fn begin(&self) -> u64 {
        self.begun.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Reads the changes after `since`, or the whole table without it.
    async fn read(&self, since: Option<&Position>, wait: Duration) -> Result<AppList, ClientError> {
        let since = since.map(|at| (&at.epoch, at.revision));
        let mut list = self.coordinator.apps(since, wait).await?;
        // The table may change between two pages. The next poll reads the changes since the first
        // page.
        while let Some(cursor) = list.next_cursor.take() {
            let page: AppList = self
                .coordinator
                .call(Call::get(format!("/api/v1/apps?cursor={cursor}")))
                .await?
                .json()?;
            if page.epoch != list.epoch {
                return Err(ClientError::Unreadable(
                    "the table was replaced between two pages".to_owned(),
                ));
            }
            list.items.extend(page.items);
            list.next_cursor = page.next_cursor;
            list.complete = true;
        }
        Ok(list)
    }
}

impl Followers {
    /// Creates the service that follows `coordinators`.
    #[must_use]
    pub(crate) fn new(apps: Arc<Apps>, coordinators: Vec<Client>, timing: SyncSection) -> Self {
        let follower = |(number, coordinator)| {
            Arc::new(Follower {
                number,
                coordinator,
                poll_now: Notify::new(),
                begun: AtomicU64::new(0),
                ended: AtomicU64::new(0),
                position: Mutex::new(None),
                contacts: watch::Sender::new(0),
            })
        };
        let each = coordinators.into_iter().enumerate().map(follower).collect();
        Self {
            apps,
            timing,
            each,
            resolver: Resolver::default(),
            refresher: Resolver::default(),
            synced: watch::Sender::new(0),
        }
    }

    /// Returns the followed coordinators.
    #[must_use]
    pub(crate) fn each(&self) -> &[Arc<Follower>] {
        &self.each
    }

    /// Waits until the worker has the required revision, or the time limit is reached.
    ///
    /// Does not wait for an epoch that no coordinator has: returns once every coordinator has
    /// been polled since the request arrived, successfully or not.
    pub(crate) async fn catch_up(&self, required: RequiredRevision<'_>) {
        let mut synced = self.synced.subscribe();
        let deadline = Instant::now() + self.timing.catch_up_timeout.0;
        let before: Vec<u64> = self
            .each
            .iter()
            .map(|follower| follower.begun.load(Ordering::Relaxed))
            .collect();
        for follower in &self.each {
            follower.poll_now.notify_one();
        }
        loop {
            if self.is_caught_up(required, &before)
                || timeout_at(deadline, synced.changed()).await.is_err()
            {
                return;
            }
        }
    }

    /// Returns whether waiting longer is useless; `before` has the number of the last poll of each
    /// coordinator that had begun when the request arrived.
    fn is_caught_up(&self, required: RequiredRevision<'_>, before: &[u64]) -> bool {
        let tables = self.apps.load();
        if tables.has_epoch(required.epoch) {
            return tables.satisfy(required);
        }
        let polled = |(follower, before): (&Arc<Follower>, &u64)| {
            follower.ended.load(Ordering::Acquire) > *before
        };
        self.each.iter().zip(before).all(polled)
    }

    async fn follow(&self, follower: &Follower) {
        let mut failing = false;
        loop {
            match self.poll(follower, failing).await {
                Ok(()) => {
                    if failing {
                        let base = follower.coordinator.base();
                        info!("coordinator {base}: app table is followed again");
                        follower.contacts.send_modify(|count| *count += 1);
                    }
                    failing = false;
                }
                Err(e) => {
                    if !failing {
                        let base = follower.coordinator.base();
                        warn!("coordinator {base} {e}; the app table in memory stays in use");
                    }
                    failing = true;
                    self.pause(follower).await;
                }
            }
        }
    }

    async fn pause(&self, follower: &Follower) {
        let retry = self.timing.retry.0;
        tokio::select! {
            () = sleep(retry) => {}
            () = async {
                follower.poll_now.notified().await;
                sleep(URGENT_RETRY.min(retry)).await;
            } => {}
        }
    }

    /// Polls once. The poll waits for a change, unless the last poll failed, a request waits for a
    /// revision, or there is no table yet.
    async fn poll(&self, follower: &Follower, failing: bool) -> Result<(), ClientError> {
        let at = follower.position();
        let wait = if failing {
            Duration::ZERO
        } else {
            self.timing.wait.0
        };
        let begun = Instant::now();
        let mut number = follower.begin();
        let (answer, waited) = tokio::select! {
            biased;
            () = follower.poll_now.notified() => {
                number = follower.begin();
                (follower.read(at.as_ref(), Duration::ZERO).await, false)
            }
            list = follower.read(at.as_ref(), wait) => (list, !wait.is_zero()),
        };
        let returned_early = match answer {
            Ok(list) => {
                let early = waited && !list.has_changes() && begun.elapsed() < wait / 2;
                self.apply(follower, list).await;
                Ok(early)
            }
            Err(e) => Err(e),
        };
        follower.ended.store(number, Ordering::Release);
        self.synced.send_modify(|count| *count += 1);
        if returned_early? {
            // The coordinator does not support waiting.
            self.pause(follower).await;
        }
        Ok(())
    }

    /// Resolves the host names of all apps again, in a task of its own.
    fn refresh_names(&self) {
        let names = names_of(self.apps.load().apps().map(|app| &*app.stored));
        if !names.is_empty() {
            let (apps, refresher) = (Arc::clone(&self.apps), self.refresher.clone());
            tokio::spawn(async move {
                let resolved = refresher.resolve(names, LOOKUP_PATIENCE).await;
                apps.apply_names(&resolved);
                apply_late_names(&apps, resolved).await;
            });
        }
    }

    /// Applies the list of a coordinator. Must not be cancelled.
    async fn apply(&self, follower: &Follower, list: AppList) {
        let at = Position {
            epoch: list.epoch.clone(),
            revision: list.revision,
        };
        if !list.has_changes() {
            self.refresh_names();
        } else if let Err(e) = self.apply_changes(follower, list).await {
            return warn!("cannot apply the app table: {e}");
        } else {
            let base = follower.coordinator.base();
            info!(
                "app table: revision {} of epoch {}, from {base}",
                at.revision, at.epoch
            );
        }
        Self::set_position(follower, at);
    }

    /// Applies a list with changes, after its host names have been resolved.
    async fn apply_changes(&self, follower: &Follower, list: AppList) -> Result<(), JoinError> {
        let names = names_of(list.items.iter().map(|app| &**app));
        let resolved = self.resolver.resolve(names, LOOKUP_PATIENCE).await;
        let (apps, number) = (Arc::clone(&self.apps), follower.number);
        // A whole table takes long enough to delay other tasks.
        let applied = tokio::task::spawn_blocking(move || {
            apps.apply(number, list, &resolved);
            resolved
        });
        let resolved = applied.await?;
        let apps = Arc::clone(&self.apps);
        tokio::spawn(async move { apply_late_names(&apps, resolved).await });
        Ok(())
    }

    fn set_position(follower: &Follower, at: Position) {
        let mut position = follower
            .position
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let is_new_epoch = position
            .as_ref()
            .is_none_or(|before| before.epoch != at.epoch);
        *position = Some(at);
        drop(position);
        if is_new_epoch {
            follower.contacts.send_modify(|count| *count += 1);
        }
    }
}

/// Applies the results of lookups that a change of the tables did not wait for.
async fn apply_late_names(apps: &Apps, resolved: Resolved) {
    resolved
        .late()
        .for_each(async |late| apps.apply_names(&late))
        .await;
}

#[async_trait]
impl BackgroundService for Followers {
    /// Runs until the process exits: requests in flight may need a newer table during a drain.
    async fn start(&self, _shutdown: ShutdownWatch) {
        join_all(self.each.iter().map(|follower| self.follow(follower))).await;
    }
}
