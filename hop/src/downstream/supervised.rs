//! The engine as the application of a listener: its connections can be closed from outside, and end
//! with the process.

use std::sync::Arc;

use app_proxy_engine::{Engine, Gateway};
use async_trait::async_trait;
use pingora_core::apps::ServerApp;
use pingora_core::protocols::Stream;
use pingora_core::server::ShutdownWatch;

use super::ticker;
use crate::exchange::HopServices;
use crate::streams::until_closed;

/// An engine as the application of a listener.
pub struct Supervised<G: Gateway> {
    engine: Arc<Engine<G>>,
    hop: Arc<HopServices>,
}

impl<G: Gateway> Supervised<G> {
    /// Creates the application that serves connections with `engine`.
    pub fn new(engine: Engine<G>, hop: &Arc<HopServices>) -> Self {
        Self {
            engine: Arc::new(engine),
            hop: Arc::clone(hop),
        }
    }
}

#[async_trait]
impl<G: Gateway> ServerApp for Supervised<G> {
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        ticker::start();
        let (this, shutdown) = (Arc::clone(self), shutdown.clone());
        // The task that accepted the connection keeps the room for a TLS handshake, nine tenths of
        // what an unused connection would cost.
        tokio::spawn(async move {
            let served = until_closed(this.engine.process_new(stream, &shutdown));
            this.hop.drain.unless_cut_off(served).await;
        });
        None
    }
}
