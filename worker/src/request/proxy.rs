//! The way of a request through the worker, phase by phase: a table of contents, each phase calls
//! one module.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use app_proxy_hop::error::{ProxyError, raise};
use app_proxy_hop::exchange::HopServices;
use app_proxy_hop::forwarding::forget_spelling;
use app_proxy_hop::header::{CLIENT, SESSION_ID, X_FORWARDED_FOR};
use app_proxy_hop::identity::{EstablishedId, InboundId, RequestId};
use app_proxy_hop::phase;
use app_proxy_hop::response::{answer, finish_header, register_if_long, write_error};
use app_proxy_hop::websocket::{is_websocket, serve};
use app_proxy_runtime::admin::Token;
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use log::{debug, error, warn};
use pingora_core::connectors::TransportConnector;
use pingora_core::modules::http::HttpModules;
use pingora_core::prelude::HttpPeer;
use pingora_core::protocols::Digest;
use pingora_core::{Error, ErrorType, OrErr, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session as HttpSession};

use crate::admin;
use crate::apps::{Apps, Lookup, RequiredRevision, ServedApp};
use crate::endpoints::{Endpoint, select};
use crate::request::admission::{
    app_and_target, asked_about, fence, is_coordinator, is_health_check,
};
use crate::request::context::{RequestContext, Route};
use crate::request::forward;
use crate::request::websocket::ToApplication;
use crate::sync::Followers;

/// The worker's proxy.
pub struct Worker {
    /// What every request needs.
    pub hop: Arc<HopServices>,
    /// The worker's name.
    pub id: Arc<str>,
    /// The token that coordinators show.
    pub token: Token,
    /// The app tables.
    pub apps: Arc<Apps>,
    /// Follow the coordinators' app tables.
    pub followers: Arc<Followers>,
    /// Connects WebSockets.
    pub connector: TransportConnector,
}

/// Pingora's view of the worker.
#[derive(Clone)]
pub struct WorkerProxy(pub Arc<Worker>);

#[async_trait]
impl ProxyHttp for WorkerProxy {
    /// On the heap: Pingora moves the context with the state of its own phases, several times a
    /// request.
    type CTX = Box<RequestContext>;

    fn new_ctx(&self) -> Self::CTX {
        Box::new(RequestContext::new(&self.0.hop))
    }

    /// Authenticate the coordinator, take the identifier, find the app; a WebSocket leaves
    /// Pingora's loop here.
    async fn request_filter(&self, session: &mut HttpSession, ctx: &mut Self::CTX) -> Result<bool> {
        phase::prepare(session, &self.0.hop);
        if is_health_check(session.req_header()) {
            return self.0.health(session, ctx).await;
        }
        if let Some(id) = asked_about(session.req_header())
            && is_coordinator(&session.req_header().headers, &self.0.token)
        {
            return self.0.tell(session, ctx, id).await;
        }
        let entered = match self.0.identify(session, ctx) {
            Ok(()) => self.0.enter(session, ctx).await,
            Err(failure) => Err(failure),
        };
        if let Err(failure) = entered {
            debug!(
                "request_id={} is refused: {} {}",
                ctx.exchange.id(),
                failure.code(),
                failure.detail()
            );
            return write_error(session, &mut ctx.exchange, failure)
                .await
                .map(|()| true);
        }
        if !is_websocket(session.req_header()) {
            forget_spelling(session.req_header_mut());
            return Ok(false);
        }
        let served = serve(
            &self.0.connector,
            session,
            &mut ToApplication {
                worker: &self.0,
                ctx,
            },
        )
        .await?;
        if let Err(failure) = served {
            write_error(session, &mut ctx.exchange, failure).await?;
        }
        Ok(true)
    }

    /// No module: the one that Pingora adds by default compresses nothing and looks at everything.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    /// Select an endpoint.
    async fn upstream_peer(
        &self,
        _session: &mut HttpSession,
        ctx: &mut Self::CTX,
    ) -> Result<Box<HttpPeer>> {
        match self.0.place(ctx) {
            Ok(endpoint) => Ok(Box::new(endpoint.peer.clone())),
            Err(failure) => Err(raise(failure, "no endpoint is left to try")),
        }
    }

    /// An endpoint that cannot be connected has seen nothing of the request: another one is tried.
    fn fail_to_connect(
        &self,
        _session: &mut HttpSession,
        _peer: &HttpPeer,
        ctx: &mut Self::CTX,
        mut e: Box<Error>,
    ) -> Box<Error> {
        if let Some(busy) = &ctx.placement.endpoint {
            phase::log_unconnected(
                &ctx.exchange,
                &format!("endpoint {}", busy.endpoint().address),
                &e,
            );
        }
        ctx.placement.give_up();
        e.set_retry(true);
        e
    }

    async fn connected_to_upstream(
        &self,
        _session: &mut HttpSession,
        reused: bool,
        _peer: &HttpPeer,
        _fd: std::os::unix::io::RawFd,
        digest: Option<&Digest>,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        ctx.exchange.connected(reused, digest);
        Ok(())
    }

