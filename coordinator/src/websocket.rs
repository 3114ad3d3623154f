//! WebSockets at the coordinator: the handshake is spoken with a worker, a second one when the first cannot be connected (phase `request_filter`).

use app_proxy_hop::error::{Failure, Tier};
use app_proxy_hop::forwarding::prepare_websocket_request;
use app_proxy_hop::response::finish_header;
use app_proxy_hop::websocket::{Unobserved, Upstream, relay_refusal, shake_hands, upgrade, validate};
use http::StatusCode;
use log::info;
use pingora_core::Result;
use pingora_proxy::Session as HttpSession;

use crate::context::RequestContext;
use crate::forward;
use crate::proxy::Coordinator;
use crate::sessions::OpenStream;

/// Serves a WebSocket request whose app and session are known; the error is what the client is to be told.
///
/// # Errors
/// Outer: the client cannot be written to. Inner: the handshake failed before anything was sent to the client.
pub async fn serve(
    coordinator: &Coordinator,
    session: &mut HttpSession,
    ctx: &mut RequestContext,
) -> Result<Result<(), Failure>> {
    if let Err(failure) = validate(session.req_header()) {
        return Ok(Err(failure));
    }
    let mut upstream = match connect(coordinator, session, ctx).await {
        Ok(upstream) => upstream,
        Err(failure) => return Ok(Err(failure)),
    };
    finish_header(session, &mut ctx.exchange, &mut upstream.response)?;
    forward::response(&mut upstream.response, ctx, &coordinator.sessions);
    if upstream.response.status != StatusCode::SWITCHING_PROTOCOLS {
        return relay_refusal(session, upstream).await.map(Ok);
    }
    ctx.websocket_id = Some(ctx.exchange.id().detached());
    let stream = ctx.session.as_ref().map(|used| OpenStream::new(&used.record, coordinator.sessions.table()));
    match stream {
        Some(stream) => upgrade(session, &mut ctx.exchange, upstream, stream).await?,
        None => upgrade(session, &mut ctx.exchange, upstream, Unobserved).await?,
    }
    Ok(Ok(()))
}

async fn connect(
    coordinator: &Coordinator,
    session: &HttpSession,
    ctx: &mut RequestContext,
) -> Result<Upstream, Failure> {
    loop {
        let worker = coordinator.place(ctx).ok_or(Failure::NoWorkerAvailable)?;
        let mut request = session.req_header().clone();
        prepare_websocket_request(&mut request);
        let identity = &coordinator.hop.identity;
        if let Err(e) = coordinator.forwarder.request(&mut request, ctx, identity, &coordinator.sessions) {
            info!("request_id={} cannot be forwarded: {e}", ctx.exchange.id());
            return Err(Failure::Internal);
        }
        match shake_hands(&coordinator.connector, &worker.peer, request).await {
            Ok(upstream) => {
                ctx.exchange.connected(false, Some(upstream.session.digest()));
                return Ok(upstream);
            }
            Err(e) => {
                let failure = Failure::of_proxying(&e, Tier::Coordinator);
                info!(
                    "request_id={} worker {} attempt {}: {e}",
                    ctx.exchange.id(),
                    worker.id,
                    ctx.exchange.outcome.attempts
                );
                // Only a worker that was not connected has seen nothing of the request.
                if failure != Failure::NoWorkerAvailable {
                    return Err(failure);
                }
                ctx.placement.failed.push(worker);
            }
        }
    }
}
