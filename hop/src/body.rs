//! Body bytes: counted in both directions, and the limit of a request body.

use bytes::Bytes;
use http::header;
use pingora_core::Result;
use pingora_http::RequestHeader;

use crate::error::{ProxyError, raise};
use crate::tier::{Context, TierPolicy};
use crate::tunnel::Direction;

/// Rejects a request that announces a body larger than the limit (phase `request_filter`); 0 is no
/// limit.
///
/// # Errors
/// [`ProxyError::BodyTooLarge`].
pub fn check_announced(request: &RequestHeader, limit: u64) -> Result<(), ProxyError> {
    let length = request
        .headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok());
    let announced = length.and_then(|text| text.parse().ok()).unwrap_or(0);
    if exceeds(announced, limit) {
        Err(ProxyError::BodyTooLarge)
    } else {
        Ok(())
    }
}

const fn exceeds(bytes: u64, limit: u64) -> bool {
    limit > 0 && bytes > limit
}

/// Counts a piece of a body (phases `request_body_filter` and `response_body_filter`), and ends a
/// request whose body exceeds the limit.
///
/// # Errors
/// [`ProxyError::BodyTooLarge`].
pub(crate) fn count<T: TierPolicy>(
    tier: &T,
    ctx: &mut Context<T>,
    from: Direction,
    piece: Option<&Bytes>,
) -> Result<()> {
    let bytes = piece.map_or(0, Bytes::len) as u64;
    if bytes > 0 {
        tier.observe_data(ctx, from, bytes);
    }
    if let Some(piece) = piece {
        ctx.exchange.observe_data(from, piece);
    }
    if from == Direction::FromServer {
        ctx.exchange.outcome.bytes_out += bytes;
        return Ok(());
    }
    ctx.body_bytes += bytes;
    let limit = tier.hop().limits.request_body.0;
    if exceeds(ctx.body_bytes, limit) {
        return Err(raise(
            ProxyError::BodyTooLarge,
            format!("more than {limit} bytes"),
        ));
    }
    ctx.exchange.outcome.bytes_in = ctx.body_bytes;
    Ok(())
}
