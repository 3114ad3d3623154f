//! The context of a request: Pingora's `CTX`.

use std::sync::Arc;

use crate::exchange::{Exchange, HopServices};
use crate::placement::{NextHop, Placement};

/// The state of one request: the part of both tiers, and the part `S` of its tier.
pub struct RequestContext<S, N: NextHop> {
    /// The identifier, the facts for the log, and the outcome so far.
    pub exchange: Exchange,
    /// The next hops that were selected.
    pub placement: Placement<N>,
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
            body_bytes: 0,
            state,
        }
    }
}
