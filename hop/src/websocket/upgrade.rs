//! The answer to a WebSocket request: the application's refusal, or its 101 and the tunnel.

use app_proxy_engine::{Handshake, take_client};
use pingora_core::Result;
use pingora_http::ResponseHeader;
use pingora_proxy::Session as HttpSession;

use crate::exchange::Exchange;
use crate::observe::RequestKind;
use crate::tunnel::{self, Direction, TunnelEnd, TunnelObserver};
use crate::websocket::observer::FrameObserver;

/// Relays the application's refusal as it is, body included. Its header is ready for the client.
///
/// # Errors
/// When either connection fails within it.
pub(super) async fn relay_refusal(
    session: &mut HttpSession,
    exchange: &mut Exchange,
    mut upstream: Handshake,
    response: ResponseHeader,
) -> Result<()> {
    let ends = upstream.is_body_done();
    session
        .write_response_header(Box::new(response), ends)
        .await?;
    while let Some(piece) = upstream.read_body().await? {
        exchange.observe_data(Direction::FromServer, &piece);
        session.write_response_body(Some(piece), false).await?;
    }
    session.write_response_body(None, true).await
}

/// Sends the 101 to the client, takes both connections out of HTTP and spawns their tunnel.
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
    upstream: Handshake,
    response: ResponseHeader,
    observer: impl TunnelObserver,
) -> Result<()> {
    session
        .write_response_header(Box::new(response), false)
        .await?;
    let client = take_client(session).await?;
    let upstream = upstream.into_upgraded();
    let client = TunnelEnd {
        stream: client.stream,
        early: client.early.into(),
        protocol: FrameObserver::new(Direction::FromClient),
    };
    let upstream = TunnelEnd {
        stream: upstream.stream,
        early: upstream.early.into(),
        protocol: FrameObserver::new(Direction::FromServer),
    };

    exchange.open_stream(RequestKind::WebSocket);
    let exchange = exchange.take();
    let idle = exchange.hop().websocket.idle.0;
    tunnel::spawn(exchange, observer, idle, client, upstream);
    Ok(())
}
