//! Webhook events: an app with its last use and its sessions.

use std::collections::HashMap;
use std::sync::Arc;

use app_proxy_api::webhooks::{
    WebhookEvent, WebhookEventData, WebhookEventKind, WebhookEventSession,
};
use app_proxy_hop::identity::RequestId;

use crate::apps::RoutedApp;
use crate::apps::usage::UsageStatus;
use crate::clock::{now_ms, rfc3339};
use crate::sessions::{SessionRecord, SessionTable};

/// The maximum number of sessions that an event lists.
const MAX_LISTED: usize = 100;

/// Builds the events of some apps. Their sessions are collected in one pass over the session table.
#[derive(Default)]
pub(crate) struct EventBuilder {
    sessions: HashMap<Arc<str>, Vec<Arc<SessionRecord>>>,
}

impl EventBuilder {
    /// Collects the sessions of `apps`; the time grows with the number of all sessions.
    #[must_use]
    pub(crate) fn new<'a>(table: &SessionTable, apps: impl Iterator<Item = &'a Arc<str>>) -> Self {
        let mut sessions: HashMap<_, Vec<_>> =
            apps.map(|name| (Arc::clone(name), Vec::new())).collect();
        for session in table.live() {
            if let Some(of_app) = sessions.get_mut(session.app()) {
                of_app.push(session);
            }
        }
        Self { sessions }
    }

    /// Builds an event with the current time and an identifier of its own. `request` is the request
    /// that caused the event.
    #[must_use]
    pub(crate) fn build(
        &mut self,
        kind: WebhookEventKind,
        app: &RoutedApp,
        status: UsageStatus,
        request: Option<&RequestId>,
    ) -> WebhookEvent {
        let mut sessions = self.sessions.remove(&app.name).unwrap_or_default();
        sessions.sort_by_cached_key(|session| session.idle_for());
        let listed = sessions.iter().take(MAX_LISTED).map(|session| {
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
            last_active_at: status.last_active_ms.map(rfc3339),
            request_id: request.map(|id| id.as_str().to_owned()),
            session_count: sessions.len(),
            sessions: listed.collect(),
        };
        WebhookEvent {
            id: RequestId::generate().as_str().to_owned(),
            kind,
            timestamp: rfc3339(now_ms()),
            data,
        }
    }
}
