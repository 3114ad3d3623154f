//! One request of a client, and what serves it.

use std::sync::Arc;

use pingora_proxy::Session;

use super::{Handle, Timer};
use crate::body::Framing;
use crate::engine::Engine;
use crate::gateway::Gateway;
use crate::upstream::Upstream;

/// The facts of a request head that decide how it is forwarded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traits {
    /// The framing of the body.
    pub(crate) framing: Framing,
    /// The client accepts trailers.
    pub(crate) accepts_trailers: bool,
    /// The head has a hop-by-hop header.
    pub(crate) hop_by_hop: bool,
}

/// A connection to the next hop that belongs to one client connection, because the application has
/// authenticated it, and the key of its peer.
pub(crate) type Private = Option<(u64, Box<Upstream>)>;

/// One request of a client, and what serves it.
pub(crate) struct Exchange<'e, G: Gateway> {
    pub(crate) engine: &'e Arc<Engine<G>>,
    pub(crate) session: &'e mut Session,
    pub(crate) handle: &'e Handle,
    pub(crate) timer: &'e mut Timer,
    pub(crate) traits: Traits,
    /// The slot of the client's connection; `None` where connections have no slot (HTTP/2).
    pub(crate) private: Option<&'e mut Private>,
}
