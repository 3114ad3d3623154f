//! One tier in the earlier version, the other in this one.

use std::sync::Arc;

use app_proxy_tests::app::RecordingApp;
use app_proxy_tests::cluster::Cluster;
use app_proxy_tests::daemon::Program;
use app_proxy_tests::wait::eventually_async;
use serde_json::{Value, json};

use crate::report::Tally;
use crate::traffic::{STEADY, Traffic};
use crate::versions::Versions;
use crate::writers::{self, Writers};

/// Starts `old` in the earlier version and the other tier in this one, with two workers that
/// register, and changes apps under traffic.
pub(crate) async fn check(versions: &Versions, old: Program, tally: &Arc<Tally>) {
    let launch = |program| {
        if program == old {
            versions.old.clone()
        } else {
            versions.new.clone()
        }
    };
    let (app, other) = (
        Arc::new(RecordingApp::start().await),
        RecordingApp::start().await,
    );
    let cluster = Cluster::builder()
        .app_at(STEADY, app.addr())
        .workers(2)
        .registering_workers()
        .launch(Program::Coordinator, launch(Program::Coordinator))
        .launch(Program::Worker, launch(Program::Worker))
        .start()
        .await;
    let writers = Writers::start(&cluster, 3, [app.addr(), other.addr()], tally);
    let traffic = Traffic::start(&cluster, &app, tally);
    writers.go_on(60).await;
    traffic.go_on(60).await;
    drains(&cluster, &app).await;
    writers.go_on(60).await;
    traffic.go_on(60).await;
    traces(&cluster, tally).await;
    let acknowledged = writers.end().await;
    traffic.end().await;
    writers::check(&cluster.api(), &acknowledged, tally).await;
}

/// Drains a worker and takes it into service again: sessions leave it, and it renews its lease.
async fn drains(cluster: &Cluster, app: &RecordingApp) {
    let call = |verb: &'static str| async move {
        let target = format!("/api/v1/workers/w2/{verb}");
        let answer = cluster.admin_call("POST", &target, "{}").await;
        assert_eq!(answer.status, 200, "{verb}: {}", answer.text());
    };
    call("drain").await;
    wait_for_worker(cluster, "w2", |worker| worker["draining"] == true).await;
    let before = cluster.worker_log(1).of_request("drained").len();
    let answer = cluster.get("/apps/steady/echo").id("drained").send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    app.wait_for_id("drained").await;
    assert_eq!(cluster.worker_log(1).of_request("drained").len(), before);
    call("undrain").await;
    let until = worker(cluster, "w2").await["lease_until"].clone();
    wait_for_worker(cluster, "w2", |worker| {
        worker["draining"] == false && worker["lease_until"] != until
    })
    .await;
}

/// A request is found at both tiers.
async fn traces(cluster: &Cluster, tally: &Tally) {
    let answer = cluster.get("/apps/steady/echo").id("traced").send().await;
    assert_eq!(answer.status, 200);
    tally.request();
    let target = "/api/v1/requests/traced";
    eventually_async("the trace of a request at both tiers", || async move {
        let answer = cluster.admin_get(target).await;
        let text = answer.text();
        let tiers = [r#""tier":"coordinator""#, r#""tier":"worker""#];
        (answer.status == 200 && tiers.iter().all(|tier| text.contains(tier))).then_some(())
    })
    .await;
}

/// The view of one worker.
pub(crate) async fn worker(cluster: &Cluster, id: &str) -> Value {
    let list = cluster.admin_json("/api/v1/workers").await;
    let items = list["items"].as_array().expect("workers").clone();
    let found = items.into_iter().find(|worker| worker["id"] == id);
    found.unwrap_or(json!(null))
}

/// Waits until the view of a worker is as `wanted`.
pub(crate) async fn wait_for_worker(cluster: &Cluster, id: &str, wanted: impl Fn(&Value) -> bool) {
    eventually_async(&format!("the state of {id}"), || async {
        wanted(&worker(cluster, id).await).then_some(())
    })
    .await;
}
