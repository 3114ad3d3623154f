//! An access policy: what strangers, users and faults of the policy lead to.

use std::time::Duration;

use app_proxy_coordinator::{Access, AccessRequest, Decision, Identity, Reply, async_trait};
use app_proxy_tests::app::RecordingApp;
use app_proxy_tests::cluster::Cluster;
use app_proxy_tests::http1::{Client, Response};
use app_proxy_tests::scheduler::Scheduler;
use app_proxy_tests::ws::WebSocket;
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::Embedded;

/// Lets a client in under the name in its header `X-User`; some names lead to something else.
struct ByHeader;

#[async_trait]
impl Access for ByHeader {
    async fn check(&self, request: &AccessRequest<'_>) -> Decision {
        let user = request.headers().get("x-user");
        match user.and_then(|user| user.to_str().ok()) {
            None => {
                let challenge = HeaderValue::from_static("Bearer");
                Decision::Challenge(Reply::unauthorized(challenge))
            }
            Some("login") => Decision::Challenge(Reply::redirect("https://login.example/")),
            Some("mallory") => Decision::deny(),
            Some("eve") => Decision::Deny(
                Reply::new(StatusCode::PAYMENT_REQUIRED)
                    .with_header(header::CONNECTION, HeaderValue::from_static("close"))
                    .with_header(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"))
                    .with_body("Pay first.\n"),
            ),
            Some("interim") => Decision::Deny(Reply::new(StatusCode::EARLY_HINTS)),
            Some("panic") => panic!("a fault of the policy"),
            Some("hang") => std::future::pending().await,
            Some(name) => Identity::user(name).map_or(Decision::deny(), Decision::Allow),
        }
    }

    fn timeout(&self) -> Duration {
        Duration::from_millis(300)
    }
}

/// The app `notes`, which runs, and the app `asleep`, which its scheduler can start.
async fn start() -> (RecordingApp, Scheduler, Embedded) {
    let (app, scheduler) = (RecordingApp::start().await, Scheduler::start().await);
    let asleep = json!({
        "name": "asleep", "endpoints": [],
        "wake": {"notify": scheduler.url("/wake"), "page": true},
    });
    let plan = Cluster::builder()
        .app_at("notes", app.addr())
        .app(asleep)
        .h2c();
    let embedded = Embedded::start(plan, |builder| builder.access(ByHeader)).await;
    (app, scheduler, embedded)
}

/// Requests that only differ in what exists: an app, one that is asleep, and none.
const TARGETS: [&str; 12] = [
    "/apps/notes/echo",
    "/apps/notes",
    "/apps/notes?x=1",
    "/apps/notes/x/..%2f..%2fnotes/y",
    "/apps/x/..%2fnotes/",
    "/apps/asleep/",
    "/apps/nobody/",
    "/apps/nobody",
    "/apps/nobody/x/..%2f..%2fnobody/y",
    "/.app-proxy/waking?path=%2Fapps%2Fnotes%2F",
    "/.app-proxy/waking?path=%2Fapps%2Fnobody%2F",
    "/.app-proxy/other",
];

/// Returns all of a response but its ID and its time.
fn without_id(response: &Response) -> (u16, Vec<(String, String)>, String) {
    let id = response.request_id();
    let headers = response.headers.0.iter();
    let headers = headers.filter(|(name, _)| !name.eq_ignore_ascii_case("date"));
    let headers = headers.map(|(name, value)| (name.clone(), value.replace(&id, "ID")));
    (
        response.status,
        headers.collect(),
        response.text().replace(&id, "ID"),
    )
}

async fn line_of(cluster: &Cluster, response: &Response) -> Value {
    cluster
        .coordinator_log()
        .request(&response.request_id())
        .await
}

#[tokio::test]
async fn strangers_cannot_tell_apps_from_names_that_no_app_has() {
    let (app, scheduler, embedded) = start().await;
    let cluster = &embedded.cluster;
    for accept in ["application/json", "text/html"] {
        let mut answers = Vec::new();
        for method in ["GET", "HEAD", "POST"] {
            for target in TARGETS {
                let request = cluster.request(method, target).header("Accept", accept);
                let response = request.send().await;
                assert_eq!(response.status, 401, "{method} {target}");
                let line = line_of(cluster, &response).await;
                assert_eq!(line["error"], "unauthenticated", "{method} {target}");
                let (status, headers, text) = without_id(&response);
                let text = if method == "HEAD" {
                    String::new()
                } else {
                    text
                };
                answers.push((method == "HEAD", status, headers, text));
            }
        }
        answers.dedup();
        assert_eq!(answers.len(), 3, "{answers:#?}");
        assert!(answers[0] == answers[2] && answers[0].2 == answers[1].2);
    }
    let h2 = cluster.h2_client().await;
    let mut answers = Vec::new();
    for target in TARGETS {
        let response = h2.get(target, &[]).await;
        assert_eq!(response.headers.get("www-authenticate"), Some("Bearer"));
        assert_eq!(response.headers.get("cache-control"), Some("no-store"));
        assert_eq!(response.problem_code(), "unauthenticated");
        answers.push(without_id(&response));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:#?}");
    // Nothing has happened.
    assert_eq!(app.count(), 0);
    assert!(scheduler.hooks_of("asleep").is_empty());
    let sessions = cluster.admin_json("/api/v1/sessions").await;
    assert_eq!(sessions["items"], json!([]));
}

#[tokio::test]
async fn invalid_requests_and_the_health_probe_need_no_access() {
    let (_app, _scheduler, embedded) = start().await;
    let cluster = &embedded.cluster;
    assert_eq!(cluster.get("/.app-proxy/healthz").send().await.status, 200);
    for (method, target, status) in [
        ("TRACE", "/apps/notes/", 405),
        ("GET", "/apps/notes/%zz", 400),
        ("GET", "/apps/nobody/%zz", 400),
        ("GET", "/.app-proxy/waking", 400),
    ] {
        let response = cluster.request(method, target).send().await;
        assert_eq!(response.status, status, "{method} {target}");
    }
}

#[tokio::test]
async fn a_user_that_may_enter_is_served_as_without_a_policy() {
    let (app, scheduler, embedded) = start().await;
    let cluster = &embedded.cluster;
    let as_anna = |target: &str| cluster.get(target).header("X-User", "anna");
    assert_eq!(as_anna("/apps/notes").send().await.status, 308);
    assert_eq!(as_anna("/apps/nobody/").send().await.status, 404);
    assert_eq!(
        as_anna("/apps/notes/x/..%2f..%2fnotes/y")
            .send()
            .await
            .status,
        400
    );
    let waking = as_anna("/.app-proxy/waking?path=%2Fapps%2Fnotes%2F")
        .send()
        .await;
    assert_eq!(waking.status, 204);
    assert_eq!(as_anna("/apps/asleep/").send().await.status, 503);
    scheduler.wait_for("asleep", 1).await;
    let response = as_anna("/apps/notes/echo").send().await;
    assert_eq!((response.status, app.count()), (200, 1));
    assert_eq!(line_of(cluster, &response).await["user"], "anna");
    let h2 = cluster.h2_client().await;
    let response = h2.get("/apps/notes/echo", &[("x-user", "bob")]).await;
    assert_eq!(response.status, 200);
    assert_eq!(line_of(cluster, &response).await["user"], "bob");
}

#[tokio::test]
async fn a_session_belongs_to_the_user_who_began_it() {
    let (_app, _scheduler, embedded) = start().await;
    let cluster = &embedded.cluster;
    let request = |user: &str| cluster.get("/apps/notes/echo").header("X-User", user);
    let first = request("anna").send().await;
    let session = first.session_header().unwrap().to_owned();
    let again = request("anna").session(&session).send().await;
    assert_eq!(again.session_header(), None);
    let other = request("bob").session(&session).send().await;
    let theirs = other.session_header().unwrap().to_owned();
    assert_ne!(theirs, session);
    for (session, user, requests) in [(&session, "anna", 2), (&theirs, "bob", 1)] {
        let record = cluster.session(session.split('.').next().unwrap()).await;
        assert_eq!(
            (&record["user"], &record["requests"]),
            (&json!(user), &json!(requests))
        );
    }
}

#[tokio::test]
async fn a_websocket_handshake_needs_access_too() {
    let (app, _scheduler, embedded) = start().await;
    let cluster = &embedded.cluster;
    for target in ["/apps/notes/ws/echo", "/apps/nobody/ws/echo"] {
        let refusal = WebSocket::try_connect(cluster.public(), target, &[]).await;
        let refusal = refusal.expect_err("a refusal");
        assert_eq!(refusal.status, 401, "{target}");
        assert!(!refusal.headers.has("Upgrade"), "{:?}", refusal.headers);
    }
    assert_eq!(app.count(), 0);
    let mut socket = cluster
        .websocket("/apps/notes/ws/echo", &[("X-User", "anna")])
        .await;
    socket.send_text("hello").await;
    assert_eq!(socket.frame().await.as_text(), "hello");
    socket.close(1000).await;
    let log = cluster.coordinator_log();
    let line = log.wait_for_line("a closed WebSocket", |line| line["event"] == "stream_close");
    assert_eq!(line.await["user"], "anna");
}

#[tokio::test]
async fn the_policys_own_replies_reach_the_client() {
    let (app, _scheduler, embedded) = start().await;
    let cluster = &embedded.cluster;
    // One connection: a refusal leaves it usable.
    let mut client = Client::connect(cluster.public()).await;
    for (user, status, error) in [
        ("login", 303, "unauthenticated"),
        ("mallory", 403, "forbidden"),
        ("eve", 402, "forbidden"),
        (&"a".repeat(300), 403, "forbidden"),
    ] {
        let request = client
            .request("POST", "/apps/notes/")
            .header("X-User", user);
        let response = request.body("a body").send().await;
        assert_eq!(response.status, status, "{user}");
        assert_eq!(response.headers.get("Cache-Control"), Some("no-store"));
        assert!(!response.headers.lists("Connection", "close"), "{user}");
        let line = line_of(cluster, &response).await;
        assert_eq!(
            (&line["error"], &line["app"]),
            (&json!(error), &json!("notes"))
        );
        match user {
            "login" => {
                assert_eq!(
                    response.headers.get("Location"),
                    Some("https://login.example/")
                );
            }
            "eve" => assert_eq!(response.text(), "Pay first.\n"),
            _ => assert_eq!(response.problem_code(), "forbidden"),
        }
    }
    assert_eq!(app.count(), 0);
}

#[tokio::test]
async fn a_policy_that_fails_or_hangs_lets_nobody_in() {
    let (app, _scheduler, embedded) = start().await;
    let cluster = &embedded.cluster;
    for user in ["panic", "hang", "interim"] {
        for target in ["/apps/notes/echo", "/apps/notes/ws/echo", "/apps/nobody/"] {
            let response = cluster.get(target).header("X-User", user).send().await;
            assert_eq!(response.status, 503, "{user} {target}");
            assert_eq!(response.problem_code(), "access_unavailable");
            assert_eq!(response.headers.get("Retry-After"), Some("2"));
        }
    }
    assert_eq!(app.count(), 0);
    let response = cluster.get("/apps/notes/echo").header("X-User", "anna");
    assert_eq!(response.send().await.status, 200);
}
