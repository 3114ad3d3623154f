//! The rules of docs/reference/request-id.md, each by its number. Rules 15 to 17 are continued in
//! `websocket` and `streaming`.

use std::collections::HashSet;
use std::time::{SystemTime, UNIX_EPOCH};

use app_proxy_tests::app::{SEEN_REQUEST_ID, respond};
use app_proxy_tests::cluster::{Cluster, ClusterBuilder, free_address, own_address};
use app_proxy_tests::http1::{Client, Request, Response, only_request_id};
use app_proxy_tests::ws::{WebSocket, handshake};
use app_proxy_tests::{REQUEST_ID, SESSION_ID, is_generated_id};
use serde_json::json;

use crate::{number, session_id, start, start_default};

const VALID: &[&str] = &[
    "a",
    "7",
    "Mixed-Case.Kept",
    "a._:=+-",
    "0123456789",
    "018f3c2e-7b1a-7c3d-9e4f-0123456789ab",
    "a=b:c+d.e_f-",
];

const INVALID: &[&str] = &[
    "-begins-with-a-hyphen",
    ".dot",
    "_underscore",
    ":colon",
    "=equals",
    "+plus",
    "two words",
    "comma,separated",
    "a/b",
    "a;b",
    "a%41",
    "a\"b",
    "a\tb",
    "ümlaut",
    "<script>",
    "${jndi}",
];

fn long_id(length: usize) -> String {
    "x".repeat(length)
}

/// Returns the values of header `name` that the application saw in the request of `answer`.
fn seen(answer: &Response, name: &str) -> Vec<String> {
    let echo = answer.json();
    let headers = echo["headers"].as_array().unwrap();
    headers
        .iter()
        .filter(|line| line[0].as_str().unwrap().eq_ignore_ascii_case(name))
        .map(|line| line[1].as_str().unwrap().to_owned())
        .collect()
}

/// Checks that `answer` has an identifier of the coordinator's own, which the application saw as
/// well.
fn assert_replaced(answer: &Response, sent: &str) -> String {
    assert_eq!(answer.status, 200, "{sent:?}: {}", answer.text());
    let id = answer.request_id();
    assert!(is_generated_id(&id), "{sent:?} became {id:?}");
    assert_eq!(seen(answer, REQUEST_ID), [id.as_str()], "{sent:?}");
    id
}

#[tokio::test]
async fn rule_01_a_valid_identifier_is_kept_byte_for_byte() {
    let (_app, cluster) = start_default().await;
    let mut client = cluster.client().await;
    let longest = long_id(128);
    for id in VALID.iter().copied().chain([longest.as_str()]) {
        let answer = client.get("/apps/api/echo").id(id).send().await;
        assert_eq!(answer.request_id(), id);
        assert_eq!(seen(&answer, REQUEST_ID), [id]);
    }
}

#[tokio::test]
async fn rule_01_an_invalid_identifier_is_replaced() {
    let (_app, cluster) = start_default().await;
    let mut client = cluster.client().await;
    let too_long = long_id(129);
    for id in INVALID.iter().copied().chain([too_long.as_str(), ""]) {
        let answer = client.get("/apps/api/echo").id(id).send().await;
        assert_replaced(&answer, id);
    }
}

#[tokio::test]
async fn rule_01_the_header_is_found_in_any_case() {
    let (_app, cluster) = start_default().await;
    for name in ["x-backend-request-id", "X-BACKEND-REQUEST-ID"] {
        let answer = cluster
            .get("/apps/api/echo")
            .header(name, "any-case")
            .send()
            .await;
        assert_eq!(answer.request_id(), "any-case");
    }
}

#[tokio::test]
async fn rule_02_a_generated_identifier_is_a_uuidv7_of_now() {
    let (_app, cluster) = start_default().await;
    let mut client = cluster.client().await;
    let millis = || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        u64::try_from(now.as_millis()).unwrap()
    };
    let mut all = HashSet::new();
    for _ in 0..50 {
        let before = millis();
        let id = client.get("/apps/api/echo").send().await.request_id();
        let after = millis();
        assert!(is_generated_id(&id), "{id}");
        let digits: String = id.chars().filter(|c| *c != '-').take(12).collect();
        let made = u64::from_str_radix(&digits, 16).unwrap();
        assert!(
            (before.saturating_sub(50)..=after + 50).contains(&made),
            "{id} is not of now"
        );
        assert!(all.insert(id));
    }
}

