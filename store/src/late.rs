//! A store that is opened after those who use it are put together: a daemon forks in between, and
//! nothing that is open survives that.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::{
    ActivityBatch, AppCommit, Cursor, Delta, Served, State, Store, StoreError, StoredWebhook,
    StoredWorker,
};

/// Stands for a store; every call waits until [`StoreReady::set`] says which one.
#[derive(Clone)]
pub struct DeferredStore(watch::Receiver<Option<Arc<dyn Store>>>);

/// Says which store a [`DeferredStore`] stands for.
pub struct StoreReady(watch::Sender<Option<Arc<dyn Store>>>);

impl StoreReady {
    /// From here on calls are answered.
    pub fn set(&self, store: Arc<dyn Store>) {
        self.0.send_replace(Some(store));
    }
}

impl DeferredStore {
    /// A store that is not open yet, and what opens it.
    #[must_use]
    pub fn new() -> (Self, StoreReady) {
        let (opened, store) = watch::channel(None);
        (Self(store), StoreReady(opened))
    }

    /// A store that takes nothing: it is never opened.
    pub fn broken() -> Arc<dyn Store> {
        let (store, opened) = Self::new();
        drop(opened);
        Arc::new(store)
    }

    async fn open(&self) -> Result<Arc<dyn Store>, StoreError> {
        let mut store = self.0.clone();
        let opened = store
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|store| store.clone());
        opened.ok_or_else(|| StoreError::Unusable("the coordinator is ending".to_owned()))
    }
}

#[async_trait]
impl Store for DeferredStore {
    async fn load(&self) -> Result<State, StoreError> {
        self.open().await?.load().await
    }

    async fn news(&self, seen: &Cursor) -> Result<Option<Delta>, StoreError> {
        self.open().await?.news(seen).await
    }

    async fn commit_apps(&self, commit: AppCommit) -> Result<(), StoreError> {
        self.open().await?.commit_apps(commit).await
    }

    async fn note_serving(&self, table: &Served, alone: bool) -> Result<(), StoreError> {
        self.open().await?.note_serving(table, alone).await
    }

    async fn note_leaving(&self) -> Result<(), StoreError> {
        self.open().await?.note_leaving().await
    }

    async fn served_elsewhere(&self) -> Result<Option<Vec<Served>>, StoreError> {
        self.open().await?.served_elsewhere().await
    }

    async fn save_worker(&self, worker: StoredWorker) -> Result<(), StoreError> {
        self.open().await?.save_worker(worker).await
    }

    async fn remove_worker(&self, id: &str) -> Result<(), StoreError> {
        self.open().await?.remove_worker(id).await
    }

    async fn save_activity(&self, batch: &ActivityBatch) -> Result<(), StoreError> {
        self.open().await?.save_activity(batch).await
    }

    async fn delete_sessions(&self, ids: &[String], at_ms: u64) -> Result<(), StoreError> {
        self.open().await?.delete_sessions(ids, at_ms).await
    }

    async fn trim_sessions(&self, before_ms: u64, most: u64) -> Result<u64, StoreError> {
        self.open().await?.trim_sessions(before_ms, most).await
    }

    async fn save_webhook(&self, webhook: StoredWebhook) -> Result<(), StoreError> {
        self.open().await?.save_webhook(webhook).await
    }

    async fn webhooks(&self) -> Result<Vec<StoredWebhook>, StoreError> {
        self.open().await?.webhooks().await
    }

    async fn remove_webhook(&self, event_id: &str) -> Result<(), StoreError> {
        self.open().await?.remove_webhook(event_id).await
    }
}
