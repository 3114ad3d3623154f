//! Tests of `app-proxyctl request`.

use serde_json::json;

use crate::api::{FakeApi, Reply};
use crate::run::Place;

#[test]
fn a_trace_names_workers_that_could_not_be_queried() {
    let trace = json!({"request_id": "a/b", "events": [{"ts": "2026-11-23T04:21:25.301Z",
        "tier": "coordinator", "event": "request", "request_id": "a/b", "status": 502,
        "error": "endpoint_unreachable", "duration_ms": 1.697}], "workers_asked": ["w1", "w2"],
        "workers_failed": [{"worker": "w2", "error": "no answer"}]});
    let shown = trace.clone();
    let api = FakeApi::start(move |_| Reply::json(shown.clone()));
    let place = Place::of(&api);
    let ran = place.run(&["request", "a/b"]);
    assert_eq!(
        (ran.code, ran.err.as_str()),
        (
            0,
            "app-proxyctl: worker w2 could not be queried: no answer\n"
        ),
        "{ran:?}"
    );
    assert!(
        ran.out.contains("04:21:25.301  coordinator  request  502"),
        "{ran:?}"
    );
    assert!(ran.out.contains("error endpoint_unreachable"), "{ran:?}");
    assert_eq!(api.lines(), ["GET /api/v1/requests/a%2Fb"]);
    assert_eq!(place.run(&["req", "a/b", "-o", "json"]).json(), trace);
}

#[test]
fn an_unknown_request_exits_with_1() {
    let api = FakeApi::start(|_| {
        Reply::json(
            json!({"request_id": "r", "events": [], "workers_asked": ["w1"], "workers_failed": []}),
        )
    });
    let ran = Place::of(&api).run(&["request", "r"]);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    assert!(
        ran.err.contains("neither tier has events of this request")
            && ran.err.contains("workers asked: w1"),
        "{ran:?}"
    );
}
