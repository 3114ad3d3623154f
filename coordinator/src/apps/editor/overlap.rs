//! Two processes serve from one store during a graceful upgrade: whoever changes the app table
//! waits until the other one serves it.

use std::time::Duration;

use log::warn;
use tokio::time::{Instant, sleep};

use super::EditorTask;
use app_proxy_store::{ServedTable, StoreError};

/// How long a caller is kept waiting for another process, which may have been killed.
const LONGEST: Duration = Duration::from_secs(2);
/// The same, once that was in vain.
const SHORT: Duration = Duration::from_millis(150);
/// How often it is looked whether the other process has followed.
const LOOK: Duration = Duration::from_millis(5);

/// Whether another process serves from the same store at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overlap {
    /// None does.
    None,
    /// This process has been told to hand over: a successor serves, or is about to.
    Predecessor,
    /// This process has taken over a short time ago: its predecessor may still serve.
    Successor,
    /// This process takes no connections any more; a successor may serve.
    Leaving,
}

/// What this process has told others of itself, and what it thinks of them.
#[derive(Debug, Default)]
pub(super) struct Standing {
    noted: Option<ServedTable>,
    /// Somebody did not follow within [`LONGEST`].
    lost: bool,
}

impl EditorTask {
    /// What requests are served from.
    fn served(&self) -> ServedTable {
        ServedTable {
            epoch: self.cursor.epoch.clone(),
            revision: self.cursor.revision,
        }
    }

    /// Notes which table is served from here, if others have to know and do not.
    pub(super) async fn record_serving(&mut self) -> Result<(), StoreError> {
        let served = self.served();
        let begins = self.standing.noted.is_none();
        if self.standing.noted.as_ref() == Some(&served)
            || !begins && (self.overlap)() == Overlap::None
        {
            return Ok(());
        }
        let alone = begins && (self.overlap)() == Overlap::None;
        self.store.record_serving(&served, alone).await?;
        self.standing.noted = Some(served);
        Ok(())
    }

    /// Waits until other processes serve the table that this one does; for some time at most,
    /// should one of them be gone.
    pub(super) async fn wait_for_others(&mut self) {
        let wanted = self.served();
        let limit = if self.standing.lost { SHORT } else { LONGEST };
        let begin = Instant::now();
        while begin.elapsed() < limit {
            match self.others_serve(&wanted).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(e) => return warn!("whether another process has followed cannot be read: {e}"),
            }
            sleep(LOOK).await;
        }
        if !std::mem::replace(&mut self.standing.lost, true) {
            warn!(
                "another process has not followed the app table for {LONGEST:?}: it is not waited for any more"
            );
        }
    }

    async fn others_serve(&mut self, wanted: &ServedTable) -> Result<bool, StoreError> {
        // The other process may be waiting for this one.
        self.follow().await?;
        self.record_serving().await?;
        let Some(elsewhere) = self.store.served_elsewhere().await? else {
            return Ok(true);
        };
        if elsewhere.is_empty() {
            // A successor says that it is there before it serves.
            return Ok((self.overlap)() != Overlap::Predecessor);
        }
        // A table of another epoch that this process has come to as well was made of the wanted
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
