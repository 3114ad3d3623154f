//! What a change of the state does beyond itself: a deleted app's streams are closed and its sessions dropped, and what another process has
//! done to sessions and workers is done here too.

use std::collections::HashSet;
use std::sync::Arc;

use app_proxy_hop::streams::CloseReason;
use async_trait::async_trait;
use log::{info, warn};

use crate::apps::editor::Observer;
use crate::apps::{Apps, RoutedApp, Snapshot};
use crate::pool::Pool;
use crate::sessions::cookie::SessionId;
use crate::sessions::{SessionRecord, Sessions};
use crate::store::{News, StoredSession};
use crate::usage::Now;

/// Carries it out.
pub struct Effects {
    /// The apps.
    pub apps: Arc<Apps>,
    /// Sessions.
    pub sessions: Arc<Sessions>,
    /// The workers.
    pub pool: Arc<Pool>,
}

#[async_trait]
impl Observer for Effects {
    async fn table_changed(&self, snapshot: &Snapshot, gone: &[Arc<RoutedApp>]) {
        if let Err(e) = self.pool.want_selectors(snapshot.pools().cloned()).await {
            // Requests of a pool without a ring of its own take the long way round the ring of all workers.
            warn!("the pools that apps ask for have no rings: {e}");
        }
        if gone.is_empty() {
            return;
        }
        let streams: usize = gone.iter().map(|app| app.streams.end_all(CloseReason::AppDeleted)).sum();
        let names: HashSet<&str> = gone.iter().map(|app| &*app.name).collect();
        let sessions = self.sessions.table().remove_apps(&names);
        let names: Vec<&str> = gone.iter().map(|app| &*app.name).collect();
        info!("{sessions} sessions and {streams} open streams went with deleted apps: {}", names.join(", "));
    }

    async fn changed_elsewhere(&self, news: News) {
        if let Some(workers) = news.workers {
            self.pool.follow(workers).await;
        }
        for (id, _) in &news.deleted_sessions {
            if let Ok(id) = SessionId::parse(id.as_bytes()) {
                let apps = self.apps.load();
                self.sessions.note_deleted(&id, |app| apps.get(app).map(|app| app.streams.clone()));
            }
        }
        restore_sessions(&self.sessions, &self.apps, &self.pool, &news.sessions);
        let now = Now::read();
        for activity in &news.activity {
            if let Some(app) = self.apps.load().get(&activity.app) {
                app.usage.adopt(activity, now);
            }
        }
    }
}

/// Takes in sessions that a store has: those of apps that are there.
pub fn restore_sessions(sessions: &Sessions, apps: &Apps, pool: &Pool, stored: &[StoredSession]) {
    let snapshot = apps.load();
    for session in stored {
        let Some(app) = snapshot.get(&session.app) else { continue };
        let known = SessionId::parse(session.id.as_bytes()).ok().and_then(|id| sessions.table().get(&id));
        match known {
            Some(record) => record.merge(session),
            None => {
                let worker = session.worker.as_deref().and_then(|id| pool.by_id(id));
                let record = SessionRecord::restore(session, &app.name, worker);
                if let Some(record) = record {
                    sessions.table().restore(Arc::new(record));
                }
            }
        }
    }
}
