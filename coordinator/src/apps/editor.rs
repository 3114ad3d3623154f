//! Carries out changes of the app table, one after the other: in the store first, then for
//! requests, then the caller is told.
//!
//! Calls that come while a change is being written are written together, so that a storm of them
//! costs a few writes. The same task follows what another process writes: two of them have one
//! store during a graceful upgrade.

mod overlap;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use app_proxy_api::apps::App;
use app_proxy_api::table::Epoch;
use app_proxy_hop::identity::RequestId;
use async_trait::async_trait;
use log::{error, info, warn};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::edit::{Draft, Edit, EditError, EditOutcome};
use super::{Apps, RoutedApp, Snapshot};
use app_proxy_store::{Cursor, Delta, Store, StoreError};
pub(crate) use overlap::Overlap;
use overlap::Standing;

/// Changes that are written together, at most.
const MOST_AT_ONCE: usize = 256;
/// Changes that wait, before further callers do.
const QUEUE: usize = 1024;
/// How often other processes are looked for.
const FOLLOW: Duration = Duration::from_millis(50);
/// After how long the store is asked again to take the apps of the file.
const TAKE_AGAIN: Duration = Duration::from_secs(5);
/// How often a change is tried on top of what another process was first with.
const TRIES: usize = 10;

/// Who is told of changes; called by the editor alone, one call after the other.
#[async_trait]
pub(crate) trait TableObserver: Send + Sync {
    /// Requests see another table now; these apps are not in it any more.
    async fn table_changed(&self, snapshot: &Snapshot, gone: &[Arc<RoutedApp>]);

    /// Another process has changed what is not the app table.
    async fn changed_elsewhere(&self, news: Delta);
}

/// Hands changes to the editor; clones share it.
#[derive(Clone)]
pub(crate) struct Editor {
    jobs: mpsc::Sender<Job>,
}

struct Job {
    edit: Edit,
    /// The call that asks for it; a reload of the file has none.
    request: Option<RequestId>,
    done: oneshot::Sender<Result<EditOutcome, EditError>>,
}

impl Editor {
    /// A handle, and the queue that [`EditorTask`] takes.
    #[must_use]
    pub(crate) fn new() -> (Self, Queue) {
        let (jobs, queue) = mpsc::channel(QUEUE);
        (Self { jobs }, Queue(queue))
    }

    /// Makes a change for `request`, which is named in the log. When this returns, it is in the
    /// store, and requests see it.
    ///
    /// # Errors
    /// [`EditError`]; nothing has changed then.
    pub(crate) async fn edit(
        &self,
        edit: Edit,
        request: Option<RequestId>,
    ) -> Result<EditOutcome, EditError> {
        let (done, answer) = oneshot::channel();
        self.jobs
            .send(Job {
                edit,
                request,
                done,
            })
            .await
            .map_err(|_| EditError::Ending)?;
        answer.await.unwrap_or(Err(EditError::Ending))
    }
}

/// Changes that wait for the editor.
pub(crate) struct Queue(mpsc::Receiver<Job>);

/// The editor at work.
pub(crate) struct EditorTask {
    /// What requests see.
    apps: Arc<Apps>,
    /// What survives.
    store: Arc<dyn Store>,
    /// Who is told.
    observer: Arc<dyn TableObserver>,
    /// How far the store has been followed.
    cursor: Cursor,
    /// Whether another process serves from the same store at this moment.
    overlap: Box<dyn Fn() -> Overlap + Send + Sync>,
    standing: Standing,
    /// The apps of the file, as long as the store has not taken them; and when it is asked again.
    waiting: Option<(Vec<App>, Instant)>,
}

