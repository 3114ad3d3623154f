//! The service that tells schedulers which apps nobody uses any more.
//!
//! It looks at the apps that want it, some ten times in the shortest of their periods. An app is
//! told of once, and again after it was used. One that runs nowhere is not idle: there is nothing
//! to take back.

use std::sync::Arc;
use std::time::Duration;

use app_proxy_api::apps::IdlePolicy;
use app_proxy_api::webhooks::WebhookEventKind;
use app_proxy_hop::drain::{Drain, DrainStage};
use async_trait::async_trait;
use log::{info, warn};
use pingora_core::server::ShutdownWatch;
use pingora_core::services::background::BackgroundService;

use crate::activation::event::{event, sessions_of};
use crate::apps::usage::Look;
use crate::apps::{Apps, RoutedApp};
use crate::clock::Now;
use crate::sessions::SessionTable;
use crate::webhooks::Outbox;
use app_proxy_store::{ActivityBatch, Store};

/// How often apps are looked at, at most and at least. Also how exact the time of their last use
/// is.
const OFTEN: Duration = Duration::from_millis(200);
const SELDOM: Duration = Duration::from_secs(1);

/// Looks for idle apps.
pub struct IdleWatch {
    apps: Arc<Apps>,
    sessions: SessionTable,
    outbox: Outbox,
    store: Arc<dyn Store>,
    drain: Drain,
}

/// The apps that want to be looked at, of one state of the table.
#[derive(Default)]
struct Watched {
    /// Which state that is.
    state: Option<(Arc<str>, u64)>,
    apps: Vec<Arc<RoutedApp>>,
    pause: Duration,
}

impl IdleWatch {
    /// A watch over `apps`, whose sessions are in `sessions`; what it tells goes to `outbox`, and
    /// that it was told to `store`. It ends with the daemon's service: once a successor watches,
    /// the daemon that `drain` is of does not.
    #[must_use]
    pub fn new(
        apps: &Arc<Apps>,
        sessions: &SessionTable,
        outbox: Outbox,
        store: &Arc<dyn Store>,
        drain: &Drain,
    ) -> Self {
        let (apps, sessions, store) = (Arc::clone(apps), sessions.clone(), Arc::clone(store));
        Self {
            apps,
            sessions,
            outbox,
            store,
            drain: drain.clone(),
        }
    }

    /// Tells of those that have become idle.
    async fn look(&self, watched: &Watched, now: Now) {
        let idle: Vec<_> = watched
            .apps
            .iter()
            .filter_map(|app| due(app, now))
            .collect();
        if idle.is_empty() {
            return;
        }
        let mut sessions = sessions_of(&self.sessions, idle.iter().map(|(app, ..)| &app.name));
        let mut told = ActivityBatch::default();
        for (app, policy, look) in idle {
            info!(
                "app {} is idle, for {} s",
                app.name,
                look.quiet_for.as_secs()
            );
            let sessions = sessions.remove(&*app.name).unwrap_or_default();
            self.outbox
                .send(
                    &policy.notify,
                    event(WebhookEventKind::AppIdle, app, look, sessions, None),
                )
                .await;
            app.usage.told(look);
            told.apps.push(app.usage.activity(&app.name, now));
        }
        if let Err(e) = self.store.save_activity(&told).await {
            warn!("that apps are idle cannot be stored, so that a restart may tell it again: {e}");
        }
    }
}

#[async_trait]
impl BackgroundService for IdleWatch {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let mut watched = Watched::default();
        loop {
            watched.follow(&self.apps);
            tokio::select! {
                _ = shutdown.changed() => return,
                () = tokio::time::sleep(watched.pause) => {}
            }
            if self.drain.phase() == DrainStage::Serving {
                self.look(&watched, Now::read()).await;
            }
        }
    }
}

