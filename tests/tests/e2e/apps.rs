//! Apps through the API: responses, rejections, followers, and the sessions and streams of deleted
//! apps.

use std::collections::BTreeSet;

use app_proxy_tests::SESSION_COOKIE;
use app_proxy_tests::api::{Api, path_of, stateless, with_sessions};
use app_proxy_tests::app::{Manual, RecordingApp};
use app_proxy_tests::cluster::Cluster;
use app_proxy_tests::http1::{Client, Response};
use app_proxy_tests::wait::{eventually_async, within};
use app_proxy_tests::ws::WebSocket;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{number, session_id, start_default};

const EVENTS: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
    Transfer-Encoding: chunked\r\n\r\n8\r\ndata: 1\n\r\n";

/// A cluster before one application, which the API knows as `notes`; the file has `filed`.
async fn notes() -> (RecordingApp, Cluster) {
    let app = RecordingApp::start().await;
    let cluster = Cluster::builder().app_at("filed", app.addr()).start().await;
    cluster
        .put_app("notes", &with_sessions(&[app.addr()]))
        .await;
    (app, cluster)
}

fn tag(answer: &Response) -> String {
    answer.headers.get("ETag").expect("an ETag").to_owned()
}

fn names(list: &Value, field: &str) -> Vec<String> {
    let names = list[field]
        .as_array()
        .unwrap_or_else(|| panic!("no {field}: {list}"))
        .iter();
    names
        .map(|item| item.as_str().or(item["name"].as_str()).unwrap().to_owned())
        .collect()
}

/// The whole table, to compare before and after calls that must not change it.
async fn table(api: &Api) -> Value {
    api.json("/api/v1/apps").await
}

#[tokio::test]
async fn an_app_is_created_read_and_deleted() {
    let app = RecordingApp::start().await;
    let cluster = Cluster::builder().start().await;
    let api = cluster.api();
    assert_eq!(cluster.get("/apps/notes/whoami").send().await.status, 404);
    let created = api.put_app("notes", &with_sessions(&[app.addr()])).await;
    assert_eq!(created.status, 201, "{}", created.text());
    assert_eq!(
        cluster.get("/apps/notes/whoami").send().await.text(),
        app.addr().to_string()
    );
    let stored = created.json();
    assert_eq!(
        (&stored["name"], &stored["source"], &stored["upstream_path"]),
        (&"notes".into(), &"api".into(), &"strip".into())
    );
    assert_eq!(
        tag(&created),
        format!("\"{}\"", number(&stored, "revision"))
    );
    assert!(stored["updated_at"].is_string(), "{stored}");

    let repeated = api.put_app("notes", &with_sessions(&[app.addr()])).await;
    assert_eq!(
        (repeated.status, repeated.json(), tag(&repeated)),
        (200, stored.clone(), tag(&created))
    );
    let found = api.get_app("notes").await;
    assert_eq!(
        (found.status, found.json(), tag(&found)),
        (200, stored.clone(), tag(&created))
    );
    // The app that was read can be written back, and this is no change.
    let back = api.put_app("notes", &found.json()).await;
    assert_eq!((back.status, back.json()), (200, stored.clone()));

    let changed = api.put_app("notes", &stateless(&[app.addr()])).await;
    assert_eq!(changed.status, 200);
    assert_eq!(
        number(&changed.json(), "revision"),
        number(&stored, "revision") + 1
    );
    assert!(
        cluster
            .get("/apps/notes/echo")
            .send()
            .await
            .session_cookie()
            .is_none()
    );

    for _ in 0..2 {
        let deleted = api.delete_app("notes").await;
        assert_eq!((deleted.status, deleted.text().as_str()), (204, ""));
        assert_eq!(cluster.get("/apps/notes/whoami").send().await.status, 404);
    }
    for answer in [
        api.get_app("notes").await,
        api.get_app("never").await,
        api.delete_app("never").await,
    ] {
        assert_eq!(
            (answer.status, answer.problem_code().as_str()),
            (404, "app_not_found")
        );
    }
    let again = api.put_app("notes", &stateless(&[app.addr()])).await;
    assert_eq!(again.status, 201);
    assert!(number(&again.json(), "revision") > number(&changed.json(), "revision"));
}

