//! Lists: pages, limits, filters, and output formats.

use std::io::Read;

use serde_json::{Value, json};

use crate::api::{Asked, FakeApi, Reply};
use crate::run::Place;

fn app(number: usize) -> Value {
    json!({"name": format!("app-{number:04}"), "revision": number, "source": "api",
        "endpoints": [{"address": "10.0.0.5:8888", "weight": 1}]})
}

/// Starts an API with a list of apps, in pages of at max `max` items.
fn apps(count: usize, max: usize) -> FakeApi {
    FakeApi::start(move |asked: &Asked| {
        let limit = asked
            .query("limit")
            .map_or(100, |limit| limit.parse().unwrap())
            .min(max);
        let begin = asked
            .query("cursor")
            .map_or(0, |cursor| cursor.parse::<usize>().unwrap());
        let end = (begin + limit).min(count);
        let next = (end < count).then(|| end.to_string());
        let items: Vec<_> = (begin..end).map(app).collect();
        Reply::json(
            json!({"items": items, "next_cursor": next, "revision": 9, "epoch": "e",
            "complete": true}),
        )
    })
}

#[test]
fn all_pages_of_a_list_are_one_array() {
    let api = apps(2500, 1000);
    let ran = Place::of(&api).run(&["apps", "list", "-o", "json"]);
    let names: Vec<_> = ran
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|app| app["name"].clone())
        .collect();
    assert_eq!(
        names,
        (0..2500)
            .map(|number| format!("app-{number:04}"))
            .collect::<Vec<_>>()
    );
    assert_eq!(api.lines().len(), 3);
}

#[test]
fn a_limit_requests_only_the_items_it_shows() {
    let api = apps(2500, 1000);
    let ran = Place::of(&api).run(&["apps", "list", "--limit", "1003", "-o", "json"]);
    assert_eq!(ran.json().as_array().unwrap().len(), 1003);
    assert_eq!(
        api.lines(),
        [
            "GET /api/v1/apps?limit=1000",
            "GET /api/v1/apps?limit=3&cursor=1000"
        ]
    );
}

#[test]
fn an_endless_list_is_a_failure() {
    let api = FakeApi::start(|_| Reply::json(json!({"items": [app(1)], "next_cursor": "again"})));
    let ran = Place::of(&api).run(&["apps", "list"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("the same page again and again"), "{ran:?}");
}

#[test]
fn tables_have_aligned_columns() {
    let api = FakeApi::start(|_| {
        let mut many = app(7);
        many["name"] = "many".into();
        many["endpoints"] = (1..5)
            .map(|port| json!({"address": format!("h:{port}")}))
            .collect();
        many["match"] = json!([{"host": "many.example.com"}, {"host": "h", "path": "/x"}]);
        many["affinity"] = "none".into();
        many["pool"] = json!({"zone": "a", "gpu": "yes"});
        let mut none = app(12);
        none["name"] = "none".into();
        none["endpoints"] = json!([]);
        none["source"] = "file".into();
        Reply::json(json!({"items": [many, none], "next_cursor": null}))
    });
    let place = Place::of(&api);
    let expected = "\
NAME  MATCH                  ENDPOINTS            AFFINITY  SOURCE  REVISION  UPDATED
many  many.example.com, h/x  h:1, h:2 and 2 more  none      api            7  -
none  /apps/none             none                 session   file          12  -
";
    assert_eq!(place.run(&["apps", "ls"]).out, expected);
    let wide = place.run(&["apps", "ls", "-o", "wide"]).out;
    assert!(
        wide.lines()
            .next()
            .unwrap()
            .ends_with("UPDATED  PATH   POOL            IDLE  WAKE"),
        "{wide}"
    );
    assert!(wide.contains("strip  gpu=yes,zone=a"), "{wide}");
}

#[test]
fn an_empty_list_is_an_empty_array_or_a_note() {
    let api = FakeApi::start(|_| Reply::json(json!({"items": [], "next_cursor": null})));
    let place = Place::of(&api);
    assert_eq!(
        place.run(&["workers", "list", "-o", "json"]).json(),
        json!([])
    );
    let ran = place.run(&["workers", "list"]);
    assert_eq!(
        (ran.code, ran.out.as_str(), ran.err.as_str()),
        (0, "", "app-proxyctl: no items\n")
    );
}

#[test]
fn sessions_are_filtered_by_the_api() {
    let api = FakeApi::start(|_| Reply::json(json!({"items": [session()], "next_cursor": null})));
    let ran = Place::of(&api).run(&[
        "sessions",
        "list",
        "--app",
        "a&b",
        "--worker",
        "w1",
        "--idle-for",
        "90m",
        "--limit",
        "5",
    ]);
    assert_eq!(
        api.lines(),
        ["GET /api/v1/sessions?app=a%26b&worker=w1&idle_for=1h30m&limit=5"]
    );
    let expected = "\
ID    APP    WORKER  CLIENT    REQUESTS  STREAMS  LAST ACTIVE           CREATED
-s1_  notes  w1      10.0.0.9        12        1  some time ago, maybe  some day
";
    assert_eq!(ran.out, expected);
}

fn session() -> Value {
    json!({"id": "-s1_", "app": "notes", "worker": "w1", "moves": 0, "origin_request_id": "r1",
        "last_request_id": "r2", "client": "10.0.0.9", "created_at": "some day",
        "last_active_at": "some time ago, maybe", "requests": 12, "open_streams": 1,
        "bytes_in": 2048, "bytes_out": 0})
}

#[test]
fn identifiers_may_begin_with_a_hyphen() {
    let api = FakeApi::start(|asked| {
        if asked.method == "GET" {
            Reply::json(session())
        } else {
            Reply::empty()
        }
    });
    let place = Place::of(&api);
    let shown = place.run(&["sessions", "get", "-s1_", "-o", "json"]);
    assert_eq!(
        (shown.code, &shown.json()["id"]),
        (0, &json!("-s1_")),
        "{shown:?}"
    );
    let deleted = place.run(&["sessions", "delete", "s0", "--", "-o"]);
    assert_eq!(deleted.out, "s0 deleted\n-o deleted\n", "{deleted:?}");
}

#[test]
fn a_closed_pipe_is_not_a_failure() {
    let api = apps(20_000, 1000);
    let mut child = Place::of(&api)
        .command(&["apps", "list", "-o", "json"])
        .spawn()
        .unwrap();
    let mut begin = [0; 10];
    child.stdout.take().unwrap().read_exact(&mut begin).unwrap();
    // The pipe is closed by now, before most of the list is written.
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap().as_str()
        ),
        (Some(0), "")
    );
}
