//! The editor: a task that applies changes of the app table one at a time. It stores a change,
//! publishes it to requests, and then answers the caller.
//!
//! Calls that arrive during a write are written together, so that many calls cost few writes. The
//! same task applies the changes of the other members that share the store.

mod answers;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use app_proxy_api::apps::App;
use app_proxy_api::table::Epoch;
use app_proxy_hop::identity::RequestId;
use async_trait::async_trait;
use log::{debug, error, info, warn};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::edit::{Draft, Edit, EditError, EditOutcome, FileScope, ReplacedFiles};
use super::{Apps, RoutedApp, Snapshot};
use crate::state::members::Members;
use answers::{answers_after_failure, log_file, log_outcome};
use app_proxy_store::{Cursor, Delta, MemberStage, ServedTable, Store, StoreError};
use waiting::{Answer, Waiting};

/// Maximum number of changes in one write.
const MAX_BATCH: usize = 256;
/// Number of queued changes at which callers wait.
const QUEUE: usize = 1024;
/// The interval at which the store is read for changes of other members: while there are none, one
/// may have joined.
const FOLLOW_ALONE: Duration = Duration::from_millis(50);
/// The same while there are others, whose callers wait for this member.
const FOLLOW_OTHERS: Duration = Duration::from_millis(5);
/// Delay before the apps of the file are stored again after a failure.
const FILE_RETRY: Duration = Duration::from_secs(5);
/// The time within which a change is rebased on changes of other members.
const REBASES: Duration = Duration::from_secs(5);

/// Observes changes. The editor makes one call at a time.
#[async_trait]
pub(crate) trait TableObserver: Send + Sync {
    /// Called after a snapshot was published in which the `deleted` apps are missing.
    async fn table_changed(&self, snapshot: &Snapshot, deleted: &[Arc<RoutedApp>]);

    /// Called with the changes of other members to state other than the app table.
    async fn changed_elsewhere(&self, delta: Delta);
}

/// A handle that sends changes to the editor. Clones share the queue.
#[derive(Clone)]
pub(crate) struct Editor {
    queue: mpsc::Sender<PendingEdit>,
}

/// A change that waits for the editor.
struct PendingEdit {
    edit: Edit,
    /// The API call; `None` for a reload of the file.
    request: Option<RequestId>,
    done: Answer,
}

/// A change that is stored and that this member serves.
#[derive(Clone, Debug)]
pub(crate) struct Applied {
    /// The result.
    pub(crate) outcome: EditOutcome,
    /// False if a live member did not serve the change in time.
    pub(crate) served_by_all: bool,
}

impl Editor {
    /// Creates a handle and the queue for [`EditorTask::run`].
    #[must_use]
    pub(crate) fn new() -> (Self, EditQueue) {
        let (sender, queue) = mpsc::channel(QUEUE);
        (Self { queue: sender }, EditQueue(queue))
    }

    /// Applies a change for `request`, whose identifier is logged. On return, the change is stored
    /// and published, by the other members too unless [`Applied::served_by_all`] is false.
    ///
    /// # Errors
    /// [`EditError`]; nothing has changed then.
    pub(crate) async fn edit(
        &self,
        edit: Edit,
        request: Option<RequestId>,
    ) -> Result<Applied, EditError> {
        let (done, answer) = oneshot::channel();
        self.queue
            .send(PendingEdit {
                edit,
                request,
                done,
            })
            .await
            .map_err(|_| EditError::ShuttingDown)?;
        answer.await.unwrap_or(Err(EditError::ShuttingDown))
    }
}

/// The queue of changes for the editor.
pub(crate) struct EditQueue(mpsc::Receiver<PendingEdit>);

/// The task of the editor.
pub(crate) struct EditorTask {
    /// The table to publish to.
    apps: Arc<Apps>,
    store: Arc<dyn Store>,
    observer: Arc<dyn TableObserver>,
    /// The position up to which changes of the store are applied.
    cursor: Cursor,
    members: Arc<Members>,
    /// The key of the file of this member.
    file: String,
    /// The files of others that this member's file replaces when it is applied first.
    replaced: ReplacedFiles,
    /// The apps of the file that could not be stored, and the time of the next attempt.
    pending_file: Option<(Vec<App>, Instant)>,
    waiting: Waiting,
}

