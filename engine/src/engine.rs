//! The engine: a server application that drives the phases of a gateway.

use std::sync::Arc;

use pingora_core::connectors::{ConnectorOptions, TransportConnector};
use pingora_core::server::configuration::ServerConf;

use crate::Protocols;
use crate::gateway::Gateway;
use crate::head::SpelledNames;
use crate::upstream::Pool;

/// The phases of a gateway as the application of a listener.
pub struct Engine<G: Gateway> {
    pub(crate) gateway: G,
    pub(crate) protocols: Protocols,
    pub(crate) connector: TransportConnector,
    pub(crate) pool: Arc<Pool>,
    pub(crate) spelled: Arc<SpelledNames>,
    /// The attempts to have one request answered, at most.
    pub(crate) max_attempts: usize,
}

impl<G: Gateway> Engine<G> {
    /// Creates the application that drives the phases of `gateway`.
    #[must_use]
    pub fn new(conf: &ServerConf, gateway: G, protocols: Protocols) -> Self {
        let spelled = SpelledNames::new(gateway.spelled_names());
        Self {
            gateway,
            protocols,
            connector: TransportConnector::new(Some(ConnectorOptions::from_server_conf(conf))),
            pool: Pool::new(conf.upstream_keepalive_pool_size),
            spelled: Arc::new(spelled),
            max_attempts: conf.max_retries,
        }
    }
}
