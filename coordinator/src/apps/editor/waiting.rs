//! Changes that are stored and served here, and wait until every live member serves them.

use std::time::Duration;

use log::warn;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Applied;
use crate::apps::edit::{EditError, EditOutcome};
use crate::state::members::Members;
use app_proxy_store::ServedTable;

/// The maximum time that a caller waits for other members.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// The answer of a change to its caller.
pub(super) type Answer = oneshot::Sender<Result<Applied, EditError>>;

/// Changes that wait, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    batches: Vec<Batch>,
    /// True since a change was not served by all members in time, so that this is logged once.
    is_late: bool,
}

/// The changes of one commit.
#[derive(Debug)]
struct Batch {
    table: ServedTable,
    until: Instant,
    answers: Vec<(Answer, EditOutcome)>,
}

impl Waiting {
    /// Adds changes, of which `table` is the first table that has all of them.
    pub(super) fn push(&mut self, table: ServedTable, answers: Vec<(Answer, EditOutcome)>) {
        if !answers.is_empty() {
            let until = Instant::now() + PATIENCE;
            self.batches.push(Batch {
                table,
                until,
                answers,
            });
        }
    }

    /// Returns whether no change waits.
    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Answers the changes that all `members` serve, and those that have waited for too long. `now`
    /// is the table that this member serves: of another epoch, it derives from that of a change.
    pub(super) fn answer(&mut self, members: &Members, now: &ServedTable) {
        let mut late = false;
        for batch in std::mem::take(&mut self.batches) {
            let served_by_all = members.all_serve(&[&batch.table, now]);
            if !served_by_all && Instant::now() < batch.until {
                self.batches.push(batch);
                continue;
            }
            late |= !served_by_all;
            for (answer, outcome) in batch.answers {
                // The caller may have stopped waiting.
                let _ = answer.send(Ok(Applied {
                    outcome,
                    served_by_all,
                }));
            }
        }
        if late && !std::mem::replace(&mut self.is_late, true) {
            warn!("app table: another member has not applied a change within {PATIENCE:?}");
        }
        self.is_late &= late || !self.batches.is_empty();
    }
}
