//! Follows the app table of every coordinator by long poll, and lets a request wait for a table
//! that its coordinator already has.

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
use tokio::time::{Instant, sleep, timeout_at};

use crate::apps::names::{Lookups, Names, PATIENCE};
use crate::apps::{Apps, Followed, RequiredRevision};
use crate::config::SyncSection;

/// Shortest pause after a failed poll, when a request waits for the next one.
const HURRIED_RETRY: Duration = Duration::from_millis(20);

/// Follows all coordinators; runs as a service of its own.
pub struct Followers {
    apps: Arc<Apps>,
    timing: SyncSection,
    each: Vec<Arc<Follower>>,
    /// Of names that are new, and of those that are looked up again: the ones must not wait for the
    /// others.
    new_names: Lookups,
    again: Lookups,
    /// Counts the polls that ended.
    synced: watch::Sender<u64>,
}

/// Follows one coordinator.
pub struct Follower {
    number: usize,
    coordinator: Client,
    /// Wakes a poll that waits for changes, or the pause after a failed one: a request knows of a
    /// change.
    hurry: Notify,
    /// Counts polls: how many have begun, and which one of them has ended last.
    begun: AtomicU64,
    ended: AtomicU64,
    position: Mutex<Option<Followed>>,
    /// Counts how often the coordinator has been found: at first, after it could not be reached,
    /// with another epoch.
    found: watch::Sender<u64>,
}

impl Follower {
    /// The coordinator.
    #[must_use]
    pub fn coordinator(&self) -> &Client {
        &self.coordinator
    }

