//! The services that every request at the coordinator shares.

use std::sync::Arc;

use app_proxy_hop::exchange::HopServices;
use arc_swap::ArcSwap;
use http::HeaderValue;
use pingora_core::connectors::TransportConnector;

use crate::access::Access;
use crate::activation::activator::Activator;
use crate::apps::Apps;
use crate::config::Networks;
use crate::placement::Placement;
use crate::pool::Pool;
use crate::request::via::Pseudonym;
use crate::sessions::Sessions;

/// The services that every request at the coordinator uses.
pub(crate) struct Services {
    /// The services that both tiers have.
    pub(crate) hop: Arc<HopServices>,
    /// The networks whose forwarded headers are trusted.
    pub(crate) trusted_proxies: ArcSwap<Networks>,
    /// The policies of an embedder.
    pub(crate) policies: CoordinatorPolicies,
    /// The app table with its router.
    pub(crate) apps: Arc<Apps>,
    /// Starts apps that have no endpoint.
    pub(crate) activator: Activator,
    /// The sessions.
    pub(crate) sessions: Arc<Sessions>,
    /// The workers.
    pub(crate) pool: Arc<Pool>,
    /// The name of this fleet in `Via`.
    pub(crate) pseudonym: Pseudonym,
    /// The token that authenticates the coordinator at workers, marked as sensitive.
    pub(crate) worker_token: HeaderValue,
    /// Connects WebSockets to workers.
    pub(crate) connector: TransportConnector,
}

/// The policies that an embedder may set at a coordinator only.
#[derive(Default)]
pub(crate) struct CoordinatorPolicies {
    /// Decides who may enter; everybody may if there is none.
    pub(crate) access: Option<Box<dyn Access>>,
    /// Selects workers; [`Ketama`](crate::placement::Ketama) does if there is none.
    pub(crate) placement: Option<Box<dyn Placement>>,
}