impl EditorTask {
    /// An editor of `apps`, which are what the store had at `cursor`.
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
            standing: Standing::default(),
            waiting: None,
        }
    }

    /// Takes over what has changed since the store was read, and then the apps of the file, and
    /// says that requests are served from here: before any is.
    pub(crate) async fn begin(&mut self, file: Vec<App>) {
        if let Err(e) = self.follow().await {
            warn!("what other processes have changed cannot be read: {e}");
        }
        self.take_file_or_wait(file).await;
        if let Err(e) = self.record_serving().await {
            warn!("that requests are served from here cannot be noted: {e}");
        }
    }

    /// Takes the apps of the file over.
    ///
    /// # Errors
    /// [`EditError`]; nothing has changed then.
    async fn take_file(&mut self, file: &[App]) -> Result<(), EditError> {
        let job = Job {
            edit: Edit::File(file.to_vec()),
            request: None,
            done: oneshot::channel().0,
        };
        self.commit(&[job])
            .await
            .into_iter()
            .try_for_each(|answer| answer.map(drop))
    }

    /// The same, in `store`, where the one that will be used is not open yet.
    ///
    /// # Errors
    /// [`EditError`]; nothing has changed then.
    pub(crate) async fn take_file_in(
        &mut self,
        store: Arc<dyn Store>,
        file: &[App],
    ) -> Result<(), EditError> {
        let later = std::mem::replace(&mut self.store, store);
        let taken = self.take_file(file).await;
        self.store = later;
        taken
    }

    /// Takes the apps of the file over; where the store does not take them, later: the table that
    /// is there serves until then.
    async fn take_file_or_wait(&mut self, file: Vec<App>) {
        self.waiting = None;
        if let Err(e) = self.take_file(&file).await {
            error!("the apps of the file are not taken over: {e}");
            if matches!(e, EditError::Store(_)) {
                self.waiting = Some((file, Instant::now() + TAKE_AGAIN));
            }
        }
    }

    /// Works until nobody has a handle any more.
    pub(crate) async fn run(mut self, queue: Queue) {
        let mut queue = queue.0;
        let mut due = interval(FOLLOW);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failing = false;
        loop {
            tokio::select! {
                biased;
                // In turn with the changes, so that a storm of them does not hide what another
                // process has written.
                _ = due.tick() => {
                    match self.keep_up().await {
                        Ok(()) => failing = false,
                        Err(e) => if !std::mem::replace(&mut failing, true) {
                            warn!("what other processes have changed cannot be read: {e}");
                        },
                    }
                    self.take_waiting_file().await;
                }
                first = queue.recv() => {
                    let Some(first) = first else { return };
                    let mut jobs = vec![first];
                    while let Some(job) = (jobs.len() < MOST_AT_ONCE).then(|| queue.try_recv().ok()).flatten() {
                        jobs.push(job);
                    }
                    self.carry_out(jobs).await;
                }
            }
        }
    }

    /// Asks the store again to take the apps of the file. A process that has handed over does not:
    /// its successor has another file.
    async fn take_waiting_file(&mut self) {
        if matches!((self.overlap)(), Overlap::Predecessor | Overlap::Leaving) {
            self.waiting = None;
        }
        if let Some((file, _)) = self.waiting.take_if(|(_, again)| *again <= Instant::now()) {
            self.take_file_or_wait(file).await;
        }
    }

    async fn carry_out(&mut self, jobs: Vec<Job>) {
        let answers = self.commit(&jobs).await;
        if (self.overlap)() != Overlap::None {
            self.wait_for_others().await;
        }
        for (job, answer) in jobs.into_iter().zip(answers) {
            if matches!((&job.edit, &answer), (Edit::File(_), Ok(_))) {
                // It was read again since the start.
                self.waiting = None;
            }
            if let (Some(request), Ok(outcome)) = (&job.request, &answer) {
                log_outcome(request, &job.edit, outcome);
            }
            // Whoever asked may be gone.
            let _ = job.done.send(answer);
        }
    }

    async fn commit(&mut self, jobs: &[Job]) -> Vec<Result<EditOutcome, EditError>> {
        let mut left = TRIES;
        loop {
            let mut draft = Draft::of(&self.apps.load());
            let answers: Vec<_> = jobs.iter().map(|job| draft.apply(&job.edit)).collect();
            let Some(commit) = draft.commit() else {
                return answers;
            };
            let (epoch, revision) = (commit.epoch.clone(), commit.revision);
            let failed = match self.store.commit_apps(commit).await {
                Ok(()) => {
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
                "the app table stays at revision {}: {failed}",
                self.cursor.revision
            );
            return refuse(jobs, &self.apps.load(), failed);
        }
    }

    async fn publish(&self, draft: Draft) {
        self.apps.publish(draft.snapshot.clone(), &draft.put);
        self.observer
            .table_changed(&draft.snapshot, &draft.gone)
            .await;
    }

    /// Follows what other processes write, and tells them so.
    async fn keep_up(&mut self) -> Result<(), StoreError> {
        self.follow().await?;
        self.record_serving().await
    }

    /// Takes over what another process has written.
    async fn follow(&mut self) -> Result<(), StoreError> {
        let Some(mut news) = self.store.changes_since(&self.cursor).await? else {
            return Ok(());
        };
        self.cursor = news.cursor.clone();
        if let Some(apps) = news.apps.take() {
            let mut draft = Draft::of(&self.apps.load());
            let was_complete = apps.complete;
            match draft.follow(apps) {
                Ok(()) => {
                    let table = &draft.snapshot.table;
                    info!(
                        "the app table is at revision {} of epoch {} now, by another process",
                        table.revision(),
                        table.epoch()
                    );
                    self.publish(draft).await;
                }
                Err(e) => {
                    error!(
                        "what another process has written of the app table cannot be taken over: {e}"
                    );
                    if !was_complete {
                        // All of it, the next time.
                        self.cursor.epoch = Epoch::default();
                    }
                }
            }
        }
        self.observer.changed_elsewhere(news).await;
        Ok(())
    }
}

/// Says what a call has changed; one that changes nothing says nothing.
fn log_outcome(request: &RequestId, edit: &Edit, outcome: &EditOutcome) {
    match (edit, outcome) {
        (_, EditOutcome::Created(app)) => {
            info!(
                "request_id={request} app {} is new at revision {}",
                app.app.name, app.revision
            );
        }
        (_, EditOutcome::Updated(app)) => {
            info!(
                "request_id={request} app {} is changed at revision {}",
                app.app.name, app.revision
            );
        }
        (Edit::Delete(name, _), EditOutcome::Deleted) => {
            info!("request_id={request} app {name} is deleted")
        }
        _ => {}
    }
}

/// What the callers are told when nothing could be written: each what is true of the table as it
/// is. Whoever wants nothing new has it, and what is refused anyway is refused for that reason.
fn refuse(
    jobs: &[Job],
    current: &Snapshot,
    failed: StoreError,
) -> Vec<Result<EditOutcome, EditError>> {
    let failed = Arc::new(failed);
    let answer = |job: &Job| {
        let mut draft = Draft::of(current);
        let outcome = draft.apply(&job.edit)?;
        if draft.commit().is_none() {
            Ok(outcome)
        } else {
            Err(EditError::Store(Arc::clone(&failed)))
        }
    };
    jobs.iter().map(answer).collect()
}
