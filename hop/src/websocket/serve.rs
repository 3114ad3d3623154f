//! A WebSocket request from its validation to its tunnel, or to the application's refusal (phase
//! `request_filter`).

use std::time::Duration;

use app_proxy_engine::Handshake;
use http::StatusCode;
use log::info;
use pingora_core::Result;
use pingora_http::ResponseHeader;
use pingora_proxy::Session as HttpSession;

use crate::attempt;
use crate::error::ProxyError;
use crate::forwarding::prepare_websocket_request;
use crate::placement::NextHop;
use crate::response::finish_header;
use crate::tier::{Context, TierPolicy};
use crate::tunnel::{Direction, TunnelObserver};
use crate::websocket::handshake::check_switch;
use crate::websocket::request::validate;
use crate::websocket::upgrade::{relay_refusal, upgrade};

/// The longest time in which a next hop must answer a handshake. Meanwhile the client's connection
/// is not watched.
const HANDSHAKE: Duration = Duration::from_secs(60);

/// Serves a WebSocket request that the tier has admitted.
///
/// # Errors
/// Outer: the client cannot be written to. Inner: the error for the client, which has got nothing
/// yet.
pub(crate) async fn serve<T: TierPolicy>(
    tier: &T,
    session: &mut HttpSession,
    ctx: &mut Context<T>,
) -> Result<Result<(), ProxyError>> {
    if let Err(failure) = validate(session.req_header()) {
        return Ok(Err(failure));
    }
    let (upstream, mut response) = match connect(tier, session, ctx).await {
        Ok(answered) => answered,
        Err(failure) => return Ok(Err(failure)),
    };
    finish_header(session, &mut ctx.exchange, &mut response)?;
    tier.finish(&mut response, ctx);
    if response.status != StatusCode::SWITCHING_PROTOCOLS {
        return relay_refusal(session, &mut ctx.exchange, upstream, response)
            .await
            .map(Ok);
    }
    let observer = open(tier, ctx);
    upgrade(session, &mut ctx.exchange, upstream, response, observer)
        .await
        .map(Ok)
}

/// Connects the first next hop that accepts a connection, and exchanges the handshake with it. One
/// that cannot be connected has seen nothing of the request.
async fn connect<T: TierPolicy>(
    tier: &T,
    session: &HttpSession,
    ctx: &mut Context<T>,
) -> Result<(Handshake, ResponseHeader), ProxyError> {
    let limits = tier.hop().limits.response_head;
    loop {
        let peer = attempt::begin(tier, session.req_header(), ctx)?
            .peer()
            .clone();
        let mut request = session.req_header().clone();
        prepare_websocket_request(&mut request);
        if let Err(e) = tier.prepare(&mut request, ctx) {
            log::error!("request_id={} cannot be forwarded: {e}", ctx.exchange.id());
            return Err(ProxyError::Internal);
        }
        let started = Handshake::start(tier.connector(), &peer, &request, limits, HANDSHAKE).await;
        let error = match started {
            Ok((upstream, response)) => match check_switch(&response) {
                Ok(()) => {
                    ctx.exchange.connected(false, Some(upstream.digest()));
                    return Ok((upstream, response));
                }
                Err(error) => error,
            },
            Err(error) => error,
        };
        let failure = ProxyError::of_proxying(&error, tier.hop().tier);
        if !matches!(
            failure,
            ProxyError::NoWorkerAvailable | ProxyError::EndpointUnreachable
        ) {
            info!(
                "request_id={} {} {} {}: {error}",
                ctx.exchange.id(),
                T::NextHop::NOUN,
                ctx.placement.current().map_or("", NextHop::name),
                failure.code()
            );
            return Err(failure);
        }
        attempt::give_up_unconnected(ctx, &error);
    }
}

/// Captures the identifier of the WebSocket, registers its stream, and returns the observer of its
/// tunnel. The next hop counts as busy for as long as the tunnel lives.
fn open<T: TierPolicy>(tier: &T, ctx: &mut Context<T>) -> AtNextHop<T> {
    ctx.websocket_id = Some(ctx.exchange.id().clone());
    if let Some(streams) = T::streams(&ctx.state) {
        ctx.exchange.register(streams);
    }
    tier.observe_stream(ctx);
    AtNextHop {
        observer: tier.observe_tunnel(ctx),
        _next: ctx.placement.end(),
    }
}

/// The observer of a tunnel, with the next hop that the tunnel keeps busy.
struct AtNextHop<T: TierPolicy> {
    observer: T::Tunnel,
    _next: Option<T::NextHop>,
}

impl<T: TierPolicy> TunnelObserver for AtNextHop<T> {
    fn data(&mut self, from: Direction, bytes: u64) {
        self.observer.data(from, bytes);
    }
}
