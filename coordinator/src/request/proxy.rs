//! The way of a request through the coordinator, phase by phase: a table of contents, each phase
//! calls one module.

use std::sync::Arc;
use std::time::Duration;

use app_proxy_hop::error::ProxyError;
use app_proxy_hop::exchange::HopServices;
use app_proxy_hop::forwarding::forget_spelling;
use app_proxy_hop::phase;
use app_proxy_hop::response::{answer, finish_header, register_if_long, write_error};
use app_proxy_hop::websocket::{is_websocket, serve};
use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use http::{StatusCode, header};
use log::{debug, info};
use pingora_core::connectors::TransportConnector;
use pingora_core::modules::http::HttpModules;
use pingora_core::prelude::HttpPeer;
use pingora_core::protocols::Digest;
use pingora_core::{Error, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session as HttpSession};

use crate::activation::activator::{Activator, answer_running, answer_starting};
use crate::apps::Apps;
use crate::config::Networks;
use crate::pool::{LoadGuard, Pool, PoolWorker};
use crate::request::admission::{Verdict, host, judge};
use crate::request::context::{RequestContext, Route};
use crate::request::forward::{self, Forwarder};
use crate::request::origin::Origin;
use crate::request::websocket::ToWorker;
use crate::sessions::{OpenStream, SessionRequest, Sessions};

/// The coordinator's proxy.
pub struct Coordinator {
    /// What every request needs.
    pub hop: Arc<HopServices>,
    /// The app table.
    pub apps: Arc<Apps>,
    /// Sessions.
    pub sessions: Arc<Sessions>,
    /// The workers.
    pub pool: Arc<Pool>,
    /// Has apps started that run nowhere.
    pub(crate) activator: Activator,
    /// Whose forwarded headers are believed.
    pub trusted_proxies: ArcSwap<Networks>,
    /// Makes requests for workers.
    pub forwarder: Forwarder,
    /// Connects WebSockets.
    pub connector: TransportConnector,
}

/// The proxy of one listener; all share the coordinator.
#[derive(Clone)]
pub struct CoordinatorProxy(pub Arc<Coordinator>);

#[async_trait]
impl ProxyHttp for CoordinatorProxy {
    /// On the heap: Pingora moves the context with the state of its own phases, several times a
    /// request.
    type CTX = Box<RequestContext>;

    fn new_ctx(&self) -> Self::CTX {
        Box::new(RequestContext::new(&self.0.hop))
    }

    /// Identify, admit, match, resolve the session; a WebSocket leaves Pingora's loop here.
    async fn request_filter(&self, session: &mut HttpSession, ctx: &mut Self::CTX) -> Result<bool> {
        phase::prepare(session, &self.0.hop);
        let host = self.0.identify(session, ctx);
        match self.0.admit(session, ctx, host) {
            Verdict::Forward(route) => self.0.enter(session, ctx, route).await,
            Verdict::Redirect(location) => {
                let location = ctx.origin.public(&location).into_owned();
                redirect(session, ctx, &location).await
            }
            Verdict::Health => healthy(session, ctx).await,
            Verdict::Wake(app) => {
                ctx.exchange.facts.app = Some(Arc::clone(&app.name));
                self.0.activator.activate(&app, ctx.exchange.id());
                answer_starting(session, &mut ctx.exchange, &app)
                    .await
                    .map(|()| true)
            }
            Verdict::Awake => answer_running(session, &mut ctx.exchange)
                .await
                .map(|()| true),
            Verdict::Refuse(failure) => write_error(session, &mut ctx.exchange, failure)
                .await
                .map(|()| true),
        }
    }

    /// No module: the one that Pingora adds by default compresses nothing and looks at everything.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    /// Select a worker.
    async fn upstream_peer(
        &self,
        _session: &mut HttpSession,
        ctx: &mut Self::CTX,
    ) -> Result<Box<HttpPeer>> {
        match self.0.place(ctx) {
            Some(worker) => Ok(Box::new(worker.peer.clone())),
            None => Err(app_proxy_hop::error::raise(
                ProxyError::NoWorkerAvailable,
                "no healthy worker is left to try",
            )),
        }
    }

