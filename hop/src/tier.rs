//! The policy of a tier: the decisions that the phases ([`crate::phases`]) leave to the coordinator
//! or the worker.

use std::future::Future;
use std::sync::Arc;

use pingora_core::Result;
use pingora_core::connectors::TransportConnector;
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session as HttpSession;

use crate::context::RequestContext;
use crate::error::ProxyError;
use crate::exchange::HopServices;
use crate::placement::NextHop;
use crate::streams::Streams;
use crate::tunnel::{Direction, TunnelObserver};

/// The context of a request at tier `T`.
pub type Context<T> = RequestContext<<T as TierPolicy>::State, <T as TierPolicy>::NextHop>;

/// The result of [`TierPolicy::enter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The request goes on to a next hop.
    Forward,
    /// The tier has answered the request itself.
    Answered,
    /// The client gets this error.
    Refuse(ProxyError),
}

/// The policy of a tier. The methods are in the order of Pingora's phases; all are called
/// statically.
pub trait TierPolicy: Sized + Send + Sync + 'static {
    /// The state of one request that only this tier has.
    type State: Send + Sync;
    /// A selected next hop, counted as busy until it is dropped.
    type NextHop: NextHop;
    /// Follows the data of a WebSocket's tunnel.
    type Tunnel: TunnelObserver;

    /// `true` if a request whose connection was reset unread may be sent to another next hop.
    const RETRIES_UNREAD: bool;

    /// The services that both tiers have.
    fn hop(&self) -> &Arc<HopServices>;

    /// Returns header names that the tier adds to responses, in the spelling that clients see.
    fn spelled_names(&self) -> Vec<String> {
        let spelled = self.hop().identity.spelled();
        vec![String::from_utf8_lossy(&spelled).into_owned()]
    }

    /// The connector of WebSockets to next hops.
    fn connector(&self) -> &TransportConnector;

    /// The state of a request that has not been read.
    fn new_state(&self) -> Self::State;

    /// Identifies a request and admits, answers or refuses it (phase `request_filter`). It begins
    /// the exchange of every request that is to be logged.
    ///
    /// # Errors
    /// When the client cannot be written to.
    fn enter(
        &self,
        session: &mut HttpSession,
        ctx: &mut Context<Self>,
    ) -> impl Future<Output = Result<Entry>> + Send;

    /// Selects the next hop of the next attempt for the client's `request` (phase `upstream_peer`),
    /// none of those in `ctx.placement` that have failed.
    ///
    /// # Errors
    /// The error for the client when no next hop is left.
    fn place(
        &self,
        request: &RequestHeader,
        ctx: &mut Context<Self>,
    ) -> Result<Self::NextHop, ProxyError>;

    /// Sets the target and the headers of the request to the next hop (phase
    /// `upstream_request_filter`).
    ///
    /// # Errors
    /// When the request has no route, which [`TierPolicy::enter`] rules out.
    fn prepare(&self, request: &mut RequestHeader, ctx: &Context<Self>) -> Result<()>;

    /// Makes the response header fit for the client (phase `response_filter`), after the changes
    /// that both tiers make.
    fn finish(&self, response: &mut ResponseHeader, ctx: &Context<Self>);

    /// Removes the headers of an interim response that only this tier knows (phase
    /// `response_filter`), after the changes that both tiers make.
    fn finish_interim(&self, _response: &mut ResponseHeader) {}

    /// The open streams of the request's app, once it is known.
    fn streams(state: &Self::State) -> Option<&Streams>;

    /// Records body bytes that flowed (phases `request_body_filter` and `response_body_filter`).
    fn observe_data(&self, ctx: &Context<Self>, from: Direction, bytes: u64);

    /// Records that the response is a stream or a long download, registered in `ctx.exchange`
    /// (phase `response_filter`), or that the request became a WebSocket.
    fn observe_stream(&self, ctx: &mut Context<Self>);

    /// Returns the observer of a WebSocket's tunnel, which outlives the request; called after
    /// [`TierPolicy::observe_stream`].
    fn observe_tunnel(&self, ctx: &mut Context<Self>) -> Self::Tunnel;

    /// Records the end of a request (phase `logging`), while Pingora may still be at work on its
    /// connection.
    fn observe_end(&self, ctx: &mut Context<Self>);
}
