//! The admin listener: an axum application served from a Pingora service, so that a graceful
//! upgrade hands its socket over too.

mod name;

use std::io;
use std::net::TcpListener as StdTcpListener;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use log::{error, info};
use pingora_core::server::{ListenFds, ShutdownWatch};
use pingora_core::services::Service;
use serde::{Deserialize, Serialize};
use serde_json::json;
use subtle::ConstantTimeEq;
use tokio::net::{TcpListener, UnixListener};
use utoipa::ToSchema;

use crate::daemon::Bound;
use app_proxy_hop::exchange::HopServices;
use app_proxy_hop::identity::RequestId;

pub use name::Name;

/// Serves a router on an admin address.
pub struct AdminService {
    address: String,
    is_unix: bool,
    router: Router,
}

impl AdminService {
    /// The service for an address that [`crate::daemon::bind`] has checked.
    #[must_use]
    pub fn new(bound: &Bound, router: Router) -> Self {
        Self {
            address: bound.address.clone(),
            is_unix: bound.is_unix,
            router,
        }
    }

    /// The listener: the predecessor's, or a new one that a successor can take over.
    fn listen(&self, fds: Option<&ListenFds>) -> io::Result<Listener> {
        let inherited = fds.and_then(|table| table.lock().get(&self.address).copied());
        let listener = match inherited {
            Some(fd) => inherit(fd, self.is_unix),
            None => self.bind(),
        }?;
        if let (None, Some(table)) = (inherited, fds) {
            table.lock().add(self.address.clone(), listener.as_raw_fd());
        }
        Ok(listener)
    }

    fn bind(&self) -> io::Result<Listener> {
        if self.is_unix {
            // A socket that nobody listens on stays behind when a process is killed; the address
            // was checked before.
            match std::fs::remove_file(&self.address) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
            return StdUnixListener::bind(&self.address).map(Listener::Unix);
        }
        StdTcpListener::bind(&self.address).map(Listener::Tcp)
    }
}

enum Listener {
    Tcp(StdTcpListener),
    Unix(StdUnixListener),
}

impl Listener {
    fn as_raw_fd(&self) -> i32 {
        match self {
            Self::Tcp(listener) => listener.as_raw_fd(),
            Self::Unix(listener) => listener.as_raw_fd(),
        }
    }
}

#[allow(unsafe_code)]
fn inherit(fd: i32, is_unix: bool) -> io::Result<Listener> {
    // SAFETY: the descriptor came over the upgrade socket for this address, and Pingora hands each
    // address to one service.
    let owned = unsafe { OwnedFd::from_raw_fd(fd) };
    Ok(if is_unix {
        Listener::Unix(owned.into())
    } else {
        Listener::Tcp(owned.into())
    })
}

#[async_trait]
impl Service for AdminService {
    async fn start_service(
        &mut self,
        fds: Option<ListenFds>,
        shutdown: ShutdownWatch,
        _listeners_per_fd: usize,
    ) {
        let router = self.router.clone();
        let served = match self.listen(fds.as_ref()) {
            Ok(Listener::Tcp(listener)) => match tcp(listener) {
                Ok(listener) => axum::serve(UntilShutdown::new(listener, shutdown), router).await,
                Err(e) => Err(e),
            },
            Ok(Listener::Unix(listener)) => match unix(listener) {
                Ok(listener) => axum::serve(UntilShutdown::new(listener, shutdown), router).await,
                Err(e) => Err(e),
            },
            Err(e) => Err(e),
        };
        if let Err(e) = served {
            error!("the admin listener at {} has failed: {e}", self.address);
        }
    }

    fn name(&self) -> &'static str {
        "admin"
    }

    fn threads(&self) -> Option<usize> {
        Some(1)
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        Some(vec![self.address.clone()])
    }
}

/// A listener that is closed at the shutdown, while its connections go on: a graceful shutdown of
/// the server itself would close a connection whose first request is on its way.
struct UntilShutdown<L> {
    listener: Option<L>,
    shutdown: ShutdownWatch,
}

impl<L> UntilShutdown<L> {
    const fn new(listener: L, shutdown: ShutdownWatch) -> Self {
        Self {
            listener: Some(listener),
            shutdown,
        }
    }
}

impl<L: axum::serve::Listener> axum::serve::Listener for UntilShutdown<L> {
    type Io = L::Io;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        if let Some(listener) = &mut self.listener {
            tokio::select! {
                accepted = listener.accept() => return accepted,
                // Without a sender the process is ending anyway.
                _ = self.shutdown.wait_for(|ending| *ending) => {}
            }
        }
        self.listener = None;
        std::future::pending().await
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        match &self.listener {
            Some(listener) => listener.local_addr(),
            None => Err(io::Error::new(io::ErrorKind::NotConnected, "closed")),
        }
    }
}

fn tcp(listener: StdTcpListener) -> io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

