//! The policy of the coordinator: a table of contents, each method calls the file of its name. The
//! phases that call it are in `hop::phases`.

use std::sync::Arc;

use app_proxy_hop::error::ProxyError;
use app_proxy_hop::exchange::HopServices;
use app_proxy_hop::phases::Phases;
use app_proxy_hop::streams::Streams;
use app_proxy_hop::tier::{Entry, TierPolicy};
use app_proxy_hop::tunnel::Direction;
use pingora_core::Result;
use pingora_core::connectors::TransportConnector;
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session as HttpSession;

use crate::pool::LoadGuard;
use crate::request::context::{RequestContext, RequestState};
use crate::request::observe::AppTunnel;
use crate::request::services::Services;
use crate::request::{enter, finish, observe, place, prepare};

/// Pingora's phases with the policy of the coordinator.
pub(crate) type CoordinatorProxy = Phases<Services>;

impl TierPolicy for Services {
    type State = RequestState;
    type NextHop = LoadGuard;
    type Tunnel = AppTunnel;

    /// A worker that shuts down resets the connections that it has not read; another one serves
    /// their requests. Faults of an application do not look like this: its worker answers them.
    const RETRIES_UNREAD: bool = true;

    fn hop(&self) -> &Arc<HopServices> {
        &self.hop
    }

    fn connector(&self) -> &TransportConnector {
        &self.connector
    }

    fn new_state(&self) -> RequestState {
        RequestState::default()
    }

    // request_filter
    async fn enter(&self, session: &mut HttpSession, ctx: &mut RequestContext) -> Result<Entry> {
        enter::enter(self, session, ctx).await
    }

    // upstream_peer, once for each attempt
    fn place(
        &self,
        request: &RequestHeader,
        ctx: &mut RequestContext,
    ) -> Result<LoadGuard, ProxyError> {
        place::place(self, request, ctx)
    }

    // upstream_request_filter
    fn prepare(&self, request: &mut RequestHeader, ctx: &RequestContext) -> Result<()> {
        prepare::prepare(self, request, ctx)
    }

    // response_filter
    fn finish(&self, response: &mut ResponseHeader, ctx: &RequestContext) {
        finish::finish(&self.sessions, response, &ctx.state);
    }

    // response_filter
    fn finish_interim(&self, response: &mut ResponseHeader) {
        response.remove_header(self.sessions.header());
    }

    fn streams(state: &RequestState) -> Option<&Streams> {
        observe::streams(state)
    }

    fn observe_data(&self, ctx: &RequestContext, from: Direction, bytes: u64) {
        observe::data(&ctx.state, from, bytes);
    }

    fn observe_stream(&self, ctx: &mut RequestContext) {
        observe::stream(&self.sessions, ctx);
    }

    fn observe_tunnel(&self, ctx: &mut RequestContext) -> AppTunnel {
        observe::tunnel(&mut ctx.state)
    }

    // logging
    fn observe_end(&self, ctx: &mut RequestContext) {
        observe::end(&mut ctx.state);
    }
}
