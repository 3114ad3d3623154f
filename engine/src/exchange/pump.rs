//! The bytes of one attempt: the request body to the next hop and the response to the client, both
//! at once, each as fast as its receiver accepts it.

mod turn;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{ErrorType, Result};

use super::authentication::response_authenticates;
use super::context::Exchange;
use crate::body::{Framing, Piece};
use crate::error::upstream;
use crate::gateway::Gateway;
use crate::head::ResponseHead;
use crate::upstream::Upstream;
use turn::{Event, Turns};

/// The interim responses to one request that are passed on, at most.
const INTERIM_RESPONSES: usize = 32;

/// Passes the request body and the response on until the response is complete. Returns whether the
/// connection to the next hop belongs to this client from now on.
pub(super) async fn pump<G: Gateway>(
    exchange: &mut Exchange<'_, G>,
    ctx: &mut G::CTX,
    peer: &HttpPeer,
    upstream: &mut Upstream,
    framing: Framing,
) -> Result<bool> {
    let mut turns = Turns::new(exchange.engine, peer);
    if matches!(framing, Framing::None | Framing::Length(0)) || begin_replay(exchange) {
        send_request(exchange, ctx, upstream, None, true, None).await?;
        turns.request_done = true;
    }
    let (mut interim, mut is_private) = (0, false);
    while !turns.response_done {
        match turns
            .next(exchange.handle, upstream, exchange.timer)
            .await?
        {
            Event::Request(Piece::Data(data), end) => {
                send_request(exchange, ctx, upstream, Some(data), end, None).await?;
                turns.request_done = end;
            }
            Event::Request(Piece::End(trailers), _) => {
                send_request(exchange, ctx, upstream, None, true, trailers).await?;
                turns.request_done = true;
            }
            Event::Head(head) if is_interim(head.header.status) => {
                interim += 1;
                if interim > INTERIM_RESPONSES {
                    return Err(crate::error::upstream(
                        ErrorType::InvalidHTTPHeader,
                        "too many interim responses",
                    ));
                }
                pass_interim(exchange, ctx, head).await?;
            }
            Event::Head(head) => {
                is_private = response_authenticates(&head);
                pass_head(exchange, ctx, head).await?;
                turns.head_received = true;
                if upstream.is_body_done() {
                    exchange.handle.lock().client.finish(None)?;
                    turns.response_done = true;
                }
            }
            Event::Response(Piece::Data(data)) => {
                let end = upstream.is_body_done();
                pass_body(exchange, ctx, Some(data), end, None).await?;
                turns.response_done = end;
            }
            Event::Response(Piece::End(trailers)) => {
                pass_body(exchange, ctx, None, true, trailers).await?;
                turns.response_done = true;
            }
        }
    }
    Ok(is_private)
}

/// Begins to send the kept part of a request body again. Returns whether nothing of a body is left
/// to send.
fn begin_replay<G: Gateway>(exchange: &Exchange<'_, G>) -> bool {
    let shared = &mut *exchange.handle.lock();
    shared.replay.rewind();
    !shared.replay.has_next() && shared.client.is_body_done()
}

/// Passes a piece of the request body through its phase to the next hop.
async fn send_request<G: Gateway>(
    exchange: &mut Exchange<'_, G>,
    ctx: &mut G::CTX,
    upstream: &mut Upstream,
    mut body: Option<Bytes>,
    end: bool,
    trailers: Option<Box<HeaderMap>>,
) -> Result<()> {
    let gateway = &exchange.engine.gateway;
    gateway
        .request_body_filter(exchange.session, &mut body, end, ctx)
        .await?;
    if let Some(body) = body {
        upstream.write_body(body)?;
    }
    if end {
        upstream.finish(trailers)?;
    }
    Ok(())
}

/// Passes an interim response on.
async fn pass_interim<G: Gateway>(
    exchange: &mut Exchange<'_, G>,
    ctx: &mut G::CTX,
    mut head: Box<ResponseHead>,
) -> Result<()> {
    filter_head(exchange, ctx, &mut head).await?;
    exchange.handle.lock().client.write_interim(&head.header);
    Ok(())
}

/// Passes the final response head on.
async fn pass_head<G: Gateway>(
    exchange: &mut Exchange<'_, G>,
    ctx: &mut G::CTX,
    mut head: Box<ResponseHead>,
) -> Result<()> {
    exchange.handle.lock().replay.forget();
    filter_head(exchange, ctx, &mut head).await?;
    if head.header.status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(upstream(
            ErrorType::InvalidHTTPHeader,
            "a 101 to a request without an upgrade",
        ));
    }
    let ResponseHead {
        header, spelling, ..
    } = *head;
    exchange.handle.lock().spelling = Some(spelling);
    let session = &mut exchange.session.downstream_session;
    session.write_response_header(Box::new(header)).await
}

async fn filter_head<G: Gateway>(
    exchange: &mut Exchange<'_, G>,
    ctx: &mut G::CTX,
    head: &mut ResponseHead,
) -> Result<()> {
    let gateway = &exchange.engine.gateway;
    let session = &mut *exchange.session;
    gateway
        .upstream_response_filter(session, &mut head.header, ctx)
        .await?;
    gateway
        .response_filter(session, &mut head.header, ctx)
        .await
}

/// Passes a piece of the response body through its phases to the client.
async fn pass_body<G: Gateway>(
    exchange: &mut Exchange<'_, G>,
    ctx: &mut G::CTX,
    mut body: Option<Bytes>,
    end: bool,
    mut trailers: Option<Box<HeaderMap>>,
) -> Result<()> {
    let gateway = &exchange.engine.gateway;
    let session = &mut *exchange.session;
    let waits = [
        gateway.upstream_response_body_filter(session, &mut body, end, ctx)?,
        gateway.response_body_filter(session, &mut body, end, ctx)?,
    ];
    if let Some(trailers) = trailers.as_deref_mut() {
        gateway.upstream_response_trailer_filter(session, trailers, ctx)?;
        if let Some(more) = gateway
            .response_trailer_filter(session, trailers, ctx)
            .await?
        {
            exchange.handle.lock().client.write_body(more)?;
        }
    }
    {
        let client = &mut exchange.handle.lock().client;
        if let Some(body) = body {
            client.write_body(body)?;
        }
        if end {
            client.finish(trailers)?;
        }
    }
    if let Some(wait) = waits.into_iter().flatten().max() {
        // A phase limits the rate.
        let wait: Duration = wait;
        tokio::time::sleep(wait).await;
    }
    Ok(())
}

/// Returns whether a response is informational and another one follows it.
fn is_interim(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
}