    /// A worker that cannot be connected has seen nothing of the request: another one is tried.
    fn fail_to_connect(
        &self,
        _session: &mut HttpSession,
        _peer: &HttpPeer,
        ctx: &mut Self::CTX,
        mut e: Box<Error>,
    ) -> Box<Error> {
        if let Some(busy) = &ctx.placement.worker {
            phase::log_unconnected(&ctx.exchange, &format!("worker {}", busy.worker().id), &e);
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

    /// Set the headers of the hop.
    async fn upstream_request_filter(
        &self,
        _session: &mut HttpSession,
        upstream_request: &mut RequestHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        // Another attempt sends the body again.
        ctx.body_bytes = 0;
        self.0.forwarder.request(
            upstream_request,
            ctx,
            &self.0.hop.identity,
            &self.0.sessions,
        )
    }

    async fn request_body_filter(
        &self,
        _session: &mut HttpSession,
        body: &mut Option<Bytes>,
        _end_of_stream: bool,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        let bytes = body.as_ref().map_or(0, Bytes::len);
        ctx.data(bytes as u64, 0);
        phase::count_body(&self.0.hop, &mut ctx.body_bytes, bytes)?;
        ctx.exchange.outcome.bytes_in = ctx.body_bytes;
        Ok(())
    }

    /// Make the response fit for the client.
    async fn response_filter(
        &self,
        session: &mut HttpSession,
        response: &mut ResponseHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        finish_header(session, &mut ctx.exchange, response)?;
        forward::response(response, ctx, &self.0.sessions);
        let RequestContext {
            exchange,
            route,
            session: used,
            stream,
            placement,
            in_use,
            ..
        } = &mut **ctx;
        if let Some(route) = route
            && register_if_long(session, exchange, response, &route.app.streams)
        {
            // From now on only data keeps the app in use.
            *in_use = None;
            if let Some(busy) = &mut placement.worker {
                busy.mark_stream();
            }
            if let (Some(used), Some(opened)) = (used, exchange.opened()) {
                *stream = Some(OpenStream::new(
                    &used.record,
                    self.0.sessions.table(),
                    opened,
                ));
            }
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
        let bytes = body.as_ref().map_or(0, Bytes::len) as u64;
        ctx.data(0, bytes);
        ctx.exchange.outcome.bytes_out += bytes;
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
        // A worker that ends resets the connections that it had no time to look at: another one is
        // tried. An application's faults do not look like this, its worker answers for them.
        let elsewhere = !client_reused && phase::is_unread(session, &e);
        if elsewhere {
            ctx.placement.give_up();
        }
        phase::decide_retry(session, &ctx.exchange, e, client_reused, elsewhere)
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
        // The connection may have work left after this; the stream, the worker and the app have
        // not.
        ctx.stream = None;
        ctx.in_use = None;
        ctx.placement.worker = None;
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

impl Coordinator {
    /// Establishes the request's identifier, and takes it up. Says which host it is for, if that is
    /// valid.
    fn identify<'s>(
        &self,
        session: &'s HttpSession,
        ctx: &mut RequestContext,
    ) -> Result<&'s str, ProxyError> {
        let request = session.req_header();
        let (peer, local) = phase::addresses(session);
        let established = self.hop.identity.establish(&request.headers, peer);
        let tls = session
            .digest()
            .is_some_and(|digest| digest.ssl_digest.is_some());
        let host = host(request);
        ctx.origin = Origin::of(
            request,
            host.unwrap_or_default(),
            peer,
            local,
            tls,
            &self.trusted_proxies.load(),
        );
        ctx.exchange.begin(request, ctx.origin.client, established);
        host
    }

    fn admit(
        &self,
        session: &HttpSession,
        ctx: &RequestContext,
        host: Result<&str, ProxyError>,
    ) -> Verdict {
        let verdict = judge(
            session.req_header(),
            host,
            &self.apps.load(),
            self.hop.limits.request_body.0,
        );
        if let Verdict::Refuse(failure) = &verdict {
            debug!(
                "request_id={} is refused: {} {}",
                ctx.exchange.id(),
                failure.code(),
                failure.detail()
            );
        }
        verdict
    }

    /// Lets a request in that an app answers.
    async fn enter(
        &self,
        session: &mut HttpSession,
        ctx: &mut RequestContext,
        route: Route,
    ) -> Result<bool> {
        ctx.exchange.facts.app = Some(Arc::clone(&route.app.name));
        ctx.in_use = Some(route.app.usage.begin());
        if route.app.stored.app.affinity == app_proxy_api::apps::Affinity::Session {
            let used = {
                let request = SessionRequest {
                    headers: &session.req_header().headers,
                    client: ctx.origin.client,
                    request_id: ctx.exchange.id(),
                    secure: ctx.origin.secure,
                };
                self.sessions
                    .resolve(&route.app, &ctx.origin.public(&route.prefix), &request)
            };
            ctx.exchange.facts.session_id = Some(used.record.id_value());
            ctx.exchange.facts.origin_request_id = Some(used.record.origin_request_id());
            ctx.session = Some(used);
        }
        ctx.route = Some(route);
        if !is_websocket(session.req_header()) {
            forget_spelling(session.req_header_mut());
            return Ok(false);
        }
        let served = serve(
            &self.connector,
            session,
            &mut ToWorker {
                coordinator: self,
                ctx,
            },
        )
        .await?;
        if let Err(failure) = served {
            write_error(session, &mut ctx.exchange, failure).await?;
        }
        Ok(true)
    }

    /// Selects the worker of the next attempt, and pins the session to it.
    pub fn place(&self, ctx: &mut RequestContext) -> Option<Arc<PoolWorker>> {
        let selector = &ctx.route.as_ref()?.app.stored.app.pool;
        let failed = &ctx.placement.failed;
        let worker = match &ctx.session {
            Some(used) => {
                let pinned = used.record.worker();
                self.pool.select(
                    selector,
                    used.record.id().as_str().as_bytes(),
                    pinned.as_ref(),
                    failed,
                )
            }
            None => self
                .pool
                .select(selector, &rand::random::<[u8; 16]>(), None, failed),
        }?;
        if let Some(before) = ctx
            .session
            .as_ref()
            .and_then(|used| used.record.pin(&worker))
        {
            info!(
                "request_id={} moves its session from worker {} to {}",
                ctx.exchange.id(),
                before.id,
                worker.id
            );
        }
        ctx.exchange.outcome.attempts += 1;
        ctx.exchange.facts.worker = Some(Arc::clone(&worker.id));
        ctx.placement.worker = Some(LoadGuard::new(Arc::clone(&worker)));
        Some(worker)
    }
}

impl RequestContext {
    /// Counts data that flowed for the session, and notes it for the app.
    fn data(&self, bytes_in: u64, bytes_out: u64) {
        if bytes_in + bytes_out == 0 {
            return;
        }
        if let Some(route) = &self.route {
            route.app.usage.mark();
        }
        match (&self.stream, &self.session) {
            (Some(stream), _) => stream.count_bytes(bytes_in, bytes_out),
            (None, Some(used)) => used.record.count_bytes(bytes_in, bytes_out),
            (None, None) => {}
        }
    }
}

async fn redirect(
    session: &mut HttpSession,
    ctx: &mut RequestContext,
    location: &str,
) -> Result<bool> {
    let mut response = ResponseHeader::build(StatusCode::PERMANENT_REDIRECT, Some(4))?;
    response.insert_header(header::LOCATION, location)?;
    response.insert_header(header::CONTENT_LENGTH, 0)?;
    answer(session, &mut ctx.exchange, response, Bytes::new(), false)
        .await
        .map(|()| true)
}

async fn healthy(session: &mut HttpSession, ctx: &mut RequestContext) -> Result<bool> {
    let body = Bytes::from_static(b"{\"status\":\"alive\"}\n");
    let mut response = ResponseHeader::build(StatusCode::OK, Some(5))?;
    response.insert_header(header::CONTENT_TYPE, "application/json")?;
    response.insert_header(header::CONTENT_LENGTH, body.len())?;
    response.insert_header(header::CACHE_CONTROL, "no-store")?;
    answer(session, &mut ctx.exchange, response, body, false)
        .await
        .map(|()| true)
}
