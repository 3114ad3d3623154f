//! The entry of a request into a tier (phase `request_filter`).

mod setup;

use log::debug;
use pingora_core::Result;
use pingora_proxy::Session as HttpSession;

pub(crate) use setup::peer_ip;
pub use setup::{ALLOWED_METHODS, check_method, connection_addresses};

use crate::forwarding::drop_spelling;
use crate::response::write_error;
use crate::tier::{Context, Entry, TierPolicy};
use crate::websocket::{is_websocket, serve};

/// Lets the tier admit, answer or refuse a request, and serves a WebSocket. Returns `true` if the
/// client has its answer.
///
/// # Errors
/// When the client cannot be written to.
pub(crate) async fn enter<T: TierPolicy>(
    tier: &T,
    session: &mut HttpSession,
    ctx: &mut Context<T>,
) -> Result<bool> {
    setup::set_up(session, tier.hop());
    match tier.enter(session, ctx).await? {
        Entry::Answered => Ok(true),
        Entry::Forward if is_websocket(session.req_header()) => {
            // On the heap, so that other requests do not carry the room for a handshake.
            if let Err(failure) = Box::pin(serve(tier, session, ctx)).await? {
                write_error(session, &mut ctx.exchange, failure).await?;
            }
            Ok(true)
        }
        Entry::Forward => {
            drop_spelling(session.req_header_mut());
            Ok(false)
        }
        Entry::Refuse(failure) => {
            debug!(
                "request_id={} is refused: {} {}",
                ctx.exchange.id(),
                failure.code(),
                failure.detail()
            );
            write_error(session, &mut ctx.exchange, failure).await?;
            Ok(true)
        }
    }
}
