//! Connections that leave HTTP (RFC 9110, section 7.8).

use std::future::poll_fn;

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::ServerSession;
use pingora_core::{Error, ErrorType, Result};
use pingora_proxy::Session;

use crate::exchange::Handle;

/// A connection that has left HTTP.
#[derive(Debug)]
pub struct Upgraded {
    /// The connection.
    pub stream: Stream,
    /// Bytes that came right behind the head.
    pub early: Bytes,
}

/// The claim on the connection of a request that asks for another protocol: an extension of the
/// request.
#[derive(Clone)]
pub(crate) struct OnUpgrade(Handle);

impl OnUpgrade {
    /// Creates the claim on the connection of an exchange.
    pub(crate) fn new(handle: &Handle) -> Self {
        Self(handle.clone())
    }
}

/// Takes the client's connection out of a session whose 101 was written. The session must not be
/// used after that, except by `logging`.
///
/// # Errors
/// When the 101 cannot be sent, or the protocol of the client has no upgrade.
pub async fn take_client(session: &mut Session) -> Result<Upgraded> {
    match session.req_header().extensions.get::<OnUpgrade>().cloned() {
        Some(OnUpgrade(handle)) => {
            poll_fn(|cx| handle.lock().client.poll_flush(cx)).await?;
            let taken = handle.lock().client.take();
            let (stream, early) = taken.ok_or_else(not_upgraded)?;
            Ok(Upgraded { stream, early })
        }
        None => take_from_pingora(session),
    }
}

/// Takes the connection out of a session of Pingora's own loop.
fn take_from_pingora(session: &mut Session) -> Result<Upgraded> {
    let mut early = BytesMut::new();
    // Each read empties one layer of buffers; the last one reads the socket, and finds nothing. A
    // connection that has failed meanwhile ends the tunnel.
    while let Some(Ok(Some(bytes))) = session
        .downstream_session
        .read_request_body()
        .now_or_never()
        .filter(|read| matches!(read, Ok(Some(bytes)) if !bytes.is_empty()))
    {
        early.extend_from_slice(&bytes);
    }
    let (nowhere, _) = tokio::io::duplex(1);
    let mut idle = ServerSession::new_http1(Box::new(nowhere));
    idle.set_keepalive(None);
    match std::mem::replace(&mut *session.downstream_session, idle) {
        ServerSession::H1(h1) => Ok(Upgraded {
            stream: h1.into_inner(),
            early: early.freeze(),
        }),
        other => {
            *session.downstream_session = other;
            Err(not_upgraded())
        }
    }
}

fn not_upgraded() -> Box<Error> {
    Error::explain(ErrorType::InternalError, "only HTTP/1.1 is upgraded")
}
