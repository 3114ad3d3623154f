//! `GET /api/v1/apps` and `/api/v1/apps/{name}`.

use std::sync::Arc;
use std::time::Duration;

use app_proxy_control::table::{AppList, StoredApp};
use app_proxy_hop::admin::Problem;
use app_proxy_hop::config::Period;
use app_proxy_hop::drain::Phase;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;

use super::{AdminState, Paging, bad_query};

/// Longest time for which a poll stays open.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What part of the table is asked for.
#[derive(Debug, Deserialize)]
pub(super) struct Changes {
    /// Only what changed after this revision.
    since: Option<u64>,
    /// What the revision counts in.
    epoch: Option<String>,
    /// How long to wait for a change.
    wait: Option<Period>,
    limit: Option<usize>,
    cursor: Option<String>,
}

/// The table, or what changed in it; with `since` and `wait` a long poll.
pub(super) async fn list(
    State(state): State<AdminState>,
    query: Result<Query<Changes>, QueryRejection>,
) -> Result<Json<AppList>, Problem> {
    let Query(changes) = query.map_err(bad_query)?;
    let Some(since) = changes.since else {
        let paging = Paging { limit: changes.limit, cursor: changes.cursor };
        return Ok(Json(whole(&state, &paging)));
    };
    let wait = changes.wait.map_or(Duration::ZERO, |wait| wait.0).min(LONGEST_WAIT);
    let mut revision = state.apps.watch();
    let mut over = std::pin::pin!(async {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            // Whoever polls goes on with a successor, if there is one.
            () = state.drain.reached(Phase::HandingOver) => {}
        }
    });
    loop {
        let list = state.apps.load().table.changes(since, changes.epoch.as_deref());
        if list.has_news() {
            return Ok(Json(list));
        }
        tokio::select! {
            changed = revision.changed() => if changed.is_err() { return Ok(Json(list)) },
            () = &mut over => return Ok(Json(list)),
        }
    }
}

/// The whole table in pages; without a limit on one page, as workers read it.
fn whole(state: &AdminState, paging: &Paging) -> AppList {
    let mut list = state.apps.load().table.changes(0, None);
    if paging.limit.is_some() || paging.cursor.is_some() {
        let page = paging.page(std::mem::take(&mut list.items), |app| app.app.name.clone());
        list.items = page.items;
        list.next_cursor = page.next_cursor;
    }
    list
}

/// One app.
pub(super) async fn one(
    State(state): State<AdminState>,
    Path(name): Path<String>,
) -> Result<Json<Arc<StoredApp>>, Problem> {
    let found = state.apps.load().table.get(&name).cloned();
    found.map(Json).ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "app_not_found", "There is no app of this name."))
}