#[tokio::test]
async fn rule_03_identifiers_are_kept_only_from_accepted_addresses() {
    let (_app, cluster) = start(|builder| {
        builder.coordinator(&json!({"request_id": {"accept_from": ["127.0.0.1/32", "10.0.0.0/8"]}}))
    })
    .await;
    let kept = cluster.get("/apps/api/echo").id("from-one").send().await;
    assert_eq!(kept.request_id(), "from-one");
    let answer = cluster
        .get("/apps/api/echo")
        .from_address("127.0.0.9".parse().unwrap())
        .id("from-nine")
        .send()
        .await;
    let id = assert_replaced(&answer, "from-nine");
    let line = cluster.coordinator_log().request(&id).await;
    assert_eq!(line["client_request_id"], "from-nine");
    let line = cluster.coordinator_log().request("from-one").await;
    assert!(line.get("client_request_id").is_none(), "{line}");
}

#[tokio::test]
async fn rule_03_an_empty_list_accepts_no_client() {
    let (app, cluster) =
        start(|builder| builder.coordinator(&json!({"request_id": {"accept_from": []}}))).await;
    let answer = cluster
        .get("/apps/api/echo")
        .id("mine")
        .header("X-Request-ID", "alias")
        .send()
        .await;
    let id = assert_replaced(&answer, "mine");
    assert_eq!(app.last().header("X-Request-ID"), Some(id.as_str()));
    let line = cluster.coordinator_log().request(&id).await;
    assert_eq!(line["client_request_id"], "mine");
}

#[tokio::test]
async fn rule_03_an_invalid_value_is_not_logged_as_the_clients() {
    let (_app, cluster) =
        start(|builder| builder.coordinator(&json!({"request_id": {"accept_from": []}}))).await;
    let answer = cluster.get("/apps/api/echo").id("not valid").send().await;
    let id = assert_replaced(&answer, "not valid");
    let line = cluster.coordinator_log().request(&id).await;
    assert!(line.get("client_request_id").is_none(), "{line}");
}

#[tokio::test]
async fn rule_04_several_header_lines_are_replaced_even_equal_ones() {
    let (_app, cluster) = start_default().await;
    for pair in [["same", "same"], ["one", "two"], ["", "one"]] {
        let answer = cluster
            .get("/apps/api/echo")
            .id(pair[0])
            .id(pair[1])
            .send()
            .await;
        assert_replaced(&answer, "two lines");
    }
}

#[tokio::test]
async fn rule_04_bad_bytes_are_neither_logged_nor_forwarded_but_their_length_is() {
    let (app, mut cluster) = start_default().await;
    // Lengths that neither a clock nor an identifier shows by chance.
    let cases = [
        ("malformed", format!("{}<BADBYTES>", long_id(103)), "113"),
        (
            "oversized",
            format!("BADBYTES{}", long_id(1_733 - 8)),
            "1733",
        ),
    ];
    for (reason, value, length) in cases {
        let answer = cluster.get("/apps/api/echo").id(&value).send().await;
        let id = assert_replaced(&answer, reason);
        cluster.coordinator_log().request(&id).await;
        cluster.worker_log(0).request(&id).await;
        let what = format!("the length {length} of the {reason} identifier that became {id}");
        let line = cluster
            .coordinator()
            .wait_for_stderr(&what, |line| {
                let mut words = line.split(|c: char| !c.is_ascii_alphanumeric());
                line.contains(&id) && words.any(|word| word == length)
            })
            .await;
        assert!(line.contains(reason), "{line}");
    }
    assert!(!format!("{:?}", app.requests()).contains("BADBYTES"));
    let mut text = cluster.coordinator_log().text() + &cluster.worker_log(0).text();
    text += &cluster.coordinator().stderr().join("\n");
    text += &cluster.worker_daemon(0).stderr().join("\n");
    assert!(!text.contains("BADBYTES"), "{text}");
}

#[tokio::test]
async fn rule_05_an_alias_is_read_when_the_header_is_absent() {
    let (_app, cluster) = start_default().await;
    let answer = cluster
        .get("/apps/api/echo")
        .header("X-Request-ID", "by-alias")
        .send()
        .await;
    assert_eq!(answer.request_id(), "by-alias");
    assert_eq!(seen(&answer, REQUEST_ID), ["by-alias"]);
    assert_eq!(seen(&answer, "X-Request-ID"), ["by-alias"]);
}

#[tokio::test]
async fn rule_05_the_alias_is_written_with_the_header() {
    let (_app, cluster) = start_default().await;
    let answer = cluster.get("/apps/api/echo").id("main").send().await;
    assert_eq!(seen(&answer, "X-Request-ID"), ["main"]);
    let answer = cluster
        .get("/apps/api/echo")
        .id("main")
        .header("X-Request-ID", "other")
        .header("x-request-id", "another")
        .send()
        .await;
    assert_eq!(answer.request_id(), "main");
    assert_eq!(seen(&answer, "X-Request-ID"), ["main"]);
    let answer = cluster.get("/apps/api/echo").send().await;
    assert_eq!(seen(&answer, "X-Request-ID"), [answer.request_id()]);
}

