//! The request header for the worker (phase `upstream_request_filter`).

use app_proxy_hop::forwarding::rewrite;
use app_proxy_hop::header::{
    APP_REVISION, ATTEMPT, CLIENT, SESSION_ID, TOKEN, TRACEPARENT, TRACESTATE, X_FORWARDED_FOR,
    remove_reserved, set,
};
use http::{HeaderMap, HeaderValue, Method, Version, header};
use pingora_core::{Error, ErrorType, Result};
use pingora_http::RequestHeader;

use crate::request::context::RequestContext;
use crate::request::max_forwards;
use crate::request::services::Services;
use crate::sessions::Sessions;
use crate::sessions::cookie::{Removed, without_cookie};

/// The number of headers that a request for a worker gets, at most.
const HEADERS_SET: usize = 15;

/// Rewrites a client's request header for the worker.
///
/// Hop-by-hop headers are removed first, so no `Connection` of the client can remove a header that
/// is set here (docs/reference/request-id.md, rule 8).
///
/// # Errors
/// When the request has no route, which `enter` rules out.
pub(super) fn prepare(
    services: &Services,
    request: &mut RequestHeader,
    ctx: &RequestContext,
) -> Result<()> {
    let Some(route) = &ctx.state.route else {
        return Err(Error::explain(
            ErrorType::InternalError,
            "a request is forwarded without a route",
        ));
    };
    let (origin, identity) = (&ctx.state.origin, &services.hop.identity);
    let (facts, attempts) = (&ctx.exchange.facts, ctx.exchange.outcome.attempts);
    let via = services
        .pseudonym
        .value(&route.app.name, &route.app.via, facts.version);
    if request.method == Method::OPTIONS {
        max_forwards::decrement(request);
    }
    let knows_host = request.version == Version::HTTP_2;
    rewrite(request, &route.target, |headers| {
        // Room for all headers that are set here, so that the map grows once.
        headers.reserve(HEADERS_SET);
        remove_reserved(headers, identity);
        remove_session(headers, &services.sessions);
        remove_lone_tracestate(headers, facts.trace_id.is_some());
        // The entries of other proxies stay.
        let _ = headers.try_append(header::VIA, via);
        origin.write(headers, route.stripped_prefix());
        if !knows_host && !headers.contains_key(header::HOST) {
            // An HTTP/1.0 client sends none, and HTTP/1.1 requires one.
            set(headers, &header::HOST, origin.host_or_local());
        }
        set(headers, identity.header(), facts.request_id.header_value());
        if let Some(id) = &facts.session_id {
            set(headers, &SESSION_ID, id.clone());
        }
        if let Some(client) = origin
            .client_value
            .as_ref()
            .filter(|client| headers.get(&X_FORWARDED_FOR) != Some(client))
        {
            set(headers, &CLIENT, client.clone());
        }
        set(headers, &APP_REVISION, route.app.revision.clone());
        if attempts > 1 {
            set(headers, &ATTEMPT, HeaderValue::from(attempts));
        }
        set(headers, &TOKEN, services.worker_token.clone());
    });
    Ok(())
}

/// Removes the session's cookie from the `Cookie` headers: the application must not learn it.
fn remove_session(headers: &mut HeaderMap, sessions: &Sessions) {
    headers.remove(sessions.header());
    let mut lines = headers.get_all(header::COOKIE).iter();
    let Some(first) = lines.next() else { return };
    let kept = match without_cookie(first.as_bytes(), sessions.cookie_name()) {
        Removed::Unchanged if lines.next().is_none() => return,
        _ => join_cookies(headers, sessions),
    };
    headers.remove(header::COOKIE);
    if let Ok(kept) = HeaderValue::from_bytes(&kept)
        && !kept.is_empty()
    {
        set(headers, &header::COOKIE, kept);
    }
}

/// Joins the application's cookies to one line: HTTP/2 may split them, HTTP/1.1 allows one line
/// only (RFC 9113, section 8.2.3).
fn join_cookies(headers: &HeaderMap, sessions: &Sessions) -> Vec<u8> {
    let mut joined = Vec::new();
    for line in &headers.get_all(header::COOKIE) {
        let rest = match without_cookie(line.as_bytes(), sessions.cookie_name()) {
            Removed::Unchanged => line.as_bytes().to_vec(),
            Removed::Rest(rest) => rest,
            Removed::Nothing => continue,
        };
        if !joined.is_empty() {
            joined.extend_from_slice(b"; ");
        }
        joined.extend_from_slice(&rest);
    }
    joined
}

/// Removes `tracestate` without a valid `traceparent` (W3C Trace Context, section 3.3.1;
/// docs/reference/request-id.md, rule 21).
fn remove_lone_tracestate(headers: &mut HeaderMap, traced: bool) {
    if !traced {
        headers.remove(&TRACESTATE);
        headers.remove(&TRACEPARENT);
    }
}
