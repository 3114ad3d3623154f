//! Findings about apps: endpoints and workers for their requests.

use app_proxy_api::table::StoredApp;
use app_proxy_api::workers::WorkerView;

use super::{Finding, Level};

const SUBJECT: &str = "apps";
/// Maximum number of names on a line.
const MAX_NAMES: usize = 10;

pub(super) fn findings(apps: &[StoredApp], workers: &[WorkerView]) -> Vec<Finding> {
    // An app with a `wake` policy starts when a request arrives.
    let without_endpoint =
        |app: &&StoredApp| app.app.endpoints.is_empty() && app.app.wake.is_none();
    let without_worker =
        |app: &&StoredApp| !app.app.pool.is_empty() && !workers.iter().any(|w| serves(w, app));
    let mut findings = vec![Finding::new(
        Level::Ok,
        SUBJECT,
        format!("{} in the table", apps.len()),
    )];
    findings.extend(warning(
        "without an endpoint",
        apps.iter().filter(without_endpoint),
    ));
    findings.extend(warning(
        "without a healthy worker that has the labels of `pool`",
        apps.iter().filter(without_worker),
    ));
    findings
}

fn serves(worker: &WorkerView, app: &StoredApp) -> bool {
    worker.healthy
        && app
            .app
            .pool
            .iter()
            .all(|(name, value)| worker.labels.get(name) == Some(value))
}

fn warning<'a>(problem: &str, apps: impl Iterator<Item = &'a StoredApp>) -> Option<Finding> {
    let names: Vec<_> = apps.map(|app| app.app.name.as_str()).collect();
    let mut shown = names
        .iter()
        .take(MAX_NAMES)
        .copied()
        .collect::<Vec<_>>()
        .join(", ");
    if let Some(more @ 1..) = names.len().checked_sub(MAX_NAMES) {
        shown.push_str(&format!(" and {more} more"));
    }
    (!names.is_empty()).then(|| {
        Finding::new(
            Level::Warn,
            SUBJECT,
            format!("{} {problem}: {shown}", names.len()),
        )
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn app(name: &str, more: Value) -> StoredApp {
        let mut app = json!({"name": name, "revision": 1, "source": "api",
            "endpoints": [{"address": "h:1"}]});
        app.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        serde_json::from_value(app).unwrap()
    }

    fn worker(healthy: bool) -> WorkerView {
        serde_json::from_value(json!({
            "id": "w1", "address": "h:1", "weight": 1, "labels": {"zone": "a"}, "healthy": healthy,
            "draining": false, "source": "api", "in_flight": 0, "open_streams": 0,
        }))
        .unwrap()
    }

    fn lines(apps: &[StoredApp], workers: &[WorkerView]) -> Vec<String> {
        findings(apps, workers)
            .iter()
            .map(|f| format!("{} {}", f.level.as_str(), f.text))
            .collect()
    }

    #[test]
    fn apps_without_endpoint_and_wake_policy_are_warnings() {
        let none = json!({"endpoints": []});
        let with_wake = json!({"endpoints": [], "wake": {"notify": "http://h/"}});
        let apps = [
            app("a", none.clone()),
            app("b", with_wake),
            app("c", none),
            app("d", json!({})),
        ];
        assert_eq!(
            lines(&apps, &[]),
            ["OK 4 in the table", "WARN 2 without an endpoint: a, c"]
        );
    }

    #[test]
    fn apps_without_a_matching_healthy_worker_are_warnings() {
        let apps = [
            app("a", json!({"pool": {"zone": "a"}})),
            app("b", json!({"pool": {"zone": "b"}})),
        ];
        assert!(lines(&apps, &[worker(true)])[1].ends_with(": b"));
        assert!(lines(&apps, &[worker(false)])[1].ends_with(": a, b"));
    }

    #[test]
    fn long_lists_of_names_are_cut() {
        let apps: Vec<_> = (0..12)
            .map(|i| app(&format!("a{i}"), json!({"endpoints": []})))
            .collect();
        assert!(lines(&apps, &[])[1].ends_with("a9 and 2 more"));
    }
}
