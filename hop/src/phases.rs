//! Pingora's phases, in the order in which a request meets them: a table of contents. Each phase
//! calls one function; the decisions are in the policy of the tier ([`TierPolicy`]).

use std::os::unix::io::RawFd;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use pingora_core::modules::http::HttpModules;
use pingora_core::prelude::HttpPeer;
use pingora_core::protocols::Digest;
use pingora_core::{Error, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session as HttpSession};

use crate::context::RequestContext;
use crate::tier::{Context, TierPolicy};
use crate::tunnel::Direction;
use crate::{attempt, body, end, enter, response};

/// The phases of a tier; all its listeners share the policy.
pub struct Phases<T>(Arc<T>);

impl<T: TierPolicy> Phases<T> {
    /// The phases of the tier with this policy.
    #[must_use]
    pub fn new(tier: &Arc<T>) -> Self {
        Self(Arc::clone(tier))
    }

    /// The policy.
    pub(crate) fn tier(&self) -> &T {
        &self.0
    }
}

#[async_trait]
impl<T: TierPolicy> ProxyHttp for Phases<T> {
    /// On the heap: Pingora moves the context with the state of its own phases, several times a
    /// request.
    type CTX = Box<Context<T>>;

    fn new_ctx(&self) -> Self::CTX {
        Box::new(RequestContext::new(self.0.hop(), self.0.new_state()))
    }

    /// Leaves out the module that Pingora adds by default: it compresses nothing here, and looks at
    /// every request.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    /// Identifies and admits the request. A WebSocket leaves Pingora's loop here.
    async fn request_filter(&self, session: &mut HttpSession, ctx: &mut Self::CTX) -> Result<bool> {
        enter::enter(&*self.0, session, ctx).await
    }

    /// Selects the next hop.
    async fn upstream_peer(
        &self,
        session: &mut HttpSession,
        ctx: &mut Self::CTX,
    ) -> Result<Box<HttpPeer>> {
        attempt::peer(&*self.0, session.req_header(), ctx)
    }

    /// Has another next hop tried.
    fn fail_to_connect(
        &self,
        _session: &mut HttpSession,
        _peer: &HttpPeer,
        ctx: &mut Self::CTX,
        e: Box<Error>,
    ) -> Box<Error> {
        attempt::connect_failed(ctx, e)
    }

    /// Records the connection to the next hop.
    async fn connected_to_upstream(
        &self,
        _session: &mut HttpSession,
        reused: bool,
        _peer: &HttpPeer,
        _fd: RawFd,
        digest: Option<&Digest>,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        ctx.exchange.connected(reused, digest);
        Ok(())
    }

    /// Sets the target and the headers of the request to the next hop.
    async fn upstream_request_filter(
        &self,
        _session: &mut HttpSession,
        upstream_request: &mut RequestHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        attempt::prepare(&*self.0, upstream_request, ctx)
    }

    /// Counts the request body, and ends one that is too large.
    async fn request_body_filter(
        &self,
        _session: &mut HttpSession,
        body: &mut Option<Bytes>,
        _end_of_stream: bool,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        body::count(&*self.0, ctx, Direction::FromClient, body.as_ref())
    }

    /// Makes the response header fit for the client.
    async fn response_filter(
        &self,
        session: &mut HttpSession,
        response: &mut ResponseHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        response::finish(&*self.0, session, response, ctx)
    }

    /// Counts the response body.
    fn response_body_filter(
        &self,
        _session: &mut HttpSession,
        body: &mut Option<Bytes>,
        _end_of_stream: bool,
        ctx: &mut Self::CTX,
    ) -> Result<Option<Duration>> {
        body::count(&*self.0, ctx, Direction::FromServer, body.as_ref()).map(|()| None)
    }

    /// Makes the response trailers fit for the client.
    async fn response_trailer_filter(
        &self,
        _session: &mut HttpSession,
        trailers: &mut HeaderMap,
        ctx: &mut Self::CTX,
    ) -> Result<Option<Bytes>> {
        response::finish_trailers::<T>(trailers, ctx);
        Ok(None)
    }

    /// Decides whether a failed attempt is repeated.
    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut HttpSession,
        e: Box<Error>,
        ctx: &mut Self::CTX,
        client_reused: bool,
    ) -> Box<Error> {
        attempt::failed::<T>(session, ctx, e, client_reused)
    }

    /// Answers with an error.
    async fn fail_to_proxy(
        &self,
        session: &mut HttpSession,
        e: &Error,
        ctx: &mut Self::CTX,
    ) -> FailToProxy {
        end::fail(session, &mut ctx.exchange, e).await
    }

    /// Ends the exchange, and logs it.
    async fn logging(&self, session: &mut HttpSession, e: Option<&Error>, ctx: &mut Self::CTX) {
        end::log(&*self.0, session, ctx, e);
    }

    fn request_summary(&self, session: &HttpSession, ctx: &Self::CTX) -> String {
        end::summary(session.req_header(), &ctx.exchange)
    }

    /// Suppresses Pingora's line: `fail_to_proxy` logs every failure, with the identifier.
    fn suppress_error_log(&self, _session: &HttpSession, _ctx: &Self::CTX, _error: &Error) -> bool {
        true
    }

    /// Suppresses Pingora's line about a retry: `fail_to_connect` and `error_while_proxy` log it.
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
