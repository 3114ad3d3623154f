//! The results of changes, for the log and for callers.

use std::sync::Arc;

use app_proxy_hop::identity::RequestId;
use app_proxy_store::StoreError;
use log::{debug, info, warn};

use super::PendingEdit;
use crate::apps::Snapshot;
use crate::apps::edit::{Draft, Edit, EditError, EditOutcome};

/// Logs the result of a change, unless nothing has changed.
pub(super) fn log_outcome(request: &RequestId, edit: &Edit, outcome: &EditOutcome) {
    match (edit, outcome) {
        (_, EditOutcome::Created(app)) => {
            info!(
                "request_id={request} app {}: created at revision {}",
                app.app.name, app.revision
            );
        }
        (_, EditOutcome::Updated(app)) => {
            info!(
                "request_id={request} app {}: replaced at revision {}",
                app.app.name, app.revision
            );
        }
        (Edit::Delete(name, _), EditOutcome::Deleted) => {
            info!("request_id={request} app {name}: deleted");
        }
        _ => {}
    }
}

/// Logs the result of applying the file.
pub(super) fn log_file(outcome: &EditOutcome) {
    let EditOutcome::FileApplied {
        put,
        deleted,
        contested,
    } = outcome
    else {
        return;
    };
    debug!("app table: file applied; {put} apps put");
    if !deleted.is_empty() {
        info!(
            "app table: deleted {}, which no file defines any more",
            quoted(deleted)
        );
    }
    if !contested.is_empty() {
        warn!(
            "app table: the file of another member defines {} differently; this file applies until \
             the other one is applied again",
            quoted(contested)
        );
    }
}

fn quoted(names: &[String]) -> String {
    let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

/// Returns the answers to callers after a failed write, each according to the current table: a
/// change without effect succeeds, and an invalid one is rejected for its own reason.
pub(super) fn answers_after_failure(
    edits: &[PendingEdit],
    current: &Snapshot,
    failed: StoreError,
) -> Vec<Result<EditOutcome, EditError>> {
    let failed = Arc::new(failed);
    let answer = |pending: &PendingEdit| {
        let mut draft = Draft::new(current);
        let outcome = draft.apply(&pending.edit)?;
        if draft.commit().is_none() {
            Ok(outcome)
        } else {
            Err(EditError::Store(Arc::clone(&failed)))
        }
    };
    edits.iter().map(answer).collect()
}
