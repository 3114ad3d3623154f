//! The engine beside Pingora's loop and hyper's server: for the same bytes, the application sees
//! the same requests, or the engine is the stricter one, or the difference has a name and a reason.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

mod harness;
mod mutation;

use std::collections::BTreeMap;

use app_proxy_tests::corpus::{self, show};
use harness::{KNOWN, Outcome, Proxies, Verdict, judge};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};

type Other = fn(&Proxies, &[u8]) -> Outcome;

/// The other implementations.
const OTHERS: [(&str, Other); 2] = [("Pingora", Proxies::pingora), ("hyper", Proxies::hyper)];

#[test]
fn the_corpus_has_known_differences_only() {
    let proxies = Proxies::new();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut faults = Vec::new();
    for case in corpus::load("requests") {
        let input = case.client_bytes();
        let engine = proxies.engine(&input);
        for (name, run) in OTHERS {
            let verdict = judge(&input, &engine, &run(&proxies, &input));
            let count = match verdict {
                Verdict::Fault(fault) => {
                    faults.push(format!(
                        "{} ({name}): {fault}\n  {}",
                        case.name,
                        show(&input)
                    ));
                    "fault"
                }
                Verdict::Equal => "equal",
                Verdict::Stricter => "stricter",
                Verdict::Known(known) => known,
            };
            *counts.entry(format!("{name}: {count}")).or_default() += 1;
        }
    }
    println!("{counts:#?}");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The largest case that is changed, in bytes.
const MAX_CHANGED: usize = 4096;

#[test]
fn changed_cases_have_known_differences_only() {
    let proxies = Proxies::new();
    let inputs: Vec<Vec<u8>> = corpus::load("requests")
        .iter()
        .map(corpus::Case::client_bytes)
        .filter(|input| input.len() <= MAX_CHANGED)
        .collect();
    let changed = (any::<Index>(), mutation::edits());
    let mut runner = TestRunner::new(Config {
        failure_persistence: None,
        ..Config::default()
    });
    let result = runner.run(&changed, |(case, edits)| {
        let input = mutation::apply(&inputs[case.index(inputs.len())], &edits);
        let engine = proxies.engine(&input);
        for (name, run) in OTHERS {
            let other = run(&proxies, &input);
            if let Verdict::Fault(fault) = judge(&input, &engine, &other) {
                let fault = format!("{name}: {fault}\n  {}", show(&input));
                return Err(TestCaseError::fail(fault));
            }
        }
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

#[test]
fn each_known_difference_has_a_name_and_a_reason() {
    let mut names: Vec<&str> = KNOWN.iter().map(|known| known.name).collect();
    names.dedup();
    assert_eq!(names.len(), KNOWN.len());
    assert!(KNOWN.iter().all(|known| known.reason.ends_with('.')));
}