#[tokio::test]
async fn rule_05_an_alias_is_held_to_the_same_rules() {
    let (_app, cluster) = start_default().await;
    for bad in ["", "not valid", &long_id(129)] {
        let answer = cluster
            .get("/apps/api/echo")
            .header("X-Request-ID", bad)
            .send()
            .await;
        let id = assert_replaced(&answer, bad);
        assert_eq!(seen(&answer, "X-Request-ID"), [id]);
    }
    let twice = cluster
        .get("/apps/api/echo")
        .header("X-Request-ID", "same")
        .header("X-Request-ID", "same")
        .send()
        .await;
    assert_replaced(&twice, "two aliases");
    let present = cluster
        .get("/apps/api/echo")
        .id("")
        .header("X-Request-ID", "alias")
        .send()
        .await;
    assert_replaced(&present, "an empty header beside an alias");
}

#[tokio::test]
async fn rule_05_aliases_are_read_in_order_and_all_written() {
    let ids = json!({"request_id": {"aliases": ["X-Correlation-ID", "X-Request-ID"]}});
    let (_app, cluster) = start(|builder| builder.coordinator(&ids).worker(&ids)).await;
    let answer = cluster
        .get("/apps/api/echo")
        .header("X-Request-ID", "second")
        .header("X-Correlation-ID", "first")
        .send()
        .await;
    assert_eq!(answer.request_id(), "first");
    assert_eq!(seen(&answer, "X-Correlation-ID"), ["first"]);
    assert_eq!(seen(&answer, "X-Request-ID"), ["first"]);
}

#[tokio::test]
async fn rule_05_without_aliases_their_headers_are_the_applications_own() {
    let ids = json!({"request_id": {"aliases": []}});
    let (_app, cluster) = start(|builder| builder.coordinator(&ids).worker(&ids)).await;
    let answer = cluster
        .get("/apps/api/echo")
        .header("X-Request-ID", "untouched")
        .send()
        .await;
    assert_eq!(seen(&answer, "X-Request-ID"), ["untouched"]);
    assert!(is_generated_id(&answer.request_id()));
}

#[tokio::test]
async fn rule_05_another_header_can_be_configured() {
    let ids = json!({"request_id": {"header": "X-Trace-Me", "aliases": []}});
    let (_app, cluster) = start(|builder| builder.coordinator(&ids).worker(&ids)).await;
    let answer = cluster
        .get("/apps/api/echo")
        .header("X-Trace-Me", "configured")
        .send()
        .await;
    assert_eq!(answer.headers.all("X-Trace-Me"), ["configured"]);
    assert_eq!(seen(&answer, "X-Trace-Me"), ["configured"]);
    assert_eq!(
        cluster.coordinator_log().request("configured").await["status"],
        200
    );
    assert_eq!(
        cluster.worker_log(0).request("configured").await["status"],
        200
    );
}

fn to_worker(cluster: &Cluster, path: &str) -> Request<'static> {
    let addr = cluster.worker(0).address.parse().unwrap();
    Request::to(addr, "GET", path)
}

#[tokio::test]
async fn rule_06_the_worker_refuses_strangers_under_an_identifier_of_its_own() {
    let (app, cluster) = start_default().await;
    let token = cluster.worker_token();
    let almost = format!("{token}x");
    for given in [None, Some(""), Some("wrong"), Some(almost.as_str())] {
        let mut request = to_worker(&cluster, "/proxy/api/echo").id("stranger");
        if let Some(given) = given {
            request = request.header("X-App-Proxy-Token", given);
        }
        let answer = request.send().await;
        assert_eq!(answer.status, 403, "{given:?}: {}", answer.text());
        let id = answer.request_id();
        assert!(is_generated_id(&id), "{id}");
        let problem = answer.json();
        assert_eq!(problem["code"], "forbidden");
        assert_eq!(problem["tier"], "worker");
        assert_eq!(problem["request_id"], id.as_str());
        assert_eq!(cluster.worker_log(0).request(&id).await["status"], 403);
    }
    let doubled = to_worker(&cluster, "/proxy/api/echo")
        .header("X-App-Proxy-Token", "wrong")
        .header("X-App-Proxy-Token", &token)
        .send()
        .await;
    assert_eq!(doubled.status, 403, "one of two tokens is wrong");
    assert_eq!(app.count(), 0);
}