impl Watched {
    /// Takes over the current state of the table, if it is another one.
    fn follow(&mut self, apps: &Apps) {
        let snapshot = apps.load();
        let state = (
            Arc::clone(snapshot.table.epoch()),
            snapshot.table.revision(),
        );
        if self.state.as_ref() == Some(&state) {
            return;
        }
        let wants = |app: &&Arc<RoutedApp>| {
            app.stored.app.idle.is_some() && !app.stored.app.endpoints.is_empty()
        };
        self.apps = snapshot.apps().filter(wants).cloned().collect();
        let periods = self
            .apps
            .iter()
            .filter_map(|app| Some(app.stored.app.idle.as_ref()?.after.0));
        self.pause = periods
            .min()
            .map_or(SELDOM, |shortest| (shortest / 10).clamp(OFTEN, SELDOM));
        self.state = Some(state);
    }
}

/// How an app looks whose scheduler is to be told that it is idle.
fn due(app: &Arc<RoutedApp>, now: Now) -> Option<(&Arc<RoutedApp>, &IdlePolicy, Look)> {
    let policy = app.stored.app.idle.as_ref()?;
    let look = app.usage.look(now);
    is_due(look, policy.after.0).then_some((app, policy, look))
}

fn is_due(look: Look, after: Duration) -> bool {
    !look.told && look.quiet_for >= after
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhooks::SigningKey;
    use crate::webhooks::tests::FakeStore;
    use http::HeaderName;

    #[test]
    fn an_app_is_idle_when_it_was_quiet_for_long_enough_and_nobody_was_told() {
        let seconds = Duration::from_secs;
        for (quiet_for, told, expected) in [
            (9, false, false),
            (10, false, true),
            (99, false, true),
            (99, true, false),
        ] {
            let look = Look {
                active_ms: None,
                quiet_for: seconds(quiet_for),
                quiet_since_ms: 1,
                told,
            };
            assert_eq!(is_due(look, seconds(10)), expected, "{look:?}");
        }
    }

    fn later(now: Now, seconds: u64) -> Now {
        Now {
            ms: now.ms + seconds * 1000,
            at: now.at + Duration::from_secs(seconds),
        }
    }

    #[tokio::test]
    async fn an_app_that_runs_is_told_of_once_for_each_time_that_it_is_idle() {
        let url = "http://127.0.0.1:9/";
        let idle = serde_json::json!({"after": "30s", "notify": url});
        let apps = serde_json::json!([
            {"name": "runs", "endpoints": [{"address": "127.0.0.1:1"}], "idle": idle},
            {"name": "stopped", "idle": idle},
            {"name": "unwatched", "endpoints": [{"address": "127.0.0.1:1"}]},
        ]);
        let apps = Arc::new(Apps::from_file(serde_json::from_value(apps).unwrap(), None).unwrap());
        let store = Arc::new(FakeStore::default());
        let key = SigningKey::new("secret").unwrap();
        let (outbox, _delivery) = Outbox::new(
            store.clone(),
            key,
            HeaderName::from_static("x-id"),
            Vec::new(),
        );
        let dyn_store: Arc<dyn Store> = store.clone();
        let sessions = SessionTable::new(100, Duration::from_secs(60));
        let watch = IdleWatch::new(&apps, &sessions, outbox, &dyn_store, &Drain::default());
        let mut watched = Watched::default();
        watched.follow(&apps);
        assert_eq!(watched.pause, SELDOM);
        let begin = Now::read();
        let told = async |seconds| {
            watch.look(&watched, later(begin, seconds)).await;
            store.waiting().len()
        };
        assert_eq!([told(10).await, told(40).await, told(99).await], [0, 1, 1]);
        let runs = Arc::clone(watched.apps.first().unwrap());
        runs.usage.mark();
        assert_eq!(
            [
                told(100).await,
                told(129).await,
                told(131).await,
                told(999).await
            ],
            [1, 1, 2, 2]
        );
        let events = store.waiting();
        assert!(
            events
                .iter()
                .all(|left| left.url == url && left.event.data.app == "runs")
        );
        assert!(
            events.first().unwrap().event.data.last_active_at.is_none(),
            "it was never used before"
        );
        assert!(events.last().unwrap().event.data.last_active_at.is_some());
        let kept: Vec<_> = store
            .activity
            .lock()
            .unwrap()
            .iter()
            .map(|kept| kept.idle_told_ms)
            .collect();
        assert!(
            matches!(kept[..], [first, then] if first < then && then == later(begin, 100).ms),
            "{kept:?}"
        );
    }
}
