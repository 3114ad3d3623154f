//! `/api/v1/workers`: workers register and deregister, operators list and drain them.

use std::time::Duration;

use app_proxy_api::lists::Page;
use app_proxy_api::units::Period;
use app_proxy_api::workers::{
    DrainRequest, InstanceId, RegistrationReply, WorkerId, WorkerRegistration, WorkerView, check_id,
};
use app_proxy_runtime::admin::{Name, Problem, Routine};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use utoipa::IntoParams;

use super::input::{QueryParams, RawBody, bad_request};
use super::problems::{
    BadRegistration, BadRequest, Internal, StoreUnavailable, TooLarge, Unauthenticated,
    WorkerConflict, WorkerNotFound, WorkerOwnedByFile,
};
use super::{AdminState, Paging, run_to_completion, store_problem};
use crate::pool::PoolError;

/// The default time until the streams of a drained worker are closed.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(5 * 60);
/// The maximum of that time.
const MAX_DEADLINE: Duration = Duration::from_secs(30 * 24 * 3600);

/// List workers
///
/// The workers of the configuration file and the registered workers, ordered by identifier.
#[utoipa::path(get, path = "/api/v1/workers", operation_id = "list_workers", tag = "workers",
    params(Paging),
    responses(
        (status = 200, description = "A page of workers.", body = Page<WorkerView>),
        BadRequest, Unauthenticated,
    ),
)]
pub(super) async fn list(
    State(state): State<AdminState>,
    QueryParams(paging): QueryParams<Paging>,
) -> Result<Json<Page<WorkerView>>, Problem> {
    let mut page = paging.page(state.pool.views().await, |view| view.id.to_string())?;
    let sessions = state.sessions.table().count_by_worker(|_| true);
    for view in &mut page.items {
        view.sessions = Some(sessions.get(&view.id).copied().unwrap_or_default());
    }
    Ok(Json(page))
}

/// Get a worker
#[utoipa::path(get, path = "/api/v1/workers/{id}", operation_id = "get_worker", tag = "workers",
    params(("id" = WorkerId, Path, description = "The worker's identifier.")),
    responses(
        (status = 200, description = "The worker.", body = WorkerView),
        BadRequest, Unauthenticated, WorkerNotFound,
    ),
)]
pub(super) async fn get(
    State(state): State<AdminState>,
    Name(id): Name,
) -> Result<Json<WorkerView>, Problem> {
    show(&state, &id).await
}

/// Register a worker or renew its registration
///
/// The worker joins the pool at once, and stays in it while it renews within `lease`. For a worker
/// of the configuration file, the call only updates its load, table and version. Workers make this
/// call themselves, with their own token.
#[utoipa::path(put, path = "/api/v1/workers/{id}", operation_id = "put_worker", tag = "workers",
    params(("id" = WorkerId, Path, description = "The worker's identifier.")),
    request_body(content = WorkerRegistration, description = "The worker's own data."),
    responses(
        (status = 200, description = "The registration is renewed.", body = RegistrationReply),
        (status = 201, description = "The worker is new in the pool.", body = RegistrationReply,
            links(
                ("get_worker" = (operation_id = "get_worker",
                    parameters(("id" = "$request.path.id")))),
                ("drain_worker" = (operation_id = "drain_worker",
                    parameters(("id" = "$request.path.id")))),
                ("delete_worker" = (operation_id = "delete_worker",
                    parameters(("id" = "$request.path.id")))),
            )),
        BadRegistration, Unauthenticated, WorkerConflict, TooLarge, Internal,
    ),
)]
pub(super) async fn put(
    State(state): State<AdminState>,
    Name(id): Name,
    body: RawBody,
) -> Result<Response, Problem> {
    check_id(&id).map_err(|e| bad_request(e.to_string()).with_field("id"))?;
    let registration: WorkerRegistration = body.parse()?;
    registration
        .validate()
        .map_err(|e| bad_request(e.to_string()).with_field(e.field))?;
    let work = async move {
        state
            .pool
            .register(&id, registration)
            .await
            .map_err(problem)
    };
    let (registered, is_new) = run_to_completion(work).await?;
    Ok(match is_new {
        true => (StatusCode::CREATED, Json(registered)).into_response(),
        false => (Extension(Routine), Json(registered)).into_response(),
    })
}

/// The query parameters of a deregistration.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct LeaveQuery {
    /// The process that deregisters. If another process of the worker has registered since, the
    /// call changes nothing. Without `instance`, the worker is removed whichever process
    /// registered.
    #[param(value_type = Option<String>)]
    instance: Option<InstanceId>,
}

