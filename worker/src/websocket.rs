//! WebSockets at the worker: the handshake is spoken with the application (phase `request_filter`).

use app_proxy_hop::error::{Failure, Tier};
use app_proxy_hop::forwarding::prepare_websocket_request;
use app_proxy_hop::response::finish_header;
use app_proxy_hop::websocket::observer::Direction;
use app_proxy_hop::websocket::{StreamObserver, Upstream, relay_refusal, shake_hands, upgrade, validate};
use http::StatusCode;
use log::info;
use pingora_core::Result;
use pingora_proxy::Session as HttpSession;

use crate::context::RequestContext;
use crate::endpoints::Busy;
use crate::forward;
use crate::proxy::Worker;

/// Keeps the endpoint counted as busy for as long as the tunnel lives.
struct AtEndpoint {
    _busy: Option<Busy>,
}

impl StreamObserver for AtEndpoint {
    fn data(&mut self, _from: Direction, _bytes: u64) {}
}

/// Serves a WebSocket request whose app is known; the error is what the client is to be told.
///
/// # Errors
/// Outer: the coordinator cannot be written to. Inner: the handshake failed before anything was sent to it.
pub async fn serve(
    worker: &Worker,
    session: &mut HttpSession,
    ctx: &mut RequestContext,
) -> Result<Result<(), Failure>> {
    if let Err(failure) = validate(session.req_header()) {
        return Ok(Err(failure));
    }
    let mut upstream = match connect(worker, session, ctx).await {
        Ok(upstream) => upstream,
        Err(failure) => return Ok(Err(failure)),
    };
    finish_header(session, &mut ctx.exchange, &mut upstream.response)?;
    if upstream.response.status != StatusCode::SWITCHING_PROTOCOLS {
        return relay_refusal(session, upstream).await.map(Ok);
    }
    ctx.websocket_id = Some(ctx.exchange.id().detached());
    let at = AtEndpoint { _busy: ctx.placement.endpoint.take() };
    upgrade(session, &mut ctx.exchange, upstream, at).await?;
    Ok(Ok(()))
}

async fn connect(worker: &Worker, session: &HttpSession, ctx: &mut RequestContext) -> Result<Upstream, Failure> {
    loop {
        let endpoint = worker.place(ctx)?;
        let mut request = session.req_header().clone();
        prepare_websocket_request(&mut request);
        if let Err(e) = forward::request(&mut request, ctx, &worker.hop.identity) {
            info!("request_id={} cannot be forwarded: {e}", ctx.exchange.id());
            return Err(Failure::Internal);
        }
        match shake_hands(&worker.connector, &endpoint.peer, request).await {
            Ok(upstream) => {
                ctx.exchange.connected(false, Some(upstream.session.digest()));
                return Ok(upstream);
            }
            Err(e) => {
                let failure = Failure::of_proxying(&e, Tier::Worker);
                info!(
                    "request_id={} endpoint {} attempt {}: {e}",
                    ctx.exchange.id(),
                    endpoint.address,
                    ctx.exchange.outcome.attempts
                );
                // Only an application that was not connected has seen nothing of the request.
                if failure != Failure::EndpointUnreachable {
                    return Err(failure);
                }
                ctx.placement.failed.push(endpoint);
            }
        }
    }
}
