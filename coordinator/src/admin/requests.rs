//! `GET /api/v1/requests/{request_id}`: traces a request through the access logs of both tiers.

mod client;

use std::collections::BTreeSet;
use std::sync::Arc;

use app_proxy_api::requests::{RequestTrace, WorkerFailure};
use app_proxy_hop::observe::access_log::merge_lines;
use app_proxy_runtime::admin::{Name, Problem, request_id_of};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use futures::future::join_all;
use serde_json::Value;

use super::AdminState;
use super::problems::{BadRequest, RequestNotFound, Unauthenticated};
use crate::pool::{Pool, PoolWorker};

/// Trace a request
///
/// Returns the access-log lines of both tiers, oldest first: those of the coordinator, and those of
/// the workers that the request may have reached. Each tier keeps recent lines in memory, and reads
/// the end of its log file if it has one (`access_log.recent`); older requests are not found.
#[utoipa::path(get, path = "/api/v1/requests/{request_id}", operation_id = "get_request",
    tag = "requests",
    params(("request_id" = String, Path,
        description = "The request's identifier, or the identifier that the client sent.",
        pattern = "^[A-Za-z0-9][A-Za-z0-9._:=+-]{0,127}$", example = "01J9ZX3V5T8K2M4N6P8R0S2T4V")),
    responses(
        (status = 200, description = "The log lines of both tiers.", body = RequestTrace),
        BadRequest, Unauthenticated, RequestNotFound,
    ),
)]
pub(super) async fn get(
    State(state): State<AdminState>,
    Name(id): Name,
) -> Result<Json<RequestTrace>, Problem> {
    let id = request_id_of(&id)?;
    let own = state.log.find(id.clone()).await;
    let mut trace = RequestTrace {
        request_id: id.to_string(),
        events: own,
        workers_asked: Vec::new(),
        workers_failed: Vec::new(),
    };
    let answers = join_all(candidates(&state.pool, &trace.events).into_iter().map(
        async |(name, worker)| {
            let answer = match worker {
                Some(worker) => client::events(&worker, &state.worker_token, &id)
                    .await
                    .map_err(|e| e.to_string()),
                None => Err("is no longer in the pool".to_owned()),
            };
            (name, answer)
        },
    ));
    for (worker, answer) in answers.await {
        match answer {
            Ok(events) => {
                // Daemons of one host may share a log file, and each returns its lines.
                merge_lines(&mut trace.events, events);
                trace.workers_asked.push(worker);
            }
            Err(error) => trace.workers_failed.push(WorkerFailure { worker, error }),
        }
    }
    if trace.events.is_empty() {
        return Err(not_found(&trace.workers_failed));
    }
    Ok(Json(trace))
}

/// Returns the workers that may have lines of the request: those that the coordinator's lines name,
/// and all healthy ones if there is no line, or if a line reports several attempts, since a line
/// names only the last worker. `None` stands for a worker that has left the pool.
fn candidates(pool: &Pool, own: &[Value]) -> Vec<(String, Option<Arc<PoolWorker>>)> {
    let named: BTreeSet<_> = own.iter().filter_map(|line| text(line, "worker")).collect();
    let repeated = own.iter().any(|line| {
        line.get("attempts")
            .and_then(Value::as_u64)
            .is_some_and(|n| n > 1)
    });
    let all_healthy = own.is_empty() || repeated;
    let workers = pool.workers();
    let mut found: Vec<_> = workers
        .iter()
        .filter(|worker| named.contains(&*worker.id) || (all_healthy && pool.is_healthy(worker)))
        .map(|worker| (worker.id.to_string(), Some(Arc::clone(worker))))
        .collect();
    let gone = named
        .into_iter()
        .filter(|name| !workers.iter().any(|worker| &*worker.id == *name));
    found.extend(gone.map(|name| (name.to_owned(), None)));
    found
}

fn text<'v>(line: &'v Value, member: &str) -> Option<&'v str> {
    line.get(member).and_then(Value::as_str)
}

fn not_found(failed: &[WorkerFailure]) -> Problem {
    let mut detail = "No tier has log lines of this request.".to_owned();
    for failure in failed {
        detail.push_str(&format!(" Worker {} could not be queried.", failure.worker));
    }
    Problem::new(StatusCode::NOT_FOUND, "request_not_found", detail)
}
