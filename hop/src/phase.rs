//! What both tiers do in the same phase of Pingora's.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Version, header};
use log::{info, warn};
use pingora_core::{Error, ErrorSource, ErrorType, Result};
use pingora_http::RequestHeader;
use pingora_proxy::{FailToProxy, Session as HttpSession};

use crate::downstream::mark_serving;
use crate::error::{ProxyError, raise};
use crate::exchange::{Exchange, HopServices};
use crate::response::write_error;
use crate::websocket::is_websocket;

/// How long what is left of a request that was refused is read, so that its connection can be used
/// again.
const DRAIN_BODY: Duration = Duration::from_secs(5);

/// Sets a client connection up for the request that came over it (phase `request_filter`): time
/// limits, which Pingora forgets between requests, and pipelining.
pub fn prepare(session: &mut HttpSession, hop: &Arc<HopServices>) {
    mark_serving(session, true);
    let timeouts = hop.timeouts();
    session.set_read_timeout(Some(timeouts.client_read.0));
    session.set_write_timeout(Some(timeouts.client_write.0));
    session.set_total_drain_timeout(Some(DRAIN_BODY));
    session.set_pipelining_enabled(true);
    if session.get_keepalive().is_some() {
        session.set_keepalive(Some(timeouts.keepalive.0.as_secs().max(1)));
    }
    let request = session.req_header_mut();
    if request.version == Version::HTTP_11
        && request.headers.contains_key(header::UPGRADE)
        && !is_websocket(request)
    {
        // Pingora takes every Upgrade for a change of protocol; one that is not to a WebSocket is
        // ignored (RFC 9110, section 7.8).
        request.remove_header(&header::UPGRADE);
    }
    if request.headers.contains_key(header::CONNECTION) {
        keep_from_nomination(request);
    }
}

/// A client may not have headers removed that every hop sets itself: such a nomination is ignored,
/// where Pingora would refuse the request.
fn keep_from_nomination(request: &mut RequestHeader) {
    const KEPT: [&str; 4] = [
        "host",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
    ];
    let kept = |token: &str| {
        KEPT.iter()
            .any(|name| token.trim().eq_ignore_ascii_case(name))
    };
    let lines: Vec<&str> = request
        .headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .collect();
    if !lines.iter().any(|line| line.split(',').any(kept)) {
        return;
    }
    let rest: Vec<&str> = lines
        .iter()
        .flat_map(|line| line.split(','))
        .filter(|token| !kept(token))
        .collect();
    if let Ok(value) = HeaderValue::try_from(rest.join(",")) {
        let _ = request.insert_header(header::CONNECTION, value);
    }
}

/// The peer's address and the one that it reached; none on a Unix socket.
#[must_use]
pub fn addresses(session: &HttpSession) -> (Option<IpAddr>, Option<SocketAddr>) {
    let peer = session.client_addr().and_then(|address| address.as_inet());
    let local = session.server_addr().and_then(|address| address.as_inet());
    (
        peer.map(|address| address.ip().to_canonical()),
        local.copied(),
    )
}

/// Refuses a request that announces a larger body than the limit; 0 is no limit (phase
/// `request_filter`).
///
/// # Errors
/// [`ProxyError::BodyTooLarge`].
pub fn check_announced_body(request: &RequestHeader, limit: u64) -> Result<(), ProxyError> {
    let length = request
        .headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok());
    let announced: u64 = length.and_then(|text| text.parse().ok()).unwrap_or(0);
    if limit > 0 && announced > limit {
        Err(ProxyError::BodyTooLarge)
    } else {
        Ok(())
    }
}

/// Counts request-body bytes and ends a request that brings more than the limit (phase
/// `request_body_filter`).
///
/// # Errors
/// [`ProxyError::BodyTooLarge`].
pub fn count_body(hop: &HopServices, so_far: &mut u64, chunk: usize) -> Result<()> {
    *so_far += chunk as u64;
    let limit = hop.limits.request_body.0;
    if limit > 0 && *so_far > limit {
        return Err(raise(
            ProxyError::BodyTooLarge,
            format!("more than {limit} bytes"),
        ));
    }
    Ok(())
}

