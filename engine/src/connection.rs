//! A client's connection, from its first byte to its end.

mod http1;

use std::sync::Arc;

use bytes::Bytes;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::{Digest, Stream};
use pingora_core::server::ShutdownWatch;
use pingora_proxy::Session;

use crate::engine::Engine;
use crate::gateway::Gateway;

/// Serves a connection until it ends.
pub(crate) async fn serve<G: Gateway>(
    engine: &Arc<Engine<G>>,
    stream: Stream,
    _shutdown: &ShutdownWatch,
) {
    http1::serve(engine, stream, Bytes::new()).await;
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