impl EditorTask {
    /// Creates an editor of `apps`, which have the state of the store at `cursor`. `file` is the
    /// key of this member's file, which replaces the files in `replaced`.
    pub(crate) fn new(
        apps: &Arc<Apps>,
        store: &Arc<dyn Store>,
        observer: impl TableObserver + 'static,
        cursor: Cursor,
        members: &Arc<Members>,
        (file, replaced): (String, ReplacedFiles),
    ) -> Self {
        Self {
            apps: Arc::clone(apps),
            store: Arc::clone(store),
            observer: Arc::new(observer),
            cursor,
            members: Arc::clone(members),
            file,
            replaced,
            pending_file: None,
            waiting: Waiting::default(),
        }
    }

    /// Applies the changes since the store was read and the apps of the file, and records that this
    /// member serves. Called before the first request.
    pub(crate) async fn start(&mut self, file: Vec<App>) {
        if let Err(e) = self.follow().await {
            warn!("cannot read the changes of other members: {e}");
        }
        self.apply_file_or_retry(file).await;
        if let Err(e) = self.begin_serving().await {
            warn!("cannot record that this member serves: {e}");
        }
    }

    /// Records that this member serves, and applies the changes whose callers did not wait for it.
    async fn begin_serving(&mut self) -> Result<(), StoreError> {
        self.members.begin_serving(&self.served()).await?;
        self.sync().await
    }

    /// Applies the apps of the file.
    ///
    /// # Errors
    /// [`EditError`]; nothing has changed then.
    pub(crate) async fn apply_file(&mut self, file: &[App]) -> Result<(), EditError> {
        let edit = PendingEdit {
            edit: Edit::File(file.to_vec()),
            request: None,
            done: oneshot::channel().0,
        };
        self.commit(&[edit])
            .await
            .into_iter()
            .try_for_each(|answer| answer.map(drop))?;
        self.replaced = ReplacedFiles::NONE;
        Ok(())
    }

    /// Applies the apps of the file. If they cannot be stored, tries again later: until then the
    /// previous table serves.
    async fn apply_file_or_retry(&mut self, file: Vec<App>) {
        self.pending_file = None;
        if let Err(e) = self.apply_file(&file).await {
            error!("cannot apply the apps of the file: {e}");
            if matches!(e, EditError::Store(_)) {
                self.pending_file = Some((file, Instant::now() + FILE_RETRY));
            }
        }
    }

    /// Runs until all handles are dropped.
    pub(crate) async fn run(mut self, queue: EditQueue) {
        let mut queue = queue.0;
        let mut due = Instant::now();
        let mut failing = false;
        loop {
            tokio::select! {
                biased;
                // First, so that many changes do not delay those of other members.
                () = sleep_until(due) => {
                    match self.sync().await {
                        Ok(()) => failing = false,
                        Err(e) => if !std::mem::replace(&mut failing, true) {
                            warn!("cannot read the changes of other members: {e}");
                        },
                    }
                    self.retry_pending_file().await;
                    due = Instant::now() + self.pause();
                }
                first = queue.recv() => {
                    let Some(first) = first else { return };
                    let mut edits = vec![first];
                    while edits.len() < MAX_BATCH
                        && let Ok(edit) = queue.try_recv()
                    {
                        edits.push(edit);
                    }
                    self.process(edits).await;
                }
            }
        }
    }

    /// Returns the pause until the store is read again.
    fn pause(&self) -> Duration {
        if self.members.is_alone() && self.waiting.is_empty() {
            FOLLOW_ALONE
        } else {
            FOLLOW_OTHERS
        }
    }

    /// Tries again to apply the apps of the file, unless this member leaves: a successor may have
    /// another file.
    async fn retry_pending_file(&mut self) {
        if self.members.stage() == MemberStage::Leaving {
            self.pending_file = None;
        }
        if let Some((file, _)) = self
            .pending_file
            .take_if(|(_, again)| *again <= Instant::now())
        {
            self.apply_file_or_retry(file).await;
        }
    }

