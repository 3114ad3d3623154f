//! A client's connection, from its first byte to its end.

mod detection;
mod http1;
mod http2;

use std::sync::Arc;

use bytes::Bytes;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::{ALPN, Digest, Stream};
use pingora_core::server::ShutdownWatch;
use pingora_proxy::Session;
use tokio::time::Instant;

use self::detection::{Protocol, detect};
use crate::engine::Engine;
use crate::gateway::Gateway;

/// A connection whose protocol is known.
pub(crate) struct Arrived<G: Gateway> {
    stream: Stream,
    /// Bytes that were read to detect the protocol.
    input: Bytes,
    opened: Instant,
    /// Held until the first request has arrived.
    arriving: G::Arriving,
}

/// Serves a connection until it ends.
pub(crate) async fn serve<G: Gateway>(
    engine: &Arc<Engine<G>>,
    stream: Stream,
    shutdown: &ShutdownWatch,
) {
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

/// Returns what is known of a connection.
pub(crate) fn digest_of(stream: &Stream) -> Arc<Digest> {
    Arc::new(Digest {
        ssl_digest: stream.get_ssl_digest(),
        timing_digest: stream.get_timing_digest(),
        proxy_digest: stream.get_proxy_digest(),
        socket_digest: stream.get_socket_digest(),
    })
}

/// Creates the session object of the phases. Its own connection leads nowhere: the session of each
/// request replaces it.
pub(crate) fn new_session() -> Session {
    let (nowhere, _) = tokio::io::duplex(1);
    Session::new_h1(Box::new(nowhere))
}

/// Puts the session of a request into the session object of the phases.
pub(crate) fn begin_session(session: &mut Session, request: crate::exchange::EngineSession) {
    *session.downstream_session = ServerSession::new_custom(Box::new(request));
}
