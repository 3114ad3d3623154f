//! The HTTP/1.1 conformance corpus (`tests/fixtures/http1/`): raw requests and raw responses
//! through both tiers, with a strict application and a strict client at the ends.

// Tests report failures by panicking.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

mod app;
mod compare;
mod lane;
mod seeds;

use app_proxy_tests::corpus::{self, Case};
use lane::Lane;

/// How many clusters share the cases. The cases of a cluster run one after another, so that each
/// request at its application belongs to one case.
const LANES: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn every_raw_request_of_the_corpus_has_its_outcome() {
    run("requests", 300).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn every_raw_response_of_the_corpus_has_its_outcome() {
    run("responses", 100).await;
}

/// Runs the cases of a kind, or those whose names contain `APP_PROXY_CASE`, and reports all that
/// fail.
async fn run(kind: &str, at_least: usize) {
    let mut cases = corpus::load(kind);
    assert!(cases.len() >= at_least, "{kind}: {} cases", cases.len());
    if let Ok(wanted) = std::env::var("APP_PROXY_CASE") {
        cases.retain(|case| case.name.contains(&wanted));
    }
    let total = cases.len();
    let mut shares: Vec<Vec<Case>> = vec![Vec::new(); LANES.min(total)];
    for (index, case) in cases.into_iter().enumerate() {
        let share = index % shares.len();
        shares[share].push(case);
    }
    let lanes = shares
        .into_iter()
        .map(|share| tokio::spawn(run_share(share)));
    let mut reports = Vec::new();
    for lane in lanes.collect::<Vec<_>>() {
        reports.extend(lane.await.expect("a lane"));
    }
    reports.sort();
    let failed = reports.len();
    assert!(
        reports.is_empty(),
        "{failed} of {total} cases of {kind} failed:\n\n{}",
        reports.join("\n")
    );
}

async fn run_share(cases: Vec<Case>) -> Vec<String> {
    let mut lane = Lane::start().await;
    let mut reports = Vec::new();
    for case in &cases {
        let faults = lane.run(case).await;
        if !faults.is_empty() {
            reports.push(report(case, &faults));
        }
    }
    reports.extend(lane.unused_connections());
    reports
}

fn report(case: &Case, faults: &[String]) -> String {
    let mut text = format!("{} ({}; {})\n", case.name, case.section, case.place);
    for fault in faults {
        text.push_str(&format!("    {fault}\n"));
    }
    text
}