#[tokio::test]
async fn rule_06_the_worker_refuses_a_websocket_of_a_stranger() {
    let (app, cluster) = start_default().await;
    let addr = cluster.worker(0).address.parse().unwrap();
    let refusal = WebSocket::try_connect(addr, "/proxy/api/ws/echo", &[]).await;
    let answer = refusal.expect_err("a refusal");
    assert_eq!(answer.status, 403);
    assert!(is_generated_id(&answer.request_id()));
    assert_eq!(app.count(), 0);
}

#[tokio::test]
async fn rule_06_the_worker_believes_its_coordinator() {
    let (app, cluster) = start_default().await;
    let answer = to_worker(&cluster, "/proxy/api/echo")
        .header("X-App-Proxy-Token", &cluster.worker_token())
        .id("believed")
        .send()
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.request_id(), "believed");
    assert_eq!(app.last().request_id(), "believed");
}

#[tokio::test]
async fn rule_06_a_coordinator_without_a_valid_identifier_is_an_error_of_ours() {
    let (app, mut cluster) = start_default().await;
    let token = cluster.worker_token();
    let ids: [&[&str]; 3] = [&[], &["not valid"], &["two", "lines"]];
    for given in ids {
        let request = to_worker(&cluster, "/proxy/api/echo").header("X-App-Proxy-Token", &token);
        let request = given.iter().fold(request, |request, id| request.id(id));
        let answer = request.send().await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let id = answer.request_id();
        assert!(is_generated_id(&id));
        assert_eq!(app.last().request_id(), id);
        cluster
            .worker_daemon(0)
            .wait_for_stderr("an error line with the identifier", |line| {
                line.contains("ERROR") && line.contains(&id)
            })
            .await;
    }
}

#[tokio::test]
async fn rule_06_ordinary_traffic_never_arrives_at_a_worker_without_an_identifier() {
    let (_app, mut cluster) = start(|builder| builder.workers(2).h2c()).await;
    for id in ["fine", "not valid", ""] {
        cluster.get("/apps/api/echo").id(id).send().await;
        cluster.get("/apps/notes/status/500").id(id).send().await;
        let mut socket = cluster
            .websocket("/apps/notes/ws/echo", &[(REQUEST_ID, id)])
            .await;
        socket.close(1000).await;
        let h2 = cluster.h2_client().await;
        h2.get("/apps/api/echo", &[(REQUEST_ID, id)]).await;
    }
    for index in 0..2 {
        let lines = cluster.worker_daemon(index).stderr();
        let errors: Vec<_> = lines.iter().filter(|line| line.contains("ERROR")).collect();
        assert!(errors.is_empty(), "{errors:?}");
    }
}

#[tokio::test]
async fn rule_07_each_request_on_a_connection_has_its_own() {
    let (_app, cluster) = start_default().await;
    let mut client = cluster.client().await;
    let mut all = HashSet::new();
    for n in 0..10 {
        assert!(all.insert(client.get("/apps/api/echo").send().await.request_id()));
        let own = format!("keep-alive-{n}");
        let answer = client.get("/apps/api/echo").id(&own).send().await;
        assert_eq!(answer.request_id(), own);
    }
}

#[tokio::test]
async fn rule_07_each_pipelined_request_has_its_own() {
    let (app, cluster) = start_default().await;
    let mut client = cluster.client().await;
    let mut bytes = Vec::new();
    for n in 0..5 {
        let request = cluster.get(&format!("/apps/api/echo?n={n}"));
        let request = if n % 2 == 0 {
            request.id(&format!("pipelined-{n}"))
        } else {
            request
        };
        bytes.extend_from_slice(&request.bytes());
    }
    client.send(bytes).await;
    let mut all = HashSet::new();
    for n in 0..5 {
        let answer = client.read_response("GET").await;
        let id = answer.request_id();
        assert_eq!(answer.headers.get(SEEN_REQUEST_ID), Some(id.as_str()));
        assert_eq!(answer.json()["target"], format!("/echo?n={n}"));
        if n % 2 == 0 {
            assert_eq!(id, format!("pipelined-{n}"));
        } else {
            assert!(is_generated_id(&id));
        }
        assert!(all.insert(id.clone()));
        assert_eq!(app.with_id(&id).len(), 1);
    }
}

