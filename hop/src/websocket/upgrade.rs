//! The answer to a WebSocket request: the application's refusal, or its 101 and the tunnel.

use futures::FutureExt;
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v1::client::HttpSession as UpstreamSession;
use pingora_core::{Error, ErrorType, Result};
use pingora_proxy::Session as HttpSession;
use tokio::io::AsyncWriteExt;

use crate::exchange::Exchange;
use crate::observe::RequestKind;
use crate::tunnel::{self, Direction, TunnelEnd, TunnelObserver};
use crate::websocket::handshake::Upstream;
use crate::websocket::observer::FrameObserver;

/// Relays the application's refusal as it is, body included. Its header is ready for the client.
///
/// # Errors
/// When either connection fails within it.
pub(super) async fn relay_refusal(
    session: &mut HttpSession,
    exchange: &mut Exchange,
    upstream: Upstream,
) -> Result<()> {
    let Upstream {
        session: mut upstream,
        response,
    } = upstream;
    let ends = upstream.is_body_done();
    session
        .write_response_header(Box::new(response), ends)
        .await?;
    while !upstream.is_body_done() {
        let body = upstream.read_body_bytes().await.map_err(Error::into_up)?;
        if let Some(piece) = &body {
            exchange.observe_data(Direction::FromServer, piece);
        }
        session.write_response_body(body, false).await?;
    }
    session.write_response_body(None, true).await?;
    upstream.shutdown().await;
    Ok(())
}

/// Sends the 101 to the client, takes both connections out of Pingora and spawns their tunnel.
///
/// The exchange moves into the tunnel, with the identifier captured at the handshake
/// (docs/reference/request-id.md, rule 15). It is logged as opened here, and as closed when the
/// tunnel ends.
///
/// # Errors
/// When the 101 cannot be sent. The exchange then stays with the caller.
pub(super) async fn upgrade(
    session: &mut HttpSession,
    exchange: &mut Exchange,
    upstream: Upstream,
    observer: impl TunnelObserver,
) -> Result<()> {
    let Upstream {
        session: mut upstream,
        response,
    } = upstream;
    session
        .write_response_header(Box::new(response), false)
        .await?;
    let from_client = read_early_client(session);
    let from_upstream = read_early_upstream(&mut upstream);
    let client = TunnelEnd {
        stream: take_client(session)?,
        early: from_client,
        protocol: FrameObserver::new(Direction::FromClient),
    };
    let mut upstream = upstream.into_inner();
    upstream.flush().await.map_err(|e| {
        Error::because(ErrorType::WriteError, "flushing the handshake", e).into_up()
    })?;
    let upstream = TunnelEnd {
        stream: upstream,
        early: from_upstream,
        protocol: FrameObserver::new(Direction::FromServer),
    };

    exchange.open_stream(RequestKind::WebSocket);
    let exchange = exchange.take();
    let idle = exchange.hop().websocket.idle.0;
    tunnel::spawn(exchange, observer, idle, client, upstream);
    Ok(())
}

/// Reads the bytes that the client sent right behind its handshake. A connection that has failed
/// meanwhile ends the tunnel, which logs its end.
fn read_early_client(session: &mut HttpSession) -> Vec<u8> {
    let mut early = Vec::new();
    // Each read empties one layer of buffers; the last one reads the socket, and finds nothing.
    while let Some(read) = session
        .downstream_session
        .read_request_body()
        .now_or_never()
    {
        match read {
            Ok(Some(bytes)) if !bytes.is_empty() => early.extend_from_slice(&bytes),
            _ => break,
        }
    }
    early
}

/// Reads the bytes that the application sent right behind its 101, as [`read_early_client`].
fn read_early_upstream(upstream: &mut UpstreamSession) -> Vec<u8> {
    let mut early = Vec::new();
    while let Some(read) = upstream.read_body_bytes().now_or_never() {
        match read {
            Ok(Some(bytes)) if !bytes.is_empty() => early.extend_from_slice(&bytes),
            _ => break,
        }
    }
    early
}

/// Takes the client's connection out of the session, and leaves an empty one there.
fn take_client(session: &mut HttpSession) -> Result<Stream> {
    let (nowhere, _) = tokio::io::duplex(1);
    let mut idle = ServerSession::new_http1(Box::new(nowhere));
    idle.set_keepalive(None);
    match std::mem::replace(&mut *session.downstream_session, idle) {
        ServerSession::H1(h1) => Ok(h1.into_inner()),
        other => {
            *session.downstream_session = other;
            Err(Error::explain(
                ErrorType::InternalError,
                "only HTTP/1.1 is upgraded",
            ))
        }
    }
}
