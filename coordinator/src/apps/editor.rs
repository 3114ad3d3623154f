//! The editor: a task that applies changes of the app table one at a time. It stores a change,
//! publishes it to requests, and then answers the caller.
//!
//! Calls that arrive during a write are written together, so that many calls cost few writes. The
//! same task applies the changes of another process: two processes share a store during an upgrade.

mod overlap;
mod serving;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use app_proxy_api::apps::App;
use app_proxy_api::table::Epoch;
use app_proxy_hop::identity::RequestId;
use async_trait::async_trait;
use log::{debug, error, info, warn};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::edit::{Draft, Edit, EditError, EditOutcome};
use super::{Apps, RoutedApp, Snapshot};
use app_proxy_store::{Cursor, Delta, Store, StoreError};
pub(crate) use overlap::Overlap;
use overlap::ServingState;

/// Maximum number of changes in one write.
const MAX_BATCH: usize = 256;
/// Number of queued changes at which callers wait.
const QUEUE: usize = 1024;
/// The interval at which the store is read for changes of other processes.
const FOLLOW: Duration = Duration::from_millis(50);
/// Delay before the apps of the file are stored again after a failure.
const FILE_RETRY: Duration = Duration::from_secs(5);
/// The maximum number of times that a change is rebased on changes of another process.
const MAX_REBASES: usize = 10;

/// Observes changes. The editor makes one call at a time.
#[async_trait]
pub(crate) trait TableObserver: Send + Sync {
    /// Called after a snapshot was published in which the `deleted` apps are missing.
    async fn table_changed(&self, snapshot: &Snapshot, deleted: &[Arc<RoutedApp>]);

    /// Called with the changes of another process to state other than the app table.
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
    done: oneshot::Sender<Result<EditOutcome, EditError>>,
}

impl Editor {
    /// Creates a handle and the queue for [`EditorTask::run`].
    #[must_use]
    pub(crate) fn new() -> (Self, EditQueue) {
        let (sender, queue) = mpsc::channel(QUEUE);
        (Self { queue: sender }, EditQueue(queue))
    }

    /// Applies a change for `request`, whose identifier is logged. On return, the change is stored
    /// and published.
    ///
    /// # Errors
    /// [`EditError`]; nothing has changed then.
    pub(crate) async fn edit(
        &self,
        edit: Edit,
        request: Option<RequestId>,
    ) -> Result<EditOutcome, EditError> {
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
    /// Returns the current overlap with another process on the same store.
    overlap: Box<dyn Fn() -> Overlap + Send + Sync>,
    serving: ServingState,
    /// The apps of the file that could not be stored, and the time of the next attempt.
    pending_file: Option<(Vec<App>, Instant)>,
}

impl EditorTask {
    /// Creates an editor of `apps`, which have the state of the store at `cursor`.
    pub(crate) fn new(
        apps: &Arc<Apps>,
        store: &Arc<dyn Store>,
        observer: impl TableObserver + 'static,
        cursor: Cursor,
        overlap: impl Fn() -> Overlap + Send + Sync + 'static,
    ) -> Self {
        Self {
            apps: Arc::clone(apps),
            store: Arc::clone(store),
            observer: Arc::new(observer),
            cursor,
            overlap: Box::new(overlap),
            serving: ServingState::default(),
            pending_file: None,
        }
    }

