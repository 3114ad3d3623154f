//! A store that is opened after its users were built: a daemon may fork in between, and an open
//! store must not cross a fork.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::activity::ActivityBatch;
use crate::commit::{AppCommit, FileClaims};
use crate::error::StoreError;
use crate::member::{Member, MemberId, MemberStage, NewMember, Role};
use crate::state::{Cursor, Delta, ServedTable, State, StoredWebhook, StoredWorker};
use crate::store::Store;

/// A store whose calls wait until [`StoreReady::set`] provides the actual store.
#[derive(Clone)]
pub struct DeferredStore(watch::Receiver<Option<Arc<dyn Store>>>);

/// Provides the actual store of a [`DeferredStore`].
pub struct StoreReady(watch::Sender<Option<Arc<dyn Store>>>);

impl StoreReady {
    /// Provides the store and releases the calls that wait for it.
    pub fn set(&self, store: Arc<dyn Store>) {
        self.0.send_replace(Some(store));
    }
}

impl DeferredStore {
    /// Returns a store without an actual store, and the handle that provides it. If the handle is
    /// dropped unused, every call fails with [`StoreError::Unusable`].
    #[must_use]
    pub fn new() -> (Self, StoreReady) {
        let (ready, store) = watch::channel(None);
        (Self(store), StoreReady(ready))
    }

    /// Waits for the actual store.
    async fn ready(&self) -> Result<Arc<dyn Store>, StoreError> {
        let mut receiver = self.0.clone();
        let store = receiver.wait_for(Option::is_some).await;
        store
            .ok()
            .and_then(|store| store.clone())
            .ok_or_else(|| StoreError::Unusable("the coordinator is shutting down".to_owned()))
    }
}

#[async_trait]
impl Store for DeferredStore {
    async fn load(&self) -> Result<State, StoreError> {
        self.ready().await?.load().await
    }

    async fn changes_since(&self, seen: &Cursor) -> Result<Option<Delta>, StoreError> {
        self.ready().await?.changes_since(seen).await
    }

    async fn commit_apps(&self, commit: AppCommit) -> Result<Vec<Member>, StoreError> {
        self.ready().await?.commit_apps(commit).await
    }

    async fn file_claims(&self) -> Result<FileClaims, StoreError> {
        self.ready().await?.file_claims().await
    }

    async fn join(&self, member: NewMember, role: Role) -> Result<Vec<Member>, StoreError> {
        self.ready().await?.join(member, role).await
    }

    async fn beat(
        &self,
        stage: MemberStage,
        served: &ServedTable,
    ) -> Result<Vec<Member>, StoreError> {
        self.ready().await?.beat(stage, served).await
    }

    async fn members(&self) -> Result<Vec<Member>, StoreError> {
        self.ready().await?.members().await
    }

    async fn leave(&self) -> Result<(), StoreError> {
        self.ready().await?.leave().await
    }

    async fn remove_member(&self, id: MemberId) -> Result<(), StoreError> {
        self.ready().await?.remove_member(id).await
    }

    async fn save_streams(&self, changes: &[(String, u32)]) -> Result<(), StoreError> {
        self.ready().await?.save_streams(changes).await
    }

    async fn record_serving(&self, table: &ServedTable, alone: bool) -> Result<(), StoreError> {
        self.ready().await?.record_serving(table, alone).await
    }

    async fn record_shutdown(&self) -> Result<(), StoreError> {
        self.ready().await?.record_shutdown().await
    }

    async fn served_elsewhere(&self) -> Result<Option<Vec<ServedTable>>, StoreError> {
        self.ready().await?.served_elsewhere().await
    }

    async fn save_worker(&self, worker: StoredWorker) -> Result<(), StoreError> {
        self.ready().await?.save_worker(worker).await
    }

    async fn delete_worker(&self, id: &str) -> Result<(), StoreError> {
        self.ready().await?.delete_worker(id).await
    }

    async fn save_activity(&self, batch: &ActivityBatch) -> Result<(), StoreError> {
        self.ready().await?.save_activity(batch).await
    }

    async fn delete_sessions(&self, ids: &[String], at_ms: u64) -> Result<(), StoreError> {
        self.ready().await?.delete_sessions(ids, at_ms).await
    }

    async fn trim_sessions(&self, before_ms: u64, max: u64) -> Result<u64, StoreError> {
        self.ready().await?.trim_sessions(before_ms, max).await
    }

    async fn save_webhook(&self, webhook: StoredWebhook) -> Result<(), StoreError> {
        self.ready().await?.save_webhook(webhook).await
    }

    async fn webhooks(&self) -> Result<Vec<StoredWebhook>, StoreError> {
        self.ready().await?.webhooks().await
    }

    async fn delete_webhook(&self, event_id: &str) -> Result<(), StoreError> {
        self.ready().await?.delete_webhook(event_id).await
    }
}
