//! `GET /api/v1/sessions`, `GET` and `DELETE /api/v1/sessions/{id}`.

use app_proxy_api::lists::Page;
use app_proxy_api::sessions::SessionView;
use app_proxy_api::units::Period;
use app_proxy_runtime::admin::{Name, Problem};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

use super::input::Asked;
use super::problems::{BadRequest, Internal, SessionNotFound, StoreUnavailable, Unauthenticated};
use super::{AdminState, Paging, store_problem, to_the_end};
use crate::clock::now_ms;
use crate::sessions::SessionRecord;
use crate::sessions::cookie::SessionId;

/// Which sessions are asked for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// Of this app.
    #[param(example = "notes")]
    app: Option<String>,
    /// Pinned to this worker.
    #[param(example = "w1")]
    worker: Option<String>,
    /// Without activity for at least so long: `30m`.
    #[param(example = "30m")]
    idle_for: Option<Period>,
    /// Items on a page; 100 when it is absent.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Sessions of this coordinator
///
/// By their identifiers; those that match all that is asked for.
#[utoipa::path(get, path = "/api/v1/sessions", operation_id = "list_sessions", tag = "sessions", params(Filter), responses(
    (status = 200, description = "A page of sessions.", body = Page<SessionView>), BadRequest, Unauthenticated,
))]
pub(super) async fn list(
    State(state): State<AdminState>,
    Asked(filter): Asked<Filter>,
) -> Result<Json<Page<SessionView>>, Problem> {
    let limit = Paging {
        limit: filter.limit,
        cursor: None,
    }
    .limit()?;
    let wanted = |record: &SessionRecord| {
        let is_at =
            |id: &str| record.with_worker(|worker| worker.is_some_and(|worker| *worker.id == *id));
        filter
            .app
            .as_deref()
            .is_none_or(|app| app == &**record.app())
            && filter.worker.as_deref().is_none_or(is_at)
            && filter
                .idle_for
                .is_none_or(|period| record.idle_for() >= period.0)
    };
    let (records, more) = state
        .sessions
        .table()
        .page(filter.cursor.as_deref(), limit, wanted);
    let next_cursor = records
        .last()
        .filter(|_| more)
        .map(|record| record.id().to_string());
    // Only what is on the page is rendered.
    Ok(Json(Page {
        items: records.iter().map(|record| record.view()).collect(),
        next_cursor,
    }))
}

/// One session
#[utoipa::path(get, path = "/api/v1/sessions/{id}", operation_id = "get_session", tag = "sessions",
    params(("id" = String, Path, description = "The session's identifier: what stands before the dot in its cookie.")),
    responses(
        (status = 200, description = "The session.", body = SessionView),
        BadRequest, Unauthenticated, SessionNotFound,
    ),
)]
pub(super) async fn one(
    State(state): State<AdminState>,
    Name(id): Name,
) -> Result<Json<SessionView>, Problem> {
    let record = id
        .parse::<SessionId>()
        .ok()
        .and_then(|id| state.sessions.table().get(&id));
    record.map(|record| Json(record.view())).ok_or_else(missing)
}

/// Delete a session
///
/// Its streams end within a second, WebSockets with close code 1008. A client that still shows it
/// begins another one.
#[utoipa::path(delete, path = "/api/v1/sessions/{id}", operation_id = "delete_session", tag = "sessions",
    params(("id" = String, Path, description = "The session's identifier.")),
    responses(
        (status = 204, description = "It is gone."),
        BadRequest, Unauthenticated, SessionNotFound, Internal, StoreUnavailable,
    ),
)]
pub(super) async fn delete(
    State(state): State<AdminState>,
    Name(id): Name,
) -> Result<StatusCode, Problem> {
    let id = id.parse::<SessionId>().map_err(|_| missing())?;
    state.sessions.table().get(&id).ok_or_else(missing)?;
    to_the_end(delete_everywhere(state, id)).await
}

/// Deletes a session in the store first: what is answered is so after a restart too.
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
        .ok_or_else(missing)
}

fn missing() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "session_not_found",
        "There is no session of this identifier.",
    )
}
