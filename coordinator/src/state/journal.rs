//! Writes the activity of sessions and apps behind: what has happened since the last time, in
//! batches, and never for a request.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use app_proxy_hop::drain::{Drain, DrainStage};
use log::{info, warn};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::apps::Apps;
use crate::clock::{Moment, now_ms};
use crate::sessions::SessionTable;
use app_proxy_store::{ActivityBatch, AppActivity, Store, StoreError};

/// How often activity is written.
const EVERY: Duration = Duration::from_secs(1);
/// The same while the daemon ends.
const EVERY_WHILE_ENDING: Duration = Duration::from_millis(100);
/// How often what is forgotten here is taken out of the store.
const TRIM: Duration = Duration::from_secs(60);

/// Writes activity behind.
pub(crate) struct Journal {
    table: SessionTable,
    apps: Arc<Apps>,
    store: Arc<dyn Store>,
    drain: Drain,
    /// As many sessions are kept, at most.
    most: u64,
    /// How long a process that has handed over to this one may go on, if there is one.
    predecessor: Option<Duration>,
    /// Use of apps that is not written yet: of each app the last, however long the store takes
    /// nothing.
    left: HashMap<String, AppActivity>,
}

impl Journal {
    /// A journal of sessions and of the use of apps, of which `most` sessions are kept at most.
    #[must_use]
    pub(crate) fn new(
        table: &SessionTable,
        apps: &Arc<Apps>,
        store: &Arc<dyn Store>,
        drain: &Drain,
        most: u64,
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
            most,
            predecessor: None,
            left: HashMap::new(),
        }
    }

    /// The journal of a successor, whose predecessor goes on for `longest` at most.
    #[must_use]
    pub(crate) fn after(self, longest: Duration) -> Self {
        Self {
            predecessor: Some(longest),
            ..self
        }
    }

    /// Writes until the daemon has ended: what is in flight may still be active, and is written
    /// last.
    pub(crate) async fn run(mut self) {
        let mut failing = false;
        let mut trimmed = Instant::now();
        let began = Instant::now();
        let mut due = interval(EVERY);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let ending = self.drain.reached(DrainStage::Draining);
        tokio::pin!(ending);
        loop {
            tokio::select! {
                _ = due.tick() => {}
                () = &mut ending => break,
            }
            note(&mut failing, self.write().await);
            if trimmed.elapsed() >= TRIM {
                trimmed = Instant::now();
                note(&mut failing, self.trim().await);
                if self
                    .predecessor
                    .take_if(|longest| began.elapsed() > *longest)
                    .is_some()
                {
                    self.table
                        .iter()
                        .for_each(|record| record.clear_predecessor_streams());
                }
            }
        }
        // The process must not end before the last of it is written; nothing else in flight waits
        // for this.
        let _in_flight = self.drain.enter();
        loop {
            let last = self.drain.in_flight() <= 1;
            note(&mut failing, self.write().await);
            if last {
                if let Err(e) = self.store.record_shutdown().await {
                    warn!("that this process ends is not noted: {e}");
                }
                return;
            }
            tokio::time::sleep(EVERY_WHILE_ENDING).await;
        }
    }

    /// Writes what has happened since the last time.
    async fn write(&mut self) -> Result<(), StoreError> {
        self.write_apps().await?;
        self.write_sessions().await
    }

    async fn write_sessions(&self) -> Result<(), StoreError> {
        let draining = self.drain.closes_connections();
        let unsaved = self
            .table
            .iter()
            .filter_map(|record| record.unsaved(draining).map(|activity| (record, activity)));
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

    async fn write_apps(&mut self) -> Result<(), StoreError> {
        let now = Moment::now();
        let used: Vec<_> = self
            .apps
            .load()
            .apps()
            .filter_map(|app| app.usage.take_unsaved(&app.name, now))
            .collect();
        self.left
            .extend(used.into_iter().map(|used| (used.app.clone(), used)));
        while !self.left.is_empty() {
            let apps: Vec<_> = self
                .left
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
                self.left.remove(&saved.app);
            }
        }
        Ok(())
    }

    /// Takes out of the store what is forgotten here.
    async fn trim(&self) -> Result<(), StoreError> {
        let ttl = u64::try_from(self.table.ttl().as_millis()).unwrap_or(u64::MAX);
        let gone = self
            .store
            .trim_sessions(now_ms().saturating_sub(ttl), self.most)
            .await?;
        if gone > 0 {
            info!("{gone} sessions are forgotten");
        }
        Ok(())
    }
}

/// Says once that activity cannot be written, and once that it can again.
fn note(failing: &mut bool, written: Result<(), StoreError>) {
    match written {
        Ok(()) if std::mem::take(failing) => info!("activity of sessions is written again"),
        Ok(()) => {}
        Err(e) => {
            if !std::mem::replace(failing, true) {
                warn!("activity of sessions is not written, and is kept until it can be: {e}");
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use app_proxy_store::{SqliteStore, conformance::broken_store};

    #[tokio::test]
    async fn of_an_app_the_last_use_waits_for_a_store_that_takes_nothing() {
        let apps = serde_json::from_value(
            serde_json::json!([{"name": "a", "endpoints": []}, {"name": "b", "endpoints": []}]),
        );
        let apps = Arc::new(Apps::from_file(apps.unwrap(), None).unwrap());
        let table = SessionTable::new(10, Duration::from_secs(60));
        let mut journal = Journal::new(&table, &apps, &broken_store(), &Drain::default(), 10);
        for _ in 0..3 {
            apps.load().apps().for_each(|app| app.usage.mark());
            assert!(journal.write().await.is_err());
            assert_eq!(journal.left.len(), 2);
        }
        journal.store = Arc::new(SqliteStore::in_memory().unwrap());
        journal.write().await.unwrap();
        assert!(journal.left.is_empty());
    }
}