#[tokio::test]
async fn rejected_changes_name_the_field_and_change_nothing() {
    let (app, cluster) = notes().await;
    let api = cluster.api();
    let before = table(&api).await;
    let address = app.addr().to_string();
    for (body, field) in [
        (json!({"name": "other"}), "name"),
        (json!({"name": 7}), "name"),
        (json!({"endpoint": []}), "endpoint"),
        (json!({"endpoints": "here"}), "endpoints"),
        (
            json!({"endpoints": [{"address": "nowhere"}]}),
            "endpoints[0].address",
        ),
        (
            json!({"endpoints": [{"address": "127.0.0.1:0"}]}),
            "endpoints[0].address",
        ),
        (
            json!({"endpoints": [{"address": address}, {"address": address}]}),
            "endpoints[1].address",
        ),
        (
            json!({"endpoints": [{"address": address, "weight": 0}]}),
            "endpoints[0].weight",
        ),
        (
            json!({"endpoints": [{"address": address, "weight": 70000}]}),
            "endpoints[0].weight",
        ),
        (json!({"match": [{}]}), "match[0]"),
        (
            json!({"match": [{"path": "/ok"}, {"path": "no-slash"}]}),
            "match[1].path",
        ),
        (json!({"match": [{"host": "not a host"}]}), "match[0].host"),
        (
            json!({"match": [{"path": "/.app-proxy/x"}]}),
            "match[0].path",
        ),
        (json!({"upstream_path": "sideways"}), "upstream_path"),
        (json!({"affinity": "some"}), "affinity"),
        (json!({"timeouts": {"read": "soon"}}), "timeouts.read"),
        (json!({"pool": {"zone": "a b"}}), "pool.zone"),
        (
            json!({"idle": {"after": "0s", "notify": "http://h/"}}),
            "idle.after",
        ),
        (
            json!({"idle": {"after": "1m", "notify": "not a url"}}),
            "idle.notify",
        ),
    ] {
        for name in ["notes", "fresh"] {
            let answer = api.put_app(name, &body).await;
            assert_eq!(
                (answer.status, answer.problem_code().as_str()),
                (400, "bad_request"),
                "{body}"
            );
            assert_eq!(answer.json()["field"], field, "{body}: {}", answer.text());
            assert!(
                !answer.json()["detail"].as_str().unwrap().is_empty(),
                "{body}"
            );
        }
    }
    for body in ["", "{", "[]", "null", "\"notes\"", "{} {}", "\u{0}"] {
        let answer = api.call("PUT", &path_of("notes")).body(body).send().await;
        assert_eq!(
            (answer.status, answer.problem_code().as_str()),
            (400, "bad_request"),
            "{body:?}"
        );
    }
    for name in ["-notes", "NOTES", "a.b", "a%20b", &"x".repeat(64)] {
        let answer = api.put_app(name, &json!({})).await;
        assert_eq!(
            (answer.status, &answer.json()["field"]),
            (400, &"name".into()),
            "{name}: {}",
            answer.text()
        );
    }
    let large = json!({"pool": {"zone": "x".repeat(1 << 20)}});
    let answer = api.put_app("notes", &large).await;
    assert_eq!(
        (answer.status, answer.problem_code().as_str()),
        (413, "body_too_large")
    );
    assert_eq!(table(&api).await, before);
    assert_eq!(
        cluster.get("/apps/notes/whoami").send().await.text(),
        address
    );
}

