//! A store that forgets when its process ends: `store: {kind: memory}`, and tests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use app_proxy_api::table::{StoredApp, TableState};
use async_trait::async_trait;

use crate::{
    ActivityBatch, AppActivity, AppChange, AppCommit, AppDelta, Cursor, Delta, SessionActivity,
    State, Store, StoreError, StoredSession, StoredWebhook, StoredWorker,
};

mod mark;

use mark::{Mark, Marked};

/// A handle on contents in memory.
#[derive(Debug)]
pub struct MemoryStore {
    kept: Arc<Mutex<Kept>>,
    /// Tells the handles on the same contents apart.
    writer: u64,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self {
            kept: Arc::default(),
            writer: 0,
        }
    }

    /// Another handle on the same contents, as another process has one on a file: what is changed
    /// through one of them is news to the other.
    #[must_use]
    pub fn another(&self) -> Self {
        let mut kept = self.kept();
        kept.handles += 1;
        Self {
            kept: Arc::clone(&self.kept),
            writer: kept.handles,
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Nothing in here panics half-way through a change.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

/// What all handles share.
#[derive(Debug, Default)]
struct Kept {
    epoch: String,
    revision: u64,
    horizon: u64,
    apps: BTreeMap<String, Arc<StoredApp>>,
    deleted_apps: BTreeMap<String, u64>,
    workers: BTreeMap<String, StoredWorker>,
    sessions: BTreeMap<String, Marked<StoredSession>>,
    deleted_sessions: BTreeMap<String, Marked<u64>>,
    activity: BTreeMap<String, Marked<AppActivity>>,
    webhooks: Vec<StoredWebhook>,
    /// The last change of anything that has a sequence.
    changed: Mark,
    /// The last change of a worker.
    workers_changed: Mark,
    /// How many further handles there are.
    handles: u64,
}

impl Kept {
    fn cursor(&self) -> Cursor {
        Cursor {
            epoch: self.epoch.clone(),
            revision: self.revision,
            sequence: self.changed.sequence(),
        }
    }

    /// The app table from `after` on.
    fn table(&self, after: u64) -> TableState {
        let apps = self.apps.values().filter(|app| app.revision > after);
        let deleted = self
            .deleted_apps
            .iter()
            .filter(|(_, revision)| **revision > after);
        TableState {
            epoch: self.epoch.clone(),
            revision: self.revision,
            horizon: self.horizon,
            apps: apps.map(|app| app.as_ref().clone()).collect(),
            deleted: deleted
                .map(|(name, revision)| (name.clone(), *revision))
                .collect(),
        }
    }

    fn load(&self) -> State {
        let deleted = self
            .deleted_sessions
            .iter()
            .map(|(id, at)| (id.clone(), at.value));
        State {
            apps: self.table(0),
            workers: self.workers.values().cloned().collect(),
            sessions: self
                .sessions
                .values()
                .map(|session| session.value.clone())
                .collect(),
            deleted_sessions: deleted.collect(),
            activity: self
                .activity
                .values()
                .map(|activity| activity.value.clone())
                .collect(),
            webhooks: self.webhooks.clone(),
            cursor: self.cursor(),
        }
    }

    fn app_news(&self, seen: &Cursor) -> Option<AppDelta> {
        let same = self.epoch == seen.epoch;
        if same && self.revision == seen.revision {
            return None;
        }
        let complete = !same || seen.revision > self.revision || seen.revision < self.horizon;
        Some(AppDelta {
            state: self.table(if complete { 0 } else { seen.revision }),
            complete,
        })
    }

    fn news(&self, seen: &Cursor, reader: u64) -> Option<Delta> {
        let apps = self.app_news(seen);
        let after = seen.sequence;
        if !self.changed.is_news(after, reader) {
            let news = |apps| Delta {
                apps: Some(apps),
                cursor: self.cursor(),
                ..Delta::default()
            };
            return apps.map(news);
        }
        let workers = self.workers_changed.is_news(after, reader);
        let deleted = self
            .deleted_sessions
            .iter()
            .filter(|(_, at)| at.mark.is_news(after, reader));
        Some(Delta {
            apps,
            workers: workers.then(|| self.workers.values().cloned().collect()),
            deleted_sessions: deleted.map(|(id, at)| (id.clone(), at.value)).collect(),
            sessions: Marked::news(self.sessions.values(), after, reader),
            activity: Marked::news(self.activity.values(), after, reader),
            cursor: self.cursor(),
        })
    }

    fn commit_apps(&mut self, commit: AppCommit) -> Result<(), StoreError> {
        let (epoch, revision) = &commit.base;
        if (epoch, *revision) != (&self.epoch, self.revision) {
            return Err(StoreError::Behind);
        }
        if commit.epoch != self.epoch {
            self.apps.clear();
            self.deleted_apps.clear();
            self.horizon = 0;
        }
        let same = commit.epoch == self.epoch;
        for change in commit.changes {
            self.change_app(change);
        }
        if !same {
            let apps = &self.apps;
            self.sessions
                .retain(|_, session| apps.contains_key(&session.value.app));
        }
        self.epoch = commit.epoch;
        self.revision = commit.revision;
        self.horizon = self.horizon.max(commit.horizon);
        let horizon = self.horizon;
        self.deleted_apps.retain(|_, revision| *revision > horizon);
        Ok(())
    }

    fn change_app(&mut self, change: AppChange) {
        match change {
            AppChange::Put(app) => {
                self.deleted_apps.remove(&app.app.name);
                self.apps.insert(app.app.name.clone(), app);
            }
            AppChange::Delete { name, revision } => {
                self.apps.remove(&name);
                self.activity.remove(&name);
                self.sessions.retain(|_, session| session.value.app != name);
                self.deleted_apps.insert(name, revision);
            }
        }
    }

    fn mark_workers(&mut self, writer: u64) {
        let sequence = self.changed.next(writer);
        self.workers_changed.set(sequence, writer);
    }

    fn save_activity(&mut self, batch: &ActivityBatch, writer: u64) {
        let sequence = self.changed.next(writer);
        for activity in &batch.sessions {
            let id = &activity.session.id;
            let gone = self.deleted_apps.contains_key(&activity.session.app);
            if !gone && !self.deleted_sessions.contains_key(id) {
                let new = || Marked::new(activity.session.clone(), sequence, writer);
                let merge = |kept: &mut Marked<_>| {
                    kept.change(sequence, writer, |kept| merge_session(kept, activity))
                };
                self.sessions
                    .entry(id.clone())
                    .and_modify(merge)
                    .or_insert_with(new);
            }
        }
        for activity in &batch.apps {
            if !self.deleted_apps.contains_key(&activity.app) {
                let new = || Marked::new(activity.clone(), sequence, writer);
                let merge = |kept: &mut Marked<_>| {
                    kept.change(sequence, writer, |kept| merge_app(kept, activity))
                };
                self.activity
                    .entry(activity.app.clone())
                    .and_modify(merge)
                    .or_insert_with(new);
            }
        }
    }

    fn delete_sessions(&mut self, ids: &[String], at_ms: u64, writer: u64) {
        let sequence = self.changed.next(writer);
        for id in ids {
            self.sessions.remove(id);
            let later = |at: &mut Marked<u64>| at.value = at.value.max(at_ms);
            let new = || Marked::new(at_ms, sequence, writer);
            self.deleted_sessions
                .entry(id.clone())
                .and_modify(later)
                .or_insert_with(new);
        }
    }

    fn trim_sessions(&mut self, before_ms: u64, most: u64) -> u64 {
        let had = self.sessions.len();
        self.deleted_sessions.retain(|_, at| at.value >= before_ms);
        self.sessions
            .retain(|_, session| session.value.active_ms >= before_ms);
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        if self.sessions.len() > most {
            let mut by_activity: Vec<_> = self
                .sessions
                .values()
                .map(|s| (s.value.active_ms, s.value.id.clone()))
                .collect();
            by_activity.sort_unstable();
            for (_, id) in by_activity.iter().rev().skip(most) {
                self.sessions.remove(id);
            }
        }
        (had - self.sessions.len()) as u64
    }

    fn save_webhook(&mut self, webhook: StoredWebhook) {
        if self
            .webhooks
            .iter()
            .all(|kept| kept.event.id != webhook.event.id)
        {
            let place = self
                .webhooks
                .partition_point(|kept| kept.created_ms <= webhook.created_ms);
            self.webhooks.insert(place, webhook);
        }
    }
}

fn merge_session(kept: &mut StoredSession, activity: &SessionActivity) {
    let session = &activity.session;
    if session.active_ms >= kept.active_ms {
        kept.active_ms = session.active_ms;
        kept.worker.clone_from(&session.worker);
        kept.moves = session.moves;
        kept.last_request_id.clone_from(&session.last_request_id);
    }
    kept.requests = kept.requests.saturating_add(activity.more.requests);
    kept.bytes_in = kept.bytes_in.saturating_add(activity.more.bytes_in);
    kept.bytes_out = kept.bytes_out.saturating_add(activity.more.bytes_out);
    kept.draining_streams = session.draining_streams;
}

fn merge_app(kept: &mut AppActivity, activity: &AppActivity) {
    kept.active_ms = kept.active_ms.max(activity.active_ms);
    kept.quiet_since_ms = kept.quiet_since_ms.max(activity.quiet_since_ms);
    kept.idle_told_ms = kept.idle_told_ms.max(activity.idle_told_ms);
}

#[async_trait]
impl Store for MemoryStore {
    async fn load(&self) -> Result<State, StoreError> {
        Ok(self.kept().load())
    }

    async fn news(&self, seen: &Cursor) -> Result<Option<Delta>, StoreError> {
        Ok(self.kept().news(seen, self.writer))
    }

    async fn commit_apps(&self, commit: AppCommit) -> Result<(), StoreError> {
        self.kept().commit_apps(commit)
    }

    async fn save_worker(&self, worker: StoredWorker) -> Result<(), StoreError> {
        let mut kept = self.kept();
        kept.workers.insert(worker.id.clone(), worker);
        kept.mark_workers(self.writer);
        Ok(())
    }

    async fn remove_worker(&self, id: &str) -> Result<(), StoreError> {
        let mut kept = self.kept();
        if kept.workers.remove(id).is_some() {
            kept.mark_workers(self.writer);
        }
        Ok(())
    }

    async fn save_activity(&self, batch: &ActivityBatch) -> Result<(), StoreError> {
        if !batch.is_empty() {
            self.kept().save_activity(batch, self.writer);
        }
        Ok(())
    }

    async fn delete_sessions(&self, ids: &[String], at_ms: u64) -> Result<(), StoreError> {
        if !ids.is_empty() {
            self.kept().delete_sessions(ids, at_ms, self.writer);
        }
        Ok(())
    }

    async fn trim_sessions(&self, before_ms: u64, most: u64) -> Result<u64, StoreError> {
        Ok(self.kept().trim_sessions(before_ms, most))
    }

    async fn save_webhook(&self, webhook: StoredWebhook) -> Result<(), StoreError> {
        self.kept().save_webhook(webhook);
        Ok(())
    }

    async fn webhooks(&self) -> Result<Vec<StoredWebhook>, StoreError> {
        Ok(self.kept().webhooks.clone())
    }

    async fn remove_webhook(&self, event_id: &str) -> Result<(), StoreError> {
        self.kept()
            .webhooks
            .retain(|kept| kept.event.id != event_id);
        Ok(())
    }
}
