//! `/api/v1/apps`: lists apps, with a long poll for changes, and creates, replaces and deletes
//! them.

mod body;
mod cache;

use std::sync::Arc;
use std::time::Duration;

use app_proxy_api::apps::{App, AppName};
use app_proxy_api::table::{AppList, AppliedApp, Epoch, ServedBy, StoredApp};
use app_proxy_api::units::Period;
use app_proxy_hop::drain::DrainStage;
use app_proxy_hop::identity::RequestId;
use app_proxy_runtime::admin::{Name, Problem};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use super::input::{QueryParams, RawBody, bad_request};
use super::problems::{
    AppConflict, AppNotFound, AppOwnedByFile, BadRequest, PreconditionFailed, StoreUnavailable,
    TooLarge, Unauthenticated,
};
use super::{AdminState, Paging, store_problem};
use crate::apps::edit::{Condition, Edit, EditError, EditOutcome};
use crate::apps::editor::Applied;

pub(crate) use cache::ListCache;

/// The maximum duration of a long poll.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// The query parameters of the app list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Only changes after this revision; deletions are in `deleted`.
    #[param(format = "uint64", maximum = 18446744073709551615usize, example = 41)]
    since: Option<u64>,
    /// The epoch of `since`. If the table has another epoch, the response is the whole table.
    #[param(value_type = Option<String>)]
    epoch: Option<Epoch>,
    /// With `since`: how long to wait for a change, at most one minute.
    #[param(example = "30s")]
    wait: Option<Period>,
    /// Apps on a page. Without `limit` and `cursor` the response is the whole table.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// `next_cursor` of the previous page.
    cursor: Option<String>,
}

/// List apps or changes
///
/// With `since` and `wait` the call is a long poll: it returns as soon as an app changes, or
/// without items after `wait`. Workers follow the table with this call; it accepts their token too.
#[utoipa::path(get, path = "/api/v1/apps", operation_id = "list_apps", tag = "apps",
    params(ListQuery),
    responses(
        (status = 200, description = "Apps, the table's revision and its epoch.", body = AppList),
        BadRequest, Unauthenticated,
    ),
)]
pub(super) async fn list(
    State(state): State<AdminState>,
    QueryParams(query): QueryParams<ListQuery>,
) -> Result<Response, Problem> {
    if query.limit.is_some() || query.cursor.is_some() {
        let limit = Paging {
            limit: query.limit,
            cursor: None,
        }
        .limit()?;
        return Ok(
            Json(state.apps.load().table.page(query.cursor.as_deref(), limit)).into_response(),
        );
    }
    let mut revision = state.apps.watch();
    let wait = query
        .since
        .and(query.wait)
        .map_or(Duration::ZERO, |wait| wait.0)
        .min(MAX_WAIT);
    let mut timeout = std::pin::pin!(async {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            // The client polls the successor, if there is one.
            () = state.drain.reached(DrainStage::Upgrading) => {}
        }
    });
    loop {
        revision.mark_unchanged();
        let list = state
            .lists
            .get(&state.apps.load().table, query.since, query.epoch.as_ref());
        if list.has_news || query.since.is_none() {
            return Ok(json(list.body));
        }
        tokio::select! {
            changed = revision.changed() => if changed.is_err() { return Ok(json(list.body)) },
            () = &mut timeout => return Ok(json(list.body)),
        }
    }
}

/// Get an app
#[utoipa::path(get, path = "/api/v1/apps/{name}", operation_id = "get_app", tag = "apps",
    params(("name" = AppName, Path, description = "The app's name.")),
    responses(
        (status = 200, description = "The app.", body = StoredApp,
            headers(("ETag" = String,
                description = "The app's revision in quotes, for `If-Match`."))),
        BadRequest, Unauthenticated, AppNotFound,
    ),
)]
pub(super) async fn get(
    State(state): State<AdminState>,
    Name(name): Name,
) -> Result<Response, Problem> {
    let found = state.apps.load().table.get(&name).cloned();
    found
        .map(|app| tagged(StatusCode::OK, &app, app.revision))
        .ok_or_else(not_found)
}

