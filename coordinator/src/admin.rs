//! The admin API: apps, workers, sessions and requests. Its OpenAPI description is generated from
//! the handlers.

mod apps;
mod input;
mod openapi;
mod problems;
mod requests;
mod sessions;
mod workers;

use std::sync::Arc;

use app_proxy_api::lists::Page;
use app_proxy_hop::drain::Drain;
use app_proxy_hop::exchange::HopServices;
use app_proxy_hop::observe::access_log::AccessLog;
use app_proxy_runtime::admin::{Problem, Token, identified, probes, require_token};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::from_fn_with_state;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::apps::Apps;
use crate::apps::editor::Editor;
use crate::pool::Pool;
use crate::sessions::Sessions;
use app_proxy_store::{Store, StoreError};

pub(crate) use apps::ListCache;

/// The maximum size of a request body, in bytes.
const MAX_BODY: usize = 1 << 20;

/// The parts of the coordinator that the API reads and changes.
#[derive(Clone)]
pub(crate) struct AdminState {
    /// The app table.
    pub(crate) apps: Arc<Apps>,
    /// Carries out changes of the app table.
    pub(crate) editor: Editor,
    /// Rendered app lists.
    pub(crate) lists: ListCache,
    /// The workers.
    pub(crate) pool: Arc<Pool>,
    /// The sessions.
    pub(crate) sessions: Arc<Sessions>,
    /// The store, for deletions of sessions.
    pub(crate) store: Arc<dyn Store>,
    /// Ends long polls when the daemon drains.
    pub(crate) drain: Drain,
    /// The access log.
    pub(crate) log: AccessLog,
    /// Authenticates the coordinator to workers.
    pub(crate) worker_token: HeaderValue,
}

/// Creates the router of the admin listener. `admin` is the token of all calls; `worker` is
/// accepted too for the calls that workers make.
pub(crate) fn router(
    state: AdminState,
    hop: &Arc<HopServices>,
    admin: Token,
    worker: Token,
) -> Router {
    let pool = Arc::clone(&state.pool);
    let ready = Arc::new(move || pool.ready().map_err(str::to_owned));
    let token = |tokens: &[Token]| from_fn_with_state(Arc::<[Token]>::from(tokens), require_token);
    let of_workers = calls_of_workers().route_layer(token(&[admin.clone(), worker]));
    let (calls, description) =
        openapi::described(of_workers.merge(calls().route_layer(token(&[admin]))));
    let calls = calls
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(state);
    identified(
        calls
            .merge(openapi::pages(description))
            .merge(probes(hop, ready)),
        hop,
    )
}

/// The calls that workers make too.
fn calls_of_workers() -> OpenApiRouter<AdminState> {
    OpenApiRouter::new()
        .routes(routes!(apps::list))
        .routes(routes!(workers::put, workers::delete))
}

/// The calls that require the admin token.
fn calls() -> OpenApiRouter<AdminState> {
    OpenApiRouter::new()
        .routes(routes!(apps::get, apps::put, apps::delete))
        .routes(routes!(workers::list))
        .routes(routes!(workers::get))
        .routes(routes!(workers::drain))
        .routes(routes!(workers::undrain))
        .routes(routes!(sessions::list))
        .routes(routes!(sessions::get, sessions::delete))
        .routes(routes!(requests::get))
}

/// The query parameters of a paginated list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Paging {
    /// Items on a page; 100 by default.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// `next_cursor` of the previous page.
    cursor: Option<String>,
}

impl Paging {
    /// The default and the maximum number of items on a page.
    const DEFAULT: usize = 100;
    const MAX: usize = 1000;

    fn limit(&self) -> Result<usize, Problem> {
        match self.limit {
            None => Ok(Self::DEFAULT),
            Some(limit) if (1..=Self::MAX).contains(&limit) => Ok(limit),
            Some(_) => {
                let detail = format!("limit must be 1 to {}.", Self::MAX);
                Err(input::bad_request(detail).with_field("limit"))
            }
        }
    }

    fn page<T>(&self, items: Vec<T>, key: impl Fn(&T) -> String) -> Result<Page<T>, Problem> {
        Ok(Page::of(items, self.cursor.as_deref(), self.limit()?, key))
    }
}

/// Returns the problem of a failed write to the store: nothing has changed, and requests are still
/// served.
fn store_problem(error: &StoreError) -> Problem {
    // The cause is in the log; it contains a path, which the client does not need.
    let detail = match error {
        StoreError::Full(_) => "The store is full; nothing has changed.",
        StoreError::Locked(_) | StoreError::Behind => {
            "The store is locked by another process; nothing has changed."
        }
        StoreError::Unusable(_)
        | StoreError::Corrupt { .. }
        | StoreError::Newer { .. }
        | StoreError::InUse { .. } => "The store cannot be used; nothing has changed.",
    };
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.code(), detail)
        .with_header(header::RETRY_AFTER, HeaderValue::from_static("5"))
}

/// Runs `work` to completion even if the client disconnects, so that a change in the store is also
/// made in memory.
async fn run_to_completion<T: Send + 'static>(
    work: impl Future<Output = Result<T, Problem>> + Send + 'static,
) -> Result<T, Problem> {
    let done = tokio::spawn(work).await;
    done.unwrap_or_else(|e| {
        Err(Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            e.to_string(),
        ))
    })
}
