//! `/api/v1/workers`: workers register and leave, operators look and drain.

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

use super::input::{Asked, Sent, bad_request};
use super::problems::{
    BadRegistration, BadRequest, Internal, StoreUnavailable, TooLarge, Unauthenticated,
    WorkerConflict, WorkerNotFound, WorkerOwnedByFile,
};
use super::{AdminState, Paging, store_problem, to_the_end};
use crate::pool::PoolError;

/// How long streams may go on at a worker that is drained, when nothing is said.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(5 * 60);
/// The longest that can be said.
const LONGEST_DEADLINE: Duration = Duration::from_secs(30 * 24 * 3600);

/// The pool
///
/// Workers by their identifiers: those of the configuration file and those that have registered.
#[utoipa::path(get, path = "/api/v1/workers", operation_id = "list_workers", tag = "workers", params(Paging), responses(
    (status = 200, description = "A page of workers.", body = Page<WorkerView>), BadRequest, Unauthenticated,
))]
pub(super) async fn list(
    State(state): State<AdminState>,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Page<WorkerView>>, Problem> {
    let mut page = paging.page(state.pool.views().await, |view| view.id.to_string())?;
    let sessions = state.sessions.table().count_by_worker(|_| true);
    for view in &mut page.items {
        view.sessions = Some(sessions.get(&view.id).copied().unwrap_or_default());
    }
    Ok(Json(page))
}

/// One worker
#[utoipa::path(get, path = "/api/v1/workers/{id}", operation_id = "get_worker", tag = "workers",
    params(("id" = WorkerId, Path, description = "The worker's identifier.")),
    responses(
        (status = 200, description = "The worker.", body = WorkerView),
        BadRequest, Unauthenticated, WorkerNotFound,
    ),
)]
pub(super) async fn one(
    State(state): State<AdminState>,
    Name(id): Name,
) -> Result<Json<WorkerView>, Problem> {
    show(&state, &id).await
}

/// Register a worker, or renew its registration
///
/// The worker is in the pool at once, and for as long as it says this again within `lease`. A
/// worker that the configuration file names only adds what it says of its load, table and version.
/// Workers do this by themselves, with their own token.
#[utoipa::path(put, path = "/api/v1/workers/{id}", operation_id = "put_worker", tag = "workers",
    params(("id" = WorkerId, Path, description = "The worker's identifier.")),
    request_body(content = WorkerRegistration, description = "What the worker says of itself."),
    responses(
        (status = 200, description = "The registration is renewed.", body = RegistrationReply),
        (status = 201, description = "The worker was not in the pool before.", body = RegistrationReply,
            links(
                ("its state" = (operation_id = "get_worker", parameters(("id" = "$request.path.id")))),
                ("its drain" = (operation_id = "drain_worker", parameters(("id" = "$request.path.id")))),
                ("its end" = (operation_id = "delete_worker", parameters(("id" = "$request.path.id")))),
            )),
        BadRegistration, Unauthenticated, WorkerConflict, TooLarge, Internal,
    ),
)]
pub(super) async fn put(
    State(state): State<AdminState>,
    Name(id): Name,
    body: Sent,
) -> Result<Response, Problem> {
    check_id(&id).map_err(|e| bad_request(e.to_string()).with_field("id"))?;
    let said: WorkerRegistration = body.read()?;
    said.validate()
        .map_err(|e| bad_request(e.to_string()).with_field(e.field))?;
    let work = async move { state.pool.register(&id, said).await.map_err(refused) };
    let (registered, is_new) = to_the_end(work).await?;
    Ok(match is_new {
        true => (StatusCode::CREATED, Json(registered)).into_response(),
        false => (Extension(Routine), Json(registered)).into_response(),
    })
}

/// Who leaves.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Leaving {
    /// The process that leaves; when another one has registered since, nothing happens. Without it
    /// an operator takes the worker out.
    #[param(value_type = Option<String>)]
    instance: Option<InstanceId>,
}

