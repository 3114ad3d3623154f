//! One attempt to have a request answered by a next hop.

use std::time::Duration;

use http::{HeaderValue, Method, Version, header};
use pingora_core::Result;
use pingora_core::upstreams::peer::{HttpPeer, Peer};
use pingora_http::RequestHeader;

use super::authentication::request_authenticates;
use super::context::Exchange;
use super::pump::pump;
use crate::body::Framing;
use crate::gateway::Gateway;
use crate::head::remove_hop_by_hop;
use crate::upstream::{Asks, Upstream};

/// Connects to the next hop that the phases select, and lets it answer the request.
///
/// # Errors
/// The failure, as the phases have judged it: it says whether another attempt may follow.
pub(super) async fn attempt<G: Gateway>(
    exchange: &mut Exchange<'_, G>,
    ctx: &mut G::CTX,
) -> Result<()> {
    let gateway = &exchange.engine.gateway;
    let peer = gateway.upstream_peer(exchange.session, ctx).await?;
    let key = peer.reuse_hash();
    let mut lease = match take_kept(exchange, key) {
        Some(lease) => lease,
        // On the heap: this future is larger than all others of an exchange together, and most
        // requests have a kept connection.
        None => match Box::pin(Upstream::connect(&exchange.engine.connector, &peer)).await {
            Ok(upstream) => Lease::new(upstream),
            Err(e) => {
                let e = gateway.fail_to_connect(exchange.session, &peer, ctx, e);
                return Err(e.into_up());
            }
        },
    };
    let reused = lease.reused;
    match forward(exchange, ctx, &peer, &mut lease).await {
        Ok(()) => {
            keep(exchange, key, lease, peer.idle_timeout());
            Ok(())
        }
        Err(e) => {
            drop(lease);
            Err(gateway.error_while_proxy(&peer, exchange.session, e, ctx, reused))
        }
    }
}

/// A connection for one attempt.
struct Lease {
    upstream: Box<Upstream>,
    /// It was kept by an earlier request.
    reused: bool,
    /// It belongs to this client.
    is_private: bool,
}

impl Lease {
    const fn kept(upstream: Box<Upstream>, is_private: bool) -> Self {
        Self {
            upstream,
            reused: true,
            is_private,
        }
    }

    fn new(upstream: Upstream) -> Self {
        Self {
            upstream: Box::new(upstream),
            reused: false,
            is_private: false,
        }
    }
}

/// Takes a kept connection: the one that belongs to this client, or any other. One to another peer
/// stays with the client.
fn take_kept<G: Gateway>(exchange: &mut Exchange<'_, G>, key: u64) -> Option<Lease> {
    if let Some(slot) = exchange.private.as_deref_mut()
        && let Some((_, mut upstream)) = slot.take_if(|(kept_for, _)| *kept_for == key)
        && !upstream.is_stale()
    {
        return Some(Lease::kept(upstream, true));
    }
    let upstream = exchange.engine.pool.take(key)?;
    Some(Lease::kept(upstream, false))
}

/// Keeps a connection that another request may use. One that the application has authenticated is
/// kept for the same client alone.
fn keep<G: Gateway>(
    exchange: &mut Exchange<'_, G>,
    key: u64,
    lease: Lease,
    idle: Option<Duration>,
) {
    let upstream = lease.upstream;
    if !upstream.is_reusable() {
        return;
    }
    match (&mut exchange.private, lease.is_private) {
        (_, false) => exchange.engine.pool.put(key, upstream, idle),
        (Some(slot), true) => **slot = Some((key, upstream)),
        (None, true) => {}
    }
}

/// Sends the request, and passes the response on. From the first request or response on that
/// authenticates the connection, it belongs to this client.
async fn forward<G: Gateway>(
    exchange: &mut Exchange<'_, G>,
    ctx: &mut G::CTX,
    peer: &HttpPeer,
    lease: &mut Lease,
) -> Result<()> {
    let gateway = &exchange.engine.gateway;
    let upstream = &mut *lease.upstream;
    let (fd, digest) = (upstream.stream().id(), upstream.digest());
    gateway
        .connected_to_upstream(exchange.session, lease.reused, peer, fd, Some(digest), ctx)
        .await?;
    let mut request = exchange.session.req_header().clone();
    make_upstream_request(&mut request, exchange.traits.hop_by_hop)?;
    gateway
        .upstream_request_filter(exchange.session, &mut request, ctx)
        .await?;
    lease.is_private |= request_authenticates(&request);
    let framing = framing_of(
        &request,
        exchange.traits.framing,
        exchange.session.req_header().version == Version::HTTP_2,
    );
    let asks = if exchange.traits.accepts_trailers {
        Asks::Trailers
    } else {
        Asks::Nothing
    };
    upstream.begin(&request, framing, asks);
    drop(request);
    lease.is_private |= pump(exchange, ctx, peer, upstream, framing).await?;
    Ok(())
}

/// Makes a request fit for a next hop of HTTP/1.1, before the phases change it.
fn make_upstream_request(request: &mut RequestHeader, hop_by_hop: bool) -> Result<()> {
    if request.version == Version::HTTP_2
        && let Some(authority) = request.uri.authority()
    {
        // It wins over Host (RFC 9113, section 8.3.1).
        let host = HeaderValue::from_str(authority.as_str());
        request.insert_header(header::HOST, host.unwrap_or(HeaderValue::from_static("")))?;
    }
    request.set_version(Version::HTTP_11);
    if hop_by_hop {
        remove_hop_by_hop(request);
    }
    Ok(())
}

/// Returns the framing of the request body towards the next hop. A phase that changes the body
/// removes or changes its length.
fn framing_of(request: &RequestHeader, received: Framing, from_http2: bool) -> Framing {
    if received == Framing::None {
        return if from_http2 && expects_length(&request.method) {
            Framing::Length(0)
        } else {
            Framing::None
        };
    }
    let length = request.headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|value| str::from_utf8(value.as_bytes()).ok()?.parse().ok());
    match (received, length) {
        (_, Some(length)) => Framing::Length(length),
        (Framing::Length(0), None) => Framing::Length(0),
        (_, None) => Framing::Chunked,
    }
}

/// Returns whether a request with this method says that it has no content (RFC 9110, section 8.6).
fn expects_length(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}
