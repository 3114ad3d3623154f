//! `GET /api/v1/sessions`, `GET` and `DELETE /api/v1/sessions/{id}`.

use app_proxy_control::list::Page;
use app_proxy_hop::admin::Problem;
use app_proxy_hop::config::Period;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;

use super::{AdminState, Paging, bad_query};
use crate::sessions::SessionView;
use crate::sessions::cookie::SessionId;

/// Which sessions are asked for.
#[derive(Debug, Deserialize)]
pub(super) struct Filter {
    /// Of this app.
    app: Option<String>,
    /// Pinned to this worker.
    worker: Option<String>,
    /// Without activity for at least so long.
    idle_for: Option<Period>,
    limit: Option<usize>,
    cursor: Option<String>,
}

/// The sessions of this coordinator.
pub(super) async fn list(
    State(state): State<AdminState>,
    query: Result<Query<Filter>, QueryRejection>,
) -> Result<Json<Page<SessionView>>, Problem> {
    let Query(filter) = query.map_err(bad_query)?;
    let records = state.sessions.table().all();
    let wanted = records.iter().filter(|record| {
        filter.app.as_deref().is_none_or(|app| app == &**record.app())
            && filter.worker.as_deref().is_none_or(|id| record.worker().is_some_and(|worker| &*worker.id == id))
            && filter.idle_for.is_none_or(|period| record.idle_for() >= period.0)
    });
    let views = wanted.map(|record| record.view()).collect();
    let paging = Paging { limit: filter.limit, cursor: filter.cursor };
    Ok(Json(paging.page(views, |view: &SessionView| view.id.clone())))
}

/// One session.
pub(super) async fn one(State(state): State<AdminState>, Path(id): Path<String>) -> Result<Json<SessionView>, Problem> {
    let record = id.parse::<SessionId>().ok().and_then(|id| state.sessions.table().get(&id));
    record.map(|record| Json(record.view())).ok_or_else(missing)
}

/// Deletes a session and closes its streams.
pub(super) async fn delete(State(state): State<AdminState>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    let streams_of = |app: &str| state.apps.load().routed.get(app).map(|app| app.streams.clone());
    let deleted = id.parse::<SessionId>().ok().and_then(|id| state.sessions.delete(&id, streams_of));
    deleted.map(|_| StatusCode::NO_CONTENT).ok_or_else(missing)
}

fn missing() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "session_not_found", "There is no session of this identifier.")
}