    /// Set the headers of the application.
    async fn upstream_request_filter(
        &self,
        _session: &mut HttpSession,
        upstream_request: &mut RequestHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        // Another attempt sends the body again.
        ctx.body_bytes = 0;
        forward::request(upstream_request, ctx, &self.0.hop.identity)
    }

    async fn request_body_filter(
        &self,
        _session: &mut HttpSession,
        body: &mut Option<Bytes>,
        _end_of_stream: bool,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        phase::count_body(
            &self.0.hop,
            &mut ctx.body_bytes,
            body.as_ref().map_or(0, Bytes::len),
        )?;
        ctx.exchange.outcome.bytes_in = ctx.body_bytes;
        Ok(())
    }

    async fn response_filter(
        &self,
        session: &mut HttpSession,
        response: &mut ResponseHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        finish_header(session, &mut ctx.exchange, response)?;
        let RequestContext {
            exchange, route, ..
        } = &mut **ctx;
        if let Some(route) = route {
            register_if_long(session, exchange, response, &route.app.streams);
        }
        Ok(())
    }

    fn response_body_filter(
        &self,
        _session: &mut HttpSession,
        body: &mut Option<Bytes>,
        _end_of_stream: bool,
        ctx: &mut Self::CTX,
    ) -> Result<Option<Duration>> {
        ctx.exchange.outcome.bytes_out += body.as_ref().map_or(0, Bytes::len) as u64;
        Ok(None)
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut HttpSession,
        e: Box<Error>,
        ctx: &mut Self::CTX,
        client_reused: bool,
    ) -> Box<Error> {
        phase::decide_retry(session, &ctx.exchange, e, client_reused, false)
    }

    async fn fail_to_proxy(
        &self,
        session: &mut HttpSession,
        e: &Error,
        ctx: &mut Self::CTX,
    ) -> FailToProxy {
        phase::fail(session, &mut ctx.exchange, e).await
    }

    async fn logging(&self, session: &mut HttpSession, e: Option<&Error>, ctx: &mut Self::CTX) {
        phase::end(session, &mut ctx.exchange, e);
    }

    fn request_summary(&self, session: &HttpSession, ctx: &Self::CTX) -> String {
        phase::summary(session.req_header(), &ctx.exchange)
    }

    /// `fail_to_proxy` has said it already, once and with the identifier.
    fn suppress_error_log(&self, _session: &HttpSession, _ctx: &Self::CTX, _error: &Error) -> bool {
        true
    }

    /// `fail_to_connect` or `error_while_proxy` has said it already.
    fn suppress_proxy_warn_log(
        &self,
        _session: &HttpSession,
        _ctx: &Self::CTX,
        _error: &Error,
        context: ProxyWarnLogContext,
    ) -> bool {
        context == ProxyWarnLogContext::UpstreamRetry
    }
}

impl Worker {
    /// Takes the identifier of an authenticated coordinator; anybody else is refused under one of
    /// the worker's own (docs/reference/request-id.md, rule 6).
    fn identify(&self, session: &HttpSession, ctx: &mut RequestContext) -> Result<(), ProxyError> {
        let request = session.req_header();
        let (peer, _) = phase::addresses(session);
        let own = |id| EstablishedId {
            id,
            refused: None,
            replaced: None,
            generated: true,
        };
        if !is_coordinator(&request.headers, &self.token) {
            ctx.exchange
                .begin(request, peer, own(RequestId::generate()));
            return Err(ProxyError::Forbidden("Only coordinators are served here."));
        }
        let id = match self.hop.identity.read(&request.headers) {
            InboundId::Valid(id) => id,
            missing => {
                let id = RequestId::generate();
                self.hop.metrics.request_id_missing.inc();
                error!(
                    "request_id={id} was made here, a coordinator sent none that is valid: {missing:?}"
                );
                id
            }
        };
        let client = client(&request.headers).or(peer);
        ctx.exchange.begin(
            request,
            client,
            EstablishedId {
                id,
                refused: None,
                replaced: None,
                generated: false,
            },
        );
        ctx.exchange.facts.worker = Some(Arc::clone(&self.id));
        ctx.exchange.facts.session_id = request.headers.get(&SESSION_ID).cloned();
        Ok(())
    }

    /// Finds the app, in a table as new as the coordinator's.
    async fn enter(
        &self,
        session: &HttpSession,
        ctx: &mut RequestContext,
    ) -> Result<(), ProxyError> {
        let request = session.req_header();
        if matches!(request.method, Method::CONNECT | Method::TRACE) {
            return Err(ProxyError::MethodNotAllowed);
        }
        phase::check_announced_body(request, self.hop.limits.request_body.0)?;
        let (name, target) = app_and_target(request)?;
        let app = self.find(name, &request.headers, ctx.exchange.id()).await?;
        ctx.exchange.facts.app = Some(Arc::clone(&app.name));
        let target = target
            .parse()
            .map_err(|_| ProxyError::BadRequest("The path is not valid."))?;
        ctx.route = Some(Route { app, target });
        Ok(())
    }

