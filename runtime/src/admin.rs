//! The admin listener of both tiers: its service, probes, errors, tokens, and request identifiers.

mod name;
mod problem;
mod service;
mod token;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use log::info;
use serde_json::json;

use app_proxy_hop::exchange::HopServices;

pub use name::{Name, request_id_of};
pub use problem::{Problem, ProblemBody};
pub use service::AdminService;
pub use token::{Token, require_token};

/// Returns the reason why the daemon is not ready, or `Ok`.
pub(crate) type Readiness = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Routes of both tiers that need no token: `/healthz`, `/readyz` and `/metrics`.
pub fn probes(hop: &Arc<HopServices>, ready: Readiness) -> Router {
    let metrics = hop.metrics.clone();
    let drain = hop.drain.clone();
    Router::new()
        .route(
            "/healthz",
            get(|| async { Json(json!({"status": "alive"})) }),
        )
        .route(
            "/readyz",
            get(move || {
                let state = if drain.is_draining() {
                    Err("draining".to_owned())
                } else {
                    ready()
                };
                async move {
                    match state {
                        Ok(()) => Json(json!({"status": "ready"})).into_response(),
                        Err(reason) => {
                            let body = Json(json!({"status": "not ready", "reason": reason}));
                            (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
                        }
                    }
                }
            }),
        )
        .route(
            "/metrics",
            get(move || async move {
                (
                    [(
                        header::CONTENT_TYPE,
                        "text/plain; version=0.0.4; charset=utf-8",
                    )],
                    metrics.render(),
                )
            }),
        )
}

/// Adds an identifier to every admin request (docs/reference/request-id.md, rule 19), and errors
/// for unknown paths and methods.
pub fn identified(router: Router, hop: &Arc<HopServices>) -> Router {
    router
        .fallback(|| async { Problem::new(StatusCode::NOT_FOUND, "not_found", "Not found.") })
        .method_not_allowed_fallback(|method: Method| async move {
            // The router adds `Allow`.
            if method == Method::OPTIONS {
                return StatusCode::NO_CONTENT.into_response();
            }
            let detail = "Method not allowed; `Allow` lists the methods of this path.";
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
                .into_response()
        })
        .layer(middleware::from_fn_with_state(Arc::clone(hop), identify))
}

/// A response extension that marks calls which programs repeat all the time: they are not logged
/// one by one.
#[derive(Clone, Copy, Debug)]
pub struct Routine;

/// Middleware that adds the identifier, and renders errors with it.
async fn identify(
    State(hop): State<Arc<HopServices>>,
    mut request: Request,
    next: Next,
) -> Response {
    let _in_flight = hop.drain.enter();
    let established = hop.establish(request.headers(), None);
    let id = established.id;
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    // For the log lines that the call causes (docs/reference/request-id.md, rule 18).
    request.extensions_mut().insert(id.clone());
    let mut response = next.run(request).await;
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        let allow = response.headers_mut().remove(header::ALLOW);
        response = problem.render(&id);
        if let Some(allow) = allow {
            response.headers_mut().insert(header::ALLOW, allow);
        }
    }
    if !method.is_safe() && response.extensions().get::<Routine>().is_none() {
        info!(
            "request_id={id} admin {method} {path} {}",
            response.status().as_u16()
        );
    }
    response
        .headers_mut()
        .insert(hop.identity.header().clone(), id.header_value());
    if hop.drain.closes_connections() {
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