/// Answers for a failure within Pingora's proxying (phase `fail_to_proxy`), and logs its cause.
pub async fn fail(
    session: &mut HttpSession,
    exchange: &mut Exchange,
    error: &Error,
) -> FailToProxy {
    let hop = Arc::clone(exchange.hop());
    if !exchange.is_active() {
        // A module refused the request before our first phase.
        let (peer, _) = addresses(session);
        let established = hop.identity.establish(&session.req_header().headers, peer);
        exchange.begin(session.req_header(), peer, established);
    }
    let failure = ProxyError::of_proxying(error, hop.tier);
    // Pingora closes the connection after a failure: the client must not be told that it stays.
    session.set_keepalive(None);
    let told = failure.status().map_or(0, |status| status.as_u16());
    if failure == ProxyError::Internal {
        log::error!("request_id={} {}: {error}", exchange.id(), failure.code());
    } else {
        info!("request_id={} {}: {error}", exchange.id(), failure.code());
    }
    if let Err(e) = write_error(session, exchange, failure).await {
        info!(
            "request_id={} the client cannot be told: {e}",
            exchange.id()
        );
    }
    FailToProxy {
        error_code: told,
        can_reuse_downstream: false,
    }
}

/// Ends the exchange (phase `logging`). After a WebSocket's 101 there is nothing left to end: the
/// tunnel does it.
pub fn end(session: &mut HttpSession, exchange: &mut Exchange, error: Option<&Error>) {
    mark_serving(session, false);
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
            Some("client_gone") => "client",
            _ => "upstream",
        };
        exchange.outcome.closed_by.get_or_insert(by);
    }
    exchange.end();
}

/// Whether the next hop has reset the connection without a byte of an answer. The system resets a
/// connection whose bytes were not read: whoever had it has not seen the whole request. (One that
/// ends properly may have been at work on it.)
#[must_use]
pub fn is_unread(session: &HttpSession, error: &Error) -> bool {
    let broke = matches!(error.etype(), ErrorType::ReadError | ErrorType::WriteError);
    broke && *error.esource() == ErrorSource::Upstream && session.response_written().is_none()
}

/// Decides whether a request whose connection to the next hop failed may be tried again, as Pingora
/// does by itself: only when it is idempotent, its body can be sent again, and the connection was a
/// reused one, or `elsewhere` says that another next hop is tried (phase `error_while_proxy`). Says
/// so, with the identifier.
#[must_use]
pub fn decide_retry(
    session: &mut HttpSession,
    exchange: &Exchange,
    mut error: Box<Error>,
    reused: bool,
    elsewhere: bool,
) -> Box<Error> {
    if !session.req_header().method.is_idempotent() || session.as_ref().retry_buffer_truncated() {
        error.set_retry(false);
    } else if elsewhere {
        error.set_retry(true);
    } else {
        error.retry.decide_reuse(reused);
    }
    if error.retry() {
        info!(
            "request_id={} attempt {} is repeated: {error}",
            exchange.id(),
            exchange.outcome.attempts
        );
    }
    error
}

/// How a log line of Pingora's own names a request: by its identifier first
/// (docs/reference/request-id.md, rule 18).
#[must_use]
pub fn summary(request: &RequestHeader, exchange: &Exchange) -> String {
    format!(
        "request_id={} {} {}",
        exchange.id(),
        request.method,
        request.uri.path()
    )
}

/// Logs that a next hop could not be connected.
pub fn log_unconnected(exchange: &Exchange, what: &str, error: &Error) {
    warn!(
        "request_id={} attempt {}: {what} cannot be connected: {error}",
        exchange.id(),
        exchange.outcome.attempts
    );
}
