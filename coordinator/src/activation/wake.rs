//! What happens when a request comes for an app that runs nowhere and whose scheduler can start it
//! (phase `request_filter`): the scheduler is asked, once, and the client is told to come again, or
//! shown a page that does so by itself.

mod page;

use std::sync::Arc;

use app_proxy_api::webhooks::WebhookEventKind;
use app_proxy_hop::error::{ProxyError, prefers_html};
use app_proxy_hop::exchange::Exchange;
use app_proxy_hop::identity::RequestId;
use app_proxy_hop::response::{answer, write_error};
use app_proxy_hop::websocket::is_websocket;
use bytes::Bytes;
use http::{Method, StatusCode, header};
use log::info;
use pingora_core::Result;
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session as HttpSession;

use crate::activation::event::{event, sessions_of};
use crate::apps::RoutedApp;
use crate::clock::Now;
use crate::sessions::SessionTable;
use crate::webhooks::Outbox;

/// Where the page asks whether the app runs, behind the prefix of the coordinator's own paths.
pub const WAKING: &str = "waking";

/// Asks schedulers to start apps.
#[derive(Clone)]
pub struct Activator {
    outbox: Outbox,
    sessions: SessionTable,
}

impl Activator {
    /// What it asks goes to `outbox`; the sessions of an app are in `sessions`.
    #[must_use]
    pub fn new(outbox: Outbox, sessions: SessionTable) -> Self {
        Self { outbox, sessions }
    }

    /// Asks the scheduler of an app to start it because of a request, unless it was asked at this
    /// revision. Does not wait for anything.
    pub fn ask(&self, app: &Arc<RoutedApp>, request: &RequestId) {
        if app.stored.app.wake.is_none() || !app.usage.ask(app.stored.revision) {
            return;
        }
        info!("request_id={request} wakes app {}", app.name);
        tokio::spawn(self.clone().send(Arc::clone(app), request.detached()));
    }

    async fn send(self, app: Arc<RoutedApp>, request: RequestId) {
        let Some(policy) = &app.stored.app.wake else {
            return;
        };
        // Going through all sessions takes too long for a thread that serves requests.
        let (table, name) = (self.sessions, Arc::clone(&app.name));
        let sessions = tokio::task::spawn_blocking(move || {
            sessions_of(&table, std::iter::once(&name)).remove(&name)
        });
        let sessions = sessions.await.ok().flatten().unwrap_or_default();
        let look = app.usage.look(Now::read());
        self.outbox
            .send(
                &policy.notify,
                event(
                    WebhookEventKind::AppWake,
                    &app,
                    look,
                    sessions,
                    Some(&request),
                ),
            )
            .await;
    }
}

/// Answers a request for an app that is asleep.
///
/// # Errors
/// When the client cannot be written to.
pub async fn answer_asleep(
    session: &mut HttpSession,
    exchange: &mut Exchange,
    app: &RoutedApp,
) -> Result<()> {
    let wants_page = app.stored.app.wake.as_ref().is_some_and(|wake| wake.page);
    if !wants_page || !is_navigation(session.req_header()) {
        return write_error(session, exchange, ProxyError::AppStarting).await;
    }
    exchange.failed(ProxyError::AppStarting);
    let page = page::render(&app.name, exchange.id());
    let mut response = ResponseHeader::build(StatusCode::SERVICE_UNAVAILABLE, Some(10))?;
    response.insert_header(header::CONTENT_TYPE, "text/html; charset=utf-8")?;
    response.insert_header(header::CONTENT_LENGTH, page.body.len())?;
    response.insert_header(header::CACHE_CONTROL, "no-store")?;
    response.insert_header(header::CONTENT_SECURITY_POLICY, page.policy)?;
    response.insert_header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")?;
    if let Some(seconds) = ProxyError::AppStarting.retry_after() {
        response.insert_header(header::RETRY_AFTER, seconds)?;
    }
    answer(session, exchange, response, page.body.into(), false).await
}

/// Whether a browser asks for a page that it is going to show.
fn is_navigation(request: &RequestHeader) -> bool {
    matches!(request.method, Method::GET | Method::HEAD)
        && !is_websocket(request)
        && prefers_html(&request.headers)
}

/// Tells a waiting page that its app runs.
///
/// # Errors
/// When the client cannot be written to.
pub async fn answer_awake(session: &mut HttpSession, exchange: &mut Exchange) -> Result<()> {
    let mut response = ResponseHeader::build(StatusCode::NO_CONTENT, Some(3))?;
    response.insert_header(header::CACHE_CONTROL, "no-store")?;
    answer(session, exchange, response, Bytes::new(), false).await
}
