//! Tests of `app-proxyctl apps`.

use serde_json::{Value, json};

use crate::api::{Asked, FakeApi, Reply};
use crate::run::Place;

fn stored(app: &Value, revision: u64) -> Value {
    let mut stored = app.clone();
    stored["revision"] = revision.into();
    stored["source"] = "api".into();
    stored
}

/// Starts an API that stores every app except apps named `refused`.
fn storing() -> FakeApi {
    FakeApi::start(
        |asked: &Asked| match (asked.method.as_str(), asked.target.rsplit('/').next()) {
            (_, Some("refused")) => {
                Reply::problem(409, "app_in_file", "This app is in the configuration file.")
            }
            ("PUT", _) => Reply::status(201, stored(&asked.body, 7)),
            ("DELETE", _) => Reply::empty(),
            _ => Reply::problem(404, "app_not_found", "There is no app of this name."),
        },
    )
}

#[test]
fn put_stores_each_app_of_a_file() {
    let api = storing();
    let place = Place::of(&api);
    place.file(
        "apps.yaml",
        "apps:\n- {name: a, endpoints: [{address: 'h:1'}]}\n- name: b\n",
    );
    let ran = place.run(&["apps", "put", "apps.yaml"]);
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (0, "a created, revision 7\nb created, revision 7\n"),
        "{ran:?}"
    );
    assert_eq!(api.lines(), ["PUT /api/v1/apps/a", "PUT /api/v1/apps/b"]);
    let first = &api.asked()[0];
    assert_eq!(first.header("authorization"), Some("Bearer secret"));
    assert_eq!(first.header("content-type"), Some("application/json"));
    assert_eq!(first.header("if-match"), None);
    assert_eq!(first.body["endpoints"][0]["address"], "h:1");
}

#[test]
fn put_reads_standard_input_and_guards_with_a_revision() {
    let api = storing();
    let app = r#"{"name": "a", "revision": 6, "source": "api"}"#;
    let ran =
        Place::of(&api).run_with_input(&["apps", "put", "-", "--if-match", "6", "-o", "json"], app);
    assert_eq!(
        (ran.code, &ran.json()["revision"]),
        (0, &json!(7)),
        "{ran:?}"
    );
    let asked = api.asked().remove(0);
    assert_eq!(asked.header("if-match"), Some("\"6\""));
    assert_eq!(asked.body.get("revision"), None);
}

#[test]
fn put_continues_after_a_rejected_app_and_fails() {
    let api = storing();
    let ran = Place::of(&api).run_with_input(
        &["apps", "put", "-", "-o", "json"],
        "[{name: a}, {name: refused}, {name: b}]",
    );
    assert_eq!(ran.code, 1);
    let names: Vec<_> = ran
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|app| app["name"].clone())
        .collect();
    assert_eq!(names, ["a", "b"]);
    let expected = "app-proxyctl: refused: This app is in the configuration file. (app_in_file), \
                    request ID the-request\n";
    assert_eq!(ran.err, expected);
}

#[test]
fn put_stores_nothing_of_an_invalid_file() {
    let api = storing();
    let place = Place::of(&api);
    for text in [
        "- name: a\n- {name: b, endpoint: []}\n",
        "- name: a\n- {name: b, match: [{}]}\n",
        "[]",
        "{",
    ] {
        place.file("apps.yaml", text);
        let ran = place.run(&["apps", "put", "apps.yaml"]);
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.err.starts_with("app-proxyctl: apps.yaml: "), "{ran:?}");
    }
    assert_eq!(place.run(&["apps", "put", "nothing.yaml"]).code, 1);
    place.file("apps.yaml", "[{name: a}, {name: b}]");
    assert_eq!(
        place
            .run(&["apps", "put", "apps.yaml", "--if-match", "1"])
            .code,
        2
    );
    assert!(api.lines().is_empty());
}

