//! The service that notifies schedulers of idle apps.
//!
//! It checks the apps that have an idle policy, about ten times in the shortest of their periods.
//! Each idle period is reported once, by one member. An app without endpoints is never idle: it has
//! nothing to stop.

use std::sync::Arc;
use std::time::Duration;

use app_proxy_api::apps::IdlePolicy;
use app_proxy_api::table::Epoch;
use app_proxy_api::webhooks::WebhookEventKind;
use async_trait::async_trait;
use log::{info, warn};
use pingora_core::server::ShutdownWatch;
use pingora_core::services::background::BackgroundService;

use crate::activation::event::EventBuilder;
use crate::apps::usage::UsageStatus;
use crate::apps::{Apps, RoutedApp};
use crate::clock::Moment;
use crate::sessions::SessionTable;
use crate::state::members::Members;
use crate::webhooks::Outbox;
use app_proxy_store::{ActivityBatch, Store};

/// The shortest and the longest pause between two checks. The pause is also the precision of the
/// time of an app's last use.
const MIN_PAUSE: Duration = Duration::from_millis(200);
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// The time within which this member knows of use at others: they write it once a second.
const USE_ELSEWHERE: Duration = Duration::from_secs(2);

/// Checks apps for idleness.
pub(crate) struct IdleWatch {
    apps: Arc<Apps>,
    sessions: SessionTable,
    outbox: Outbox,
    store: Arc<dyn Store>,
    members: Arc<Members>,
}

/// The running apps with an idle policy, of one state of the app table.
#[derive(Default)]
struct WatchedApps {
    /// The epoch and the revision of the table.
    state: Option<(Epoch, u64)>,
    apps: Vec<Arc<RoutedApp>>,
    pause: Duration,
}

impl IdleWatch {
    /// Creates a watch over `apps`, whose sessions are in `sessions`. It sends events through
    /// `outbox` and records them in `store`. One of the `members` watches.
    #[must_use]
    pub(crate) fn new(
        apps: &Arc<Apps>,
        sessions: &SessionTable,
        outbox: Outbox,
        store: &Arc<dyn Store>,
        members: &Arc<Members>,
    ) -> Self {
        let (apps, sessions, store) = (Arc::clone(apps), sessions.clone(), Arc::clone(store));
        Self {
            apps,
            sessions,
            outbox,
            store,
            members: Arc::clone(members),
        }
    }

    /// Notifies the schedulers of the apps that have become idle.
    async fn check(&self, watched: &WatchedApps, now: Moment) {
        let margin = match self.members.is_alone() {
            true => Duration::ZERO,
            false => USE_ELSEWHERE,
        };
        let idle: Vec<_> = watched
            .apps
            .iter()
            .filter_map(|app| due(app, now, margin))
            .collect();
        if idle.is_empty() {
            return;
        }
        let names = idle.iter().map(|(app, ..)| &app.name);
        let mut builder = EventBuilder::new(&self.sessions, names);
        let mut notified = ActivityBatch::default();
        for (app, policy, status) in idle {
            info!(
                "app {}: idle for {} s; its scheduler is notified",
                app.name,
                status.idle_for.as_secs()
            );
            let event = builder.build(WebhookEventKind::AppIdle, app, status, None);
            self.outbox.send(&policy.notify, event).await;
            app.usage.mark_notified(status);
            notified.apps.push(app.usage.activity(&app.name, now));
        }
        if let Err(e) = self.store.save_activity(&notified).await {
            warn!("cannot store idle notifications, a restart may repeat them: {e}");
        }
    }
}

#[async_trait]
impl BackgroundService for IdleWatch {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let mut watched = WatchedApps::default();
        loop {
            watched.update(&self.apps);
            tokio::select! {
                _ = shutdown.changed() => return,
                () = tokio::time::sleep(watched.pause) => {}
            }
            if self.members.leads() {
                self.check(&watched, Moment::now()).await;
            }
        }
    }
}

