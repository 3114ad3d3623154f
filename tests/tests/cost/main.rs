//! The cost of a request at each tier: instructions and allocations (callgrind), system calls
//! (strace), compared with the numbers in `costs.txt`. See docs/testing.md.
//!
//! The daemons are optimised builds and run slowly under these tools, so these tests run alone:
//! `make costs`, `scripts/profile.sh`, `scripts/test.sh`.

// Tests report failures by panicking.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

mod scenario;

mod callgrind;
mod profile;
mod rig;
mod strace;
mod threads;
mod tools;

mod costs;
mod many_apps;
mod report;

use std::collections::BTreeMap;
use std::path::Path;

use app_proxy_tests::daemon::Launch;
use app_proxy_tests::wait::eventually;

use callgrind::Callgrind;
use costs::{Cost, Costs, Row, Tier};
use profile::Profile;
use rig::{Rig, binaries};
use scenario::{Driver, Scenario};
use strace::Strace;

/// Requests before the measurement: buffers have grown and connections are open then.
const WARM_UP: usize = 50;
/// Requests that are measured.
const TIMES: usize = 500;

/// The profiles of the scenarios at one tier, by thread, each of [`TIMES`] requests.
async fn profiles(
    tier: Tier,
    scenarios: &[Scenario],
    folder: &Path,
) -> BTreeMap<Scenario, BTreeMap<String, Profile>> {
    let callgrind = Callgrind::new(folder);
    let binaries = binaries();
    let plain = Launch {
        folder: Some(binaries.clone()),
        under: Vec::new(),
    };
    let under = callgrind.launch(&binaries);
    let mut rig = match tier {
        Tier::Coordinator => Rig::start(&binaries, under, plain).await,
        Tier::Worker => Rig::start(&binaries, plain, under).await,
    };
    let pid = rig.pid(tier.program());
    let mut profiles = BTreeMap::new();
    for scenario in scenarios {
        let mut driver = Driver::open(*scenario, &rig.app, &rig.cluster).await;
        driver.run(WARM_UP).await;
        callgrind.zero(pid);
        driver.run(TIMES).await;
        profiles.insert(*scenario, callgrind.dump(pid, scenario.name()));
    }
    profiles
}

/// System calls, by thread and name.
type Calls = BTreeMap<String, BTreeMap<String, u64>>;

/// The system calls of the scenarios at both tiers, each of [`TIMES`] requests.
async fn system_calls(folder: &Path) -> BTreeMap<Row, Calls> {
    let binaries = binaries();
    let traces = Tier::ALL.map(|tier| {
        let folder = folder.join(tier.name());
        std::fs::create_dir(&folder).expect("a folder");
        Strace::new(&folder)
    });
    let [coordinator, worker] = traces.each_ref().map(|trace| trace.launch(&binaries));
    let mut rig = Rig::start(&binaries, coordinator, worker).await;
    let mut windows = BTreeMap::new();
    for scenario in Scenario::ALL {
        let mut driver = Driver::open(scenario, &rig.app, &rig.cluster).await;
        driver.run(WARM_UP).await;
        let begin = strace::now();
        driver.run(TIMES).await;
        windows.insert(scenario, (begin, strace::now()));
    }
    let pids = Tier::ALL.map(|tier| rig.pid(tier.program()));
    let names = pids.map(threads::names);
    drop(rig);
    let mut counts = BTreeMap::new();
    for (((tier, trace), pid), names) in Tier::ALL.into_iter().zip(&traces).zip(pids).zip(&names) {
        eventually("strace to end", || trace.complete(pid).then_some(())).await;
        let calls = trace.calls();
        for (scenario, window) in &windows {
            counts.insert((*scenario, tier), strace::count(&calls, *window, names));
        }
    }
    counts
}

fn per_request(count: u64) -> f64 {
    count as f64 / TIMES as f64
}

/// Measures everything, and prints it by thread.
async fn measure() -> Costs {
    tools::check();
    let folder = tempfile::tempdir().expect("a folder");
    let calls = system_calls(folder.path()).await;
    let mut costs = Costs {
        rows: BTreeMap::new(),
        measured_with: tools::described(),
    };
    for tier in Tier::ALL {
        let folder = folder.path().join(format!("callgrind-{}", tier.name()));
        std::fs::create_dir(&folder).expect("a folder");
        for (scenario, profiles) in profiles(tier, &Scenario::ALL, &folder).await {
            println!("{} at the {}", scenario.name(), tier.name());
            let row = (scenario, tier);
            costs.rows.insert(row, cost(&profiles, &calls[&row]));
        }
    }
    costs
}

/// The cost of one request, summed over the threads that count.
fn cost(profiles: &BTreeMap<String, Profile>, calls: &Calls) -> Cost {
    let mut cost = Cost {
        instructions: 0.0,
        allocations: 0.0,
        syscalls: 0.0,
    };
    for (thread, profile) in profiles {
        let (instructions, allocations) =
            (per_request(profile.total), per_request(profile.allocations));
        println!("{instructions:>10.1} instructions {allocations:>6.2} allocations  {thread}");
        if threads::is_counted(thread) {
            cost.instructions += instructions;
            cost.allocations += allocations;
        }
    }
    for (thread, calls) in calls {
        let list: Vec<String> = calls
            .iter()
            .map(|(name, count)| format!("{name} {:.2}", per_request(*count)))
            .collect();
        println!("    {thread}: {}", list.join(", "));
        if threads::is_counted(thread) {
            let counted = calls.iter().filter(|(name, _)| strace::is_counted(name));
            cost.syscalls += per_request(counted.map(|(_, count)| count).sum());
        }
    }
    cost
}

#[tokio::test]
#[ignore = "runs by itself, on the optimised programs: make costs"]
async fn nothing_costs_more_than_recorded() {
    let now = measure().await;
    println!("\n{}", now.text());
    let path = Costs::path();
    let written = Costs::parse(&std::fs::read_to_string(&path).unwrap_or_default());
    if std::env::var_os("UPDATE_COSTS").is_some() {
        std::fs::write(&path, now.settled(&written).text())
            .expect("the file of numbers is written");
        return;
    }
    let Some(table) = written.differences(&now) else {
        return;
    };
    let mut advice =
        "If that is intended, `make costs` writes the new numbers into costs.txt; commit it \
         and say why. Lower numbers are written too, so that they are kept. \
         `scripts/profile.sh SCENARIO TIER` shows where the instructions are."
            .to_owned();
    if now.measured_with != written.measured_with {
        let (was, is) = (&written.measured_with, &now.measured_with);
        advice =
            format!("{advice}\nNOT THE SAME TOOLS: the numbers are of {was}; here it is {is}.");
    }
    panic!("a request does not cost what costs.txt says:\n\n{table}\n{advice}");
}

/// `scripts/profile.sh SCENARIO TIER`.
#[tokio::test]
#[ignore = "a tool: scripts/profile.sh"]
async fn profile_of_a_scenario() {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let scenario =
        Scenario::called(&variable("COST_SCENARIO")).expect("COST_SCENARIO is one of costs.txt");
    let tier = Tier::called(&variable("COST_TIER")).expect("COST_TIER is coordinator or worker");
    let folder = std::path::absolute(variable("COST_FOLDER")).expect("COST_FOLDER is a folder");
    let profiles = profiles(tier, &[scenario], &folder).await;
    let mut all = Profile::default();
    for (thread, profile) in &profiles[&scenario] {
        println!(
            "{:>10.1} instructions a request in the thread {thread}",
            per_request(profile.total)
        );
        all.merge(profile);
    }
    println!("\n{}", report::tables(&all, TIMES));
}
