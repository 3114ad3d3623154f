//! The events of a request at both tiers, read by its identifier.

use app_proxy_tests::cluster::Cluster;
use app_proxy_tests::http1::Request;
use app_proxy_tests::wait::eventually_async;
use serde_json::{Value, json};

use crate::upgrade::upgrade;
use crate::{start, start_default};

/// Polls the coordinator until `wanted` holds: a line is written a moment after its request has
/// ended.
async fn trace(cluster: &Cluster, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let wanted = &wanted;
    eventually_async(&format!("the events of {id}"), || async move {
        let answer = cluster.admin_get(&format!("/api/v1/requests/{id}")).await;
        (answer.status == 200).then(|| answer.json()).filter(wanted)
    })
    .await
}

fn events(answer: &Value) -> &Vec<Value> {
    answer["events"]
        .as_array()
        .unwrap_or_else(|| panic!("no events: {answer}"))
}

/// Returns whether an answer has this many events of each tier.
fn has(answer: &Value, coordinator: usize, worker: usize) -> bool {
    let count = |tier: &str| {
        events(answer)
            .iter()
            .filter(|event| event["tier"] == tier)
            .count()
    };
    (count("coordinator"), count("worker")) == (coordinator, worker)
}

/// Builds a request to a worker at one of its listeners.
fn request_to_worker<'r>(cluster: &Cluster, proxy: bool, id: &str, token: &str) -> Request<'r> {
    let worker = cluster.worker(0);
    if proxy {
        let address = worker.address.parse().unwrap();
        Request::to(address, "GET", &format!("/requests/{id}")).header("X-App-Proxy-Token", token)
    } else {
        let path = format!("/api/v1/requests/{id}");
        Request::to(worker.admin, "GET", &path).header("Authorization", &format!("Bearer {token}"))
    }
}

#[tokio::test]
async fn a_request_is_found_with_the_lines_of_both_tiers() {
    let (_app, cluster) = start(|builder| builder.workers(2)).await;
    let cookie = cluster
        .get("/apps/notes/echo")
        .id("known")
        .send()
        .await
        .session_cookie()
        .unwrap();
    cluster
        .get("/apps/notes/echo")
        .id("other")
        .session(&cookie)
        .send()
        .await;
    let found = trace(&cluster, "known", |answer| has(answer, 1, 1)).await;
    assert_eq!(found["request_id"], "known");
    assert!(
        events(&found)
            .iter()
            .all(|event| event["request_id"] == "known" && event["status"] == 200),
        "{found}"
    );
    let worker = &events(&found)[0]["worker"];
    assert_eq!(found["workers_asked"], json!([worker]));
    assert_eq!(found["workers_failed"], json!([]));
    let mut times: Vec<_> = events(&found)
        .iter()
        .map(|event| event["ts"].as_str().unwrap())
        .collect();
    assert_eq!(times.len(), 2);
    times.dedup();
    assert!(times.is_sorted(), "{found}");
}

#[tokio::test]
async fn an_open_stream_is_found() {
    let (_app, cluster) = start_default().await;
    let mut socket = cluster
        .websocket("/apps/notes/ws/echo", &[("X-Backend-Request-ID", "stream")])
        .await;
    let found = trace(&cluster, "stream", |answer| has(answer, 1, 1)).await;
    assert!(
        events(&found)
            .iter()
            .all(|event| event["event"] == "stream_open"),
        "{found}"
    );
    socket.close(1000).await;
    let found = trace(&cluster, "stream", |answer| has(answer, 2, 2)).await;
    let closed = events(&found)
        .iter()
        .filter(|event| event["event"] == "stream_close")
        .count();
    assert_eq!(closed, 2, "{found}");
}

#[tokio::test]
async fn a_request_is_found_over_unix_sockets_too() {
    let (_app, cluster) = start(|builder| builder.unix_workers()).await;
    cluster.get("/apps/api/echo").id("known").send().await;
    trace(&cluster, "known", |answer| has(answer, 1, 1)).await;
}

#[tokio::test]
async fn unknown_identifiers_return_404_and_invalid_ones_400() {
    let (_app, cluster) = start_default().await;
    for (id, status, code) in [
        ("nobody", 404, "request_not_found"),
        ("a%20b", 400, "bad_request"),
        ("-a", 400, "bad_request"),
        (&"x".repeat(129), 400, "bad_request"),
    ] {
        let answer = cluster.admin_get(&format!("/api/v1/requests/{id}")).await;
        assert_eq!(
            (answer.status, answer.problem_code().as_str()),
            (status, code),
            "{id}"
        );
    }
    let answer = Request::to(cluster.admin(), "GET", "/api/v1/requests/nobody")
        .send()
        .await;
    assert_eq!(answer.status, 401);
    let worker = format!("Bearer {}", cluster.worker_token());
    let answer = Request::to(cluster.admin(), "GET", "/api/v1/requests/nobody")
        .header("Authorization", &worker);
    assert_eq!(answer.send().await.status, 401);
}

#[tokio::test]
async fn a_trace_names_unreachable_workers_and_has_all_other_events() {
    let (_app, mut cluster) = start_default().await;
    cluster.get("/apps/api/echo").id("known").send().await;
    trace(&cluster, "known", |answer| has(answer, 1, 1)).await;
    cluster.kill_worker(0);
    let found = trace(&cluster, "known", |answer| has(answer, 1, 0)).await;
    assert_eq!(found["workers_asked"], json!([]));
    assert_eq!(found["workers_failed"][0]["worker"], "w1");
    assert!(
        found["workers_failed"][0]["error"]
            .as_str()
            .unwrap()
            .starts_with("cannot be reached"),
        "{found}"
    );
}

