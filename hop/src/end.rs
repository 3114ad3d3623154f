//! The end of a request: the answer to a failure (phase `fail_to_proxy`), and the log (phase
//! `logging`).

use std::sync::Arc;

use app_proxy_engine::Rejection;
use log::info;
use pingora_core::Error;
use pingora_http::RequestHeader;
use pingora_proxy::{FailToProxy, Session as HttpSession};

use crate::downstream::mark_serving;
use crate::enter::peer_ip;
use crate::error::{ErrorCode, ProxyError, Tier};
use crate::exchange::Exchange;
use crate::identity::EstablishedId;
use crate::observe::ClosedBy;
use crate::observe::excerpt::{MAX_METHOD_BYTES, MAX_PATH_BYTES, excerpt};
use crate::response::write_error;
use crate::tier::{Context, TierPolicy};

/// Answers a failure within Pingora's proxying, and logs its cause.
pub(crate) async fn fail(
    session: &mut HttpSession,
    exchange: &mut Exchange,
    error: &Error,
) -> FailToProxy {
    let hop = Arc::clone(exchange.hop());
    if !exchange.is_active() {
        // Pingora gave up before the tier identified the request.
        let peer = peer_ip(session);
        let established = match hop.tier {
            Tier::Coordinator => hop.establish(&session.req_header().headers, peer),
            // It may be the request of a stranger (docs/reference/request-id.md, rule 6).
            Tier::Worker => EstablishedId::new(hop.own_id(peer)),
        };
        exchange.begin(session.req_header(), peer, established);
        if error.root_cause().is::<Rejection>() {
            exchange.report_unparsable();
        }
    }
    let failure = ProxyError::of_proxying(error, hop.tier);
    // Pingora closes the connection after a failure, so the answer must not promise to keep it.
    session.set_keepalive(None);
    let status = failure.status().map_or(0, |status| status.as_u16());
    if failure == ProxyError::Internal {
        log::error!("request_id={} {}: {error}", exchange.id(), failure.code());
    } else {
        info!("request_id={} {}: {error}", exchange.id(), failure.code());
    }
    if let Err(e) = write_error(session, exchange, failure).await {
        info!("request_id={} cannot answer the client: {e}", exchange.id());
    }
    FailToProxy {
        error_code: status,
        can_reuse_downstream: false,
    }
}

/// Ends the exchange of a request. That of a WebSocket has moved into its tunnel, which ends it.
pub(crate) fn log<T: TierPolicy>(
    tier: &T,
    session: &mut HttpSession,
    ctx: &mut Context<T>,
    error: Option<&Error>,
) {
    // The connection may have work left after this; the app and the next hop have not.
    tier.observe_end(ctx);
    drop(ctx.placement.end());
    mark_serving(session, false);
    let exchange = &mut ctx.exchange;
    if !exchange.is_active() {
        return;
    }
    exchange.outcome.bytes_in = session.body_bytes_read() as u64;
    exchange.outcome.bytes_out = session.body_bytes_sent() as u64;
    if let Some(error) = error {
        exchange.failed(ProxyError::of_proxying(error, exchange.hop().tier));
    }
    if exchange.is_open_stream() {
        let by = match exchange.outcome.error {
            Some(ErrorCode::ClientGone) => ClosedBy::Client,
            _ => ClosedBy::Upstream,
        };
        exchange.outcome.closed_by.get_or_insert(by);
    }
    exchange.end();
}

/// Describes a request in a log line of Pingora's own, by its identifier first
/// (docs/reference/request-id.md, rule 18).
pub(crate) fn summary(request: &RequestHeader, exchange: &Exchange) -> String {
    format!(
        "request_id={} {} {}",
        exchange.id(),
        excerpt(request.method.as_str(), MAX_METHOD_BYTES),
        excerpt(request.uri.path(), MAX_PATH_BYTES)
    )
}
