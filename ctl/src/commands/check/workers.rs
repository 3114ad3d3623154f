//! Findings about workers: health, drains, and the revisions of their app tables.

use app_proxy_api::table::AppList;
use app_proxy_api::workers::WorkerView;

use super::{Finding, Level};

const SUBJECT: &str = "workers";

/// Returns whether a worker reports an older app table than the coordinator's.
pub(super) fn lags(list: &AppList, worker: &WorkerView) -> bool {
    worker
        .held
        .as_ref()
        .is_some_and(|held| held.epoch != list.epoch || held.revision < list.revision)
}

pub(super) fn findings(list: &AppList, workers: &[WorkerView]) -> Vec<Finding> {
    let healthy = workers.iter().filter(|worker| worker.healthy).count();
    let summary = match (healthy, workers.len()) {
        (_, 0) => Finding::new(Level::Fail, SUBJECT, "there are none"),
        (0, all) => Finding::new(Level::Fail, SUBJECT, format!("none of {all} is healthy")),
        (healthy, all) => Finding::new(Level::Ok, SUBJECT, format!("{healthy} of {all} healthy")),
    };
    std::iter::once(summary)
        .chain(workers.iter().flat_map(|worker| of_one(list, worker)))
        .collect()
}

fn of_one(list: &AppList, worker: &WorkerView) -> Vec<Finding> {
    let warning =
        |text: String| Finding::new(Level::Warn, SUBJECT, format!("{} {text}", worker.id));
    let mut findings = Vec::new();
    if !worker.healthy {
        findings.push(warning(format!("at {} is not healthy", worker.address)));
    }
    if let Some(drain) = &worker.drain {
        findings.push(warning(format!(
            "is drained since {}, {} in flight",
            drain.since, worker.in_flight
        )));
    } else if worker.draining {
        findings.push(warning(
            "gets no new sessions: another coordinator drains it".to_owned(),
        ));
    }
    if let (true, Some(held)) = (lags(list, worker), &worker.held) {
        findings.push(if held.epoch == list.epoch {
            warning(format!(
                "holds revision {} of the app table, which is at {}",
                held.revision, list.revision
            ))
        } else {
            warning(format!(
                "holds an app table of another epoch ({}, not {})",
                held.epoch, list.epoch
            ))
        });
    }
    findings
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn worker(changes: Value) -> WorkerView {
        let mut view = json!({
            "id": "w1", "address": "127.0.0.1:7080", "weight": 1, "labels": {}, "healthy": true,
            "draining": false, "source": "api", "held": {"epoch": "e", "revision": 7},
            "in_flight": 3, "open_streams": 0,
        });
        view.as_object_mut()
            .unwrap()
            .extend(changes.as_object().unwrap().clone());
        serde_json::from_value(view).unwrap()
    }

    fn lines(workers: &[WorkerView]) -> Vec<String> {
        let list = json!({"items": [], "next_cursor": null, "revision": 7, "epoch": "e",
            "complete": true});
        let list: AppList = serde_json::from_value(list).unwrap();
        findings(&list, workers)
            .iter()
            .map(|f| format!("{} {}", f.level.as_str(), f.text))
            .collect()
    }

    #[test]
    fn healthy_workers_have_no_line_of_their_own() {
        assert_eq!(lines(&[worker(json!({}))]), ["OK 1 of 1 healthy"]);
    }

    #[test]
    fn no_healthy_worker_is_a_failure() {
        assert_eq!(lines(&[]), ["FAIL there are none"]);
        let all = lines(&[worker(json!({"healthy": false}))]);
        assert_eq!(
            all,
            [
                "FAIL none of 1 is healthy",
                "WARN w1 at 127.0.0.1:7080 is not healthy"
            ]
        );
    }

    #[test]
    fn drains_and_old_tables_are_warnings() {
        let drain = json!({"since": "2026-11-23T12:00:00Z", "deadline": "2026-11-23T12:05:00Z",
            "done": false});
        let drained = worker(json!({"draining": true, "drain": drain}));
        assert_eq!(
            lines(&[drained])[1],
            "WARN w1 is drained since 2026-11-23T12:00:00Z, 3 in flight"
        );
        let elsewhere = worker(json!({"draining": true}));
        assert_eq!(
            lines(&[elsewhere])[1],
            "WARN w1 gets no new sessions: another coordinator drains it"
        );
        let old = worker(json!({"held": {"epoch": "e", "revision": 6}}));
        assert_eq!(
            lines(&[old])[1],
            "WARN w1 holds revision 6 of the app table, which is at 7"
        );
        let other = worker(json!({"held": {"epoch": "d", "revision": 9}}));
        assert_eq!(
            lines(&[other])[1],
            "WARN w1 holds an app table of another epoch (d, not e)"
        );
    }
}