#[tokio::test]
async fn rule_07_each_http2_stream_has_its_own() {
    let (app, cluster) = start(ClusterBuilder::h2c).await;
    let client = cluster.h2_client().await;
    let mut waiting = Vec::new();
    for n in 0..20 {
        let own = format!("stream-{n}");
        let headers: &[(&str, &str)] = if n % 2 == 0 {
            &[("x-backend-request-id", &own)]
        } else {
            &[]
        };
        let target = format!("/apps/api/gate/all?n={n}");
        waiting.push((n, client.start("GET", &target, headers, None).await));
    }
    app.wait_for("the last of the streams", |seen| seen.index == 19)
        .await;
    app.release("all", 20);
    let mut all = HashSet::new();
    for (n, response) in waiting {
        let answer = app_proxy_tests::http2::read(response).await.unwrap();
        assert_eq!(answer.status, 200);
        let id = answer.request_id();
        assert_eq!(answer.json()["target"], format!("/gate/all?n={n}"));
        assert_eq!(answer.headers.get(SEEN_REQUEST_ID), Some(id.as_str()));
        if n % 2 == 0 {
            assert_eq!(id, format!("stream-{n}"));
        }
        assert!(all.insert(id));
    }
}

#[tokio::test]
async fn rule_08_a_connection_header_cannot_delete_it() {
    let (app, cluster) = start_default().await;
    for attack in [
        "X-Backend-Request-ID",
        "x-backend-request-id",
        "X-BACKEND-REQUEST-ID, X-Request-ID",
        "keep-alive, X-Backend-Request-ID",
        "close, x-backend-request-id,x-backend-session-id",
        "X-Forwarded-For, Forwarded, X-App-Proxy-Token, X-App-Proxy-App-Revision, \
         X-Backend-Request-Id",
    ] {
        let answer = cluster
            .get("/apps/notes/echo")
            .id("carried")
            .header("Connection", attack)
            .send()
            .await;
        assert_eq!(answer.status, 200, "{attack}: {}", answer.text());
        assert_eq!(answer.request_id(), "carried");
        let last = app.last();
        assert_eq!(last.request_id(), "carried", "{attack}");
        assert_eq!(last.header("X-Request-ID"), Some("carried"), "{attack}");
        assert!(last.session_id().is_some(), "{attack}");
        assert!(last.header("X-Forwarded-For").is_some(), "{attack}");
    }
}

#[tokio::test]
async fn rule_08_a_connection_header_cannot_delete_it_from_a_handshake() {
    let (app, cluster) = start_default().await;
    let request = Request::to(cluster.public(), "GET", "/apps/notes/ws/echo")
        .header("Upgrade", "websocket")
        .header(
            "Connection",
            "Upgrade, X-Backend-Request-ID, X-Backend-Session-ID",
        )
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", app_proxy_tests::ws::KEY)
        .id("carried");
    let mut socket = WebSocket::finish_handshake(request.start().await)
        .await
        .expect("a 101");
    assert_eq!(app.last().request_id(), "carried");
    assert!(app.last().session_id().is_some());
    socket.close(1000).await;
}

#[tokio::test]
async fn rule_09_other_spellings_are_removed() {
    let (app, cluster) = start_default().await;
    let answer = cluster
        .get("/apps/api/echo")
        .id("the-one")
        .header("X_Backend_Request_ID", "evil")
        .header("x_backend_request_id", "evil")
        .header("X.Backend.Request.ID", "evil")
        .header("X-Backend_Request.ID", "evil")
        .header("X_Request_ID", "evil")
        .send()
        .await;
    assert_eq!(answer.request_id(), "the-one");
    let last = app.last();
    let folded: Vec<_> = last
        .headers
        .0
        .iter()
        .filter(|(name, _)| {
            name.to_ascii_lowercase().replace(['_', '.'], "-") == "x-backend-request-id"
        })
        .collect();
    assert_eq!(folded.len(), 1, "{folded:?}");
    assert_eq!(last.request_id(), "the-one");
}

#[tokio::test]
async fn rule_09_other_spellings_are_no_identifiers() {
    let (_app, cluster) = start_default().await;
    let answer = cluster
        .get("/apps/api/echo")
        .header("X_Backend_Request_ID", "evil")
        .header("X.Backend.Request.ID", "evil")
        .send()
        .await;
    assert_replaced(&answer, "another spelling");
}

#[tokio::test]
async fn rule_10_it_does_not_change_when_a_second_worker_is_tried() {
    let (app, mut cluster) = start(|builder| {
        builder
            .workers(2)
            .coordinator(&json!({"health_check": {"interval": "1h"}}))
    })
    .await;
    cluster.kill_worker(0);
    let mut retried = 0;
    for n in 0..40 {
        let id = format!("retried-{n}");
        let answer = cluster.get("/apps/api/echo").id(&id).send().await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.request_id(), id);
        assert_eq!(app.with_id(&id).len(), 1);
        let line = cluster.coordinator_log().request(&id).await;
        assert_eq!(line["worker"], "w2");
        if number(&line, "attempts") > 1 {
            assert_eq!(number(&line, "attempts"), 2, "{line}");
            retried += 1;
        }
        cluster.worker_log(1).request(&id).await;
        assert_eq!(cluster.worker_log(1).of_request(&id).len(), 1);
        assert_eq!(cluster.coordinator_log().of_request(&id).len(), 1);
    }
    assert!(retried > 0, "the dead worker was never selected");
}

