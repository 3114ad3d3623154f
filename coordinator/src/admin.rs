//! The admin API: apps, workers, sessions.

mod apps;
mod sessions;
mod workers;

use std::sync::Arc;

use app_proxy_control::list::Page;
use app_proxy_hop::admin::{Problem, Token, identified, probes, require_token};
use app_proxy_hop::drain::Drain;
use app_proxy_hop::exchange::Hop;
use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post, put};
use serde::Deserialize;

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
}

/// The router of the admin listener. `admin` is the API's token; with `worker` a worker follows the app table, registers and leaves.
pub fn router(state: AdminState, hop: &Arc<Hop>, admin: Token, worker: Token) -> Router {
    let pool = Arc::clone(&state.pool);
    let ready = Arc::new(move || if pool.any_healthy() { Ok(()) } else { Err("no worker is healthy".to_owned()) });
    let for_workers = Router::new()
        .route("/api/v1/apps", get(apps::list))
        .route("/api/v1/workers/{id}", put(workers::put).delete(workers::delete))
        .route_layer(from_fn_with_state(Arc::from([admin.clone(), worker]), require_token));
    let guarded = Router::new()
        .route("/api/v1/apps/{name}", get(apps::one))
        .route("/api/v1/workers", get(workers::list))
        .route("/api/v1/workers/{id}", get(workers::one))
        .route("/api/v1/workers/{id}/drain", post(workers::drain))
        .route("/api/v1/workers/{id}/undrain", post(workers::undrain))
        .route("/api/v1/sessions", get(sessions::list))
        .route("/api/v1/sessions/{id}", get(sessions::one))
        .route_layer(from_fn_with_state(Arc::from([admin]), require_token));
    identified(for_workers.merge(guarded).with_state(state).merge(probes(hop, ready)), hop)
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

/// What a query that cannot be read is answered.
fn bad_query(rejection: QueryRejection) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad_request", rejection.body_text())
}