#[test]
fn set_stores_a_whole_app() {
    let api = storing();
    let ran = Place::of(&api).run(&[
        "apps",
        "set",
        "model",
        "--endpoint",
        "10.0.0.5:9000",
        "--endpoint",
        "[::1]:9000",
        "--upstream-path",
        "keep",
        "--affinity",
        "none",
        "--pool",
        "zone=gpu-a",
    ]);
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (0, "model created, revision 7\n"),
        "{ran:?}"
    );
    let expected = json!({
        "name": "model", "upstream_path": "keep", "affinity": "none", "pool": {"zone": "gpu-a"},
        "endpoints": [
            {"address": "10.0.0.5:9000", "weight": 1},
            {"address": "[::1]:9000", "weight": 1},
        ],
    });
    assert_eq!(api.asked()[0].body, expected);
}

#[test]
fn invalid_arguments_of_set_are_usage_errors() {
    let api = storing();
    for args in [
        &["apps", "set", "Model"][..],
        &["apps", "set", "m", "-e", "h:1", "-e", "h:1"],
    ] {
        let ran = Place::of(&api).run(args);
        assert_eq!(ran.code, 2, "{ran:?}");
    }
    assert!(api.lines().is_empty());
}

#[test]
fn delete_continues_after_a_rejected_app() {
    let api = storing();
    let ran = Place::of(&api).run(&["apps", "delete", "a", "refused", "b/../c?d"]);
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (1, "a deleted\nb/../c?d deleted\n"),
        "{ran:?}"
    );
    assert!(ran.err.contains("refused: This app"), "{ran:?}");
    assert_eq!(api.lines()[2], "DELETE /api/v1/apps/b%2F..%2Fc%3Fd");
}

#[test]
fn errors_of_the_api_are_printed() {
    let ran = Place::of(&storing()).run(&["apps", "get", "nothing"]);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    let expected = "app-proxyctl: nothing: There is no app of this name. (app_not_found), \
                    request ID the-request\n";
    assert_eq!(ran.err, expected);
}

#[test]
fn errors_name_the_field() {
    let api = FakeApi::start(|_| {
        Reply::status(
            422,
            json!({"code": "bad_request", "detail": "no such host",
                "field": "endpoints[0].address"}),
        )
    });
    let ran = Place::of(&api).run(&["apps", "set", "a"]);
    assert_eq!(
        (ran.code, ran.err.as_str()),
        (
            1,
            "app-proxyctl: a: endpoints[0].address: no such host (bad_request)\n"
        )
    );
}

#[test]
fn unknown_keys_are_kept_in_json() {
    let api = FakeApi::start(|_| {
        Reply::text(
            200,
            r#"{"zz_new": {"b": 1, "a": 2.5}, "name": "a", "revision": 3, "source": "file"}"#,
        )
    });
    let place = Place::of(&api);
    let json = place.run(&["apps", "get", "a", "-o", "json"]);
    assert_eq!(json.json()["zz_new"], json!({"b": 1, "a": 2.5}));
    let yaml = place.run(&["apps", "get", "a", "-o", "yaml"]);
    assert_eq!(
        yaml.out,
        "zz_new:\n  b: 1\n  a: 2.5\nname: a\nrevision: 3\nsource: file\n"
    );
    let table = place.run(&["apps", "get", "a"]);
    assert!(table.out.contains("Endpoints:  none"), "{table:?}");
}

#[test]
fn changes_that_another_coordinator_does_not_serve_yet_are_warned_of() {
    let api = FakeApi::start(|asked: &Asked| {
        let mut app = stored(&asked.body, 7);
        app["served_by"] = "some".into();
        match asked.method.as_str() {
            "PUT" => Reply::status(200, app),
            _ => Reply::empty().with_header("X-App-Proxy-Served-By: some\r\n"),
        }
    });
    let place = Place::of(&api);
    let put = place.run_with_input(&["apps", "put", "-"], "name: a");
    let deleted = place.run(&["apps", "delete", "a"]);
    for (ran, out) in [(put, "a stored, revision 7\n"), (deleted, "a deleted\n")] {
        assert_eq!((ran.code, ran.out.as_str()), (0, out), "{ran:?}");
        assert_eq!(
            ran.err,
            "app-proxyctl: warning: a: a coordinator that shares the store does not serve the \
             change yet\n"
        );
    }
}
