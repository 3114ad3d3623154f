//! The admin API, read-only so far: apps, workers, sessions, requests.

mod apps;
mod requests;
mod sessions;

use std::sync::Arc;

use app_proxy_control::list::Page;
use app_proxy_hop::access_log::AccessLog;
use app_proxy_hop::admin::{Problem, Token, identified, probes, require_token};
use app_proxy_hop::drain::Drain;
use app_proxy_hop::exchange::Hop;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use crate::apps::Apps;
use crate::pool::Pool;
use crate::sessions::Sessions;

/// What the API shows.
#[derive(Clone)]
pub struct AdminState {
    /// Apps.
    pub apps: Arc<Apps>,
    /// Workers.
    pub pool: Arc<Pool>,
    /// Sessions.
    pub sessions: Arc<Sessions>,
    /// Tells a poll that waits when the daemon ends.
    pub drain: Drain,
    /// The access log.
    pub log: AccessLog,
    /// Shows workers that a coordinator asks.
    pub worker_token: HeaderValue,
}

/// The router of the admin listener. `admin` is the API's token; with `worker` a worker can follow the app table.
pub fn router(state: AdminState, hop: &Arc<Hop>, admin: Token, worker: Token) -> Router {
    let pool = Arc::clone(&state.pool);
    let ready = Arc::new(move || if pool.any_healthy() { Ok(()) } else { Err("no worker is healthy".to_owned()) });
    let followed = Router::new()
        .route("/api/v1/apps", get(apps::list))
        .route_layer(from_fn_with_state(Arc::from([admin.clone(), worker]), require_token));
    let guarded = Router::new()
        .route("/api/v1/apps/{name}", get(apps::one))
        .route("/api/v1/workers", get(workers))
        .route("/api/v1/requests/{request_id}", get(requests::one))
        .route("/api/v1/sessions", get(sessions::list))
        .route("/api/v1/sessions/{id}", get(sessions::one))
        .route_layer(from_fn_with_state(Arc::from([admin]), require_token));
    identified(followed.merge(guarded).with_state(state).merge(probes(hop, ready)), hop)
}

/// `limit` and `cursor` of a list.
#[derive(Debug, Deserialize)]
struct Paging {
    limit: Option<usize>,
    cursor: Option<String>,
}

impl Paging {
    /// Items on a page when nothing is said, and at most.
    const DEFAULT: usize = 100;
    const MOST: usize = 1000;

    fn page<T>(&self, items: Vec<T>, key: impl Fn(&T) -> String) -> Page<T> {
        let limit = self.limit.unwrap_or(Self::DEFAULT).clamp(1, Self::MOST);
        Page::of(items, self.cursor.as_deref(), limit, key)
    }
}

/// A worker as the API shows it.
#[derive(Debug, Serialize)]
struct WorkerView {
    id: Arc<str>,
    address: String,
    weight: u16,
    /// Whether it gets requests.
    healthy: bool,
    source: &'static str,
}

async fn workers(
    State(state): State<AdminState>,
    query: Result<Query<Paging>, QueryRejection>,
) -> Result<Json<Page<WorkerView>>, Problem> {
    let Query(paging) = query.map_err(bad_query)?;
    let views = state.pool.workers().iter().map(|worker| WorkerView {
        id: Arc::clone(&worker.id),
        address: worker.address.to_string(),
        weight: worker.weight,
        healthy: state.pool.is_healthy(worker),
        source: "file",
    });
    Ok(Json(paging.page(views.collect(), |view| view.id.to_string())))
}

/// What a query that cannot be read is answered.
fn bad_query(rejection: QueryRejection) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad_request", rejection.body_text())
}
