//! The context of a request: Pingora's `CTX`.

use std::sync::Arc;

use crate::exchange::{Exchange, HopServices};
use crate::identity::RequestId;
use crate::placement::{NextHop, Placement};

/// The state of one request: the part of both tiers, and the part `S` of its tier.
pub struct RequestContext<S, N: NextHop> {
    /// The identifier, the facts for the log, and the outcome so far.
    pub exchange: Exchange,
    /// The next hops that were selected.
    pub placement: Placement<N>,
    /// The identifier of the WebSocket, captured when the next hop answered with 101
    /// (docs/reference/request-id.md, rule 15).
    pub websocket_id: Option<RequestId>,
    /// Body bytes that the client has sent in this attempt, for the limit.
    pub(crate) body_bytes: u64,
    /// The tier's own state.
    pub state: S,
}

impl<S, N: NextHop> RequestContext<S, N> {
    /// The context of a request that has not been read.
    pub(crate) fn new(hop: &Arc<HopServices>, state: S) -> Self {
        Self {
            exchange: Exchange::idle(hop),
            placement: Placement::default(),
            websocket_id: None,
            body_bytes: 0,
            state,
        }
    }
}
