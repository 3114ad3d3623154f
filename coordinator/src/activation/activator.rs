//! Requests for apps without endpoints whose schedulers can start them (phase `request_filter`):
//! the scheduler gets one wake event, and the client gets an error with `Retry-After`, or a page
//! that reloads itself.

mod page;

use std::sync::Arc;

use app_proxy_api::webhooks::WebhookEventKind;
use app_proxy_hop::error::{ProxyError, prefers_html};
use app_proxy_hop::exchange::Exchange;
use app_proxy_hop::identity::RequestId;
use app_proxy_hop::response::{write_error, write_response};
use app_proxy_hop::websocket::is_websocket;
use bytes::Bytes;
use http::{Method, StatusCode, header};
use log::info;
use pingora_core::Result;
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session as HttpSession;

use crate::activation::event::EventBuilder;
use crate::apps::RoutedApp;
use crate::clock::Moment;
use crate::sessions::SessionTable;
use crate::webhooks::Outbox;

/// The path at which the page polls whether the app runs, below the coordinator's own prefix.
pub(crate) const WAKING: &str = "waking";

/// Sends wake events to the schedulers of apps.
#[derive(Clone)]
pub(crate) struct Activator {
    outbox: Outbox,
    sessions: SessionTable,
}

impl Activator {
    /// Creates an activator that sends its events through `outbox`; an event lists the app's
    /// sessions in `sessions`.
    #[must_use]
    pub(crate) fn new(outbox: Outbox, sessions: SessionTable) -> Self {
        Self { outbox, sessions }
    }

    /// Sends the app's scheduler a wake event because of `request`, unless it got one for this
    /// revision of the app. Returns at once.
    pub(crate) fn activate(&self, app: &Arc<RoutedApp>, request: &RequestId) {
        if app.stored.app.wake.is_none() || !app.usage.claim_activation(app.stored.revision) {
            return;
        }
        info!(
            "app {}: needed by a request, request_id={request}; its scheduler is notified",
            app.name
        );
        tokio::spawn(self.clone().send(Arc::clone(app), request.detached()));
    }

    async fn send(self, app: Arc<RoutedApp>, request: RequestId) {
        let Some(policy) = &app.stored.app.wake else {
            return;
        };
        // A pass over all sessions takes too long for a thread that serves requests.
        let (table, name) = (self.sessions, Arc::clone(&app.name));
        let builder =
            tokio::task::spawn_blocking(move || EventBuilder::new(&table, std::iter::once(&name)));
        let mut builder = builder.await.unwrap_or_default();
        let status = app.usage.status(Moment::now());
        let event = builder.build(WebhookEventKind::AppWake, &app, status, Some(&request));
        self.outbox.send(&policy.notify, event).await;
    }
}

/// Answers a request for an app that has no endpoint yet: with the waiting page where the app wants
/// it and a browser navigates, with the error `app_starting` otherwise.
///
/// # Errors
/// When the response cannot be written to the client.
pub(crate) async fn answer_starting(
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
    write_response(session, exchange, response, page.body.into(), false).await
}

/// Returns whether a browser requests a page to show to its user.
fn is_navigation(request: &RequestHeader) -> bool {
    matches!(request.method, Method::GET | Method::HEAD)
        && !is_websocket(request)
        && prefers_html(&request.headers)
}

/// Answers the poll of a waiting page: the app runs.
///
/// # Errors
/// When the response cannot be written to the client.
pub(crate) async fn answer_running(
    session: &mut HttpSession,
    exchange: &mut Exchange,
) -> Result<()> {
    let mut response = ResponseHeader::build(StatusCode::NO_CONTENT, Some(3))?;
    response.insert_header(header::CACHE_CONTROL, "no-store")?;
    write_response(session, exchange, response, Bytes::new(), false).await
}