#[tokio::test]
async fn rule_11_every_final_response_carries_exactly_one() {
    let (_app, cluster) = start_default().await;
    for status in [
        200, 201, 202, 204, 206, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 409, 410, 418,
        422, 429, 500, 501, 502, 503, 504, 599,
    ] {
        for method in ["GET", "HEAD", "POST"] {
            let id = format!("{method}-{status}");
            let target = format!("/apps/api/status/{status}");
            let request = cluster.request(method, &target).id(&id);
            let request = if method == "POST" {
                request.body("x")
            } else {
                request
            };
            let answer = request.send().await;
            assert_eq!(answer.status, status, "{id}");
            assert_eq!(answer.request_id(), id);
        }
    }
}

#[tokio::test]
async fn rule_11_pages_of_our_own_carry_exactly_one() {
    let (_app, cluster) = start_default().await;
    for target in [
        "/apps/unknown/",
        "/",
        "/nothing",
        "/apps/notes",
        "/.app-proxy/healthz",
        "/.app-proxy/nothing",
        "/apps/notes/%zz",
    ] {
        for method in ["GET", "HEAD", "OPTIONS"] {
            let answer = cluster.request(method, target).id("own-page").send().await;
            assert_eq!(answer.request_id(), "own-page", "{method} {target}");
        }
    }
}

#[tokio::test]
async fn rule_11_the_applications_own_copy_never_wins() {
    let (app, cluster) = start_default().await;
    let target = respond(
        200,
        &[
            ("X-Backend-Request-ID", "evil-1"),
            ("x-backend-request-id", "evil-2"),
        ],
        "x",
    );
    let answer = cluster
        .get(&format!("/apps/api{target}"))
        .id("mine")
        .send()
        .await;
    assert_eq!(answer.request_id(), "mine");

    let waiting = handshake(
        cluster.public(),
        "/apps/api/manual/own-copy",
        &[(REQUEST_ID, "ws-mine")],
    )
    .start()
    .await;
    let mut manual = app.accept("own-copy").await;
    manual
        .send(format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\nX-Backend-Request-ID: evil\r\n\r\n",
            app_proxy_tests::ws::ACCEPT
        ))
        .await;
    let socket = WebSocket::finish_handshake(waiting).await.expect("a 101");
    assert_eq!(only_request_id(101, &socket.head.headers), "ws-mine");
}

#[tokio::test]
async fn rule_11_websocket_and_event_stream_carry_it() {
    let (app, cluster) = start_default().await;
    let mut socket = cluster
        .websocket("/apps/notes/ws/echo", &[(REQUEST_ID, "ws-1")])
        .await;
    assert_eq!(only_request_id(101, &socket.head.headers), "ws-1");
    socket.close(1000).await;
    let mut client = cluster
        .get("/apps/notes/sse/rule11/1")
        .id("sse-1")
        .start()
        .await;
    let head = client.read_head().await;
    assert_eq!(only_request_id(200, &head.headers), "sse-1");
    app.release("rule11", 1);
    client.wire.take_through(b"event 1 of sse-1").await.unwrap();
}

#[tokio::test]
async fn rule_11_interim_responses_pass_and_the_final_one_carries_it() {
    let (_app, cluster) = start_default().await;
    let answer = cluster
        .get("/apps/api/early-hints")
        .id("hinted")
        .send()
        .await;
    assert_eq!(answer.request_id(), "hinted");
    assert_eq!(answer.interim.len(), 1, "{:?}", answer.interim);
    assert_eq!(answer.interim[0].status(), 103);
    assert_eq!(
        answer.interim[0].headers.get("Link"),
        Some("</style.css>; rel=preload")
    );
}

#[tokio::test]
async fn rule_12_generated_bodies_contain_it() {
    let (_app, cluster) = start_default().await;
    let id = "a=b:c+d.e_f-g";
    let json = cluster
        .get("/apps/unknown/")
        .id(id)
        .header("Accept", "application/json")
        .send()
        .await;
    assert_eq!(json.json()["request_id"], id);
    let html = cluster
        .get("/apps/unknown/")
        .id(id)
        .header("Accept", "text/html")
        .send()
        .await;
    assert!(html.text().contains(id), "{}", html.text());
    let generated = cluster.get("/apps/unknown/").send().await;
    assert_eq!(generated.json()["request_id"], generated.request_id());
}

