//! `/api/v1/apps`: the app table, followed by long poll and changed.

mod body;
mod cache;

use std::sync::Arc;
use std::time::Duration;

use app_proxy_api::apps::{App, AppName};
use app_proxy_api::table::{AppList, Epoch, StoredApp};
use app_proxy_api::units::Period;
use app_proxy_hop::drain::DrainStage;
use app_proxy_hop::identity::RequestId;
use app_proxy_runtime::admin::{Name, Problem};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use super::input::{Asked, Sent, bad_request};
use super::problems::{
    AppConflict, AppNotFound, AppOwnedByFile, BadRequest, PreconditionFailed, StoreUnavailable,
    TooLarge, Unauthenticated,
};
use super::{AdminState, Paging, store_problem};
use crate::apps::edit::{Condition, Edit, EditError, EditOutcome};

pub(crate) use cache::ListCache;

/// Longest time for which a poll stays open.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What part of the table is asked for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Changes {
    /// Only what changed after this revision; deletions are in `deleted`.
    #[param(format = "uint64", maximum = 18446744073709551615usize, example = 41)]
    since: Option<u64>,
    /// What the revision counts in. A table of another epoch is answered whole.
    #[param(value_type = Option<String>)]
    epoch: Option<Epoch>,
    /// How long to wait for a change, with `since`: `30s`; a minute at most.
    #[param(example = "30s")]
    wait: Option<Period>,
    /// Apps on a page, 1 to 1000. Without `limit` and `cursor` the answer is the whole table.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// The app table, or what changed in it
///
/// With `since` and `wait` a long poll: it is answered as soon as something has changed, or with no
/// items after `wait`. Workers follow the table with it, so that their token is good for this call
/// too.
#[utoipa::path(get, path = "/api/v1/apps", operation_id = "list_apps", tag = "apps", params(Changes), responses(
    (status = 200, description = "Apps, the table's revision and its epoch.", body = AppList), BadRequest, Unauthenticated,
))]
pub(super) async fn list(
    State(state): State<AdminState>,
    Asked(changes): Asked<Changes>,
) -> Result<Response, Problem> {
    if changes.limit.is_some() || changes.cursor.is_some() {
        let limit = Paging {
            limit: changes.limit,
            cursor: None,
        }
        .limit()?;
        return Ok(Json(
            state
                .apps
                .load()
                .table
                .page(changes.cursor.as_deref(), limit),
        )
        .into_response());
    }
    let mut revision = state.apps.watch();
    let wait = changes
        .since
        .and(changes.wait)
        .map_or(Duration::ZERO, |wait| wait.0)
        .min(LONGEST_WAIT);
    let mut over = std::pin::pin!(async {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            // Whoever polls goes on with a successor, if there is one.
            () = state.drain.reached(DrainStage::Upgrading) => {}
        }
    });
    loop {
        revision.mark_unchanged();
        let list = state.lists.answer(
            &state.apps.load().table,
            changes.since,
            changes.epoch.as_ref(),
        );
        if list.has_news || changes.since.is_none() {
            return Ok(json(list.body));
        }
        tokio::select! {
            changed = revision.changed() => if changed.is_err() { return Ok(json(list.body)) },
            () = &mut over => return Ok(json(list.body)),
        }
    }
}

/// One app
#[utoipa::path(get, path = "/api/v1/apps/{name}", operation_id = "get_app", tag = "apps",
    params(("name" = AppName, Path, description = "The app's name.")),
    responses(
        (status = 200, description = "The app.", body = StoredApp,
            headers(("ETag" = String, description = "The app's revision in quotes, for `If-Match`."))),
        BadRequest, Unauthenticated, AppNotFound,
    ),
)]
pub(super) async fn one(
    State(state): State<AdminState>,
    Name(name): Name,
) -> Result<Response, Problem> {
    let found = state.apps.load().table.get(&name).cloned();
    found
        .map(|app| stored(StatusCode::OK, &app))
        .ok_or_else(not_found)
}

