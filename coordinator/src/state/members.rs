//! Members: the processes that share a store. This process announces itself with a heartbeat, and
//! observes the others.
//!
//! A heartbeat is a number in the store that grows. Another member is dead when its number stays
//! the same for [`DEAD_AFTER`] on the monotonic clock of this process, so that clocks of two
//! processes are never compared.

mod others;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
pub(crate) mod tests;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex as SyncMutex, MutexGuard, PoisonError};
use std::time::Duration;

use app_proxy_hop::drain::{Drain, DrainStage};
use app_proxy_store::{Member, MemberStage, ServedTable, Store, StoreError};
use log::{debug, warn};
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use others::Others;

/// The pause between two heartbeats.
const BEAT: Duration = Duration::from_secs(1);
/// The time without a heartbeat after which a member is dead.
pub(crate) const DEAD_AFTER: Duration = Duration::from_secs(5);

/// This process as a member, and the other members.
pub(crate) struct Members {
    store: Arc<dyn Store>,
    drain: Drain,
    /// True once this process serves, or is about to and follows every change.
    serves: AtomicBool,
    /// Locked while the own entry is written, so that no heartbeat follows the departure.
    own: Mutex<OwnEntry>,
    others: SyncMutex<Others>,
    /// The number of changes of the other members.
    changes: watch::Sender<u64>,
}

/// The entry of this process in the store.
struct OwnEntry {
    /// The state that was written last.
    written: Option<(MemberStage, ServedTable)>,
    /// The time of the last heartbeat, also of one that failed.
    at: Instant,
    has_left: bool,
}

impl Members {
    /// Creates the members of a process that has joined those of `store` and found `others`.
    /// `drain` has the stage of this process.
    pub(crate) fn new(store: &Arc<dyn Store>, others: Vec<Member>, drain: &Drain) -> Self {
        let now = Instant::now();
        Self {
            store: Arc::clone(store),
            drain: drain.clone(),
            serves: AtomicBool::new(false),
            own: Mutex::new(OwnEntry {
                written: None,
                at: now,
                has_left: false,
            }),
            others: SyncMutex::new(Others::older(others, now)),
            changes: watch::Sender::new(0),
        }
    }

    /// Returns the stage of this process.
    pub(crate) fn stage(&self) -> MemberStage {
        if self.drain.stage() > DrainStage::Serving {
            MemberStage::Leaving
        } else if self.serves.load(Ordering::Acquire) {
            MemberStage::Serving
        } else {
            MemberStage::Joining
        }
    }

    /// Records that this process serves `table`. A commit of another member that does not wait for
    /// this process was made before, and is in the store when this returns.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) async fn begin_serving(&self, table: &ServedTable) -> Result<(), StoreError> {
        self.serves.store(true, Ordering::Release);
        self.changes.send_modify(|changes| *changes += 1);
        self.beat(table, true).await
    }

    /// Writes a heartbeat if one is due: after [`BEAT`], in a new stage, and for a `table` that
    /// others wait for. That is any new table if there are other members, or if it `is_of_another`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) async fn beat(
        &self,
        table: &ServedTable,
        is_of_another: bool,
    ) -> Result<(), StoreError> {
        let mut own = self.own.lock().await;
        let stage = self.stage();
        let is_awaited = is_of_another || !self.is_alone();
        let is_new = own
            .written
            .as_ref()
            .is_none_or(|(written, served)| *written != stage || is_awaited && served != table);
        if own.has_left || !is_new && own.at.elapsed() < BEAT {
            return Ok(());
        }
        own.at = Instant::now();
        let others = self.store.beat(stage, table).await?;
        own.written = Some((stage, table.clone()));
        drop(own);
        self.observe(others, table);
        self.remove_dead().await;
        Ok(())
    }

    /// Reads the other members. This one serves `table`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) async fn refresh(&self, table: &ServedTable) -> Result<(), StoreError> {
        self.observe(self.store.members().await?, table);
        Ok(())
    }

    /// Leaves the members, when nothing is in flight any more.
    ///
    /// # Errors
    /// [`StoreError`]; this process has left nevertheless, as far as it is concerned.
    pub(crate) async fn leave(&self) -> Result<(), StoreError> {
        let mut own = self.own.lock().await;
        own.has_left = true;
        self.store.leave().await
    }

    /// Records the other members, as the store has just returned them. This one serves `table`.
    pub(crate) fn observe(&self, found: Vec<Member>, table: &ServedTable) {
        if self.others().observe(found, table, Instant::now()) {
            self.changes.send_modify(|changes| *changes += 1);
        }
    }

    async fn remove_dead(&self) {
        let dead = self.others().take_dead(Instant::now());
        if dead.is_empty() {
            return;
        }
        for member in dead {
            // No change waits for a member that joins, and it has no heartbeat before it serves.
            if member.stage != MemberStage::Joining {
                warn!(
                    "member of process {}: no heartbeat for {DEAD_AFTER:?}; changes no longer wait \
                     for it",
                    member.pid
                );
            }
            if let Err(e) = self.store.remove_member(member.id).await {
                debug!("cannot remove a dead member from the store: {e}");
            }
        }
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// Returns whether no other process that lives serves from the store.
    pub(crate) fn is_alone(&self) -> bool {
        self.others().live(Instant::now()).next().is_none()
    }

    /// Returns whether every other live member serves one of `tables` or a later one.
    pub(crate) fn all_serve(&self, tables: &[&ServedTable]) -> bool {
        self.others()
            .live(Instant::now())
            // A member that joins reads all changes again before it serves.
            .filter(|member| member.stage != MemberStage::Joining)
            .all(|member| {
                tables.iter().any(|table| {
                    member.served.epoch == table.epoch && member.served.revision >= table.revision
                })
            })
    }

    /// Returns whether this member does what one member does for all: it serves, and none of those
    /// that joined before it serves any more.
    pub(crate) fn leads(&self) -> bool {
        self.stage() == MemberStage::Serving && !self.others().has_older(Instant::now())
    }

    /// Returns how many members have left or died since this one joined.
    pub(crate) fn gone(&self) -> u64 {
        self.others().gone()
    }

    /// Subscribes to changes of the other members, and of the stage of this one.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn others(&self) -> MutexGuard<'_, Others> {
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
