//! The headers of the hop to the worker (phase `upstream_request_filter`), and what becomes of the
//! application's response on the way back (phase `response_filter`).

mod rewrite;

use http::{HeaderMap, HeaderValue, Version, header};
use pingora_core::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};

use app_proxy_hop::forwarding::rewrite;
use app_proxy_hop::header::{
    APP_REVISION, ATTEMPT, CLIENT, SESSION_ID, TOKEN, TRACEPARENT, TRACESTATE, X_FORWARDED_FOR,
    remove_reserved, set,
};
use app_proxy_hop::identity::IdentityPolicy;
use app_proxy_hop::response::is_interim;

use crate::request::context::RequestContext;
use crate::sessions::Sessions;
use crate::sessions::cookie::{Removed, without_cookie};

/// What every forwarded request needs; made once.
pub struct Forwarder {
    token: HeaderValue,
}

impl Forwarder {
    /// A forwarder that shows `token` to workers.
    ///
    /// # Errors
    /// When the token is no header value.
    pub fn new(token: &str) -> Result<Self, http::header::InvalidHeaderValue> {
        let mut token = HeaderValue::from_str(token)?;
        token.set_sensitive(true);
        Ok(Self { token })
    }

    /// What shows workers that a coordinator speaks.
    #[must_use]
    pub fn token(&self) -> &HeaderValue {
        &self.token
    }

    /// Makes a client's request header the one for the worker.
    ///
    /// It runs after hop-by-hop headers are gone, so that no `Connection` of the client can delete
    /// what is set here (docs/reference/request-id.md, rule 8).
    ///
    /// # Errors
    /// When the request has no route, which the phases rule out.
    pub fn request(
        &self,
        request: &mut RequestHeader,
        ctx: &RequestContext,
        policy: &IdentityPolicy,
        sessions: &Sessions,
    ) -> Result<()> {
        let Some(route) = &ctx.route else {
            return Err(Error::explain(
                ErrorType::InternalError,
                "a request is forwarded without a route",
            ));
        };
        let knows_host = request.version == Version::HTTP_2;
        rewrite(request, &route.target, |headers| {
            // Room for all that is set here, so that the map grows once.
            headers.reserve(HEADERS_SET);
            remove_reserved(headers, policy);
            remove_session(headers, sessions);
            drop_lone_tracestate(headers, ctx.exchange.facts.trace_id.is_some());
            let stripped = if route.app.strips_prefix() {
                &*route.prefix
            } else {
                ""
            };
            ctx.origin.write(headers, stripped);
            if !knows_host && !headers.contains_key(header::HOST) {
                // An HTTP/1.0 client sends none, and the next hop speaks HTTP/1.1.
                set(headers, &header::HOST, ctx.origin.host_or_local());
            }
            set(headers, policy.header(), ctx.exchange.id().header_value());
            if let Some(id) = &ctx.exchange.facts.session_id {
                set(headers, &SESSION_ID, id.clone());
            }
            if let Some(client) = ctx
                .origin
                .client_value
                .as_ref()
                .filter(|c| headers.get(&X_FORWARDED_FOR) != Some(c))
            {
                set(headers, &CLIENT, client.clone());
            }
            set(headers, &APP_REVISION, route.app.revision.clone());
            if ctx.exchange.outcome.attempts > 1 {
                set(
                    headers,
                    &ATTEMPT,
                    HeaderValue::from(ctx.exchange.outcome.attempts),
                );
            }
            set(headers, &TOKEN, self.token.clone());
        });
        Ok(())
    }
}

/// As many headers as a request for a worker gets, at most.
const HEADERS_SET: usize = 14;

/// Makes an application's response fit for the client: paths get their prefix back, and a new
/// session is handed out.
pub fn response(response: &mut ResponseHeader, ctx: &RequestContext, sessions: &Sessions) {
    if is_interim(response.status) {
        return;
    }
    if let Some(route) = &ctx.route {
        response.remove_header(sessions.header());
        rewrite::drop_cookie(response, sessions.cookie_name());
        if route.app.strips_prefix() && !route.prefix.is_empty() {
            let prefix = ctx.origin.public(&route.prefix);
            rewrite::location(
                response,
                &prefix,
                &ctx.origin,
                &route.app.stored.app.endpoints,
            );
            rewrite::cookie_paths(response, &prefix);
        }
    }
    if let Some(issued) = ctx.session.as_ref().and_then(|used| used.issued.as_ref()) {
        let _ = response.append_header(header::SET_COOKIE, issued.cookie.clone());
        let _ = response.insert_header(sessions.header().clone(), issued.value.clone());
    }
}

/// Takes the session's cookie out of the `Cookie` headers: the application has no use for it, and
/// must not learn it.
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

/// The application's cookies as one line: HTTP/2 may split them, and HTTP/1.1 knows one line only
/// (RFC 9113, section 8.2.3).
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

/// `tracestate` means nothing without a valid `traceparent` (W3C Trace Context, section 3.3.1;
/// docs/reference/request-id.md, rule 21).
fn drop_lone_tracestate(headers: &mut HeaderMap, traced: bool) {
    if !traced {
        headers.remove(&TRACESTATE);
        headers.remove(&TRACEPARENT);
    }
}
