//! A client's connection, from its first byte to its end.

mod arrival;
mod detection;
mod http1;
mod http2;
mod session;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use pingora_core::apps::ServerApp;
use pingora_core::protocols::{ALPN, Stream};
use pingora_core::server::ShutdownWatch;
use tokio::time::Instant;

use crate::engine::Engine;
use crate::gateway::Gateway;
use arrival::Arrived;
use detection::{Protocol, detect};

#[async_trait]
impl<G: Gateway> ServerApp for Engine<G> {
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        serve(self, stream, shutdown).await;
        None
    }
}

/// Serves a connection until it ends.
async fn serve<G: Gateway>(engine: &Arc<Engine<G>>, stream: Stream, shutdown: &ShutdownWatch) {
    let mut arrived = Arrived {
        stream,
        input: Bytes::new(),
        opened: Instant::now(),
        arriving: engine.gateway.arriving(),
    };
    let mut protocol = match arrived.stream.selected_alpn_proto() {
        Some(ALPN::H2) => Protocol::Http2,
        _ => Protocol::Http1,
    };
    if engine.protocols.h2c && arrived.stream.get_ssl_digest().is_none() {
        match detect(&engine.gateway, arrived).await {
            Some(detected) => (protocol, arrived) = detected,
            None => return,
        }
    }
    match protocol {
        Protocol::Http1 => http1::serve(engine, arrived).await,
        // On the heap, so that a connection of HTTP/1 does not carry the room for it.
        Protocol::Http2 => Box::pin(http2::serve(engine, arrived, shutdown)).await,
    }
}