    /// How far its table has been followed; none before the first sync.
    #[must_use]
    pub fn position(&self) -> Option<Followed> {
        self.position
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Follows how often the coordinator has been found.
    #[must_use]
    pub fn found(&self) -> watch::Receiver<u64> {
        self.found.subscribe()
    }

    fn begin(&self) -> u64 {
        self.begun.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Asks for what has changed after `since`; for the whole table without it.
    async fn ask(&self, since: Option<&Followed>, wait: Duration) -> Result<AppList, ClientError> {
        let since = since.map(|at| (&at.epoch, at.revision));
        let mut list = self.coordinator.apps(since, wait).await?;
        // The table may change between two pages: what is asked next is what has changed after the
        // first one.
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
    /// Followers of all `coordinators`.
    #[must_use]
    pub fn new(apps: Arc<Apps>, coordinators: Vec<Client>, timing: SyncSection) -> Self {
        let follower = |(number, coordinator)| {
            Arc::new(Follower {
                number,
                coordinator,
                hurry: Notify::new(),
                begun: AtomicU64::new(0),
                ended: AtomicU64::new(0),
                position: Mutex::new(None),
                found: watch::Sender::new(0),
            })
        };
        let each = coordinators.into_iter().enumerate().map(follower).collect();
        let (new_names, again) = (Lookups::default(), Lookups::default());
        Self {
            apps,
            timing,
            each,
            new_names,
            again,
            synced: watch::Sender::new(0),
        }
    }

    /// One for each coordinator.
    #[must_use]
    pub fn each(&self) -> &[Arc<Follower>] {
        &self.each
    }

    /// Waits until the table that `fence` asks for is here and as new, or the time for that is
    /// over.
    ///
    /// A table that nobody has is not waited for: once every coordinator was asked after the
    /// request came, and could be reached or not, these know better than the one that sent the
    /// request.
    pub async fn catch_up(&self, fence: RequiredRevision<'_>) {
        let mut synced = self.synced.subscribe();
        let deadline = Instant::now() + self.timing.catch_up_timeout.0;
        let before: Vec<u64> = self
            .each
            .iter()
            .map(|follower| follower.begun.load(Ordering::Relaxed))
            .collect();
        for follower in &self.each {
            follower.hurry.notify_one();
        }
        loop {
            if self.has_what_there_is(fence, &before)
                || timeout_at(deadline, synced.changed()).await.is_err()
            {
                return;
            }
        }
    }

    fn has_what_there_is(&self, fence: RequiredRevision<'_>, before: &[u64]) -> bool {
        let tables = self.apps.load();
        if tables.of(fence.epoch).is_some() {
            return tables.satisfy(fence);
        }
        let asked = |(follower, before): (&Arc<Follower>, &u64)| {
            follower.ended.load(Ordering::Acquire) > *before
        };
        self.each.iter().zip(before).all(asked)
    }

    async fn follow(&self, follower: &Follower) {
        let mut failing = false;
        loop {
            match self.poll(follower, failing).await {
                Ok(()) => {
                    if failing {
                        info!(
                            "coordinator {} is followed again",
                            follower.coordinator.base()
                        );
                        follower.found.send_modify(|count| *count += 1);
                    }
                    failing = false;
                }
                Err(e) => {
                    if !failing {
                        warn!(
                            "coordinator {} {e}; the table in memory serves on",
                            follower.coordinator.base()
                        );
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
                follower.hurry.notified().await;
                sleep(HURRIED_RETRY.min(retry)).await;
            } => {}
        }
    }

    /// One poll: waits for a change unless the table has never been synced, a request knows of one,
    /// or the last poll failed.
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
            () = follower.hurry.notified() => {
                number = follower.begin();
                (follower.ask(at.as_ref(), Duration::ZERO).await, false)
            }
            list = follower.ask(at.as_ref(), wait) => (list, !wait.is_zero()),
        };
        let outcome = match answer {
            Ok(list) => {
                let idles = waited && !list.has_news() && begun.elapsed() < wait / 2;
                self.take_over(follower, list).await;
                Ok(idles)
            }
            Err(e) => Err(e),
        };
        follower.ended.store(number, Ordering::Release);
        self.synced.send_modify(|count| *count += 1);
        if outcome? {
            // A coordinator that does not wait must not be asked without a pause.
            self.pause(follower).await;
        }
        Ok(())
    }

    /// Looks the names of all apps up again. Nobody waits for that.
    fn look_names_up(&self) {
        let wanted = Names::of(self.apps.load().apps().map(|app| &*app.stored));
        if !wanted.is_empty() {
            let (apps, again) = (Arc::clone(&self.apps), self.again.clone());
            tokio::spawn(async move {
                let names = again.of(wanted, PATIENCE).await;
                apps.take_names(&names);
                take_late(&apps, names).await;
            });
        }
    }

    /// Makes an answer the table. Nothing interrupts this.
    async fn take_over(&self, follower: &Follower, list: AppList) {
        let changed = list.has_news();
        let at = Followed {
            epoch: list.epoch.clone(),
            revision: list.revision,
        };
        if !changed {
            self.look_names_up();
        } else {
            let names = self
                .new_names
                .of(Names::of(list.items.iter().map(|app| &**app)), PATIENCE)
                .await;
            let (apps, number) = (Arc::clone(&self.apps), follower.number);
            // A whole table takes long enough to hold others up.
            let applied = tokio::task::spawn_blocking(move || {
                apps.apply(number, list, &names);
                names
            });
            match applied.await {
                Ok(names) => {
                    let apps = Arc::clone(&self.apps);
                    tokio::spawn(async move { take_late(&apps, names).await });
                }
                Err(e) => return warn!("the app table was not taken over: {e}"),
            }
            let base = follower.coordinator.base();
            info!(
                "the app table is at revision {} of epoch {} now, from {base}",
                at.revision, at.epoch
            );
        }
        let mut position = follower
            .position
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let is_other = position
            .as_ref()
            .is_none_or(|before| before.epoch != at.epoch);
        *position = Some(at);
        drop(position);
        if is_other {
            follower.found.send_modify(|count| *count += 1);
        }
    }
}

/// Takes names in that took longer than a change of the tables waits, when they are there.
async fn take_late(apps: &Apps, names: Names) {
    names
        .late()
        .for_each(async |late| apps.take_names(&late))
        .await;
}

#[async_trait]
impl BackgroundService for Followers {
    /// Follows through a drain as well: what is in flight may still need a newer table.
    async fn start(&self, _shutdown: ShutdownWatch) {
        join_all(self.each.iter().map(|follower| self.follow(follower))).await;
    }
}