fn unix(listener: StdUnixListener) -> io::Result<UnixListener> {
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

/// Says why the daemon is not ready, if it is not.
pub type Readiness = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The calls that both tiers have, without a token: `/healthz`, `/readyz` and `/metrics`.
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

/// Gives every admin request an identifier, as rule 19 asks, and answers what no route knows.
pub fn identified(router: Router, hop: &Arc<HopServices>) -> Router {
    router
        .fallback(|| async {
            Problem::new(StatusCode::NOT_FOUND, "not_found", "There is no such call.")
        })
        .method_not_allowed_fallback(|method: Method| async move {
            // The router adds `Allow`.
            if method == Method::OPTIONS {
                return StatusCode::NO_CONTENT.into_response();
            }
            let detail = "This call has no such method; `Allow` lists those that it has.";
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
                .into_response()
        })
        .layer(middleware::from_fn_with_state(Arc::clone(hop), identify))
}

/// Marks the answer to a call that programs repeat without end, as an extension: such calls are not
/// logged one by one.
#[derive(Clone, Copy, Debug)]
pub struct Routine;

async fn identify(
    State(hop): State<Arc<HopServices>>,
    mut request: Request,
    next: Next,
) -> Response {
    let _in_flight = hop.drain.enter();
    let established = hop.identity.establish(request.headers(), None);
    let id = established.id;
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    // For what a call causes to be logged (docs/reference/request-id.md, rule 18).
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

/// An error of the admin API (RFC 9457).
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    field: Option<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// An error as the admin API writes it: `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// What kind of error it is: `urn:app-proxy:error:` and the code.
    #[schema(example = "urn:app-proxy:error:bad_request")]
    #[serde(rename = "type")]
    pub kind: String,
    /// What the status means.
    #[schema(example = "Bad Request")]
    pub title: String,
    /// The status.
    #[schema(minimum = 400, maximum = 599, example = 400)]
    pub status: u16,
    /// What is wrong, for people.
    #[schema(example = "address `x`: write host:port or unix:/path")]
    pub detail: String,
    /// What is wrong, for programs: does not change.
    #[schema(example = "bad_request")]
    pub code: String,
    /// The identifier of the call.
    #[schema(example = "01J9ZX3V5T8K2M4N6P8R0S2T4V")]
    pub request_id: String,
    /// Which member of the body, parameter or header is wrong: `endpoints[0].address`, `limit`,
    /// `If-Match`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "endpoints[0].address")]
    pub field: Option<String>,
}

impl Problem {
    /// A problem with its stable code and what a person reads.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            field: None,
            headers: Vec::new(),
        }
    }

    /// Says which member of the body is wrong (`endpoints[0].address`).
    #[must_use]
    pub fn with_field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Adds a header to the answer (`Retry-After`).
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    fn render(self, id: &RequestId) -> Response {
        let body = ProblemBody {
            kind: format!("urn:app-proxy:error:{}", self.code),
            title: self.status.canonical_reason().unwrap_or("Error").to_owned(),
            status: self.status.as_u16(),
            detail: self.detail,
            code: self.code.to_owned(),
            request_id: id.as_str().to_owned(),
            field: self.field,
        };
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        headers.extend(self.headers);
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // The middleware renders it, because only that knows the request's identifier.
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// The request identifier that a call names in its path.
///
/// # Errors
/// 400 when it is none (docs/reference/request-id.md, rule 1).
pub fn request_id_of(text: &str) -> Result<RequestId, Problem> {
    text.parse().map_err(|reason| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "bad_request",
            format!("The request identifier is not valid: {reason}."),
        )
        .with_field("request_id")
    })
}

/// A bearer token that a call needs (RFC 6750).
#[derive(Clone)]
pub struct Token(Arc<[u8]>);

impl Token {
    /// The token that a secret file holds.
    #[must_use]
    pub fn new(secret: &str) -> Self {
        Self(secret.as_bytes().into())
    }

    /// Whether `presented` is the token; takes the same time whatever it holds.
    #[must_use]
    pub fn is(&self, presented: &[u8]) -> bool {
        self.0.ct_eq(presented).into()
    }
}

/// Whether a request carries one of `tokens`.
#[must_use]
pub fn bears(request: &Request<Body>, tokens: &[Token]) -> bool {
    let presented = request
        .headers()
        .get(header::AUTHORIZATION)
        .map(|value| value.as_bytes());
    let token = presented.and_then(|value| {
        let (scheme, token) = value.split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
    });
    token.is_some_and(|token| tokens.iter().any(|known| known.is(token)))
}

/// Lets a request pass that carries one of the tokens; 401 otherwise.
pub async fn require_token(
    State(tokens): State<Arc<[Token]>>,
    request: Request,
    next: Next,
) -> Response {
    if bears(&request, &tokens) {
        return next.run(request).await;
    }
    Problem::new(
        StatusCode::UNAUTHORIZED,
        "unauthenticated",
        "This call needs a bearer token.",
    )
    .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_problem_names_the_field_and_has_its_headers() {
        let problem = Problem::new(StatusCode::BAD_REQUEST, "bad_request", "Wrong.")
            .with_field("endpoints[0].address")
            .with_header(header::RETRY_AFTER, HeaderValue::from_static("3"));
        let response = problem.render(&RequestId::unset());
        assert_eq!(response.headers()["retry-after"], "3");
        assert_eq!(
            response.headers()["content-type"],
            "application/problem+json"
        );
        let body = axum::body::to_bytes(response.into_body(), 4096)
            .await
            .unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["field"], "endpoints[0].address");
        assert_eq!(body["type"], "urn:app-proxy:error:bad_request");
    }
}
