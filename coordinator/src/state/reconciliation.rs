//! What a change of the state does beyond itself: a deleted app's streams are closed and its
//! sessions dropped, and what another process has done to sessions and workers is done here too.

use std::collections::HashSet;
use std::sync::Arc;

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

/// Carries it out.
pub(crate) struct Reconciler {
    /// The apps.
    pub(crate) apps: Arc<Apps>,
    /// Sessions.
    pub(crate) sessions: Arc<Sessions>,
    /// The workers.
    pub(crate) pool: Arc<Pool>,
}

#[async_trait]
impl TableObserver for Reconciler {
    async fn table_changed(&self, snapshot: &Snapshot, gone: &[Arc<RoutedApp>]) {
        if let Err(e) = self.pool.want_selectors(snapshot.pools().cloned()).await {
            // Requests of a pool without a ring of its own take the long way round the ring of all
            // workers.
            warn!("the pools that apps ask for have no rings: {e}");
        }
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
            "{sessions} sessions and {streams} open streams went with deleted apps: {}",
            names.join(", ")
        );
    }

    async fn changed_elsewhere(&self, news: Delta) {
        if let Some(workers) = news.workers {
            self.pool.follow(workers).await;
        }
        self.take_in(&news.deleted_sessions, &news.sessions, &news.activity);
    }
}

impl Reconciler {
    /// Takes in what a store has of sessions and of the use of apps: all of it at the start, and
    /// then what another process has written.
    pub(crate) fn take_in(
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
                self.take_in_session(session, &app.name);
            }
        }
        let now = Moment::now();
        for activity in activity {
            if let Some(app) = snapshot.get(&activity.app) {
                app.usage.merge(activity, now);
            }
        }
    }

    fn take_in_session(&self, session: &StoredSession, app: &Arc<str>) {
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