    async fn find(
        &self,
        name: &str,
        headers: &HeaderMap,
        id: &RequestId,
    ) -> Result<Arc<ServedApp>, ProxyError> {
        let fence = fence(headers);
        let found = self.apps.load().look_up(name, fence);
        match (found, fence) {
            (Lookup::Found(app), _) => Ok(app),
            (Lookup::Unknown, _) => Err(ProxyError::AppNotFound),
            (Lookup::Behind, None) => Err(ProxyError::NoEndpointAvailable),
            (Lookup::Behind, Some(fence)) => self.find_newer(name, fence, id).await,
        }
    }

    /// Finds the app in a table that is not here yet; where that does not come, in the one that
    /// there is.
    async fn find_newer(
        &self,
        name: &str,
        fence: RequiredRevision<'_>,
        id: &RequestId,
    ) -> Result<Arc<ServedApp>, ProxyError> {
        self.followers.catch_up(fence).await;
        let tables = self.apps.load();
        match tables.look_up(name, Some(fence)) {
            Lookup::Found(app) => Ok(app),
            Lookup::Unknown => Err(ProxyError::AppNotFound),
            Lookup::Behind => {
                warn!(
                    "request_id={id} asks for revision {} of epoch {}, the app table is {}",
                    fence.revision,
                    fence.epoch,
                    tables.summary()
                );
                tables
                    .best(name, fence.epoch)
                    .cloned()
                    .ok_or(ProxyError::NoEndpointAvailable)
            }
        }
    }

    /// Selects the endpoint of the next attempt.
    ///
    /// # Errors
    /// What to tell the client when none is left: there is none at all, or none can be connected.
    pub fn place(&self, ctx: &mut RequestContext) -> Result<Arc<Endpoint>, ProxyError> {
        let route = ctx.route.as_ref().ok_or(ProxyError::Internal)?;
        let session = ctx
            .exchange
            .facts
            .session_id
            .as_ref()
            .filter(|_| route.app.has_sessions());
        let failed = &ctx.placement.failed;
        let Some(endpoint) = select(
            &route.app.endpoints,
            session.map(|id| id.as_bytes()),
            failed,
        ) else {
            return Err(if failed.is_empty() {
                ProxyError::NoEndpointAvailable
            } else {
                ProxyError::EndpointUnreachable
            });
        };
        ctx.exchange.outcome.attempts += 1;
        ctx.exchange.facts.endpoint = Some(Arc::clone(&endpoint.address));
        ctx.placement.endpoint = Some(endpoint.enter());
        Ok(endpoint)
    }

    /// Answers the coordinators' health check: 200, or 503 while there is no table or the daemon is
    /// ending. It is no request of a client's and leaves no line in the access log.
    async fn health(&self, session: &mut HttpSession, ctx: &mut RequestContext) -> Result<bool> {
        let (status, body) = if self.hop.drain.is_draining() {
            (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
        } else if self.apps.load().is_loaded() {
            (StatusCode::OK, "ok\n")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "no app table\n")
        };
        answer_unlogged(
            session,
            ctx,
            status,
            "text/plain",
            Bytes::from_static(body.as_bytes()),
        )
        .await
    }

    /// Tells a coordinator what is known of a request. As the health check, this is no request of a
    /// client's.
    async fn tell(
        &self,
        session: &mut HttpSession,
        ctx: &mut RequestContext,
        id: RequestId,
    ) -> Result<bool> {
        let events = admin::events(&self.hop, id).await;
        let body =
            serde_json::to_vec(&events).or_err(ErrorType::InternalError, "events are no JSON")?;
        answer_unlogged(
            session,
            ctx,
            StatusCode::OK,
            "application/json",
            body.into(),
        )
        .await
    }
}

/// Answers what is not logged: the exchange has not begun.
async fn answer_unlogged(
    session: &mut HttpSession,
    ctx: &mut RequestContext,
    status: StatusCode,
    media: &'static str,
    body: Bytes,
) -> Result<bool> {
    ctx.exchange.facts.request_id = RequestId::generate();
    let mut response = ResponseHeader::build(status, Some(5))?;
    response.insert_header(header::CONTENT_TYPE, media)?;
    response.insert_header(header::CONTENT_LENGTH, body.len())?;
    answer(session, &mut ctx.exchange, response, body, false)
        .await
        .map(|()| true)
}

/// Where the coordinator says that the request comes from. It says so by `X-Forwarded-For`, except
/// where others have added to that.
fn client(headers: &HeaderMap) -> Option<IpAddr> {
    headers
        .get(&CLIENT)
        .or_else(|| headers.get(&X_FORWARDED_FOR))?
        .to_str()
        .ok()?
        .parse()
        .ok()
}
