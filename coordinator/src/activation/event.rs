//! What a scheduler is told of an app: its use and its sessions, as the data of an event.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use app_proxy_api::webhooks::{
    WebhookEvent, WebhookEventData, WebhookEventKind, WebhookEventSession,
};
use app_proxy_hop::identity::RequestId;
use app_proxy_hop::observe::access_log::timestamp;

use crate::apps::RoutedApp;
use crate::apps::usage::Look;
use crate::sessions::{SessionRecord, SessionTable};

/// Most sessions that an event lists.
const LISTED: usize = 100;

/// An event of this moment, under an identifier of its own; `request` is what has caused it.
#[must_use]
pub fn event(
    kind: WebhookEventKind,
    app: &RoutedApp,
    look: Look,
    mut sessions: Vec<Arc<SessionRecord>>,
    request: Option<&RequestId>,
) -> WebhookEvent {
    sessions.sort_by_cached_key(|session| session.idle_for());
    let listed = sessions.iter().take(LISTED).map(|session| {
        let view = session.view();
        WebhookEventSession {
            id: view.id,
            last_active_at: view.last_active_at,
            open_streams: view.open_streams,
        }
    });
    let data = WebhookEventData {
        app: app.name.as_ref().to_owned(),
        revision: app.stored.revision,
        last_active_at: look
            .active_ms
            .map(|ms| timestamp(UNIX_EPOCH + Duration::from_millis(ms))),
        request_id: request.map(|id| id.as_str().to_owned()),
        session_count: sessions.len(),
        sessions: listed.collect(),
    };
    WebhookEvent {
        id: RequestId::generate().as_str().to_owned(),
        kind,
        timestamp: timestamp(SystemTime::now()),
        data,
    }
}

/// The sessions of each of `apps`, found by going through all sessions once.
#[must_use]
pub fn sessions_of<'a>(
    table: &SessionTable,
    apps: impl Iterator<Item = &'a Arc<str>>,
) -> HashMap<Arc<str>, Vec<Arc<SessionRecord>>> {
    let mut found: HashMap<_, Vec<_>> = apps.map(|name| (Arc::clone(name), Vec::new())).collect();
    for session in table.live() {
        if let Some(of_app) = found.get_mut(session.app()) {
            of_app.push(session);
        }
    }
    found
}
