//! The admin API: apps, workers, sessions; its description is made from the handlers.

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

/// Largest body of a call, in bytes.
const LARGEST_BODY: usize = 1 << 20;

/// What the API shows and changes.
#[derive(Clone)]
pub(crate) struct AdminState {
    /// Apps.
    pub(crate) apps: Arc<Apps>,
    /// Changes them.
    pub(crate) editor: Editor,
    /// Answers to those who follow them.
    pub(crate) lists: ListCache,
    /// Workers.
    pub(crate) pool: Arc<Pool>,
    /// Sessions.
    pub(crate) sessions: Arc<Sessions>,
    /// What survives a restart.
    pub(crate) store: Arc<dyn Store>,
    /// Tells a poll that waits when the daemon ends.
    pub(crate) drain: Drain,
    /// The access log.
    pub(crate) log: AccessLog,
    /// Shows workers that a coordinator asks.
    pub(crate) worker_token: HeaderValue,
}

/// The router of the admin listener. `admin` is the API's token; with `worker` a worker follows the
/// app table, registers and leaves.
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
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .with_state(state);
    identified(
        calls
            .merge(openapi::pages(description))
            .merge(probes(hop, ready)),
        hop,
    )
}

/// Calls that workers make as well.
fn calls_of_workers() -> OpenApiRouter<AdminState> {
    OpenApiRouter::new()
        .routes(routes!(apps::list))
        .routes(routes!(workers::put, workers::delete))
}

/// Calls that need the API's own token.
fn calls() -> OpenApiRouter<AdminState> {
    OpenApiRouter::new()
        .routes(routes!(apps::one, apps::put, apps::delete))
        .routes(routes!(workers::list))
        .routes(routes!(workers::one))
        .routes(routes!(workers::drain))
        .routes(routes!(workers::undrain))
        .routes(routes!(sessions::list))
        .routes(routes!(sessions::one, sessions::delete))
        .routes(routes!(requests::one))
}

/// `limit` and `cursor` of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Paging {
    /// Items on a page; 100 when it is absent.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

impl Paging {
    /// Items on a page when nothing is said, and at most.
    const DEFAULT: usize = 100;
    const MOST: usize = 1000;

    fn limit(&self) -> Result<usize, Problem> {
        match self.limit {
            None => Ok(Self::DEFAULT),
            Some(limit) if (1..=Self::MOST).contains(&limit) => Ok(limit),
            Some(_) => {
                let detail = format!("limit is 1 to {}.", Self::MOST);
                Err(input::bad_request(detail).with_field("limit"))
            }
        }
    }

    fn page<T>(&self, items: Vec<T>, key: impl Fn(&T) -> String) -> Result<Page<T>, Problem> {
        Ok(Page::of(items, self.cursor.as_deref(), self.limit()?, key))
    }
}

/// What a caller is told when the store cannot be written: nothing has changed, and requests are
/// served on.
fn store_problem(error: &StoreError) -> Problem {
    // What the system says is in the log; the caller learns of no path.
    let detail = match error {
        StoreError::Full(_) => "The store has no room left; nothing has changed.",
        StoreError::Locked(_) | StoreError::Behind => {
            "The store is locked by another process; nothing has changed."
        }
        StoreError::Unusable(_) | StoreError::Corrupt { .. } | StoreError::Newer { .. } => {
            "The store cannot be used; nothing has changed."
        }
    };
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.code(), detail)
        .with_header(header::RETRY_AFTER, HeaderValue::from_static("5"))
}

/// Carries work out to its end, whether the caller waits for it or not: what is in the store is to
/// be so in memory too.
async fn to_the_end<T: Send + 'static>(
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
