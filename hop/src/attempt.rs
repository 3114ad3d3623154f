//! One attempt at a next hop, and whether another one follows it.

use log::{info, warn};
use pingora_core::prelude::HttpPeer;
use pingora_core::{Error, ErrorSource, ErrorType, Result};
use pingora_http::RequestHeader;
use pingora_proxy::Session as HttpSession;

use crate::context::RequestContext;
use crate::error::{ProxyError, raise};
use crate::placement::NextHop;
use crate::tier::{Context, TierPolicy};

/// Selects the next hop of the next attempt.
///
/// # Errors
/// The error for the client when no next hop is left.
pub(crate) fn begin<'c, T: TierPolicy>(
    tier: &T,
    request: &RequestHeader,
    ctx: &'c mut Context<T>,
) -> Result<&'c T::NextHop, ProxyError> {
    let next = tier.place(request, ctx)?;
    ctx.exchange.outcome.attempts += 1;
    Ok(ctx.placement.begin(next))
}

/// Returns the peer of the next attempt (phase `upstream_peer`).
///
/// # Errors
/// The error for the client when no next hop is left.
pub(crate) fn peer<T: TierPolicy>(
    tier: &T,
    request: &RequestHeader,
    ctx: &mut Context<T>,
) -> Result<Box<HttpPeer>> {
    match begin(tier, request, ctx) {
        Ok(next) => Ok(Box::new(next.peer().clone())),
        Err(failure) => Err(raise(
            failure,
            format!("no {} is left to try", T::NextHop::NOUN),
        )),
    }
}

/// Has another next hop tried (phase `fail_to_connect`): one that cannot be connected has seen
/// nothing of the request.
pub(crate) fn connect_failed<S, N: NextHop>(
    ctx: &mut RequestContext<S, N>,
    mut error: Box<Error>,
) -> Box<Error> {
    give_up_unconnected(ctx, &error);
    error.set_retry(true);
    error
}

/// Logs that the next hop of the current attempt cannot be connected, and excludes it from further
/// attempts.
pub(crate) fn give_up_unconnected<S, N: NextHop>(ctx: &mut RequestContext<S, N>, error: &Error) {
    if let Some(next) = ctx.placement.current() {
        warn!(
            "request_id={} attempt {}: cannot connect to {} {}: {error}",
            ctx.exchange.id(),
            ctx.exchange.outcome.attempts,
            N::NOUN,
            next.name()
        );
    }
    ctx.placement.give_up();
}

/// Sets the target and the headers of the request to the next hop (phase
/// `upstream_request_filter`).
///
/// # Errors
/// When the request has no route, a fault of the tier.
pub(crate) fn prepare<T: TierPolicy>(
    tier: &T,
    request: &mut RequestHeader,
    ctx: &mut Context<T>,
) -> Result<()> {
    // Another attempt sends the body again.
    ctx.body_bytes = 0;
    tier.prepare(request, ctx)
}

/// Decides whether an attempt is repeated whose connection failed (phase `error_while_proxy`), as
/// Pingora does by default: only if the request is idempotent, its body can be sent again, and the
/// connection was a reused one. Where the tier allows it, a request that was reset unread on a new
/// connection is sent to another next hop.
pub(crate) fn failed<T: TierPolicy>(
    session: &mut HttpSession,
    ctx: &mut Context<T>,
    mut error: Box<Error>,
    reused: bool,
) -> Box<Error> {
    let elsewhere = T::RETRIES_UNREAD && !reused && is_unread(session, &error);
    if elsewhere {
        ctx.placement.give_up();
    }
    if !session.req_header().method.is_idempotent() || session.as_ref().retry_buffer_truncated() {
        error.set_retry(false);
    } else if elsewhere {
        error.set_retry(true);
    } else {
        error.retry.decide_reuse(reused);
    }
    if error.retry() {
        info!(
            "request_id={} attempt {} failed, repeating it: {error}",
            ctx.exchange.id(),
            ctx.exchange.outcome.attempts
        );
    }
    error
}

/// Returns whether the next hop reset the connection before the first byte of its response. A
/// system resets a connection whose bytes were not read, so the next hop has not seen the whole
/// request. (A connection that ends properly may have been served in part.)
fn is_unread(session: &HttpSession, error: &Error) -> bool {
    let broke = matches!(error.etype(), ErrorType::ReadError | ErrorType::WriteError);
    broke && *error.esource() == ErrorSource::Upstream && session.response_written().is_none()
}