/// Remove a worker from the pool
///
/// A worker that still runs registers again: drain or stop it instead. Workers make this call
/// themselves when they stop, with their own token.
#[utoipa::path(delete, path = "/api/v1/workers/{id}", operation_id = "delete_worker",
    tag = "workers",
    params(("id" = WorkerId, Path, description = "The worker's identifier."), LeaveQuery),
    responses(
        (status = 204, description = "The worker, or this process of it, is not registered."),
        BadRequest, Unauthenticated, WorkerNotFound, WorkerOwnedByFile, Internal, StoreUnavailable,
    ),
)]
pub(super) async fn delete(
    State(state): State<AdminState>,
    Name(id): Name,
    QueryParams(query): QueryParams<LeaveQuery>,
) -> Result<StatusCode, Problem> {
    check_id(&id).map_err(|_| problem(PoolError::Unknown))?;
    let work = async move {
        let left = match query.instance {
            Some(instance) => state.pool.leave(&id, &instance).await,
            None => state.pool.delete(&id).await,
        };
        left.map(|()| StatusCode::NO_CONTENT).map_err(problem)
    };
    run_to_completion(work).await
}

/// Drain a worker
///
/// The worker gets no new sessions, its sessions move with their next request, and its streams are
/// closed at the deadline. Draining it again sets another deadline.
#[utoipa::path(post, path = "/api/v1/workers/{id}/drain", operation_id = "drain_worker",
    tag = "workers",
    params(("id" = WorkerId, Path, description = "The worker's identifier.")),
    request_body(content = Option<DrainRequest>,
        description = "The time until the deadline; 5 minutes without a body."),
    responses(
        (status = 200, body = WorkerView,
            description = "The worker drains; `drain.done` is true when it has no work left.",
            links(
                ("get_worker" = (operation_id = "get_worker",
                    parameters(("id" = "$request.path.id")))),
                ("undrain_worker" = (operation_id = "undrain_worker",
                    parameters(("id" = "$request.path.id")))),
            )),
        BadRequest, Unauthenticated, WorkerNotFound, TooLarge, StoreUnavailable,
    ),
)]
pub(super) async fn drain(
    State(state): State<AdminState>,
    Name(id): Name,
    body: RawBody,
) -> Result<Json<WorkerView>, Problem> {
    let request: Option<DrainRequest> = match body.is_blank() {
        true => None,
        false => body.parse()?,
    };
    let deadline = request
        .and_then(|request| request.deadline)
        .map_or(DEFAULT_DEADLINE, |deadline| deadline.0);
    if deadline > MAX_DEADLINE {
        let longest = String::from(Period(MAX_DEADLINE));
        return Err(bad_request(format!("deadline: at most {longest}")).with_field("deadline"));
    }
    run_to_completion(async move {
        state.pool.drain(&id, deadline).await.map_err(problem)?;
        show(&state, &id).await
    })
    .await
}

/// End a drain
///
/// The worker gets new sessions again. A worker that is not draining stays as it is.
#[utoipa::path(post, path = "/api/v1/workers/{id}/undrain", operation_id = "undrain_worker",
    tag = "workers",
    params(("id" = WorkerId, Path, description = "The worker's identifier.")),
    responses(
        (status = 200, description = "The worker is not draining.", body = WorkerView),
        BadRequest, Unauthenticated, WorkerNotFound, StoreUnavailable,
    ),
)]
pub(super) async fn undrain(
    State(state): State<AdminState>,
    Name(id): Name,
) -> Result<Json<WorkerView>, Problem> {
    run_to_completion(async move {
        state.pool.undrain(&id).await.map_err(problem)?;
        show(&state, &id).await
    })
    .await
}

async fn show(state: &AdminState, id: &str) -> Result<Json<WorkerView>, Problem> {
    let mut view = state
        .pool
        .view(id)
        .await
        .ok_or_else(|| problem(PoolError::Unknown))?;
    let sessions = state
        .sessions
        .table()
        .count_by_worker(|worker| worker == id);
    view.sessions = Some(sessions.get(&view.id).copied().unwrap_or_default());
    Ok(Json(view))
}

/// Returns the problem of a rejected change of the pool.
fn problem(error: PoolError) -> Problem {
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
    let reply = Problem::new(status, code, sentence(&error.to_string()));
    match error {
        PoolError::AddressTaken(_) | PoolError::Unresolved { .. } => reply.with_field("address"),
        _ => reply,
    }
}

/// Returns the text of an error as a sentence for a client; in the log it follows a colon.
fn sentence(error: &str) -> String {
    let mut characters = error.chars();
    let first = characters.next().into_iter().flat_map(char::to_uppercase);
    first
        .chain(characters)
        .chain(std::iter::once('.'))
        .collect()
}
