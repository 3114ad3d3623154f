//! `/api/v1/workers`: workers register and leave, operators look and drain.

use std::time::Duration;

use app_proxy_control::list::Page;
use app_proxy_control::worker::{DrainRequest, Registered, Registration, WorkerView, check_id};
use app_proxy_hop::admin::{Problem, ProblemBody, Routine};
use app_proxy_hop::config::Period;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use super::{AdminState, Paging, bad_query, store_problem};
use crate::pool::PoolError;

/// How long streams may go on at a worker that is drained, when nothing is said.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(5 * 60);
/// The longest that can be said.
const LONGEST_DEADLINE: Duration = Duration::from_secs(30 * 24 * 3600);

/// The workers of the pool, those of the file and those that have registered.
#[utoipa::path(
    get, path = "/api/v1/workers", operation_id = "list_workers", tag = "workers",
    params(Paging),
    responses(
        (status = 200, description = "A page of workers, by their identifiers.", body = Page<WorkerView>),
        (status = 400, description = "The query cannot be read (`bad_request`).", body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, description = "The token is missing or wrong (`unauthenticated`).", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn list(
    State(state): State<AdminState>,
    query: Result<Query<Paging>, QueryRejection>,
) -> Result<Json<Page<WorkerView>>, Problem> {
    let Query(paging) = query.map_err(bad_query)?;
    let mut page = paging.page(state.pool.views().await, |view| view.id.to_string())?;
    let sessions = state.sessions.table().by_worker(|_| true);
    for view in &mut page.items {
        view.sessions = Some(sessions.get(&view.id).copied().unwrap_or_default());
    }
    Ok(Json(page))
}

/// One worker.
#[utoipa::path(
    get, path = "/api/v1/workers/{id}", operation_id = "get_worker", tag = "workers",
    params(("id" = String, Path, description = "The worker's identifier.")),
    responses(
        (status = 200, description = "The worker.", body = WorkerView),
        (status = 401, description = "The token is missing or wrong (`unauthenticated`).", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "There is no such worker (`worker_not_found`).", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn one(State(state): State<AdminState>, Path(id): Path<String>) -> Result<Json<WorkerView>, Problem> {
    show(&state, &id).await
}

/// Registers a worker, or renews its registration.
///
/// The worker is in the pool at once, and as long as it says this again within `lease`. A worker that the configuration file names only adds
/// what it says of its load, table and version.
#[utoipa::path(
    put, path = "/api/v1/workers/{id}", operation_id = "put_worker", tag = "workers",
    params(("id" = String, Path, description = "The worker's identifier: up to 128 letters, digits, `-`, `_` and `.`.")),
    request_body = Registration,
    responses(
        (status = 200, description = "The registration is renewed.", body = Registered),
        (status = 201, description = "The worker was not in the pool before.", body = Registered),
        (status = 400, description = "Something is not valid, `field` says what (`bad_request`), or the address is a name without an address (`address_unresolved`).", body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, description = "The token is missing or wrong (`unauthenticated`).", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "The file has another address for it (`worker_owned_by_file`), another worker has the address (`address_taken`), or a later process of the worker has registered (`superseded`).", body = ProblemBody, content_type = "application/problem+json"),
        (status = 500, description = "A fault of the coordinator (`internal`).", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn put(
    State(state): State<AdminState>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Response, Problem> {
    check_id(&id).map_err(|e| bad_request(e.to_string()).with_field("id"))?;
    let said: Registration = read(&body)?;
    said.validate().map_err(|e| bad_request(e.to_string()).with_field(e.field))?;
    let (registered, is_new) = state.pool.register(&id, said).await.map_err(refused)?;
    Ok(match is_new {
        true => (StatusCode::CREATED, Json(registered)).into_response(),
        false => (Extension(Routine), Json(registered)).into_response(),
    })
}

/// Who leaves.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Leaving {
    /// The process that leaves; when another one has registered since, nothing happens. Without it an operator takes the worker out.
    instance: Option<String>,
}

/// Takes a worker out of the pool. A worker that still runs registers again.
#[utoipa::path(
    delete, path = "/api/v1/workers/{id}", operation_id = "delete_worker", tag = "workers",
    params(("id" = String, Path, description = "The worker's identifier."), Leaving),
    responses(
        (status = 204, description = "The worker, or this process of it, is not registered any more."),
        (status = 400, description = "The query cannot be read (`bad_request`).", body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, description = "The token is missing or wrong (`unauthenticated`).", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "There is no such worker, and no `instance` was named (`worker_not_found`).", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "The worker is in the configuration file (`worker_owned_by_file`).", body = ProblemBody, content_type = "application/problem+json"),
        (status = 500, description = "A fault of the coordinator (`internal`).", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn delete(
    State(state): State<AdminState>,
    Path(id): Path<String>,
    query: Result<Query<Leaving>, QueryRejection>,
) -> Result<StatusCode, Problem> {
    let Query(leaving) = query.map_err(bad_query)?;
    state.pool.leave(&id, leaving.instance.as_deref()).await.map_err(refused)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Drains a worker: it gets no new sessions, those that it has move with their next request, and its streams go on until the deadline.
#[utoipa::path(
    post, path = "/api/v1/workers/{id}/drain", operation_id = "drain_worker", tag = "workers",
    params(("id" = String, Path, description = "The worker's identifier.")),
    request_body(content = Option<DrainRequest>, description = "How long streams may go on; without a body 5 minutes, 30 days at most."),
    responses(
        (status = 200, description = "The worker drains; `drain.done` says whether nothing is left at it.", body = WorkerView),
        (status = 400, description = "The body is not valid (`bad_request`).", body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, description = "The token is missing or wrong (`unauthenticated`).", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "There is no such worker (`worker_not_found`).", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "The store does not take it; nothing is changed (`store_full`, `store_locked`, `store_unavailable`).", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn drain(
    State(state): State<AdminState>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<WorkerView>, Problem> {
    let asked: DrainRequest = if body.trim_ascii().is_empty() { DrainRequest::default() } else { read(&body)? };
    let deadline = asked.deadline.map_or(DEFAULT_DEADLINE, |deadline| deadline.0);
    if deadline > LONGEST_DEADLINE {
        let longest = String::from(Period(LONGEST_DEADLINE));
        return Err(bad_request(format!("deadline: at most {longest}")).with_field("deadline"));
    }
    state.pool.drain(&id, deadline).await.map_err(refused)?;
    show(&state, &id).await
}

/// Ends a drain: the worker gets new sessions again. One that does not drain stays as it is.
#[utoipa::path(
    post, path = "/api/v1/workers/{id}/undrain", operation_id = "undrain_worker", tag = "workers",
    params(("id" = String, Path, description = "The worker's identifier.")),
    responses(
        (status = 200, description = "The worker is not drained here.", body = WorkerView),
        (status = 401, description = "The token is missing or wrong (`unauthenticated`).", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "There is no such worker (`worker_not_found`).", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "The store does not take it; nothing is changed (`store_full`, `store_locked`, `store_unavailable`).", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn undrain(
    State(state): State<AdminState>,
    Path(id): Path<String>,
) -> Result<Json<WorkerView>, Problem> {
    state.pool.undrain(&id).await.map_err(refused)?;
    show(&state, &id).await
}

async fn show(state: &AdminState, id: &str) -> Result<Json<WorkerView>, Problem> {
    let mut view = state.pool.view(id).await.ok_or_else(|| refused(PoolError::Unknown))?;
    let sessions = state.sessions.table().by_worker(|worker| worker == id);
    view.sessions = Some(sessions.get(&view.id).copied().unwrap_or_default());
    Ok(Json(view))
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|e| bad_request(format!("The body cannot be read: {e}")))
}

fn bad_request(detail: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad_request", detail)
}

fn refused(error: PoolError) -> Problem {
    if let PoolError::Store(e) = &error {
        return store_problem(e);
    }
    let (status, code) = match &error {
        PoolError::Unknown => (StatusCode::NOT_FOUND, "worker_not_found"),
        PoolError::OwnedByFile => (StatusCode::CONFLICT, "worker_owned_by_file"),
        PoolError::AddressTaken(_) => (StatusCode::CONFLICT, "address_taken"),
        PoolError::Superseded => (StatusCode::CONFLICT, "superseded"),
        PoolError::Unresolved { .. } => (StatusCode::BAD_REQUEST, "address_unresolved"),
        PoolError::Store(e) => (StatusCode::SERVICE_UNAVAILABLE, e.code()),
        PoolError::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
    };
    let problem = Problem::new(status, code, error.to_string());
    match error {
        PoolError::AddressTaken(_) | PoolError::Unresolved { .. } => problem.with_field("address"),
        _ => problem,
    }
}
