//! Idle apps and apps without endpoints: webhooks to their scheduler, and responses to clients
//! until they run.

use std::collections::HashSet;

use app_proxy_tests::SESSION;
use app_proxy_tests::app::{RecordingApp, escape};
use app_proxy_tests::cluster::Cluster;
use app_proxy_tests::daemon::{Launch, Program};
use app_proxy_tests::http1::Response;
use app_proxy_tests::scheduler::{Hook, Scheduler};
use app_proxy_tests::tls::TlsFront;
use app_proxy_tests::wait::within;
use app_proxy_tests::ws::{Frame, PING, handshake};
use serde_json::{Value, json};

use crate::session_id;

/// The `Accept` header of a browser that loads a page.
const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

/// The application `notes`, idle after a second.
async fn idle_after_a_second() -> (RecordingApp, Scheduler, Cluster) {
    let (app, scheduler) = (RecordingApp::start().await, Scheduler::start().await);
    let idle = json!({"idle": {"after": "1s", "notify": scheduler.url("/idle")}});
    let cluster = Cluster::builder()
        .app_with("notes", app.addr(), &idle)
        .app_with("other", app.addr(), &idle)
        .app(json!({"name": "stopped", "endpoints": [], "idle": idle["idle"]}))
        .start()
        .await;
    (app, scheduler, cluster)
}

/// The application `notes`, which runs nowhere.
async fn asleep(more: &Value) -> (Scheduler, Cluster) {
    let scheduler = Scheduler::start().await;
    let mut wake = json!({"notify": scheduler.url("/wake")});
    app_proxy_tests::cluster::merge(&mut wake, more);
    let app = |name: &str| json!({"name": name, "endpoints": [], "wake": wake});
    let cluster = Cluster::builder()
        .app(app("notes"))
        .app(app("other"))
        .start()
        .await;
    (scheduler, cluster)
}

fn secret(cluster: &Cluster) -> String {
    let text = std::fs::read_to_string(cluster.folder().join("run/webhook.key")).unwrap();
    text.trim().to_owned()
}

/// Asserts the properties of every webhook.
fn check(hook: &Hook, cluster: &Cluster, path: &str, kind: &str) -> Value {
    assert_eq!(hook.head.line, format!("POST {path} HTTP/1.1"));
    assert!(hook.is_signed_with(&secret(cluster)), "{hook:?}");
    let event = hook.event();
    assert_eq!(event["id"], hook.header("webhook-id"));
    assert_eq!(event["type"], kind);
    assert!(
        event["timestamp"].is_string() && event["data"]["revision"].is_u64(),
        "{event}"
    );
    assert_eq!(hook.header("Content-Type"), "application/json");
    event
}

#[tokio::test]
async fn each_idle_period_is_reported_once() {
    let (_app, scheduler, cluster) = idle_after_a_second().await;
    let unused = scheduler.wait_for("notes", 1).await;
    let event = check(&unused[0], &cluster, "/idle", "app.idle");
    assert!(event["data"].get("last_active_at").is_none(), "{event}");
    let answer = cluster.get("/apps/notes/echo").send().await;
    let session = answer.session_header().unwrap().to_owned();
    let first = scheduler.wait_for("notes", 2).await;
    let event = check(&first[1], &cluster, "/idle", "app.idle");
    let data = &event["data"];
    assert_eq!(data["session_count"], 1);
    assert_eq!(data["sessions"][0]["id"], session_id(&session));
    assert_eq!(data["sessions"][0]["open_streams"], 0);
    assert!(
        data["last_active_at"].as_str() >= data["sessions"][0]["last_active_at"].as_str(),
        "{event}"
    );
    assert_eq!(first[1].header("X-Backend-Request-ID"), event["id"]);
    assert!(data.get("request_id").is_none());

    cluster
        .get("/apps/notes/echo")
        .header(SESSION, &session)
        .send()
        .await;
    let again = scheduler.wait_for("notes", 3).await;
    let later = check(&again[2], &cluster, "/idle", "app.idle");
    assert_ne!(later["id"], event["id"]);
    assert!(later["data"]["last_active_at"].as_str() > data["last_active_at"].as_str());
    assert_eq!(scheduler.hooks_of("notes").len(), 3, "once for each time");
    assert_eq!(
        scheduler.wait_for("other", 1).await.len(),
        1,
        "an app that is never used is idle once"
    );
    assert!(
        scheduler.hooks_of("stopped").is_empty(),
        "there is nothing to take back"
    );
}