#[tokio::test]
async fn conditions_are_checked_and_nothing_changes_when_they_fail() {
    let (app, cluster) = notes().await;
    let api = cluster.api();
    let old = tag(&api.get_app("notes").await);
    let put = |name: &str, header: &str, value: &str, body: &Value| {
        api.call("PUT", &path_of(name))
            .header(header, value)
            .body(body.to_string())
            .send()
    };
    let newer = stateless(&[app.addr()]);
    let changed = put("notes", "If-Match", &old, &newer).await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    let current = tag(&changed);
    let before = table(&api).await;
    let lost = with_sessions(&[app.addr()]);
    for (name, header, value) in [
        ("notes", "If-Match", old.as_str()),
        ("notes", "If-Match", "\"0\", \"999999\""),
        ("notes", "If-None-Match", "*"),
        ("fresh", "If-Match", "*"),
        ("fresh", "If-Match", &current),
    ] {
        let answer = put(name, header, value, &lost).await;
        let said = (answer.status, answer.problem_code());
        assert_eq!(
            said,
            (412, "precondition_failed".to_owned()),
            "{name} {header}: {value}"
        );
    }
    let stale = api
        .call("DELETE", &path_of("notes"))
        .header("If-Match", &old)
        .send()
        .await;
    assert_eq!(
        (stale.status, stale.problem_code().as_str()),
        (412, "precondition_failed")
    );
    for (header, value) in [
        ("If-Match", "7"),
        ("If-Match", ""),
        ("If-None-Match", "\"1\""),
    ] {
        let answer = put("notes", header, value, &lost).await;
        assert_eq!(
            (answer.status, &answer.json()["field"]),
            (400, &header.into()),
            "{value:?}"
        );
    }
    assert_eq!(table(&api).await, before);
    assert_eq!(put("notes", "If-Match", "*", &lost).await.status, 200);
    assert_eq!(put("fresh", "If-None-Match", "*", &lost).await.status, 201);
    let current = tag(&api.get_app("fresh").await);
    assert_eq!(
        api.call("DELETE", &path_of("fresh"))
            .header("If-Match", &current)
            .send()
            .await
            .status,
        204
    );
}

#[tokio::test]
async fn conditional_writes_of_several_schedulers_are_not_lost() {
    let (_app, cluster) = notes().await;
    let mut writers = JoinSet::new();
    for writer in 0..8 {
        let api = cluster.api();
        writers.spawn(async move {
            let mut done = 0;
            while done < 5 {
                let read = api.get_app("notes").await;
                let mut body = read.json();
                body["pool"][format!("w{writer}")] = json!(format!("{}", done + 1));
                let put = api
                    .call("PUT", &path_of("notes"))
                    .header("If-Match", &tag(&read));
                match put.body(body.to_string()).send().await.status {
                    200 => done += 1,
                    status => assert_eq!(status, 412),
                }
            }
        });
    }
    writers.join_all().await;
    let labels = cluster.api().get_app("notes").await.json()["pool"].clone();
    for writer in 0..8 {
        assert_eq!(labels[format!("w{writer}")], "5", "{labels}");
    }
}

#[tokio::test]
async fn an_app_of_the_file_is_changed_in_the_file_only() {
    let (app, cluster) = notes().await;
    let api = cluster.api();
    let before = table(&api).await;
    let same = api.get_app("filed").await.json();
    assert_eq!(same["source"], "file");
    for answer in [
        api.put_app("filed", &stateless(&[app.addr()])).await,
        api.put_app("filed", &same).await,
        api.delete_app("filed").await,
    ] {
        assert_eq!(
            (answer.status, answer.problem_code().as_str()),
            (409, "app_owned_by_file")
        );
        assert!(answer.text().contains("filed"), "{}", answer.text());
    }
    assert_eq!(table(&api).await, before);
    assert_eq!(
        cluster.get("/apps/filed/whoami").send().await.text(),
        app.addr().to_string()
    );
}