/// Take a worker out of the pool
///
/// A worker that still runs registers again: drain it, or end it, instead. Workers say this by
/// themselves when they end, with their own token.
#[utoipa::path(delete, path = "/api/v1/workers/{id}", operation_id = "delete_worker", tag = "workers",
    params(("id" = WorkerId, Path, description = "The worker's identifier."), Leaving),
    responses(
        (status = 204, description = "The worker, or this process of it, is not registered any more."),
        BadRequest, Unauthenticated, WorkerNotFound, WorkerOwnedByFile, Internal, StoreUnavailable,
    ),
)]
pub(super) async fn delete(
    State(state): State<AdminState>,
    Name(id): Name,
    Asked(leaving): Asked<Leaving>,
) -> Result<StatusCode, Problem> {
    check_id(&id).map_err(|_| refused(PoolError::Unknown))?;
    let work = async move {
        let left = match leaving.instance {
            Some(instance) => state.pool.leave(&id, &instance).await,
            None => state.pool.delete(&id).await,
        };
        left.map(|()| StatusCode::NO_CONTENT).map_err(refused)
    };
    to_the_end(work).await
}

/// Drain a worker
///
/// It gets no new sessions, those that it has move with their next request, and its streams go on
/// until the deadline. To drain it again sets another deadline.
#[utoipa::path(post, path = "/api/v1/workers/{id}/drain", operation_id = "drain_worker", tag = "workers",
    params(("id" = WorkerId, Path, description = "The worker's identifier.")),
    request_body(content = Option<DrainRequest>, description = "How long streams may go on; without a body 5 minutes."),
    responses(
        (status = 200, description = "The worker drains; `drain.done` says whether nothing is left at it.", body = WorkerView,
            links(
                ("its state" = (operation_id = "get_worker", parameters(("id" = "$request.path.id")))),
                ("its return" = (operation_id = "undrain_worker", parameters(("id" = "$request.path.id")))),
            )),
        BadRequest, Unauthenticated, WorkerNotFound, TooLarge, StoreUnavailable,
    ),
)]
pub(super) async fn drain(
    State(state): State<AdminState>,
    Name(id): Name,
    body: Sent,
) -> Result<Json<WorkerView>, Problem> {
    let asked: Option<DrainRequest> = if body.is_blank() { None } else { body.read()? };
    let deadline = asked
        .and_then(|asked| asked.deadline)
        .map_or(DEFAULT_DEADLINE, |deadline| deadline.0);
    if deadline > LONGEST_DEADLINE {
        let longest = String::from(Period(LONGEST_DEADLINE));
        return Err(bad_request(format!("deadline: at most {longest}")).with_field("deadline"));
    }
    to_the_end(async move {
        state.pool.drain(&id, deadline).await.map_err(refused)?;
        show(&state, &id).await
    })
    .await
}

/// End a drain
///
/// The worker gets new sessions again. One that does not drain stays as it is.
#[utoipa::path(post, path = "/api/v1/workers/{id}/undrain", operation_id = "undrain_worker", tag = "workers",
    params(("id" = WorkerId, Path, description = "The worker's identifier.")),
    responses(
        (status = 200, description = "The worker is not drained here.", body = WorkerView),
        BadRequest, Unauthenticated, WorkerNotFound, StoreUnavailable,
    ),
)]
pub(super) async fn undrain(
    State(state): State<AdminState>,
    Name(id): Name,
) -> Result<Json<WorkerView>, Problem> {
    to_the_end(async move {
        state.pool.undrain(&id).await.map_err(refused)?;
        show(&state, &id).await
    })
    .await
}

async fn show(state: &AdminState, id: &str) -> Result<Json<WorkerView>, Problem> {
    let mut view = state
        .pool
        .view(id)
        .await
        .ok_or_else(|| refused(PoolError::Unknown))?;
    let sessions = state
        .sessions
        .table()
        .count_by_worker(|worker| worker == id);
    view.sessions = Some(sessions.get(&view.id).copied().unwrap_or_default());
    Ok(Json(view))
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