impl WatchedApps {
    /// Replaces the apps if the table has changed.
    fn update(&mut self, apps: &Apps) {
        let snapshot = apps.load();
        let state = (snapshot.table.epoch().clone(), snapshot.table.revision());
        if self.state.as_ref() == Some(&state) {
            return;
        }
        let is_watched = |app: &&Arc<RoutedApp>| {
            app.stored.app.idle.is_some() && !app.stored.app.endpoints.is_empty()
        };
        self.apps = snapshot.apps().filter(is_watched).cloned().collect();
        let periods = self
            .apps
            .iter()
            .filter_map(|app| Some(app.stored.app.idle.as_ref()?.after.0));
        self.pause = periods.min().map_or(MAX_PAUSE, |shortest| {
            (shortest / 10).clamp(MIN_PAUSE, MAX_PAUSE)
        });
        self.state = Some(state);
    }
}

/// Returns the idle policy and the use of an app whose scheduler is to be notified, `margin` after
/// its period.
fn due(
    app: &Arc<RoutedApp>,
    now: Moment,
    margin: Duration,
) -> Option<(&Arc<RoutedApp>, &IdlePolicy, UsageStatus)> {
    let policy = app.stored.app.idle.as_ref()?;
    let status = app.usage.status(now);
    is_due(status, policy.after.0 + margin).then_some((app, policy, status))
}

fn is_due(status: UsageStatus, after: Duration) -> bool {
    !status.notified && status.idle_for >= after
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::members::tests::serving;
    use crate::webhooks::SigningKey;
    use crate::webhooks::tests::FakeStore;
    use http::HeaderName;

    #[test]
    fn a_notification_is_due_once_after_the_idle_period() {
        let seconds = Duration::from_secs;
        for (idle_for, notified, expected) in [
            (9, false, false),
            (10, false, true),
            (99, false, true),
            (99, true, false),
        ] {
            let status = UsageStatus {
                last_active_ms: None,
                idle_for: seconds(idle_for),
                idle_since_ms: 1,
                notified,
            };
            assert_eq!(is_due(status, seconds(10)), expected, "{status:?}");
        }
    }

    fn later(now: Moment, seconds: u64) -> Moment {
        Moment {
            ms: now.ms + seconds * 1000,
            at: now.at + Duration::from_secs(seconds),
        }
    }

    #[tokio::test]
    async fn each_idle_period_of_a_running_app_is_reported_once() {
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
        let dyn_store: Arc<dyn Store> = store.clone();
        let members = serving(&dyn_store).await;
        let header = HeaderName::from_static("x-id");
        let (outbox, _delivery) = Outbox::new(store.clone(), key, header, &members);
        let sessions = SessionTable::new(100, Duration::from_secs(60));
        let watch = IdleWatch::new(&apps, &sessions, outbox, &dyn_store, &members);
        let mut watched = WatchedApps::default();
        watched.update(&apps);
        assert_eq!(watched.pause, MAX_PAUSE);
        let begin = Moment::now();
        let notified = async |seconds| {
            watch.check(&watched, later(begin, seconds)).await;
            store.pending().len()
        };
        assert_eq!(
            [notified(10).await, notified(40).await, notified(99).await],
            [0, 1, 1]
        );
        let runs = Arc::clone(watched.apps.first().unwrap());
        runs.usage.mark();
        assert_eq!(
            [
                notified(100).await,
                notified(129).await,
                notified(131).await,
                notified(999).await
            ],
            [1, 1, 2, 2]
        );
        let events = store.pending();
        assert!(
            events
                .iter()
                .all(|webhook| webhook.url == url && webhook.event.data.app == "runs")
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
            .map(|kept| kept.idle_notified_ms)
            .collect();
        assert!(
            matches!(kept[..], [first, then] if first < then && then == later(begin, 100).ms),
            "{kept:?}"
        );
    }
}