#[tokio::test]
async fn a_match_belongs_to_one_app_and_the_other_one_is_named() {
    let (app, cluster) = notes().await;
    let api = cluster.api();
    let at = |rules: Value| {
        let mut body = stateless(&[app.addr()]);
        body["match"] = rules;
        body
    };
    cluster
        .put_app(
            "holder",
            &at(json!([{"path": "/held"}, {"host": "held.example.com"}])),
        )
        .await;
    let before = table(&api).await;
    for (name, rules, owner) in [
        ("wants", json!([{"path": "/held"}]), "holder"),
        (
            "wants",
            json!([{"path": "/mine"}, {"host": "held.example.com"}]),
            "holder",
        ),
        ("wants", json!([{"host": "HELD.example.com"}]), "holder"),
        ("wants", json!([{"path": "/apps/filed"}]), "filed"),
        ("notes", json!([{"path": "/held"}]), "holder"),
    ] {
        let answer = api.put_app(name, &at(rules.clone())).await;
        assert_eq!(
            (answer.status, answer.problem_code().as_str()),
            (409, "match_taken"),
            "{rules}: {}",
            answer.text()
        );
        let problem = answer.json();
        assert_eq!(problem["field"], "match");
        assert!(
            problem["detail"]
                .as_str()
                .unwrap()
                .contains(&format!("`{owner}`")),
            "{problem}"
        );
    }
    assert_eq!(table(&api).await, before);
    // A prefix is free as soon as its app no longer has it.
    cluster
        .put_app("holder", &at(json!([{"path": "/elsewhere"}])))
        .await;
    cluster
        .put_app("wants", &at(json!([{"path": "/held"}])))
        .await;
    assert_eq!(
        cluster.get("/held/whoami").send().await.text(),
        app.addr().to_string()
    );
    cluster.delete_app("holder").await;
    cluster
        .put_app("notes", &at(json!([{"path": "/elsewhere"}])))
        .await;
}

#[tokio::test]
async fn two_hundred_and_fifty_apps_are_paged() {
    let (app, cluster) = notes().await;
    let mut writers = JoinSet::new();
    for writer in 0..5 {
        let (mut caller, body) = (cluster.api().caller(), stateless(&[app.addr()]));
        writers.spawn(async move {
            for number in (writer..248).step_by(5) {
                assert_eq!(
                    caller
                        .put_app(&format!("app-{number}"), &body)
                        .await
                        .unwrap()
                        .status,
                    201
                );
            }
        });
    }
    writers.join_all().await;
    let api = cluster.api();
    let whole = table(&api).await;
    assert_eq!(
        (names(&whole, "items").len(), &whole["next_cursor"]),
        (250, &Value::Null)
    );
    for limit in [1, 100, 125, 249, 250, 1000] {
        let mut found = Vec::new();
        let mut path = format!("/api/v1/apps?limit={limit}");
        loop {
            let page = api.json(&path).await;
            assert_eq!(
                (&page["revision"], &page["epoch"]),
                (&whole["revision"], &whole["epoch"])
            );
            assert!(names(&page, "items").len() <= limit);
            found.extend(names(&page, "items"));
            assert!(found.len() <= 250, "the pages do not end");
            let Some(cursor) = page["next_cursor"].as_str() else {
                break;
            };
            path = format!("/api/v1/apps?limit={limit}&cursor={cursor}");
        }
        assert_eq!(found, names(&whole, "items"), "limit={limit}");
    }
    for bad in ["limit=0", "limit=1001", "limit=many"] {
        assert_eq!(
            api.call("GET", &format!("/api/v1/apps?{bad}"))
                .send()
                .await
                .status,
            400,
            "{bad}"
        );
    }
}

/// A long poll for what changes after the table's present revision.
async fn follow(api: &Api) -> (Client, u64) {
    let revision = number(&table(api).await, "revision");
    (
        api.call("GET", &format!("/api/v1/apps?since={revision}&wait=60s"))
            .start()
            .await,
        revision,
    )
}