/// Register an app, or put it in the place of the one of its name
///
/// Idempotent: the same app again changes nothing and is answered with 200. When this is answered,
/// the app is on disk, and the next request is served by it, through any worker.
#[utoipa::path(put, path = "/api/v1/apps/{name}", operation_id = "put_app", tag = "apps",
    params(
        ("name" = AppName, Path, description = "The app's name."),
        ("If-Match" = Option<String>, Header, description = "Only when the app is at this revision: its `ETag`, or `*` for any. Excludes `If-None-Match`.", nullable = false, pattern = r#"^(\*|"[0-9]{1,19}"(, "[0-9]{1,19}")*)$"#, example = "\"7\""),
        ("If-None-Match" = Option<String>, Header, description = "`*`: only when there is no such app.", nullable = false, pattern = r"^\*$", example = "*"),
    ),
    request_body(content = App, description = "The app. `name` may be left out, and is the one of the path otherwise. What GET answers can be sent back: `revision`, `source` and `updated_at` do not count."),
    responses(
        (status = 200, description = "The app, as it is stored.", body = StoredApp,
            headers(("ETag" = String, description = "The app's revision in quotes, for `If-Match`.")),
            links(("its state" = (operation_id = "get_app", parameters(("name" = "$request.path.name")))))),
        (status = 201, description = "The app, which is new.", body = StoredApp,
            headers(("ETag" = String, description = "The app's revision in quotes, for `If-Match`.")),
            links(
                ("its state" = (operation_id = "get_app", parameters(("name" = "$request.path.name")))),
                ("its end" = (operation_id = "delete_app", parameters(("name" = "$request.path.name")))),
            )),
        BadRequest, Unauthenticated, AppConflict, PreconditionFailed, TooLarge, StoreUnavailable,
    ),
)]
pub(super) async fn put(
    State(state): State<AdminState>,
    Name(name): Name,
    Extension(request): Extension<RequestId>,
    headers: HeaderMap,
    Sent(body): Sent,
) -> Result<Response, Problem> {
    let app = body::read_app(&name, &body)?;
    let edit = Edit::Put(Box::new(app), condition(&headers)?);
    match state
        .editor
        .edit(edit, Some(request))
        .await
        .map_err(problem)?
    {
        EditOutcome::Created(app) => Ok(stored(StatusCode::CREATED, &app)),
        EditOutcome::Updated(app) | EditOutcome::Unchanged(app) => Ok(stored(StatusCode::OK, &app)),
        EditOutcome::Deleted | EditOutcome::FileApplied { .. } => {
            Ok(StatusCode::NO_CONTENT.into_response())
        }
    }
}

/// Remove an app
///
/// Its streams are closed and its sessions dropped, at every worker. Deleting again what was
/// deleted is answered with 204 too.
#[utoipa::path(delete, path = "/api/v1/apps/{name}", operation_id = "delete_app", tag = "apps",
    params(
        ("name" = AppName, Path, description = "The app's name."),
        ("If-Match" = Option<String>, Header, description = "Only when the app is at this revision: its `ETag`, or `*` for any.", nullable = false, pattern = r#"^(\*|"[0-9]{1,19}"(, "[0-9]{1,19}")*)$"#, example = "\"7\""),
    ),
    responses(
        (status = 204, description = "It is gone."),
        BadRequest, Unauthenticated, AppNotFound, AppOwnedByFile, PreconditionFailed, StoreUnavailable,
    ),
)]
pub(super) async fn delete(
    State(state): State<AdminState>,
    Name(name): Name,
    Extension(request): Extension<RequestId>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let condition = condition(&headers)?;
    state
        .editor
        .edit(Edit::Delete(name, condition), Some(request))
        .await
        .map_err(problem)?;
    Ok(StatusCode::NO_CONTENT)
}

/// An app with its revision as `ETag`.
fn stored(status: StatusCode, app: &Arc<StoredApp>) -> Response {
    let mut response = (status, Json(app)).into_response();
    if let Ok(tag) = HeaderValue::try_from(format!("\"{}\"", app.revision)) {
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

/// What `If-Match` and `If-None-Match` ask for.
fn condition(headers: &HeaderMap) -> Result<Condition, Problem> {
    let text = |name: header::HeaderName| {
        headers
            .get(name)
            .map(|value| value.to_str().unwrap_or_default().trim())
    };
    let wrong = |name: &str, what: &str| bad_request(what).with_field(name);
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
            let what = "If-Match is `*`, or the revision in quotes as ETag says it.";
            revisions
                .map(Condition::Revisions)
                .ok_or_else(|| wrong("If-Match", what))
        }
        (None, Some("*")) => Ok(Condition::Absent),
        (None, Some(_)) => Err(wrong(
            "If-None-Match",
            "If-None-Match can only be `*` here.",
        )),
        (Some(_), Some(_)) => Err(wrong(
            "If-None-Match",
            "If-Match and If-None-Match exclude each other.",
        )),
    }
}

fn not_found() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "app_not_found",
        "There is no app of this name.",
    )
}

/// What the caller is told of a change that was refused.
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
