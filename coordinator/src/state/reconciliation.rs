//! The effects of a change of the state: the streams and sessions of a deleted app end, and changes
//! that another process made to sessions and workers are made here as well.

use std::collections::HashSet;
use std::sync::Arc;

use app_proxy_api::apps::Labels;
use app_proxy_hop::streams::CloseReason;
use async_trait::async_trait;
use log::{info, warn};

use crate::apps::editor::TableObserver;
use crate::apps::{Apps, RoutedApp, Snapshot};
use crate::clock::Moment;
use crate::pool::Pool;
use crate::sessions::cookie::SessionId;
use crate::sessions::{SessionRecord, Sessions};
use app_proxy_store::{AppActivity, Delta, StoredSession};

/// Brings sessions, streams, workers and use of apps in line with the state.
pub(crate) struct Reconciler {
    /// The app table.
    pub(crate) apps: Arc<Apps>,
    /// The sessions.
    pub(crate) sessions: Arc<Sessions>,
    /// The workers.
    pub(crate) pool: Arc<Pool>,
}

#[async_trait]
impl TableObserver for Reconciler {
    async fn table_changed(&self, snapshot: &Snapshot, gone: &[Arc<RoutedApp>]) {
        self.build_rings(snapshot.selectors().cloned()).await;
        if gone.is_empty() {
            return;
        }
        let streams: usize = gone
            .iter()
            .map(|app| app.streams.end_all(CloseReason::AppDeleted))
            .sum();
        let names: Vec<&str> = gone.iter().map(|app| &*app.name).collect();
        let sessions = self
            .sessions
            .table()
            .delete_of_apps(&names.iter().copied().collect::<HashSet<_>>());
        info!(
            "deleted apps {}: {sessions} sessions deleted, {streams} open streams closed",
            names.join(", ")
        );
    }

    async fn changed_elsewhere(&self, delta: Delta) {
        if let Some(workers) = delta.workers {
            self.pool.follow(workers).await;
        }
        self.merge(&delta.deleted_sessions, &delta.sessions, &delta.activity);
    }
}

impl Reconciler {
    /// Builds the rings of the pools that apps select by labels.
    pub(crate) async fn build_rings(&self, pools: impl IntoIterator<Item = Labels>) {
        if let Err(e) = self.pool.set_selectors(pools).await {
            warn!("cannot build the rings of pools, requests search the ring of all workers: {e}");
        }
    }

    /// Merges stored sessions and use of apps: all of the store at startup, then the changes that
    /// other processes made.
    pub(crate) fn merge(
        &self,
        deleted: &[(String, u64)],
        stored: &[StoredSession],
        activity: &[AppActivity],
    ) {
        let snapshot = self.apps.load();
        for (id, _) in deleted {
            if let Ok(id) = SessionId::parse(id.as_bytes()) {
                self.sessions
                    .apply_deletion(&id, |app| snapshot.get(app).map(|app| app.streams.clone()));
            }
        }
        for session in stored {
            if let Some(app) = snapshot.get(&session.app) {
                self.merge_session(session, &app.name);
            }
        }
        let now = Moment::now();
        for activity in activity {
            if let Some(app) = snapshot.get(&activity.app) {
                app.usage.merge(activity, now);
            }
        }
    }

    fn merge_session(&self, session: &StoredSession, app: &Arc<str>) {
        let table = self.sessions.table();
        if let Some(record) = SessionId::parse(session.id.as_bytes())
            .ok()
            .and_then(|id| table.get(&id))
        {
            return record.merge(session);
        }
        let worker = session.worker.as_deref().and_then(|id| self.pool.by_id(id));
        if let Some(record) = SessionRecord::restore(session, app, worker) {
            table.restore(Arc::new(record));
        }
    }
}
