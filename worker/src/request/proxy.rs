//! The policy of the worker: a table of contents, each method calls the file of its name. The
//! phases that call it are in `hop::phases`.

use std::sync::Arc;

use app_proxy_hop::error::ProxyError;
use app_proxy_hop::exchange::HopServices;
use app_proxy_hop::phases::Phases;
use app_proxy_hop::streams::Streams;
use app_proxy_hop::tier::{Entry, TierPolicy};
use app_proxy_hop::tunnel::{Direction, Unobserved};
use pingora_core::Result;
use pingora_core::connectors::TransportConnector;
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session as HttpSession;

use crate::endpoints::LoadGuard;
use crate::request::context::{RequestContext, RequestState};
use crate::request::services::Services;
use crate::request::{enter, observe, place, prepare};

/// Pingora's phases with the policy of the worker.
pub(crate) type WorkerProxy = Phases<Services>;

impl TierPolicy for Services {
    type State = RequestState;
    type NextHop = LoadGuard;
    type Tunnel = Unobserved;

    /// An application that resets a connection may have acted on its request.
    const RETRIES_UNREAD: bool = false;

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
        _request: &RequestHeader,
        ctx: &mut RequestContext,
    ) -> Result<LoadGuard, ProxyError> {
        place::place(ctx)
    }

    // upstream_request_filter
    fn prepare(&self, request: &mut RequestHeader, ctx: &RequestContext) -> Result<()> {
        prepare::prepare(&self.hop.identity, request, ctx)
    }

    /// The coordinator makes the response fit for the client.
    // response_filter
    fn finish(&self, _response: &mut ResponseHeader, _ctx: &RequestContext) {}

    fn streams(state: &RequestState) -> Option<&Streams> {
        observe::streams(state)
    }

    /// The coordinator records the use of apps and sessions.
    fn observe_data(&self, _ctx: &RequestContext, _from: Direction, _bytes: u64) {}

    fn observe_stream(&self, _ctx: &mut RequestContext) {}

    fn observe_tunnel(&self, _ctx: &mut RequestContext) -> Unobserved {
        Unobserved
    }

    // logging
    fn observe_end(&self, _ctx: &mut RequestContext) {}
}