#[tokio::test]
async fn rule_12_bodies_that_the_worker_generates_contain_it() {
    let (_app, cluster) = start(|builder| {
        let nowhere = own_address();
        builder.app_at("gone", free_address(nowhere))
    })
    .await;
    let answer = cluster.get("/apps/gone/").id("gone-1").send().await;
    assert_eq!(answer.status, 502);
    assert_eq!(answer.request_id(), "gone-1");
    assert_eq!(answer.json()["request_id"], "gone-1");
}

/// The answer to bytes that are sent as they are.
async fn answer_to(cluster: &Cluster, bytes: &str) -> Response {
    let mut client = Client::connect(cluster.public()).await;
    client.send(bytes).await;
    client.read_response("GET").await
}

#[tokio::test]
async fn rule_13_refusals_before_routing_carry_it() {
    let (app, cluster) = start_default().await;
    let cases = [
        (
            "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n",
            405,
        ),
        ("TRACE /apps/api/echo HTTP/1.1\r\nHost: x\r\n", 405),
        ("GET /apps/api/echo HTTP/1.1\r\n", 400),
        ("GET /apps/api/echo HTTP/1.1\r\nHost: a b\r\n", 400),
        ("GET /apps/api/echo HTTP/1.1\r\nHost: a/b\r\n", 400),
        ("GET /apps/api/echo HTTP/1.1\r\nHost: a:port\r\n", 400),
        ("GET /apps/api/echo HTTP/1.1\r\nHost: <script>\r\n", 400),
        (
            "GET /apps/api/ws/echo HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\n",
            400,
        ),
    ];
    for (n, (head, status)) in cases.iter().enumerate() {
        let id = format!("refused-{n}");
        let answer = answer_to(
            &cluster,
            &format!("{head}X-Backend-Request-ID: {id}\r\n\r\n"),
        )
        .await;
        assert_eq!(answer.status, *status, "{head}: {}", answer.text());
        assert_eq!(answer.request_id(), id, "{head}");
        let line = cluster.coordinator_log().request(&id).await;
        assert_eq!(line["status"], *status, "{line}");
        let generated = answer_to(&cluster, &format!("{head}\r\n")).await;
        assert!(is_generated_id(&generated.request_id()), "{head}");
    }
    assert_eq!(app.count(), 0);
}

#[tokio::test]
async fn rule_13_a_header_block_that_does_not_parse_is_answered() {
    let (app, cluster) = start_default().await;
    for block in [
        "GET /apps/api/echo HTTP/1.1\r\nHost: x\r\nno colon here\r\n\r\n",
        "GET /apps/api/echo\r\n\r\n",
        "\u{1}\u{2}\u{3}\r\n\r\n",
        "GET /apps/api/echo HTTP/9.9\r\nHost: x\r\n\r\n",
    ] {
        let mut client = cluster.client().await;
        client.send(block).await;
        // The one documented exemption: the framework's answer may come without an identifier,
        // never with two.
        if let Ok(answer) = client.try_read_response("GET").await {
            assert!((400..=505).contains(&answer.status), "{block:?}");
            assert!(answer.headers.all(REQUEST_ID).len() <= 1, "{block:?}");
        }
    }
    assert_eq!(app.count(), 0);
    assert_eq!(cluster.get("/apps/api/echo").send().await.status, 200);
}

#[tokio::test]
async fn rule_14_a_cors_response_exposes_it() {
    let (_app, cluster) = start_default().await;
    let cors = ("Access-Control-Allow-Origin", "https://a.example");
    for (more, kept) in [
        (None, vec![]),
        (Some("X-One, X-Two"), vec!["X-One", "X-Two"]),
        (Some("x-backend-request-id"), vec![]),
    ] {
        let mut headers = vec![cors];
        headers.extend(more.map(|value| ("Access-Control-Expose-Headers", value)));
        let target = format!("/apps/api{}", respond(200, &headers, ""));
        let answer = cluster
            .get(&target)
            .header("Origin", "https://a.example")
            .send()
            .await;
        let name = "Access-Control-Expose-Headers";
        assert!(answer.headers.lists(name, REQUEST_ID), "{answer:?}");
        for other in kept {
            assert!(answer.headers.lists(name, other), "{answer:?}");
        }
        let joined = answer.headers.all(name).join(",").to_ascii_lowercase();
        assert_eq!(
            joined.matches("x-backend-request-id").count(),
            1,
            "{joined}"
        );
    }
}

#[tokio::test]
async fn rule_14_a_response_without_cors_exposes_nothing() {
    let (_app, cluster) = start_default().await;
    let answer = cluster.get("/apps/api/echo").send().await;
    assert!(!answer.headers.has("Access-Control-Expose-Headers"));
    assert!(!answer.headers.has("Access-Control-Allow-Origin"));
}

