//! Coordination of two processes that serve from one store during an upgrade: a process that
//! changes the app table waits until the other one serves the change.

use std::time::Duration;

use log::warn;
use tokio::time::{Instant, sleep};

use super::EditorTask;
use super::overlap::Overlap;
use app_proxy_store::{ServedTable, StoreError};

/// The maximum time that a caller waits for another process, which may have been killed.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The timeout after the first timeout.
const SHORT_TIMEOUT: Duration = Duration::from_millis(150);
/// The interval at which the progress of the other process is read.
const POLL: Duration = Duration::from_millis(5);

impl EditorTask {
    /// Returns the table that this process serves.
    fn served(&self) -> ServedTable {
        ServedTable {
            epoch: self.cursor.epoch.clone(),
            revision: self.cursor.revision,
        }
    }

    /// Records the table that this process serves, if other processes need to know.
    pub(super) async fn record_serving(&mut self) -> Result<(), StoreError> {
        let served = self.served();
        let is_first = self.serving.recorded.is_none();
        if self.serving.recorded.as_ref() == Some(&served)
            || !is_first && (self.overlap)() == Overlap::None
        {
            return Ok(());
        }
        let alone = is_first && (self.overlap)() == Overlap::None;
        self.store.record_serving(&served, alone).await?;
        self.serving.recorded = Some(served);
        Ok(())
    }

    /// Waits until other processes serve the same table as this one, up to a timeout in case one
    /// has died.
    pub(super) async fn wait_for_others(&mut self) {
        let wanted = self.served();
        let limit = if self.serving.timed_out {
            SHORT_TIMEOUT
        } else {
            TIMEOUT
        };
        let begin = Instant::now();
        while begin.elapsed() < limit {
            match self.others_serve(&wanted).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(e) => return warn!("cannot read the progress of another process: {e}"),
            }
            sleep(POLL).await;
        }
        if !std::mem::replace(&mut self.serving.timed_out, true) {
            warn!(
                "app table: another process has not applied a change within {TIMEOUT:?}; later \
                 changes wait {SHORT_TIMEOUT:?} only"
            );
        }
    }

    async fn others_serve(&mut self, wanted: &ServedTable) -> Result<bool, StoreError> {
        // The other process may wait for this one.
        self.follow().await?;
        self.record_serving().await?;
        let Some(elsewhere) = self.store.served_elsewhere().await? else {
            return Ok(true);
        };
        if elsewhere.is_empty() {
            // A successor is recorded before it serves.
            return Ok((self.overlap)() != Overlap::Predecessor);
        }
        // If this process has meanwhile moved to another epoch, that table derives from the wanted
        // one.
        let now = self.served();
        let has = |served: &ServedTable, table: &ServedTable| {
            served.epoch == table.epoch && served.revision >= table.revision
        };
        Ok(elsewhere
            .iter()
            .all(|served| has(served, wanted) || has(served, &now)))
    }
}
