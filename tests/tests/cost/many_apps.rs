//! The cost of a request with many apps: the same requests on the same connection, before and after
//! ten thousand other apps were added.

use std::time::{Duration, Instant};

use app_proxy_tests::daemon::Launch;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::callgrind::Callgrind;
use crate::costs::Tier;
use crate::rig::{Rig, binaries};
use crate::scenario::{Driver, Scenario};
use crate::{TIMES, WARM_UP, per_request, threads, tools};

/// Apps in the end.
const MANY: usize = 10_000;
/// The time limit for applying the apps: the daemon is some fifty times slower here.
const PATIENCE: Duration = Duration::from_secs(300);

/// Adds the other apps to the coordinator's file, and waits until both tiers have them.
async fn add_apps(rig: &mut Rig) {
    let endpoints = json!([{"address": rig.app.addr().to_string()}]);
    let app = |name: String| json!({"name": name, "endpoints": endpoints});
    let others = (1..MANY).map(|number| app(format!("other-{number}")));
    let apps: Vec<Value> = std::iter::once(app("cost".to_owned()))
        .chain(others)
        .collect();
    rig.cluster
        .patch_coordinator_config(&json!({"coordinator": {"apps": apps}}));
    rig.cluster.coordinator().signal(Signal::SIGHUP);
    let begun = Instant::now();
    loop {
        let held = rig.cluster.admin_json("/api/v1/workers/w1").await["held"]["revision"].as_u64();
        if held.is_some_and(|revision| revision >= MANY as u64) {
            return;
        }
        assert!(
            begun.elapsed() < PATIENCE,
            "the worker holds revision {held:?}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Instructions a request at a tier, with one app and with many.
async fn instructions(tier: Tier) -> [f64; 2] {
    let folder = tempfile::tempdir().expect("a folder");
    let callgrind = Callgrind::new(folder.path());
    let binaries = binaries();
    let plain = Launch {
        folder: Some(binaries.clone()),
        under: Vec::new(),
    };
    let under = callgrind.launch(&binaries);
    let (coordinator, worker) = match tier {
        Tier::Coordinator => (under, plain),
        Tier::Worker => (plain, under),
    };
    let mut rig = Rig::start(&binaries, coordinator, worker).await;
    let pid = rig.pid(tier.program());
    let mut counts = [0.0; 2];
    for (number, count) in counts.iter_mut().enumerate() {
        if number == 1 {
            add_apps(&mut rig).await;
        }
        let mut driver = Driver::open(Scenario::KeepAlive, &rig.app, &rig.cluster).await;
        driver.run(WARM_UP).await;
        callgrind.zero(pid);
        driver.run(TIMES).await;
        let profiles = callgrind.dump(pid, &format!("{number}"));
        let counted = profiles
            .iter()
            .filter(|(thread, _)| threads::is_counted(thread));
        *count = per_request(counted.map(|(_, profile)| profile.total).sum());
    }
    counts
}

#[tokio::test]
#[ignore = "a measurement, on the optimised programs: docs/explanation/performance.md"]
async fn a_request_costs_the_same_with_ten_thousand_apps() {
    tools::check();
    for tier in Tier::ALL {
        let [one, many] = instructions(tier).await;
        println!(
            "{}: {one:.0} instructions a request with one app, {many:.0} with {MANY}",
            tier.name()
        );
        assert!(
            (many / one - 1.0).abs() < 0.03,
            "the {} looks longer where there are many apps",
            tier.name()
        );
    }
}