#[tokio::test]
async fn a_failed_webhook_is_repeated_with_the_same_identifier() {
    let (scheduler, cluster) = asleep(&json!({})).await;
    scheduler.answer_next(500);
    scheduler.answer_next(302);
    cluster.get("/apps/notes/").id("first").send().await;
    let hooks = scheduler.wait_for("notes", 3).await;
    let ids: HashSet<_> = hooks.iter().map(|hook| hook.header("webhook-id")).collect();
    assert_eq!((ids.len(), hooks.len()), (1, 3));
    for hook in &hooks {
        check(hook, &cluster, "/wake", "app.wake");
    }
}

#[tokio::test]
async fn https_requires_a_certificate_that_the_machine_trusts() {
    let scheduler = Scheduler::start().await;
    let (trusted, unknown) = (
        TlsFront::start("localhost", scheduler.addr()).await,
        TlsFront::start("localhost", scheduler.addr()).await,
    );
    let roots = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(roots.path(), trusted.certificate()).unwrap();
    let app = |name: &str, host: &str, front: &TlsFront| {
        let url = format!("https://{host}:{}/wake", front.port());
        json!({"name": name, "endpoints": [], "wake": {"notify": url}})
    };
    let under = vec![
        "env".to_owned(),
        format!("SSL_CERT_FILE={}", roots.path().display()),
    ];
    let mut cluster = Cluster::builder()
        .app(app("notes", "localhost", &trusted))
        .app(app("unknown", "localhost", &unknown))
        .app(app("misnamed", "127.0.0.1", &trusted))
        .launch(
            Program::Coordinator,
            Launch {
                under,
                ..Launch::default()
            },
        )
        .start()
        .await;
    for (app, why) in [
        ("unknown", "invalid peer certificate"),
        ("misnamed", "certificate not valid for name"),
    ] {
        cluster.get(&format!("/apps/{app}/")).send().await;
        let said =
            |line: &str| line.contains("webhook") && line.contains(app) && line.contains(why);
        cluster
            .coordinator()
            .wait_for_stderr("why it was not delivered", said)
            .await;
    }
    cluster.get("/apps/notes/").id("private").send().await;
    let hooks = scheduler.wait_for("notes", 1).await;
    assert_eq!(
        check(&hooks[0], &cluster, "/wake", "app.wake")["data"]["request_id"],
        "private"
    );
    assert!(scheduler.hooks_of("unknown").is_empty() && scheduler.hooks_of("misnamed").is_empty());
}

#[tokio::test]
async fn a_request_that_waits_for_its_answer_is_use_and_an_open_websocket_is_not() {
    let (app, scheduler, cluster) = idle_after_a_second().await;
    // The webhooks for apps that were never used have been sent: later ones count from here.
    scheduler.wait_for("notes", 1).await;
    scheduler.wait_for("other", 1).await;
    let mut waiting = cluster
        .get("/apps/notes/gate/model")
        .id("model")
        .start()
        .await;
    app.wait_for_id("model").await;
    let mut socket = cluster.websocket("/apps/other/ws/echo", &[]).await;
    socket.send(Frame::new(PING, "")).await;
    within("a pong", socket.frame()).await;
    let quiet = scheduler.wait_for("other", 2).await;
    assert_eq!(
        quiet[1].event()["data"]["sessions"][0]["open_streams"],
        1,
        "{:?}",
        quiet[1].event()
    );
    socket.send_text("data").await;
    within("the echo", socket.frame()).await;
    assert_eq!(scheduler.wait_for("other", 3).await.len(), 3, "data is use");
    assert_eq!(scheduler.hooks_of("notes").len(), 1, "it computes");
    app.release("model", 1);
    assert_eq!(waiting.read_response("GET").await.status, 200);
    assert_eq!(scheduler.wait_for("notes", 2).await.len(), 2);
}

