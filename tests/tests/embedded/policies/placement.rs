//! A placement policy: which worker serves a request.

use app_proxy_coordinator::{Candidate, Ketama, Placement, PlacementRequest};
use app_proxy_tests::app::RecordingApp;
use app_proxy_tests::cluster::Cluster;
use app_proxy_tests::http1::Response;
use serde_json::{Value, json};

use super::Embedded;

/// Selects a worker in the zone that the header `X-Zone` names; some zones lead to something else.
struct ByZone;

impl Placement for ByZone {
    fn place<'p>(&self, request: &PlacementRequest<'p>) -> Option<Candidate<'p>> {
        let zone = request.headers().get("x-zone");
        match zone.and_then(|zone| zone.to_str().ok()) {
            None => Ketama.place(request),
            Some("panic") => panic!("a fault of the policy"),
            Some("near-b") => {
                let near = request.by_ketama(|worker| worker.label("zone") == Some("b"));
                near.or_else(|| Ketama.place(request))
            }
            zone => request.by_ketama(|worker| worker.label("zone") == zone),
        }
    }
}

/// The workers `w1` in zone a and `w2` in zone b, which register.
async fn start(app: &RecordingApp) -> Embedded {
    let plan = Cluster::builder()
        .app_at("notes", app.addr())
        .workers(2)
        .registering_workers()
        // The coordinator learns of the end of a worker by a failed attempt only.
        .coordinator(&json!({"health_check": {"unhealthy_after": 1000}}))
        .one_worker(0, &json!({"labels": {"zone": "a"}}))
        .one_worker(1, &json!({"labels": {"zone": "b"}}));
    Embedded::start(plan, |builder| builder.placement(ByZone)).await
}

async fn in_zone(cluster: &Cluster, zone: &str) -> (Response, Value) {
    let response = cluster.get("/apps/notes/echo").header("X-Zone", zone);
    let response = response.send().await;
    let line = cluster
        .coordinator_log()
        .request(&response.request_id())
        .await;
    (response, line)
}

#[tokio::test]
async fn a_policy_selects_the_worker_by_a_label_and_a_header() {
    let app = RecordingApp::start().await;
    let embedded = start(&app).await;
    for (zone, worker) in [("a", "w1"), ("b", "w2"), ("a", "w1")] {
        let (response, line) = in_zone(&embedded.cluster, zone).await;
        assert_eq!((response.status, &line["worker"]), (200, &json!(worker)));
    }
    for zone in ["nowhere", "panic"] {
        let (response, line) = in_zone(&embedded.cluster, zone).await;
        assert_eq!(response.status, 503, "{zone}");
        assert_eq!(line["error"], "no_worker_available", "{zone}");
    }
    assert_eq!(app.count(), 3);
}

#[tokio::test]
async fn a_policy_does_not_see_a_worker_that_has_failed_in_the_request() {
    let app = RecordingApp::start().await;
    let mut embedded = start(&app).await;
    embedded.cluster.kill_worker(1);
    let (response, line) = in_zone(&embedded.cluster, "near-b").await;
    assert_eq!(response.status, 200);
    assert_eq!(
        (&line["worker"], &line["attempts"]),
        (&json!("w1"), &json!(2))
    );
}