#[tokio::test]
async fn followers_receive_created_and_deleted_apps_at_once() {
    let (app, cluster) = notes().await;
    let api = cluster.api();
    // A poll waits for a minute, a test for less.
    let (mut poll, before) = follow(&api).await;
    let put = cluster.put_app("fresh", &stateless(&[app.addr()])).await;
    let news = poll.read_response("GET").await.json();
    assert_eq!(
        (names(&news, "items"), names(&news, "deleted")),
        (vec!["fresh".to_owned()], vec![])
    );
    assert_eq!(
        (number(&news, "revision"), news["complete"].as_bool()),
        (before + 1, Some(false))
    );
    assert_eq!(news["items"][0], put);

    let (mut poll, _) = follow(&api).await;
    cluster.delete_app("fresh").await;
    let news = poll.read_response("GET").await.json();
    assert_eq!(
        (names(&news, "items"), names(&news, "deleted")),
        (vec![], vec!["fresh".to_owned()])
    );
    // A follower that missed both changes receives only the last one.
    let missed = api.json(&format!("/api/v1/apps?since={before}")).await;
    assert_eq!(
        (names(&missed, "items"), names(&missed, "deleted")),
        (vec![], vec!["fresh".to_owned()])
    );
    // A table of another epoch is no base for changes.
    let other = api
        .json(&format!(
            "/api/v1/apps?since={}&epoch=other&wait=60s",
            before + 2
        ))
        .await;
    assert_eq!(
        (other["complete"].as_bool(), names(&other, "items").len()),
        (Some(true), 2)
    );
}

#[tokio::test]
async fn two_hundred_followers_receive_a_change() {
    let (app, cluster) = notes().await;
    let api = cluster.api();
    let mut polls = Vec::new();
    for _ in 0..200 {
        polls.push(follow(&api).await.0);
    }
    cluster.put_app("fresh", &stateless(&[app.addr()])).await;
    for poll in &mut polls {
        let news = poll.read_response("GET").await;
        assert_eq!(
            (news.status, names(&news.json(), "items")),
            (200, vec!["fresh".to_owned()])
        );
    }
}

#[tokio::test]
async fn a_worker_s_token_follows_the_table_and_changes_nothing() {
    let (app, cluster) = notes().await;
    let worker = Api::new(cluster.admin(), &cluster.worker_token());
    let before = table(&worker).await;
    assert_eq!(names(&before, "items"), ["filed", "notes"]);
    for answer in [
        worker.put_app("notes", &stateless(&[app.addr()])).await,
        worker.put_app("fresh", &json!({})).await,
        worker.delete_app("notes").await,
        worker.get_app("notes").await,
    ] {
        assert_eq!(
            (answer.status, answer.problem_code().as_str()),
            (401, "unauthenticated")
        );
    }
    assert_eq!(table(&worker).await, before);
}

/// A WebSocket and an event stream of `app`, with the application's ends of them.
struct Streams {
    socket: (WebSocket, WebSocket),
    events: (Client, Manual),
}

impl Streams {
    async fn open(application: &RecordingApp, cluster: &Cluster, app: &str, session: &str) -> Self {
        let cookie = format!("{SESSION_COOKIE}={session}");
        let (ws, sse) = (format!("ws-{app}"), format!("sse-{app}"));
        let headers = [
            ("Cookie", cookie.as_str()),
            ("X-Backend-Request-ID", ws.as_str()),
        ];
        let path = format!("/apps/{app}/manual/{ws}");
        let upgrade = async { application.accept(&ws).await.upgrade().await };
        let socket = tokio::join!(cluster.websocket(&path, &headers), upgrade);
        let mut client = cluster
            .get(&format!("/apps/{app}/manual/{sse}"))
            .session(session)
            .id(&sse)
            .start()
            .await;
        let mut manual = application.accept(&sse).await;
        manual.send(EVENTS).await;
        client.read_head().await;
        within("the event", client.wire.take_through(b"data: 1"))
            .await
            .unwrap();
        Self {
            socket,
            events: (client, manual),
        }
    }

