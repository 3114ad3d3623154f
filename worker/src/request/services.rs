//! The services that every request at the worker shares.

use std::sync::Arc;

use app_proxy_hop::exchange::HopServices;
use app_proxy_runtime::admin::Token;
use pingora_core::connectors::TransportConnector;

use crate::apps::Apps;
use crate::sync::Followers;

/// The services of the worker.
pub(crate) struct Services {
    /// The services that both tiers have.
    pub(crate) hop: Arc<HopServices>,
    /// The identifier of the worker.
    pub(crate) id: Arc<str>,
    /// The token that authenticates coordinators.
    pub(crate) token: Token,
    /// The app tables.
    pub(crate) apps: Arc<Apps>,
    /// Follow the app tables of the coordinators.
    pub(crate) followers: Arc<Followers>,
    /// Connects WebSockets to applications.
    pub(crate) connector: TransportConnector,
}
