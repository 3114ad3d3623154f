//! Write-behind of the activity of sessions and apps: once a second, in batches, never while a
//! request waits.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use app_proxy_hop::drain::{Drain, DrainStage};
use log::{info, warn};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::apps::Apps;
use crate::clock::{Moment, now_ms};
use crate::sessions::SessionTable;
use crate::state::members::Members;
use app_proxy_store::{ActivityBatch, AppActivity, Store, StoreError};

/// The pause between two writes.
const INTERVAL: Duration = Duration::from_secs(1);
/// The pause between two writes while the daemon drains.
const DRAIN_INTERVAL: Duration = Duration::from_millis(100);
/// The pause between two deletions of expired sessions.
const TRIM_INTERVAL: Duration = Duration::from_secs(60);

/// Writes the activity of sessions and apps to the store.
pub(crate) struct Journal {
    table: SessionTable,
    apps: Arc<Apps>,
    store: Arc<dyn Store>,
    drain: Drain,
    /// The maximum number of sessions in the store.
    max_sessions: u64,
    members: Arc<Members>,
    /// The use of apps that is not written yet, the latest of each app: bounded, however long the
    /// store fails.
    pending: HashMap<String, AppActivity>,
}

impl Journal {
    /// Creates a journal of the sessions in `table` and of `apps`, which keeps at most
    /// `max_sessions` sessions in `store`.
    #[must_use]
    pub(crate) fn new(
        table: &SessionTable,
        apps: &Arc<Apps>,
        store: &Arc<dyn Store>,
        (members, drain): (&Arc<Members>, &Drain),
        max_sessions: u64,
    ) -> Self {
        let (table, apps, store, drain) = (
            table.clone(),
            Arc::clone(apps),
            Arc::clone(store),
            drain.clone(),
        );
        Self {
            table,
            apps,
            store,
            drain,
            max_sessions,
            members: Arc::clone(members),
            pending: HashMap::new(),
        }
    }

    /// Writes until nothing is in flight in a daemon that drains, then leaves the members.
    pub(crate) async fn run(mut self) {
        let mut failing = false;
        let mut trimmed = Instant::now();
        let mut due = interval(INTERVAL);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let ending = self.drain.reached(DrainStage::Draining);
        tokio::pin!(ending);
        loop {
            tokio::select! {
                _ = due.tick() => {}
                () = &mut ending => break,
            }
            report(&mut failing, self.write().await);
            if trimmed.elapsed() >= TRIM_INTERVAL && self.members.leads() {
                trimmed = Instant::now();
                report(&mut failing, self.trim().await);
            }
        }
        // The process must not end before the last write; nothing else in flight waits for this.
        let _in_flight = self.drain.enter();
        loop {
            let last = self.drain.in_flight() <= 1;
            report(&mut failing, self.write().await);
            if last {
                if let Err(e) = self.members.leave().await {
                    warn!("cannot leave the members of the store: {e}");
                }
                return;
            }
            tokio::time::sleep(DRAIN_INTERVAL).await;
        }
    }

    /// Writes the activity since the last write.
    async fn write(&mut self) -> Result<(), StoreError> {
        self.write_apps().await?;
        self.write_sessions().await?;
        self.write_streams().await
    }

    async fn write_sessions(&self) -> Result<(), StoreError> {
        let unsaved = self
            .table
            .iter()
            .filter_map(|record| record.unsaved().map(|activity| (record, activity)));
        let unsaved: Vec<_> = unsaved.collect();
        for part in unsaved.chunks(ActivityBatch::LARGEST) {
            let sessions = part.iter().map(|(_, activity)| activity.clone()).collect();
            self.store
                .save_activity(&ActivityBatch {
                    sessions,
                    apps: Vec::new(),
                })
                .await?;
            for (record, activity) in part {
                record.mark_saved(activity);
            }
        }
        Ok(())
    }

    /// Writes how many streams sessions have here, for other members.
    async fn write_streams(&self) -> Result<(), StoreError> {
        if self.members.is_alone() {
            return Ok(());
        }
        let changed = self
            .table
            .iter()
            .filter_map(|record| record.unsaved_streams().map(|open| (record, open)));
        let changed: Vec<_> = changed.collect();
        for part in changed.chunks(ActivityBatch::LARGEST) {
            let counts: Vec<_> = part
                .iter()
                .map(|(record, open)| (record.id().to_string(), *open))
                .collect();
            self.store.save_streams(&counts).await?;
            for (record, open) in part {
                record.mark_streams_saved(*open);
            }
        }
        Ok(())
    }

    async fn write_apps(&mut self) -> Result<(), StoreError> {
        let now = Moment::now();
        let used: Vec<_> = self
            .apps
            .load()
            .apps()
            .filter_map(|app| app.usage.take_unsaved(&app.name, now))
            .collect();
        self.pending
            .extend(used.into_iter().map(|used| (used.app.clone(), used)));
        while !self.pending.is_empty() {
            let apps: Vec<_> = self
                .pending
                .values()
                .take(ActivityBatch::LARGEST)
                .cloned()
                .collect();
            let batch = ActivityBatch {
                sessions: Vec::new(),
                apps,
            };
            self.store.save_activity(&batch).await?;
            for saved in &batch.apps {
                self.pending.remove(&saved.app);
            }
        }
        Ok(())
    }

    /// Deletes expired sessions from the store.
    async fn trim(&self) -> Result<(), StoreError> {
        let ttl = u64::try_from(self.table.ttl().as_millis()).unwrap_or(u64::MAX);
        let deleted = self
            .store
            .trim_sessions(now_ms().saturating_sub(ttl), self.max_sessions)
            .await?;
        if deleted > 0 {
            info!("deleted {deleted} expired sessions");
        }
        Ok(())
    }
}

/// Logs the first failure and the first success after failures.
fn report(failing: &mut bool, written: Result<(), StoreError>) {
    match written {
        Ok(()) if std::mem::take(failing) => info!("activity is stored again"),
        Ok(()) => {}
        Err(e) => {
            if !std::mem::replace(failing, true) {
                warn!("cannot store activity, keeping it in memory: {e}");
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::state::members::tests::{serving, stores};
    use app_proxy_store::{SqliteStore, conformance::broken_store};

    #[tokio::test]
    async fn the_latest_use_of_an_app_is_kept_while_the_store_fails() {
        let apps = serde_json::from_value(
            serde_json::json!([{"name": "a", "endpoints": []}, {"name": "b", "endpoints": []}]),
        );
        let apps = Arc::new(Apps::from_file(apps.unwrap(), None).unwrap());
        let table = SessionTable::new(10, Duration::from_secs(60));
        let [another] = stores();
        let duties = (&serving(&another).await, &Drain::default());
        let mut journal = Journal::new(&table, &apps, &broken_store(), duties, 10);
        for _ in 0..3 {
            apps.load().apps().for_each(|app| app.usage.mark());
            assert!(journal.write().await.is_err());
            assert_eq!(journal.pending.len(), 2);
        }
        journal.store = Arc::new(SqliteStore::in_memory().unwrap());
        journal.write().await.unwrap();
        assert!(journal.pending.is_empty());
    }
}