/// Create or replace an app
///
/// Idempotent: the same app again changes nothing and returns 200. When the call returns, the app
/// is stored, and the next request uses it, through any worker and any coordinator that shares the
/// store. `served_by` names the exception: a coordinator that did not apply the change within a
/// second.
#[utoipa::path(put, path = "/api/v1/apps/{name}", operation_id = "put_app", tag = "apps",
    params(
        ("name" = AppName, Path, description = "The app's name."),
        ("If-Match" = Option<String>, Header,
            description = "Only if the app has this revision: its `ETag`, or `*` for any. \
                Excludes `If-None-Match`.",
            nullable = false, pattern = r#"^(\*|"[0-9]{1,19}"(, "[0-9]{1,19}")*)$"#,
            example = "\"7\""),
        ("If-None-Match" = Option<String>, Header,
            description = "`*`: only if there is no app of this name.",
            nullable = false, pattern = r"^\*$", example = "*"),
    ),
    request_body(content = App, description = "The app. `name` is optional; if present, it must be \
        the name in the path. The response of GET can be sent back: `revision`, `source` and \
        `updated_at` are ignored."),
    responses(
        (status = 200, description = "The stored app.", body = AppliedApp,
            headers(("ETag" = String,
                description = "The app's revision in quotes, for `If-Match`.")),
            links(("get_app" = (operation_id = "get_app",
                parameters(("name" = "$request.path.name")))))),
        (status = 201, description = "The created app.", body = AppliedApp,
            headers(("ETag" = String,
                description = "The app's revision in quotes, for `If-Match`.")),
            links(
                ("get_app" = (operation_id = "get_app",
                    parameters(("name" = "$request.path.name")))),
                ("delete_app" = (operation_id = "delete_app",
                    parameters(("name" = "$request.path.name")))),
            )),
        BadRequest, Unauthenticated, AppConflict, PreconditionFailed, TooLarge, StoreUnavailable,
    ),
)]
pub(super) async fn put(
    State(state): State<AdminState>,
    Name(name): Name,
    Extension(request): Extension<RequestId>,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> Result<Response, Problem> {
    let app = body::parse_app(&name, &body)?;
    let edit = Edit::Put(Box::new(app), condition(&headers)?);
    let applied = state.editor.edit(edit, Some(request)).await;
    let applied = applied.map_err(problem)?;
    let served_by = served_by(&applied);
    let answer = |status, app: Arc<StoredApp>| {
        let revision = app.revision;
        tagged(status, &AppliedApp { app, served_by }, revision)
    };
    Ok(match applied.outcome {
        EditOutcome::Created(app) => answer(StatusCode::CREATED, app),
        EditOutcome::Updated(app) | EditOutcome::Unchanged(app) => answer(StatusCode::OK, app),
        EditOutcome::Deleted | EditOutcome::FileApplied { .. } => {
            StatusCode::NO_CONTENT.into_response()
        }
    })
}

/// Delete an app
///
/// Closes its streams and deletes its sessions, at every worker. Deleting a deleted app again
/// returns 204 too.
#[utoipa::path(delete, path = "/api/v1/apps/{name}", operation_id = "delete_app", tag = "apps",
    params(
        ("name" = AppName, Path, description = "The app's name."),
        ("If-Match" = Option<String>, Header,
            description = "Only if the app has this revision: its `ETag`, or `*` for any.",
            nullable = false, pattern = r#"^(\*|"[0-9]{1,19}"(, "[0-9]{1,19}")*)$"#,
            example = "\"7\""),
    ),
    responses(
        (status = 204, description = "The app is deleted.",
            headers(("X-App-Proxy-Served-By" = String,
                description = "`some` if a coordinator that shares the store did not apply the \
                    change within a second; absent otherwise."))),
        BadRequest, Unauthenticated, AppNotFound, AppOwnedByFile, PreconditionFailed,
        StoreUnavailable,
    ),
)]
pub(super) async fn delete(
    State(state): State<AdminState>,
    Name(name): Name,
    Extension(request): Extension<RequestId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let edit = Edit::Delete(name, condition(&headers)?);
    let applied = state.editor.edit(edit, Some(request)).await;
    let mut response = StatusCode::NO_CONTENT.into_response();
    if served_by(&applied.map_err(problem)?).is_some() {
        let header = HeaderName::from_static(ServedBy::HEADER);
        let some = HeaderValue::from_static("some");
        response.headers_mut().insert(header, some);
    }
    Ok(response)
}

/// Returns the exception to a change being served by every coordinator that shares the store.
fn served_by(applied: &Applied) -> Option<ServedBy> {
    (!applied.served_by_all).then_some(ServedBy::Some)
}

/// Returns a response with the revision of its app as `ETag`.
fn tagged(status: StatusCode, app: &impl Serialize, revision: u64) -> Response {
    let mut response = (status, Json(app)).into_response();
    if let Ok(tag) = HeaderValue::try_from(format!("\"{revision}\"")) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

fn json(body: Bytes) -> Response {
    (
        [(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        )],
        body,
    )
        .into_response()
}

/// Reads the condition in `If-Match` and `If-None-Match`.
fn condition(headers: &HeaderMap) -> Result<Condition, Problem> {
    let text = |name: header::HeaderName| {
        headers
            .get(name)
            .map(|value| value.to_str().unwrap_or_default().trim())
    };
    let invalid = |name: &str, detail: &str| bad_request(detail).with_field(name);
    match (text(header::IF_MATCH), text(header::IF_NONE_MATCH)) {
        (None, None) => Ok(Condition::None),
        (Some("*"), None) => Ok(Condition::Exists),
        (Some(tags), None) => {
            let revision = |tag: &str| {
                tag.trim()
                    .strip_prefix('"')?
                    .strip_suffix('"')?
                    .parse()
                    .ok()
            };
            let revisions = tags.split(',').map(revision).collect::<Option<Vec<_>>>();
            let detail = "If-Match must be `*`, or revisions in quotes, as in ETag.";
            revisions
                .map(Condition::Revisions)
                .ok_or_else(|| invalid("If-Match", detail))
        }
        (None, Some("*")) => Ok(Condition::Absent),
        (None, Some(_)) => Err(invalid("If-None-Match", "If-None-Match must be `*`.")),
        (Some(_), Some(_)) => Err(invalid(
            "If-None-Match",
            "If-Match and If-None-Match exclude each other.",
        )),
    }
}

fn not_found() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "app_not_found",
        "There is no app with this name.",
    )
}

/// Returns the problem of a rejected change.
fn problem(error: EditError) -> Problem {
    let conflict = |code, detail| Problem::new(StatusCode::CONFLICT, code, detail);
    match error {
        EditError::Invalid(invalid) => body::invalid(&invalid),
        EditError::NotFound(_) => not_found(),
        EditError::OwnedByFile(_) => conflict("app_owned_by_file", error.to_string()),
        EditError::MatchTaken(_) => conflict("match_taken", error.to_string()).with_field("match"),
        EditError::Precondition(_) => Problem::new(
            StatusCode::PRECONDITION_FAILED,
            "precondition_failed",
            error.to_string(),
        ),
        EditError::Store(cause) => store_problem(&cause),
        EditError::ShuttingDown => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "draining",
            error.to_string(),
        )
        .with_header(header::RETRY_AFTER, HeaderValue::from_static("1")),
    }
}