    async fn go_on(&mut self) {
        self.socket.0.send_text("still there").await;
        assert_eq!(self.socket.1.frame().await.as_text(), "still there");
        self.events.1.send("8\r\ndata: 2\n\r\n").await;
        within("an event", self.events.0.wire.take_through(b"data: 2"))
            .await
            .unwrap();
    }

    async fn end(&mut self) {
        let (client, server) = &mut self.socket;
        assert_eq!(
            (
                client.frame().await.close_code(),
                server.frame().await.close_code()
            ),
            (Some(1001), Some(1001))
        );
        let rest = within("the end", self.events.0.wire.read_to_end()).await;
        assert!(!rest.ends_with(b"0\r\n\r\n"), "it looks complete");
        within(
            "the application to see the end",
            self.events.1.wire.closed(),
        )
        .await;
    }
}

async fn new_session(cluster: &Cluster, app: &str) -> String {
    cluster
        .get(&format!("/apps/{app}/echo"))
        .send()
        .await
        .session_cookie()
        .expect("a session")
}

async fn sessions_of(cluster: &Cluster, app: &str) -> Vec<Value> {
    let list = cluster
        .admin_json(&format!("/api/v1/sessions?app={app}"))
        .await;
    list["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn deleting_an_app_closes_its_streams_and_deletes_its_sessions() {
    let (app, cluster) = notes().await;
    cluster
        .put_app("other", &with_sessions(&[app.addr()]))
        .await;
    let (session, other) = (
        new_session(&cluster, "notes").await,
        new_session(&cluster, "other").await,
    );
    new_session(&cluster, "notes").await;
    let mut streams = Streams::open(&app, &cluster, "notes", &session).await;
    let mut others = Streams::open(&app, &cluster, "other", &other).await;
    assert_eq!(sessions_of(&cluster, "notes").await.len(), 2);

    cluster.delete_app("notes").await;
    assert_eq!(
        cluster
            .get("/apps/notes/echo")
            .session(&session)
            .send()
            .await
            .status,
        404
    );
    assert_eq!(sessions_of(&cluster, "notes").await, Vec::<Value>::new());
    assert_eq!(
        cluster
            .admin_get(&format!("/api/v1/sessions/{}", session_id(&session)))
            .await
            .status,
        404
    );
    streams.end().await;
    drop(streams);
    for name in ["ws-notes", "sse-notes"] {
        // The tier that is first logs the reason; the other one may see the end of its connection
        // before it receives the change.
        let mut errors = Vec::new();
        for log in [cluster.coordinator_log(), cluster.worker_log(0)] {
            errors.push(log.event(name, "stream_close").await["error"].clone());
        }
        assert!(errors.contains(&"app_deleted".into()), "{name}: {errors:?}");
    }
    others.go_on().await;
    assert_eq!(
        number(&cluster.session(session_id(&other)).await, "open_streams"),
        2
    );

    // An app of the same name is another app.
    cluster
        .put_app("notes", &with_sessions(&[app.addr()]))
        .await;
    assert_eq!(sessions_of(&cluster, "notes").await, Vec::<Value>::new());
    let begun = new_session(&cluster, "notes").await;
    assert_ne!(begun, session);
    assert_eq!(
        number(&cluster.session(session_id(&begun)).await, "requests"),
        1
    );
}

/// Ends the coordinator in order, so that its whole state is in the store, and starts it again.
async fn restart(cluster: &mut Cluster) {
    cluster.coordinator().signal(Signal::SIGTERM);
    assert_eq!(cluster.coordinator().ended().await.code(), Some(0));
    cluster.restart_coordinator().await;
}

/// Deleted sessions stayed in the store, and were those of the next app of the name after a
/// restart.
#[tokio::test]
async fn sessions_of_a_deleted_app_do_not_come_back_with_its_name() {
    let (app, mut cluster) = notes().await;
    cluster
        .put_app("other", &with_sessions(&[app.addr()]))
        .await;
    let (session, other) = (
        new_session(&cluster, "notes").await,
        new_session(&cluster, "other").await,
    );
    restart(&mut cluster).await;
    assert_eq!(
        number(&cluster.session(session_id(&session)).await, "requests"),
        1
    );
    cluster.delete_app("notes").await;
    cluster
        .put_app("notes", &with_sessions(&[app.addr()]))
        .await;
    restart(&mut cluster).await;
    assert_eq!(sessions_of(&cluster, "notes").await, Vec::<Value>::new());
    assert_eq!(
        number(&cluster.session(session_id(&other)).await, "requests"),
        1
    );
}

#[tokio::test]
async fn an_app_that_moves_keeps_its_sessions_and_its_streams() {
    let (first, cluster) = notes().await;
    let second = RecordingApp::start().await;
    let session = new_session(&cluster, "notes").await;
    let mut streams = Streams::open(&first, &cluster, "notes", &session).await;
    let who = async |expected: &RecordingApp| {
        let answer = cluster
            .get("/apps/notes/whoami")
            .session(&session)
            .send()
            .await;
        assert_eq!(
            (answer.text(), answer.session_cookie()),
            (expected.addr().to_string(), None)
        );
    };
    who(&first).await;
    cluster
        .put_app("notes", &with_sessions(&[second.addr()]))
        .await;
    // No request reaches a removed endpoint; its open streams continue.
    let seen = first.count();
    for _ in 0..50 {
        who(&second).await;
        new_session(&cluster, "notes").await;
    }
    assert_eq!(first.count(), seen);
    streams.go_on().await;
    // Among several it stays where it is.
    cluster
        .put_app("notes", &with_sessions(&[first.addr(), second.addr()]))
        .await;
    let stays = cluster
        .get("/apps/notes/whoami")
        .session(&session)
        .send()
        .await
        .text();
    for _ in 0..20 {
        assert_eq!(
            cluster
                .get("/apps/notes/whoami")
                .session(&session)
                .send()
                .await
                .text(),
            stays
        );
    }
    cluster.put_app("notes", &with_sessions(&[])).await;
    let nowhere = cluster
        .get("/apps/notes/whoami")
        .session(&session)
        .send()
        .await;
    assert_eq!(
        (nowhere.status, nowhere.problem_code().as_str()),
        (503, "no_endpoint_available")
    );
    cluster
        .put_app("notes", &with_sessions(&[first.addr()]))
        .await;
    who(&first).await;
    let record = cluster.session(session_id(&session)).await;
    assert_eq!(
        (number(&record, "open_streams"), number(&record, "moves")),
        (2, 0)
    );
    // The first request, two streams, and the 75 above.
    assert_eq!(number(&record, "requests"), 1 + 2 + 1 + 50 + 1 + 20 + 1 + 1);
}

#[tokio::test]
async fn an_app_is_routed_exactly_while_it_exists() {
    let (_app, cluster) = start_default().await;
    let app = RecordingApp::start().await;
    let mut caller = cluster.api().caller();
    let mut client = cluster.client().await;
    let body = stateless(&[app.addr()]);
    for _ in 0..200 {
        assert_eq!(caller.put_app("fleeting", &body).await.unwrap().status, 201);
        assert_eq!(client.get("/apps/fleeting/whoami").send().await.status, 200);
        assert_eq!(caller.delete_app("fleeting").await.unwrap().status, 204);
        assert_eq!(client.get("/apps/fleeting/whoami").send().await.status, 404);
    }
    let api = cluster.api();
    let table = table(&api).await;
    assert_eq!(
        names(&table, "items")
            .into_iter()
            .collect::<BTreeSet<_>>()
            .len(),
        3
    );
    eventually_async("no session of the app", || async {
        sessions_of(&cluster, "fleeting")
            .await
            .is_empty()
            .then_some(())
    })
    .await;
}
