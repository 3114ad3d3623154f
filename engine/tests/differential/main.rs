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
use harness::{KNOWN, KNOWN_ANSWERS, Outcome, Proxies, Verdict, judge, judge_answers};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};

type Other = fn(&Proxies, &[u8]) -> Outcome;

/// The other implementations.
const OTHERS: [(&str, Other); 2] = [("Pingora", Proxies::pingora), ("hyper", Proxies::hyper)];

#[test]
fn the_requests_of_the_corpus_have_known_differences_only() {
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

#[test]
fn the_responses_of_the_corpus_have_known_differences_only() {
    let proxies = Proxies::new();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut faults = Vec::new();
    for case in corpus::load("responses") {
        let input = case.app_bytes();
        for method in ["GET", "HEAD"] {
            let count = match judge_response(&proxies, method, &input) {
                Verdict::Fault(fault) => {
                    faults.push(format!("{} ({method}): {fault}", case.name));
                    "fault"
                }
                Verdict::Equal => "equal",
                Verdict::Stricter => "stricter",
                Verdict::Known(known) => known,
            };
            *counts.entry(format!("{method}: {count}")).or_default() += 1;
        }
    }
    println!("{counts:#?}");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn judge_response(proxies: &Proxies, method: &str, input: &[u8]) -> Verdict {
    let engine = proxies.engine_answer(method, input);
    let other = proxies.pingora_answer(method, input);
    match judge_answers(input, &engine, &other) {
        Verdict::Fault(fault) => Verdict::Fault(format!("{fault}\n  {}", show(input))),
        verdict => verdict,
    }
}

/// The largest case that is changed, in bytes.
const MAX_CHANGED: usize = 4096;

/// Changes the cases of a kind, and fails for one in which `fault_of` finds a fault.
fn change(kind: &str, fault_of: impl Fn(&[u8]) -> Option<String>) {
    let inputs: Vec<Vec<u8>> = corpus::load(kind)
        .iter()
        .map(|case| match kind {
            "requests" => case.client_bytes(),
            _ => case.app_bytes(),
        })
        .filter(|input| input.len() <= MAX_CHANGED)
        .collect();
    let changed = (any::<Index>(), mutation::edits());
    let mut runner = TestRunner::new(Config {
        failure_persistence: None,
        ..Config::default()
    });
    let result = runner.run(&changed, |(case, edits)| {
        let input = mutation::apply(&inputs[case.index(inputs.len())], &edits);
        match fault_of(&input) {
            Some(fault) => Err(TestCaseError::fail(fault)),
            None => Ok(()),
        }
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

#[test]
fn changed_requests_have_known_differences_only() {
    let proxies = Proxies::new();
    change("requests", |input| {
        let engine = proxies.engine(input);
        OTHERS.iter().find_map(|(name, run)| {
            let other = run(&proxies, input);
            match judge(input, &engine, &other) {
                Verdict::Fault(fault) => Some(format!("{name}: {fault}\n  {}", show(input))),
                _ => None,
            }
        })
    });
}

#[test]
fn changed_responses_have_known_differences_only() {
    let proxies = Proxies::new();
    change("responses", |input| {
        ["GET", "HEAD"]
            .iter()
            .find_map(|method| match judge_response(&proxies, method, input) {
                Verdict::Fault(fault) => Some(fault),
                _ => None,
            })
    });
}

#[test]
fn each_known_difference_has_a_name_and_a_reason() {
    let requests = KNOWN.iter().map(|known| (known.name, known.reason));
    let responses = KNOWN_ANSWERS.iter().map(|known| (known.name, known.reason));
    for (name, reason) in requests.chain(responses) {
        assert!(
            !name.is_empty() && reason.ends_with('.'),
            "{name}: {reason}"
        );
    }
}