    /// Applies changes, and answers those that failed. The others are answered when all members
    /// serve them.
    async fn process(&mut self, edits: Vec<PendingEdit>) {
        let answers = self.commit(&edits).await;
        let mut applied = Vec::new();
        for (pending, answer) in edits.into_iter().zip(answers) {
            match answer {
                Ok(outcome) => {
                    if matches!(pending.edit, Edit::File(_)) {
                        // A reload has applied a newer file.
                        self.pending_file = None;
                    }
                    if let Some(request) = &pending.request {
                        log_outcome(request, &pending.edit, &outcome);
                    }
                    applied.push((pending.done, outcome));
                }
                // The caller may have stopped waiting.
                Err(error) => drop(pending.done.send(Err(error))),
            }
        }
        self.waiting.push(self.served(), applied);
        if !self.members.is_alone() {
            // Callers of other members may wait for this one.
            if let Err(e) = self.members.beat(&self.served(), false).await {
                debug!("cannot record the table that this member serves: {e}");
            }
        }
        self.waiting.answer(&self.members, &self.served());
    }

    /// Commits changes, after those of other members.
    async fn commit(&mut self, edits: &[PendingEdit]) -> Vec<Result<EditOutcome, EditError>> {
        let latest = Instant::now() + REBASES;
        loop {
            let failed = match self.try_commit(edits).await {
                Ok(answers) => return answers,
                Err(StoreError::Behind) if Instant::now() < latest => match self.follow().await {
                    Ok(()) => continue,
                    Err(e) => e,
                },
                Err(e) => e,
            };
            error!(
                "cannot store a change of the app table, which stays at revision {}: {failed}",
                self.cursor.revision
            );
            return answers_after_failure(edits, &self.apps.load(), failed);
        }
    }

    async fn try_commit(
        &mut self,
        edits: &[PendingEdit],
    ) -> Result<Vec<Result<EditOutcome, EditError>>, StoreError> {
        let mut draft = Draft::new(&self.apps.load());
        if edits.iter().any(|edit| matches!(edit.edit, Edit::File(_))) {
            draft = draft.in_scope(FileScope {
                file: self.file.clone(),
                replaced: self.replaced.clone(),
                claims: self.store.file_claims().await?,
            });
        }
        let answers: Vec<_> = edits
            .iter()
            .map(|pending| draft.apply(&pending.edit))
            .collect();
        if let Some(commit) = draft.commit() {
            let (epoch, revision) = (commit.epoch.clone(), commit.revision);
            let others = self.store.commit_apps(commit).await?;
            self.members.observe(others, &self.served());
            (self.cursor.epoch, self.cursor.revision) = (epoch, revision);
            self.publish(draft).await;
        }
        answers.iter().flatten().for_each(log_file);
        Ok(answers)
    }

    async fn publish(&self, draft: Draft) {
        self.apps.publish(draft.snapshot.clone(), &draft.put);
        self.observer
            .table_changed(&draft.snapshot, &draft.deleted)
            .await;
    }

    /// Returns the table that this member serves.
    fn served(&self) -> ServedTable {
        ServedTable {
            epoch: self.cursor.epoch.clone(),
            revision: self.cursor.revision,
        }
    }

    /// Applies the changes of other members, tells them which table this one serves, and answers
    /// the changes that all of them serve.
    async fn sync(&mut self) -> Result<(), StoreError> {
        let before = self.served();
        let followed = self.follow().await;
        let served = self.served();
        // Also if the store cannot be read: callers do not wait longer for that.
        let told = self.members.beat(&served, served != before).await;
        let mut read = Ok(());
        if !self.waiting.is_empty() {
            read = self.members.refresh(&served).await;
            self.waiting.answer(&self.members, &served);
        }
        followed.and(told).and(read)
    }

    /// Applies the changes of other members.
    async fn follow(&mut self) -> Result<(), StoreError> {
        let Some(mut delta) = self.store.changes_since(&self.cursor).await? else {
            return Ok(());
        };
        self.cursor = delta.cursor.clone();
        if let Some(apps) = delta.apps.take() {
            let mut draft = Draft::new(&self.apps.load());
            let was_complete = apps.complete;
            match draft.follow(apps) {
                Ok(()) => {
                    let table = &draft.snapshot.table;
                    info!(
                        "app table: changed by another member, now at revision {} of epoch {}",
                        table.revision(),
                        table.epoch()
                    );
                    self.publish(draft).await;
                }
                Err(e) => {
                    error!("cannot apply the changes of another member to the app table: {e}");
                    if !was_complete {
                        // Read the whole table next time.
                        self.cursor.epoch = Epoch::default();
                    }
                }
            }
        }
        self.observer.changed_elsewhere(delta).await;
        Ok(())
    }
}
