//! `/api/v1/sessions`: lists, gets and deletes sessions.

use app_proxy_api::lists::Page;
use app_proxy_api::sessions::SessionView;
use app_proxy_api::units::Period;
use app_proxy_runtime::admin::{Name, Problem};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

use super::input::QueryParams;
use super::problems::{BadRequest, Internal, SessionNotFound, StoreUnavailable, Unauthenticated};
use super::{AdminState, Paging, run_to_completion, store_problem};
use crate::clock::now_ms;
use crate::sessions::SessionRecord;
use crate::sessions::cookie::SessionId;

/// The query parameters of the session list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Only sessions of this app.
    #[param(example = "notes")]
    app: Option<String>,
    /// Only sessions that are pinned to this worker.
    #[param(example = "w1")]
    worker: Option<String>,
    /// Only sessions without activity for at least this period.
    #[param(example = "30m")]
    idle_for: Option<Period>,
    /// Items on a page; 100 by default.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// `next_cursor` of the previous page.
    cursor: Option<String>,
}

/// List sessions
///
/// The sessions of this coordinator that match all parameters, ordered by identifier.
#[utoipa::path(get, path = "/api/v1/sessions", operation_id = "list_sessions", tag = "sessions",
    params(ListQuery),
    responses(
        (status = 200, description = "A page of sessions.", body = Page<SessionView>),
        BadRequest, Unauthenticated,
    ),
)]
pub(super) async fn list(
    State(state): State<AdminState>,
    QueryParams(query): QueryParams<ListQuery>,
) -> Result<Json<Page<SessionView>>, Problem> {
    let limit = Paging {
        limit: query.limit,
        cursor: None,
    }
    .limit()?;
    let matches = |record: &SessionRecord| {
        let is_at =
            |id: &str| record.with_worker(|worker| worker.is_some_and(|worker| *worker.id == *id));
        query
            .app
            .as_deref()
            .is_none_or(|app| app == &**record.app())
            && query.worker.as_deref().is_none_or(is_at)
            && query
                .idle_for
                .is_none_or(|period| record.idle_for() >= period.0)
    };
    let (records, more) = state
        .sessions
        .table()
        .page(query.cursor.as_deref(), limit, matches);
    let next_cursor = records
        .last()
        .filter(|_| more)
        .map(|record| record.id().to_string());
    Ok(Json(Page {
        items: records.iter().map(|record| record.view()).collect(),
        next_cursor,
    }))
}

/// Get a session
#[utoipa::path(get, path = "/api/v1/sessions/{id}", operation_id = "get_session", tag = "sessions",
    params(("id" = String, Path,
        description = "The session's identifier: the part of its cookie before the dot.")),
    responses(
        (status = 200, description = "The session.", body = SessionView),
        BadRequest, Unauthenticated, SessionNotFound,
    ),
)]
pub(super) async fn get(
    State(state): State<AdminState>,
    Name(id): Name,
) -> Result<Json<SessionView>, Problem> {
    let record = id
        .parse::<SessionId>()
        .ok()
        .and_then(|id| state.sessions.table().get(&id));
    record
        .map(|record| Json(record.view()))
        .ok_or_else(not_found)
}

/// Delete a session
///
/// Its streams end within a second, WebSockets with close code 1008. A client that still sends its
/// cookie gets a new session.
#[utoipa::path(delete, path = "/api/v1/sessions/{id}", operation_id = "delete_session",
    tag = "sessions",
    params(("id" = String, Path, description = "The session's identifier.")),
    responses(
        (status = 204, description = "The session is deleted."),
        BadRequest, Unauthenticated, SessionNotFound, Internal, StoreUnavailable,
    ),
)]
pub(super) async fn delete(
    State(state): State<AdminState>,
    Name(id): Name,
) -> Result<StatusCode, Problem> {
    let id = id.parse::<SessionId>().map_err(|_| not_found())?;
    state.sessions.table().get(&id).ok_or_else(not_found)?;
    run_to_completion(delete_everywhere(state, id)).await
}

/// Deletes a session from the store first, so that it stays deleted after a restart.
async fn delete_everywhere(state: AdminState, id: SessionId) -> Result<StatusCode, Problem> {
    state
        .store
        .delete_sessions(&[id.to_string()], now_ms())
        .await
        .map_err(|e| store_problem(&e))?;
    let streams_of = |app: &str| state.apps.load().get(app).map(|app| app.streams.clone());
    state
        .sessions
        .delete(&id, streams_of)
        .map(|_| StatusCode::NO_CONTENT)
        .ok_or_else(not_found)
}

fn not_found() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "session_not_found",
        "There is no session with this identifier.",
    )
}
