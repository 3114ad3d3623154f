//! A WebSocket request from its validation to its tunnel, or to the application's refusal (phase
//! `request_filter`).

use http::StatusCode;
use log::info;
use pingora_core::Result;
use pingora_core::connectors::TransportConnector;
use pingora_core::prelude::HttpPeer;
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session as HttpSession;

use super::handshake::{Upstream, shake_hands, validate};
use crate::error::ProxyError;
use crate::exchange::Exchange;
use crate::forwarding::prepare_websocket_request;
use crate::identity::RequestId;
use crate::phase::log_unconnected;
use crate::response::finish_header;
use crate::tunnel::{TunnelObserver, relay_refusal, upgrade};

/// What a tier brings to a WebSocket: where it goes, and what its headers are on the way.
pub trait NextHop: Send {
    /// The request.
    fn exchange(&mut self) -> &mut Exchange;

    /// Selects the next hop of the next attempt.
    ///
    /// # Errors
    /// What the client is to be told when none is left.
    fn place(&mut self) -> Result<HttpPeer, ProxyError>;

    /// Names the next hop of the last attempt, for the log.
    fn name(&self) -> String;

    /// Notes that the next hop of the last attempt cannot be connected.
    fn unconnected(&mut self);

    /// Sets the target and the headers of the hop.
    ///
    /// # Errors
    /// When the request cannot be forwarded, a fault of ours.
    fn prepare(&mut self, request: &mut RequestHeader) -> Result<()>;

    /// Makes the response fit for the client, after what both tiers do.
    fn finish(&mut self, _response: &mut ResponseHeader) {}

    /// Captures the WebSocket's identifier (docs/reference/request-id.md, rule 15), and says who
    /// follows its tunnel.
    fn captured(&mut self, id: RequestId) -> Box<dyn TunnelObserver>;
}

/// Serves a WebSocket request whose app is known.
///
/// # Errors
/// Outer: the client cannot be written to. Inner: what the client is to be told, to which nothing
/// has been sent.
pub async fn serve(
    connector: &TransportConnector,
    session: &mut HttpSession,
    next: &mut dyn NextHop,
) -> Result<Result<(), ProxyError>> {
    if let Err(failure) = validate(session.req_header()) {
        return Ok(Err(failure));
    }
    let mut upstream = match connect(connector, session, next).await {
        Ok(upstream) => upstream,
        Err(failure) => return Ok(Err(failure)),
    };
    finish_header(session, next.exchange(), &mut upstream.response)?;
    next.finish(&mut upstream.response);
    if upstream.response.status != StatusCode::SWITCHING_PROTOCOLS {
        return relay_refusal(session, upstream).await.map(Ok);
    }
    let id = next.exchange().id().clone();
    let observer = next.captured(id);
    upgrade(session, next.exchange(), upstream, observer)
        .await
        .map(Ok)
}

/// Speaks the handshake with the first next hop that can be connected: one that cannot has seen
/// nothing of the request.
async fn connect(
    connector: &TransportConnector,
    session: &HttpSession,
    next: &mut dyn NextHop,
) -> Result<Upstream, ProxyError> {
    loop {
        let peer = next.place()?;
        let mut request = session.req_header().clone();
        prepare_websocket_request(&mut request);
        if let Err(e) = next.prepare(&mut request) {
            log::error!(
                "request_id={} cannot be forwarded: {e}",
                next.exchange().id()
            );
            return Err(ProxyError::Internal);
        }
        let error = match shake_hands(connector, &peer, request).await {
            Ok(upstream) => {
                next.exchange()
                    .connected(false, Some(upstream.session.digest()));
                return Ok(upstream);
            }
            Err(error) => error,
        };
        let failure = ProxyError::of_proxying(&error, next.exchange().hop().tier);
        let name = next.name();
        if !matches!(
            failure,
            ProxyError::NoWorkerAvailable | ProxyError::EndpointUnreachable
        ) {
            info!(
                "request_id={} {name} {}: {error}",
                next.exchange().id(),
                failure.code()
            );
            return Err(failure);
        }
        log_unconnected(next.exchange(), &name, &error);
        next.unconnected();
    }
}
