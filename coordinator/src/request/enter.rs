//! The entry of a request into the coordinator (phase `request_filter`), in steps: its identity and
//! origin, its admission and destination, its access, its session.

use std::sync::Arc;

use app_proxy_api::apps::Affinity;
use app_proxy_hop::enter::{ALLOWED_METHODS, connection_addresses};
use app_proxy_hop::error::ProxyError;
use app_proxy_hop::exchange::Exchange;
use app_proxy_hop::response::write_response;
use app_proxy_hop::tier::Entry;
use bytes::Bytes;
use http::{StatusCode, header};
use pingora_core::Result;
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session as HttpSession;

use crate::activation::activator::{answer_running, answer_starting};
use crate::request::access::{answer, ask};
use crate::request::admission::{check, host};
use crate::request::context::{RequestContext, Route};
use crate::request::destination::{Destination, Verdict, judge, route};
use crate::request::origin::Origin;
use crate::request::services::Services;
use crate::sessions::SessionRequest;

/// Identifies a request, then forwards, answers or refuses it.
pub(super) async fn enter(
    services: &Services,
    session: &mut HttpSession,
    ctx: &mut RequestContext,
) -> Result<Entry> {
    let host = identify(services, session, ctx);
    let (host, destination) = match admit(services, session.req_header(), host) {
        Ok(admitted) => admitted,
        Err(failure) => return Ok(Entry::Refuse(failure)),
    };
    if let Some(policy) = &services.policies.access
        && !matches!(destination, Destination::Health | Destination::Server)
    {
        ctx.exchange.facts.app = destination.app().map(|app| Arc::clone(&app.name));
        // Boxed, so that requests without a policy do not carry the room for its answer.
        let asked = Box::pin(ask(
            &**policy,
            session.req_header(),
            host,
            &destination,
            ctx,
        ))
        .await;
        match asked {
            Ok(identity) => ctx.exchange.facts.user = identity.into_name(),
            Err(refusal) => {
                answer(session, &mut ctx.exchange, refusal).await?;
                return Ok(Entry::Answered);
            }
        }
    }
    match judge(session.req_header(), destination, &services.pseudonym) {
        Verdict::Forward(route) => {
            begin_use(ctx, &route);
            open_session(services, session.req_header(), ctx, &route);
            ctx.state.route = Some(route);
            return Ok(Entry::Forward);
        }
        Verdict::Refuse(failure) => return Ok(Entry::Refuse(failure)),
        Verdict::Redirect(location) => {
            let location = ctx.state.origin.public(&location);
            redirect(session, &mut ctx.exchange, &location).await?;
        }
        Verdict::Health => answer_health(session, &mut ctx.exchange).await?,
        Verdict::Methods => answer_methods(session, &mut ctx.exchange).await?,
        Verdict::Activate(app) => {
            ctx.exchange.facts.app = Some(Arc::clone(&app.name));
            services.activator.activate(&app, ctx.exchange.id());
            answer_starting(session, &mut ctx.exchange, &app).await?;
        }
        Verdict::Running => answer_running(session, &mut ctx.exchange).await?,
    }
    Ok(Entry::Answered)
}

/// Establishes the identifier and the origin of a request, and begins its exchange. Returns the
/// host of the request, if it is valid.
fn identify<'s>(
    services: &Services,
    session: &'s HttpSession,
    ctx: &mut RequestContext,
) -> Result<&'s str, ProxyError> {
    let request = session.req_header();
    let (peer, local) = connection_addresses(session);
    let established = services.hop.establish(&request.headers, peer);
    let tls = session
        .digest()
        .is_some_and(|digest| digest.ssl_digest.is_some());
    let host = host(request);
    ctx.state.origin = Origin::of(
        request,
        host.unwrap_or_default(),
        peer,
        local,
        tls,
        &services.trusted_proxies.load(),
    );
    let client = ctx.state.origin.client;
    ctx.exchange.begin(request, client, established);
    host
}

/// Returns the host and the destination of a request.
///
/// # Errors
/// When the request is not valid.
fn admit<'r>(
    services: &Services,
    request: &'r RequestHeader,
    host: Result<&'r str, ProxyError>,
) -> Result<(&'r str, Destination<'r>), ProxyError> {
    let host = check(request, host, services.hop.limits.request_body.0)?;
    let destination = route(request, host, &services.apps.load())?;
    Ok((host, destination))
}

/// Keeps the app in use for as long as the request is in flight.
fn begin_use(ctx: &mut RequestContext, route: &Route) {
    ctx.exchange.facts.app = Some(Arc::clone(&route.app.name));
    ctx.state.in_use = Some(route.app.usage.begin());
}

/// Finds or creates the session of the request, if the app has sessions.
fn open_session(
    services: &Services,
    request: &RequestHeader,
    ctx: &mut RequestContext,
    route: &Route,
) {
    if route.app.stored.app.affinity != Affinity::Session {
        return;
    }
    let facts = &mut ctx.exchange.facts;
    let origin = &ctx.state.origin;
    let session = services.sessions.resolve(
        &route.app,
        &origin.public(&route.prefix),
        &SessionRequest {
            headers: &request.headers,
            client: origin.client,
            request_id: &facts.request_id,
            secure: origin.secure,
            user: facts.user.as_ref(),
        },
    );
    facts.session_id = Some(session.record.id_value());
    facts.origin_request_id = Some(session.record.origin_request_id());
    ctx.state.session = Some(session);
}

/// Redirects permanently to `location`.
async fn redirect(
    session: &mut HttpSession,
    exchange: &mut Exchange,
    location: &str,
) -> Result<()> {
    let mut response = ResponseHeader::build(StatusCode::PERMANENT_REDIRECT, Some(4))?;
    response.insert_header(header::LOCATION, location)?;
    response.insert_header(header::CONTENT_LENGTH, 0)?;
    write_response(session, exchange, response, Bytes::new(), false).await
}

/// Answers the health probe of the public listeners.
async fn answer_health(session: &mut HttpSession, exchange: &mut Exchange) -> Result<()> {
    let body = Bytes::from_static(b"{\"status\":\"alive\"}\n");
    let mut response = ResponseHeader::build(StatusCode::OK, Some(5))?;
    response.insert_header(header::CONTENT_TYPE, "application/json")?;
    response.insert_header(header::CONTENT_LENGTH, body.len())?;
    response.insert_header(header::CACHE_CONTROL, "no-store")?;
    write_response(session, exchange, response, body, false).await
}

/// Answers the question for the methods of the proxy (RFC 9110, section 9.3.7).
async fn answer_methods(session: &mut HttpSession, exchange: &mut Exchange) -> Result<()> {
    let mut response = ResponseHeader::build(StatusCode::NO_CONTENT, Some(3))?;
    response.insert_header(header::ALLOW, ALLOWED_METHODS)?;
    response.insert_header(header::CACHE_CONTROL, "no-store")?;
    write_response(session, exchange, response, Bytes::new(), false).await
}
