//! Tests of `app-proxyctl drain`.

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};

use crate::api::{Asked, FakeApi, Reply};
use crate::run::Place;

const LATER: &str = "2199-01-01T00:00:00Z";
const BEFORE: &str = "2001-01-01T00:00:00Z";

fn worker(streams: u64, deadline: &str, done: bool) -> Value {
    json!({"id": "w1", "address": "127.0.0.1:7080", "weight": 1, "labels": {}, "healthy": true,
        "draining": true, "source": "file", "in_flight": streams, "open_streams": streams,
        "drain": {"since": BEFORE, "deadline": deadline, "done": done}})
}

/// Starts an API that returns one state of the worker after the other, and then the last one.
fn draining(states: Vec<Value>) -> FakeApi {
    let mut states = states.into_iter().rev().collect::<Vec<_>>();
    FakeApi::start(move |asked: &Asked| match asked.method.as_str() {
        "POST" => Reply::status(202, json!({})),
        _ if states.len() > 1 => states.pop().map(Reply::json).unwrap(),
        _ => Reply::json(states[0].clone()),
    })
}

#[test]
fn a_drain_prints_the_load() {
    let api = draining(vec![worker(2, LATER, false)]);
    let ran = Place::of(&api).run(&["drain", "w1", "--deadline", "10m"]);
    assert!(
        ran.code == 0
            && ran
                .out
                .starts_with("w1: draining, 2 streams left; the rest is closed in "),
        "{ran:?}"
    );
    assert_eq!(
        api.lines(),
        ["POST /api/v1/workers/w1/drain", "GET /api/v1/workers/w1"]
    );
    assert_eq!(api.asked()[0].body, json!({"deadline": "10m"}));
}

#[test]
fn waiting_exits_with_0_if_all_streams_end() {
    let api = draining(vec![
        worker(2, LATER, false),
        worker(1, LATER, false),
        worker(0, LATER, true),
    ]);
    let ran = Place::of(&api).run(&["workers", "drain", "w1", "--wait"]);
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (0, "w1: nothing is left\n"),
        "{ran:?}"
    );
    assert!(
        ran.err.contains("w1: draining, 2 streams left") && ran.err.contains("1 stream left"),
        "{ran:?}"
    );
}

#[test]
fn waiting_exits_with_3_if_streams_are_cut_off() {
    let deadline = Utc::now() + TimeDelta::milliseconds(1200);
    let api = FakeApi::start(move |asked: &Asked| match asked.method.as_str() {
        "POST" => Reply::empty(),
        _ if Utc::now() < deadline => Reply::json(worker(2, &deadline.to_rfc3339(), false)),
        _ => Reply::json(worker(0, &deadline.to_rfc3339(), true)),
    });
    let ran = Place::of(&api).run(&["drain", "w1", "--wait", "-o", "json"]);
    assert_eq!(
        (ran.code, &ran.json()["drain"]["done"]),
        (3, &json!(true)),
        "{ran:?}"
    );
    assert!(
        ran.err
            .contains("w1: the deadline has passed; 2 streams cut off"),
        "{ran:?}"
    );
}

#[test]
fn waiting_exits_with_3_if_streams_outlive_the_deadline() {
    let api = draining(vec![worker(2, BEFORE, false)]);
    let ran = Place::of(&api).run(&["drain", "w1", "--wait", "-o", "json"]);
    assert_eq!(
        (ran.code, &ran.json()["in_flight"]),
        (3, &json!(2)),
        "{ran:?}"
    );
    assert!(
        ran.err
            .contains("w1: the deadline has passed; 2 streams still there"),
        "{ran:?}"
    );
}

#[test]
fn waiting_exits_with_3_if_the_worker_leaves_with_streams() {
    let mut states = 0;
    let api = FakeApi::start(move |asked: &Asked| {
        states += u32::from(asked.method == "GET");
        match (asked.method.as_str(), states) {
            ("POST", _) => Reply::empty(),
            (_, 1) => Reply::json(worker(1, LATER, false)),
            _ => Reply::problem(
                404,
                "worker_not_found",
                "There is no worker of this identifier.",
            ),
        }
    });
    let ran = Place::of(&api).run(&["drain", "w1", "--wait"]);
    assert!(
        ran.code == 3 && ran.err.contains("w1: has left the pool, with 1 stream"),
        "{ran:?}"
    );
}

#[test]
fn a_drain_ended_by_another_command_is_a_failure() {
    let mut undrained = worker(1, LATER, false);
    undrained.as_object_mut().unwrap().remove("drain");
    let ran = Place::of(&draining(vec![undrained])).run(&["drain", "w1", "--wait"]);
    assert!(
        ran.code == 1 && ran.err.contains("the drain was ended by another command"),
        "{ran:?}"
    );
}

#[test]
fn an_unknown_worker_is_a_failure() {
    let api = FakeApi::start(|_| {
        Reply::problem(
            404,
            "worker_not_found",
            "There is no worker of this identifier.",
        )
    });
    let place = Place::of(&api);
    for args in [
        &["drain", "w9", "--wait"][..],
        &["workers", "undrain", "w9"],
        &["workers", "remove", "w9"],
    ] {
        let ran = place.run(args);
        assert!(
            ran.code == 1 && ran.err.contains("w9: There is no worker"),
            "{ran:?}"
        );
    }
}

#[test]
fn undrain_and_remove_print_their_result() {
    let api = draining(vec![worker(0, LATER, false)]);
    let place = Place::of(&api);
    assert_eq!(
        place.run(&["workers", "undrain", "w1"]).out,
        "w1 gets new sessions again\n"
    );
    assert_eq!(
        place
            .run(&["workers", "undrain", "w1", "-o", "json"])
            .json()["id"],
        "w1"
    );
    assert_eq!(place.run(&["worker", "rm", "w1"]).out, "w1 removed\n");
    assert_eq!(api.lines()[0], "POST /api/v1/workers/w1/undrain");
    assert_eq!(api.lines().last().unwrap(), "DELETE /api/v1/workers/w1");
}
