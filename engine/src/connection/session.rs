//! The session object of the phases.

use std::sync::Arc;

use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::{Digest, Stream};
use pingora_proxy::Session;

use crate::exchange::EngineSession;

/// Returns what is known of a connection.
pub(super) fn digest_of(stream: &Stream) -> Arc<Digest> {
    Arc::new(Digest {
        ssl_digest: stream.get_ssl_digest(),
        timing_digest: stream.get_timing_digest(),
        proxy_digest: stream.get_proxy_digest(),
        socket_digest: stream.get_socket_digest(),
    })
}

/// Creates the session object of the phases. Its own connection leads nowhere: the session of each
/// request replaces it.
pub(super) fn new_session() -> Session {
    let (nowhere, _) = tokio::io::duplex(1);
    Session::new_h1(Box::new(nowhere))
}

/// Puts the session of a request into the session object of the phases.
pub(super) fn begin_session(session: &mut Session, request: EngineSession) {
    *session.downstream_session = ServerSession::new_custom(Box::new(request));
}