#[tokio::test]
async fn many_requests_for_an_app_without_endpoints_send_one_wake_webhook() {
    let (scheduler, cluster) = asleep(&json!({})).await;
    let cluster = std::sync::Arc::new(cluster);
    let requests: Vec<_> = (0..50)
        .map(|n| {
            let cluster = std::sync::Arc::clone(&cluster);
            tokio::spawn(async move {
                cluster
                    .get("/apps/notes/api")
                    .id(&format!("wake-{n}"))
                    .send()
                    .await
            })
        })
        .collect();
    for request in requests {
        let answer = request.await.unwrap();
        assert_eq!(
            (answer.status, answer.problem_code().as_str()),
            (503, "app_starting")
        );
        assert_eq!(
            answer.headers.get("Content-Type"),
            Some("application/problem+json")
        );
        assert_eq!(
            (
                answer.headers.get("Retry-After"),
                answer.headers.get("Cache-Control")
            ),
            (Some("2"), Some("no-store"))
        );
        assert_eq!(answer.session_cookie(), None, "nothing has begun");
        assert!(answer.request_id().starts_with("wake-"));
    }
    let event = check(
        &scheduler.wait_for("notes", 1).await[0],
        &cluster,
        "/wake",
        "app.wake",
    );
    let cause = event["data"]["request_id"].as_str().unwrap();
    assert!(cause.starts_with("wake-"), "{event}");
    let hook = &scheduler.hooks_of("notes")[0];
    assert_eq!(hook.header("X-Backend-Request-ID"), cause);
    let line = cluster.coordinator_log().request(cause).await;
    assert_eq!(
        (&line["app"], &line["error"], &line["status"]),
        (&json!("notes"), &json!("app_starting"), &json!(503))
    );
    // Another webhook for `notes` would have been sent before that of the later request.
    cluster.get("/apps/other/").send().await;
    scheduler.wait_for("other", 1).await;
    assert_eq!(scheduler.hooks_of("notes").len(), 1);
}

fn is_page(answer: &Response) -> bool {
    answer.status == 503
        && answer
            .headers
            .get("Content-Security-Policy")
            .is_some_and(|policy| policy.contains("default-src 'none'"))
        && answer.text().contains("notes is starting")
        && answer.text().contains(&answer.request_id())
}

#[tokio::test]
async fn a_browser_sees_a_page_and_everything_else_an_error() {
    let (_scheduler, cluster) = asleep(&json!({})).await;
    let get = || {
        cluster
            .get("/apps/notes/lab/tree?x=1")
            .header("Accept", BROWSER)
    };
    let page = get().send().await;
    assert!(is_page(&page), "{}", page.text());
    assert_eq!(page.headers.get("Retry-After"), Some("2"));
    assert_eq!(page.headers.get("Cache-Control"), Some("no-store"));
    let line = cluster.coordinator_log().request(&page.request_id()).await;
    assert_eq!(
        (&line["app"], &line["error"]),
        (&json!("notes"), &json!("app_starting"))
    );
    let head = cluster
        .request("HEAD", "/apps/notes/")
        .header("Accept", BROWSER)
        .send()
        .await;
    assert_eq!((head.status, head.body.len()), (503, 0));
    let post = cluster
        .request("POST", "/apps/notes/")
        .body("x")
        .send()
        .await;
    assert_eq!(post.problem_code(), "app_starting");
    let socket = handshake(cluster.public(), "/apps/notes/ws/echo", &[])
        .send()
        .await;
    assert_eq!(
        (socket.status, socket.problem_code().as_str()),
        (503, "app_starting")
    );
    assert_eq!(
        cluster.get("/apps/notes").send().await.status,
        308,
        "redirects are as ever"
    );
}

#[tokio::test]
async fn without_a_page_a_browser_sees_an_error_too() {
    let (scheduler, cluster) = asleep(&json!({"page": false})).await;
    let answer = cluster
        .get("/apps/notes/")
        .header("Accept", BROWSER)
        .send()
        .await;
    assert!(
        !is_page(&answer) && answer.status == 503,
        "{}",
        answer.text()
    );
    assert!(answer.text().contains("app_starting"));
    scheduler.wait_for("notes", 1).await;
}

#[tokio::test]
async fn the_page_reloads_once_the_app_runs() {
    let (scheduler, mut cluster) = asleep(&json!({})).await;
    let app = RecordingApp::start().await;
    let poll = format!("/.app-proxy/waking?path={}", escape("/apps/notes/a%20b"));
    let waiting = cluster.get(&poll).send().await;
    assert_eq!(
        (waiting.status, waiting.headers.get("Cache-Control")),
        (503, Some("no-store"))
    );
    assert!(!waiting.request_id().is_empty());
    assert!(
        scheduler.hooks_of("notes").is_empty(),
        "looking wakes nobody"
    );
    let endpoints = json!([{"address": app.addr().to_string()}]);
    let wake = json!({"notify": scheduler.url("/wake")});
    cluster.kill_coordinator();
    let notes = json!({"name": "notes", "endpoints": endpoints, "wake": wake});
    cluster.patch_coordinator_config(&json!({"coordinator": {"apps": [notes]}}));
    cluster.restart_coordinator().await;
    let awake = cluster.get(&poll).send().await;
    assert_eq!(
        (awake.status, awake.headers.get("Cache-Control")),
        (204, Some("no-store"))
    );
    assert!(!awake.request_id().is_empty());
    assert_eq!(
        cluster
            .get("/apps/notes/echo")
            .header("Accept", BROWSER)
            .send()
            .await
            .status,
        200
    );
}
