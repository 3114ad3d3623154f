//! The entry of a request into the worker (phase `request_filter`), in steps: calls of coordinators
//! that are no request of a client, the request's identity, its admission and app.

use std::net::IpAddr;
use std::sync::Arc;

use app_proxy_hop::body;
use app_proxy_hop::enter::{check_method, connection_addresses};
use app_proxy_hop::error::ProxyError;
use app_proxy_hop::exchange::Exchange;
use app_proxy_hop::header::{CLIENT, SESSION_ID, X_FORWARDED_FOR};
use app_proxy_hop::identity::{EstablishedId, InboundId, RequestId};
use app_proxy_hop::response::write_response;
use app_proxy_hop::tier::Entry;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use log::error;
use pingora_core::{ErrorType, OrErr, Result};
use pingora_http::ResponseHeader;
use pingora_proxy::Session as HttpSession;

use crate::admin;
use crate::request::admission::{
    app_and_target, find, is_coordinator, is_health_check, traced_request,
};
use crate::request::context::{RequestContext, Route};
use crate::request::services::Services;

/// Answers a call of a coordinator, or identifies a request, then forwards or refuses it.
pub(super) async fn enter(
    services: &Services,
    session: &mut HttpSession,
    ctx: &mut RequestContext,
) -> Result<Entry> {
    if is_health_check(session.req_header()) {
        return answer_health(services, session, &mut ctx.exchange).await;
    }
    if let Some(id) = traced_request(session.req_header())
        && is_coordinator(&session.req_header().headers, &services.token)
    {
        return answer_trace(services, session, &mut ctx.exchange, id).await;
    }
    let admitted = match identify(services, session, &mut ctx.exchange) {
        Ok(()) => admit(services, session, ctx).await,
        Err(failure) => Err(failure),
    };
    Ok(match admitted {
        Ok(()) => Entry::Forward,
        Err(failure) => Entry::Refuse(failure),
    })
}

/// Adopts the identifier of an authenticated coordinator. A request of any other client is refused
/// under an identifier of the worker's own (docs/reference/request-id.md, rule 6).
fn identify(
    services: &Services,
    session: &HttpSession,
    exchange: &mut Exchange,
) -> Result<(), ProxyError> {
    let request = session.req_header();
    let (peer, _) = connection_addresses(session);
    if !is_coordinator(&request.headers, &services.token) {
        let own = services.hop.own_id(peer);
        exchange.begin(request, peer, EstablishedId::new(own));
        return Err(ProxyError::Forbidden("Only coordinators are served here."));
    }
    let id = match services.hop.identity.read(&request.headers) {
        InboundId::Valid(id) => id,
        missing => {
            let id = services.hop.own_id(peer);
            services.hop.metrics.request_id_missing.inc();
            error!(
                "request_id={id} was generated here: a coordinator sent no valid identifier: \
                 {missing:?}"
            );
            id
        }
    };
    let client = client(&request.headers).or(peer);
    exchange.begin(request, client, EstablishedId::new(id));
    exchange.facts.worker = Some(Arc::clone(&services.id));
    exchange.facts.session_id = request.headers.get(&SESSION_ID).cloned();
    Ok(())
}

/// Checks a request, and finds its app in a table as new as that of the coordinator.
async fn admit(
    services: &Services,
    session: &HttpSession,
    ctx: &mut RequestContext,
) -> Result<(), ProxyError> {
    let request = session.req_header();
    check_method(request)?;
    body::check_announced(request, services.hop.limits.request_body.0)?;
    let (name, target) = app_and_target(request)?;
    let app = find(services, name, &request.headers, ctx.exchange.id()).await?;
    ctx.exchange.facts.app = Some(Arc::clone(&app.name));
    let target = target
        .parse()
        .map_err(|_| ProxyError::BadRequest("The path is not valid."))?;
    ctx.state.route = Some(Route { app, target });
    Ok(())
}

/// Returns the address of the client as the coordinator forwards it: in a header of its own if
/// `X-Forwarded-For` has addresses of other proxies too.
fn client(headers: &HeaderMap) -> Option<IpAddr> {
    headers
        .get(&CLIENT)
        .or_else(|| headers.get(&X_FORWARDED_FOR))?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

/// Answers the health check of the coordinators: 200, or 503 while the worker has no app table or
/// drains.
async fn answer_health(
    services: &Services,
    session: &mut HttpSession,
    exchange: &mut Exchange,
) -> Result<Entry> {
    let (status, body) = if services.hop.drain.is_draining() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else if services.apps.load().is_loaded() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "no app table\n")
    };
    let body = Bytes::from_static(body.as_bytes());
    answer_unlogged(session, exchange, status, "text/plain", body).await
}

/// Answers a coordinator with the log lines of a request.
async fn answer_trace(
    services: &Services,
    session: &mut HttpSession,
    exchange: &mut Exchange,
    id: RequestId,
) -> Result<Entry> {
    let events = admin::events(&services.hop, id).await;
    let body = serde_json::to_vec(&events)
        .or_err(ErrorType::InternalError, "cannot serialize log lines")?;
    answer_unlogged(
        session,
        exchange,
        StatusCode::OK,
        "application/json",
        body.into(),
    )
    .await
}

/// Answers a call that is no request of a client. The exchange does not begin, so the access log
/// has no line of it.
async fn answer_unlogged(
    session: &mut HttpSession,
    exchange: &mut Exchange,
    status: StatusCode,
    media: &'static str,
    body: Bytes,
) -> Result<Entry> {
    exchange.facts.request_id = RequestId::generate();
    let mut response = ResponseHeader::build(status, Some(5))?;
    response.insert_header(header::CONTENT_TYPE, media)?;
    response.insert_header(header::CONTENT_LENGTH, body.len())?;
    write_response(session, exchange, response, body, false).await?;
    Ok(Entry::Answered)
}