#[tokio::test]
async fn a_trace_reads_events_of_the_worker_that_the_coordinator_no_longer_has() {
    let (_app, mut cluster) = start_default().await;
    cluster.get("/apps/api/echo").id("known").send().await;
    trace(&cluster, "known", |answer| has(answer, 1, 1)).await;
    cluster.kill_coordinator();
    std::fs::remove_file(cluster.folder().join("coordinator.access.log")).unwrap();
    cluster.restart_coordinator().await;
    let found = trace(&cluster, "known", |answer| has(answer, 0, 1)).await;
    assert_eq!(found["workers_asked"], json!(["w1"]));
}

/// Regression: after an upgrade, events that the old process had logged were not found.
#[tokio::test]
async fn a_request_of_a_process_before_is_found_in_the_file() {
    let (_app, mut cluster) = start_default().await;
    let mut socket = cluster
        .websocket("/apps/notes/ws/echo", &[("X-Backend-Request-ID", "socket")])
        .await;
    cluster.get("/apps/api/echo").id("known").send().await;
    trace(&cluster, "known", |answer| has(answer, 1, 1)).await;
    let _old = upgrade(&mut cluster).await;
    let found = trace(&cluster, "known", |answer| has(answer, 1, 1)).await;
    assert_eq!(found["workers_asked"], json!(["w1"]));
    // What the old process logs while it drains, too.
    socket.close(1000).await;
    let found = trace(&cluster, "socket", |answer| has(answer, 2, 2)).await;
    assert_eq!(
        events(&found)
            .iter()
            .filter(|event| event["event"] == "stream_close")
            .count(),
        2,
        "{found}"
    );
    cluster.kill_coordinator();
    cluster.restart_coordinator().await;
    trace(&cluster, "known", |answer| has(answer, 1, 1)).await;
}

#[tokio::test]
async fn lines_of_daemons_that_share_a_file_are_returned_once() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let shared = json!({"access_log": {"path": file.path()}});
    let (_app, cluster) = start(|builder| builder.coordinator(&shared).worker(&shared)).await;
    cluster.get("/apps/api/echo").id("known").send().await;
    let found = trace(&cluster, "known", |answer| has(answer, 1, 1)).await;
    assert_eq!(found["workers_asked"], json!(["w1"]));
}

#[tokio::test]
async fn only_so_much_is_kept() {
    let little = json!({"access_log": {"recent": "64KiB"}});
    let (_app, cluster) = start(|builder| builder.coordinator(&little).worker(&little)).await;
    cluster.get("/apps/api/echo").id("first").send().await;
    trace(&cluster, "first", |answer| has(answer, 1, 1)).await;
    let mut client = cluster.client().await;
    for number in 0..300 {
        client
            .get("/apps/api/echo")
            .id(&format!("later-{number}"))
            .send()
            .await;
    }
    trace(&cluster, "later-299", |answer| has(answer, 1, 1)).await;
    assert_eq!(
        cluster.admin_get("/api/v1/requests/first").await.status,
        404
    );
}

#[tokio::test]
async fn no_events_are_kept_when_that_is_disabled() {
    let nothing = json!({"access_log": {"recent": 0}});
    let (_app, cluster) = start(|builder| builder.coordinator(&nothing)).await;
    cluster.get("/apps/api/echo").id("known").send().await;
    cluster.coordinator_log().request("known").await;
    trace(&cluster, "known", |answer| has(answer, 0, 1)).await;
}

#[tokio::test]
async fn events_that_could_not_be_written_to_disk_are_found() {
    let full = json!({"access_log": {"path": "/dev/full"}});
    let (_app, cluster) = start(|builder| builder.coordinator(&full)).await;
    cluster.get("/apps/api/echo").id("known").send().await;
    trace(&cluster, "known", |answer| has(answer, 1, 1)).await;
}

#[tokio::test]
async fn a_client_finds_its_request_by_the_rejected_identifier() {
    let nobody = json!({"request_id": {"accept_from": []}});
    let (_app, cluster) = start(|builder| builder.coordinator(&nobody)).await;
    let given = cluster
        .get("/apps/api/echo")
        .id("mine")
        .send()
        .await
        .request_id();
    let found = trace(&cluster, "mine", |answer| has(answer, 1, 0)).await;
    assert_eq!(events(&found)[0]["request_id"], given.as_str());
    trace(&cluster, &given, |answer| has(answer, 1, 1)).await;
}

#[tokio::test]
async fn a_worker_returns_events_to_coordinators_only() {
    let (_app, cluster) = start_default().await;
    cluster.get("/apps/api/echo").id("known").send().await;
    cluster.worker_log(0).request("known").await;
    let token = cluster.worker_token();
    for proxy in [false, true] {
        let answer = request_to_worker(&cluster, proxy, "known", &token)
            .send()
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let answer = answer.json();
        assert_eq!(
            (&answer["request_id"], events(&answer).len()),
            (&json!("known"), 1),
            "{answer}"
        );
        let unknown = request_to_worker(&cluster, proxy, "nobody", &token)
            .send()
            .await
            .json();
        assert_eq!(unknown, json!({"request_id": "nobody", "events": []}));
        let refused = request_to_worker(&cluster, proxy, "known", "not the token")
            .send()
            .await;
        assert_eq!(refused.status, if proxy { 403 } else { 401 });
        assert!(!refused.text().contains("/echo"), "{}", refused.text());
    }
    assert_eq!(
        request_to_worker(&cluster, false, "a%20b", &token)
            .send()
            .await
            .status,
        400
    );
    let lines = cluster
        .worker_log(0)
        .select(|line| line["path"].as_str().unwrap().starts_with("/requests/"));
    assert!(lines.iter().all(|line| line["status"] == 403), "{lines:?}");
}