    /// Applies the changes since the store was read and the apps of the file, and records this
    /// process as serving. Called before the first request.
    pub(crate) async fn start(&mut self, file: Vec<App>) {
        if let Err(e) = self.follow().await {
            warn!("cannot read the changes of other processes: {e}");
        }
        self.apply_file_or_retry(file).await;
        if let Err(e) = self.record_serving().await {
            warn!("cannot record this process as serving: {e}");
        }
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
            .try_for_each(|answer| answer.map(drop))
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
        let mut due = interval(FOLLOW);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failing = false;
        loop {
            tokio::select! {
                biased;
                // First, so that many changes do not delay those of another process.
                _ = due.tick() => {
                    match self.sync().await {
                        Ok(()) => failing = false,
                        Err(e) => if !std::mem::replace(&mut failing, true) {
                            warn!("cannot read the changes of other processes: {e}");
                        },
                    }
                    self.retry_pending_file().await;
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

    /// Tries again to apply the apps of the file, unless a successor has started: it may have
    /// another file.
    async fn retry_pending_file(&mut self) {
        if matches!((self.overlap)(), Overlap::Predecessor | Overlap::Leaving) {
            self.pending_file = None;
        }
        if let Some((file, _)) = self
            .pending_file
            .take_if(|(_, again)| *again <= Instant::now())
        {
            self.apply_file_or_retry(file).await;
        }
    }

    async fn process(&mut self, edits: Vec<PendingEdit>) {
        let answers = self.commit(&edits).await;
        if (self.overlap)() != Overlap::None {
            self.wait_for_others().await;
        }
        for (pending, answer) in edits.into_iter().zip(answers) {
            if matches!((&pending.edit, &answer), (Edit::File(_), Ok(_))) {
                // A reload has applied a newer file.
                self.pending_file = None;
            }
            if let Ok(EditOutcome::FileApplied { put, deleted }) = &answer {
                debug!("app table: file applied; {put} apps put, {deleted} deleted");
            }
            if let (Some(request), Ok(outcome)) = (&pending.request, &answer) {
                log_outcome(request, &pending.edit, outcome);
            }
            // The caller may have stopped waiting.
            let _ = pending.done.send(answer);
        }
    }

    async fn commit(&mut self, edits: &[PendingEdit]) -> Vec<Result<EditOutcome, EditError>> {
        let mut left = MAX_REBASES;
        loop {
            let mut draft = Draft::new(&self.apps.load());
            let answers: Vec<_> = edits
                .iter()
                .map(|pending| draft.apply(&pending.edit))
                .collect();
            let Some(commit) = draft.commit() else {
                return answers;
            };
            let (epoch, revision) = (commit.epoch.clone(), commit.revision);
            let failed = match self.store.commit_apps(commit).await {
                Ok(_) => {
                    (self.cursor.epoch, self.cursor.revision) = (epoch, revision);
                    self.publish(draft).await;
                    return answers;
                }
                Err(StoreError::Behind) if left > 0 => {
                    left -= 1;
                    match self.follow().await {
                        Ok(()) => continue,
                        Err(e) => e,
                    }
                }
                Err(e) => e,
            };
            error!(
                "cannot store a change of the app table, which stays at revision {}: {failed}",
                self.cursor.revision
            );
            return answers_after_failure(edits, &self.apps.load(), failed);
        }
    }

    async fn publish(&self, draft: Draft) {
        self.apps.publish(draft.snapshot.clone(), &draft.put);
        self.observer
            .table_changed(&draft.snapshot, &draft.deleted)
            .await;
    }

    /// Applies the changes of other processes and records the result for them.
    async fn sync(&mut self) -> Result<(), StoreError> {
        self.follow().await?;
        self.record_serving().await
    }

    /// Applies the changes of another process.
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
                        "app table: changed by another process, now at revision {} of epoch {}",
                        table.revision(),
                        table.epoch()
                    );
                    self.publish(draft).await;
                }
                Err(e) => {
                    error!("cannot apply the changes of another process to the app table: {e}");
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

/// Logs the result of a change, unless nothing has changed.
fn log_outcome(request: &RequestId, edit: &Edit, outcome: &EditOutcome) {
    match (edit, outcome) {
        (_, EditOutcome::Created(app)) => {
            info!(
                "request_id={request} app {}: created at revision {}",
                app.app.name, app.revision
            );
        }
        (_, EditOutcome::Updated(app)) => {
            info!(
                "request_id={request} app {}: replaced at revision {}",
                app.app.name, app.revision
            );
        }
        (Edit::Delete(name, _), EditOutcome::Deleted) => {
            info!("request_id={request} app {name}: deleted");
        }
        _ => {}
    }
}

/// Returns the answers to callers after a failed write, each according to the current table: a
/// change without effect succeeds, and an invalid one is rejected for its own reason.
fn answers_after_failure(
    edits: &[PendingEdit],
    current: &Snapshot,
    failed: StoreError,
) -> Vec<Result<EditOutcome, EditError>> {
    let failed = Arc::new(failed);
    let answer = |pending: &PendingEdit| {
        let mut draft = Draft::new(current);
        let outcome = draft.apply(&pending.edit)?;
        if draft.commit().is_none() {
            Ok(outcome)
        } else {
            Err(EditError::Store(Arc::clone(&failed)))
        }
    };
    edits.iter().map(answer).collect()
}