#[tokio::test]
async fn rule_18_every_line_of_the_logs_has_it() {
    let nowhere = own_address();
    let dead = free_address(nowhere);
    let (_app, mut cluster) = start(|builder| builder.app_at("gone", dead)).await;
    cluster.get("/apps/notes/echo").id("line-1").send().await;
    cluster.get("/apps/unknown/").id("line-2").send().await;
    cluster.get("/apps/gone/").id("line-3").send().await;
    let garbage = format!(
        "/apps/api{}",
        app_proxy_tests::app::raw("garbage\r\n\r\n", "close")
    );
    cluster.get(&garbage).id("line-4").send().await;
    for id in ["line-1", "line-2", "line-3", "line-4"] {
        cluster.coordinator_log().request(id).await;
    }
    for log in [cluster.coordinator_log(), cluster.worker_log(0)] {
        for line in log.lines() {
            assert!(line["request_id"].is_string(), "{line}");
        }
    }
    let mut daemons = cluster.worker_daemon(0).stderr();
    daemons.extend(cluster.coordinator().stderr());
    for line in daemons {
        let speaks_of_request = line.contains("line-");
        let is_complaint = line.contains("ERROR") || line.contains("WARN");
        // The workers were started before there was a coordinator to follow, and fail its first
        // health checks until they have its table.
        let about_start = ["sync", "coordinator", "pingora_load_balancing"]
            .iter()
            .any(|part| line.contains(part));
        assert!(
            speaks_of_request || !is_complaint || about_start,
            "a diagnostic line without the identifier: {line}"
        );
    }
}

#[tokio::test]
async fn rule_18_an_unreachable_endpoint_is_diagnosed_under_it() {
    let nowhere = own_address();
    let dead = free_address(nowhere);
    let (_app, mut cluster) = start(|builder| builder.app_at("gone", dead)).await;
    let answer = cluster.get("/apps/gone/").id("diagnosed").send().await;
    assert_eq!(answer.status, 502);
    let line = cluster.worker_log(0).request("diagnosed").await;
    assert!(line["error"].is_string(), "{line}");
    cluster
        .worker_daemon(0)
        .wait_for_stderr("a line about the unreachable endpoint", |line| {
            line.contains("diagnosed")
        })
        .await;
}

#[tokio::test]
async fn rule_19_the_session_keeps_the_first_and_the_last() {
    let (app, cluster) = start_default().await;
    let first = cluster.get("/apps/notes/echo").id("origin").send().await;
    let cookie = first.session_cookie().expect("a session");
    for id in ["middle", "latest"] {
        cluster
            .get("/apps/notes/echo")
            .session(&cookie)
            .id(id)
            .send()
            .await;
        let line = cluster.coordinator_log().request(id).await;
        assert_eq!(line["origin_request_id"], "origin");
        assert_eq!(line["session_id"], session_id(&cookie));
    }
    assert_eq!(app.last().header(SESSION_ID), Some(session_id(&cookie)));
    let record = cluster.session(session_id(&cookie)).await;
    assert_eq!(record["origin_request_id"], "origin");
    assert_eq!(record["last_request_id"], "latest");
}

#[tokio::test]
async fn rule_20_it_neither_authenticates_nor_deduplicates() {
    let (app, cluster) = start_default().await;
    let mut sessions = HashSet::new();
    for _ in 0..3 {
        let answer = cluster
            .request("POST", "/apps/notes/echo")
            .id("same")
            .body("x")
            .send()
            .await;
        assert_eq!(answer.request_id(), "same");
        sessions.insert(answer.session_cookie().expect("a session of its own"));
    }
    assert_eq!(sessions.len(), 3, "an identifier joined somebody's session");
    assert_eq!(
        app.with_id("same").len(),
        3,
        "a repeated identifier was not served"
    );
    let lines = cluster
        .coordinator_log()
        .wait_for_count("requests of one identifier", 3, |line| {
            line["request_id"] == "same"
        })
        .await;
    assert_eq!(lines.len(), 3);
}

#[tokio::test]
async fn rule_21_trace_headers_propagate() {
    let (app, cluster) = start_default().await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    cluster
        .get("/apps/api/echo")
        .header("traceparent", &format!("00-{trace}-00f067aa0ba902b7-01"))
        .header("tracestate", "vendor=value,other=1")
        .send()
        .await;
    let last = app.last();
    let parents = last.headers.all("traceparent");
    assert_eq!(parents.len(), 1);
    let parts: Vec<_> = parents[0].split('-').collect();
    assert_eq!(parts.len(), 4, "{parents:?}");
    assert_eq!((parts[0], parts[1], parts[3]), ("00", trace, "01"));
    assert_eq!(last.header("tracestate"), Some("vendor=value,other=1"));
}
