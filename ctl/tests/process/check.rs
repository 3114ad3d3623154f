//! Tests of `app-proxyctl check`.

use serde_json::{Value, json};

use crate::api::{Asked, FakeApi, Reply};
use crate::run::{NOBODY, Place};

fn worker(revision: u64) -> Value {
    json!({"id": "w1", "address": "127.0.0.1:7080", "weight": 1, "labels": {}, "healthy": true,
        "draining": false, "source": "api", "in_flight": 0, "open_streams": 0,
        "held": {"epoch": "e", "revision": revision}})
}

/// Starts a coordinator at revision 4. Each response has a higher revision of its worker's table.
fn coordinator(mut held: u64, dropped: u64) -> FakeApi {
    FakeApi::start(
        move |asked: &Asked| match asked.target.split('?').next().unwrap() {
            "/healthz" => Reply::json(json!({"status": "alive"})),
            "/readyz" => Reply::json(json!({"status": "ready"})),
            "/metrics" => Reply::text(
                200,
                &format!("app_proxy_access_log_dropped_total{{tier=\"coordinator\"}} {dropped}\n"),
            ),
            "/api/v1/apps" => {
                let app = json!({"name": "notes", "revision": 4, "source": "api", "endpoints": []});
                Reply::json(json!({"items": [app], "next_cursor": null, "revision": 4,
                    "epoch": "e", "complete": true}))
            }
            "/api/v1/workers" => {
                held += 1;
                Reply::json(json!({"items": [worker(held.min(4))], "next_cursor": null}))
            }
            other => Reply::problem(404, "not_found", other),
        },
    )
}

#[test]
fn warnings_exit_with_0_and_check_waits_for_workers() {
    let api = coordinator(2, 3);
    let ran = Place::of(&api).run(&["check"]);
    let expected = format!(
        "\
OK    alive     {} answers
OK    ready     takes requests
WARN  metrics   3 lines of the access log were lost: the disk stalls or is full
OK    token     is accepted
OK    workers   1 of 1 healthy
OK    apps      1 in the table
WARN  apps      1 without an endpoint: notes
",
        api.url()
    );
    assert_eq!((ran.code, ran.out), (0, expected));
}

#[test]
fn a_worker_that_lags_is_a_warning() {
    let api = coordinator(0, 0);
    let ran = Place::of(&api).run(&["check", "--patience", "0s", "-o", "json"]);
    let expected = json!({"level": "WARN", "subject": "workers",
        "text": "w1 holds revision 1 of the app table, which is at 4"});
    assert!(
        ran.code == 0 && ran.json().as_array().unwrap().contains(&expected),
        "{ran:?}"
    );
}

#[test]
fn a_coordinator_that_is_not_ready_is_a_failure() {
    let api = FakeApi::start(|asked: &Asked| match asked.target.as_str() {
        "/healthz" => Reply::json(json!({"status": "alive"})),
        "/readyz" => Reply::status(
            503,
            json!({"status": "not ready", "reason": "no worker is healthy"}),
        ),
        "/metrics" => Reply::text(200, ""),
        _ => Reply::problem(401, "unauthenticated", "This call needs a bearer token."),
    });
    let ran = Place::of(&api).run(&["check"]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.out
            .contains("FAIL  ready     is not ready: no worker is healthy"),
        "{ran:?}"
    );
    assert!(
        ran.out.contains("FAIL  token     ") && ran.out.contains("the token of APP_PROXY_TOKEN"),
        "{ran:?}"
    );
}

#[test]
fn an_unreachable_coordinator_is_a_failure() {
    let ran = Place::bare().run(&["check", "-a", NOBODY]);
    assert!(
        ran.code == 1
            && ran
                .out
                .starts_with("FAIL  alive     http://127.0.0.1:1 cannot be reached"),
        "{ran:?}"
    );
}
