//! Following a request by its ID through both tiers' access logs into the application.

use std::collections::HashMap;

use app_proxy_tests::cluster::Cluster;
use app_proxy_tests::logs::AccessLog;
use app_proxy_tests::wait::eventually;
use serde_json::Value;

/// Both workers' access logs.
fn worker_logs(cluster: &Cluster) -> [AccessLog; 2] {
    [cluster.worker_log(0), cluster.worker_log(1)]
}

/// The lines of this request and event at the worker that had it.
fn at_workers(cluster: &Cluster, id: &str, event: &str) -> Vec<Value> {
    let logs = worker_logs(cluster);
    let lines = logs.iter().flat_map(|log| log.of_request(id));
    lines.filter(|line| line["event"] == event).collect()
}

/// Waits until the request is in the log of the coordinator and of one worker, once each; gives the
/// coordinator's line.
pub(crate) async fn request_at_both_tiers(cluster: &Cluster, id: &str) -> Value {
    event_at_both_tiers(cluster, id, "request").await
}

/// Waits until the stream has been opened and closed at the coordinator and at one worker, once
/// each.
pub(crate) async fn stream_at_both_tiers(cluster: &Cluster, id: &str) {
    event_at_both_tiers(cluster, id, "stream_open").await;
    event_at_both_tiers(cluster, id, "stream_close").await;
}

async fn event_at_both_tiers(cluster: &Cluster, id: &str, event: &str) -> Value {
    let line = cluster.coordinator_log().event(id, event).await;
    eventually(&format!("`{event}` of {id} at a worker"), || {
        at_workers(cluster, id, event).pop()
    })
    .await;
    let at_coordinator = cluster.coordinator_log().of_request(id);
    let times = |lines: &[Value]| lines.iter().filter(|line| line["event"] == event).count();
    assert_eq!(times(&at_coordinator), 1, "`{event}` of {id}, coordinator");
    assert_eq!(
        times(&at_workers(cluster, id, event)),
        1,
        "`{event}` of {id}, workers"
    );
    line
}

/// Returns whether one of these streams, given by their opening log lines, carried messages in both
/// directions.
pub(crate) async fn count_data_both_ways(cluster: &Cluster, opened: &[Value]) -> bool {
    for line in opened {
        let id = line["request_id"].as_str().unwrap();
        let closed = cluster.coordinator_log().event(id, "stream_close").await;
        let messages = |name: &str| closed[name].as_u64().unwrap_or_default();
        if messages("messages_in") > 0 && messages("messages_out") > 0 {
            return true;
        }
    }
    false
}

/// Every request that the application has seen is in the coordinator's log; and every request and
/// stream of `app` that the coordinator logged with a status below 400 is in the workers' logs
/// exactly once and reached the application exactly once. `seen` gives the IDs of all requests that
/// the application has seen.
pub(crate) async fn all_requests_at_every_place(
    cluster: &Cluster,
    app: &str,
    seen: impl Fn() -> Vec<String>,
) {
    let begun = |line: &Value| {
        line["app"] == app
            && (line["event"] == "request" || line["event"] == "stream_open")
            && line["status"].as_u64().is_some_and(|status| status < 400)
    };
    let ids = |log: &AccessLog| -> Vec<String> {
        let lines = log.select(begun);
        let ids = lines
            .iter()
            .map(|line| line["request_id"].as_str().unwrap());
        ids.map(str::to_owned).collect()
    };
    eventually(
        "every request of the application in the coordinator's log",
        || {
            let logged = count(every_id(&cluster.coordinator_log()));
            seen()
                .iter()
                .all(|id| logged.contains_key(id))
                .then_some(())
        },
    )
    .await;
    let at_coordinator = ids(&cluster.coordinator_log());
    assert!(!at_coordinator.is_empty(), "{app} had requests");

    eventually("every request at a worker and at the application", || {
        let at_workers = count(worker_logs(cluster).iter().flat_map(ids));
        let at_application = count(seen());
        let everywhere =
            |id: &String| at_workers.contains_key(id) && at_application.contains_key(id);
        at_coordinator.iter().all(everywhere).then_some(())
    })
    .await;
    let at_workers = count(worker_logs(cluster).iter().flat_map(ids));
    let at_application = count(seen());
    for (id, times) in count(at_coordinator) {
        let places = (times, at_workers[&id], at_application[&id]);
        assert_eq!(
            places,
            (1, 1, 1),
            "{id} at coordinator, workers, application"
        );
    }
}

fn every_id(log: &AccessLog) -> Vec<String> {
    let lines = log.lines();
    let ids = lines.iter().filter_map(|line| line["request_id"].as_str());
    ids.map(str::to_owned).collect()
}

fn count(ids: impl IntoIterator<Item = String>) -> HashMap<String, usize> {
    let mut times = HashMap::new();
    for id in ids {
        *times.entry(id).or_default() += 1;
    }
    times
}
