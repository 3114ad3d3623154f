//! The admin listeners: responses and authorization.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use app_proxy_tests::app::escape;
use app_proxy_tests::cluster::Cluster;
use app_proxy_tests::http1::Request;
use app_proxy_tests::wait::eventually_async;
use serde_json::{Value, json};

use crate::{number, session_id, start, start_default};

fn items(list: &Value) -> &Vec<Value> {
    list["items"]
        .as_array()
        .unwrap_or_else(|| panic!("no items: {list}"))
}

#[tokio::test]
async fn every_call_needs_the_token() {
    let (_app, cluster) = start_default().await;
    let token = cluster.admin_token();
    let worker = cluster.worker_token();
    assert!(token.len() >= 16, "a token that can be guessed");
    let wrong = [
        None,
        Some("Bearer".to_owned()),
        Some("Bearer ".to_owned()),
        Some("Bearer wrong".to_owned()),
        Some(format!("Bearer {token}x")),
        Some(format!("Bearer {}", &token[..token.len() - 1])),
        Some(format!("Basic {token}")),
        Some(token.clone()),
        Some(format!("Bearer {worker}x")),
    ];
    for path in [
        "/api/v1/apps",
        "/api/v1/apps/notes",
        "/api/v1/workers",
        "/api/v1/sessions",
        "/api/v1/sessions/x",
    ] {
        for header in &wrong {
            let request = Request::to(cluster.admin(), "GET", path);
            let request = match header {
                Some(value) => request.header("Authorization", value),
                None => request,
            };
            let answer = request.send().await;
            assert_eq!(answer.status, 401, "{path} {header:?}");
            let kind = answer.headers.get("Content-Type").unwrap_or_default();
            assert!(kind.starts_with("application/problem+json"), "{kind}");
            assert_eq!(answer.problem_code(), "unauthenticated");
            assert!(!answer.text().contains("notes"));
        }
    }
    assert_eq!(cluster.admin_get("/api/v1/apps").await.status, 200);
}

#[tokio::test]
async fn health_and_readiness_need_no_token() {
    let (_app, cluster) = start_default().await;
    for addr in [cluster.admin(), cluster.worker(0).admin] {
        for path in ["/healthz", "/readyz"] {
            let answer = Request::to(addr, "GET", path).send().await;
            assert_eq!(answer.status, 200, "{addr}{path}");
        }
    }
}

#[tokio::test]
async fn the_coordinator_is_not_ready_without_a_healthy_worker() {
    let (_app, mut cluster) = start_default().await;
    cluster.kill_worker(0);
    cluster.wait_health("w1", false).await;
    let admin = cluster.admin();
    let ready = Request::to(admin, "GET", "/readyz").send().await;
    assert_eq!(ready.status, 503);
    assert_eq!(
        Request::to(admin, "GET", "/healthz").send().await.status,
        200
    );
    cluster.restart_worker(0).await;
    eventually_async("/readyz to be 200 again", || async move {
        let ready = Request::to(admin, "GET", "/readyz").send().await;
        (ready.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_app_table_is_listed_with_its_revision_and_epoch() {
    let (app, cluster) = start_default().await;
    let list = cluster.admin_json("/api/v1/apps").await;
    let names: BTreeSet<_> = items(&list)
        .iter()
        .map(|app| app["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, BTreeSet::from(["api", "kept", "notes"]));
    assert!(list["revision"].is_u64(), "{list}");
    assert!(!list["epoch"].is_null(), "{list}");
    let kept = items(&list)
        .iter()
        .find(|app| app["name"] == "kept")
        .unwrap();
    assert_eq!(kept["upstream_path"], "keep");
    assert_eq!(kept["endpoints"][0]["address"], app.addr().to_string());
    let one = cluster.admin_json("/api/v1/apps/kept").await;
    assert_eq!(one["name"], "kept");
    assert!(one["revision"].is_u64(), "{one}");
    assert_eq!(cluster.admin_get("/api/v1/apps/nobody").await.status, 404);
}

#[tokio::test]
async fn a_poll_for_changes_waits_and_then_returns_no_change() {
    let (_app, cluster) = start_default().await;
    let list = cluster.admin_json("/api/v1/apps").await;
    let revision = number(&list, "revision");
    let begin = Instant::now();
    let path = format!("/api/v1/apps?since={revision}&wait=700ms");
    let none = cluster.admin_json(&path).await;
    assert!(begin.elapsed().as_millis() >= 600, "it did not wait");
    assert_eq!(items(&none).len(), 0, "{none}");
    assert_eq!(number(&none, "revision"), revision);
    assert_eq!(none["epoch"], list["epoch"]);
}

#[tokio::test]
async fn a_poll_from_the_beginning_gets_everything_at_once() {
    let (_app, cluster) = start_default().await;
    let list = cluster.admin_json("/api/v1/apps?since=0&wait=30s").await;
    assert_eq!(items(&list).len(), 3);
    let list = cluster.admin_json("/api/v1/apps?since=0").await;
    assert_eq!(items(&list).len(), 3);
}

#[tokio::test]
async fn a_bad_question_is_a_400() {
    let (_app, cluster) = start_default().await;
    for path in [
        "/api/v1/apps?since=abc",
        "/api/v1/apps?since=-1",
        "/api/v1/apps?since=0&wait=soon",
        "/api/v1/apps?limit=0",
        "/api/v1/apps?sinc=1",
        "/api/v1/workers?limit=1001",
        "/api/v1/workers?app=notes",
        "/api/v1/sessions?limit=none",
        "/api/v1/sessions?idle_for=soon",
        "/api/v1/sessions?idle=30m",
    ] {
        let answer = cluster.admin_get(path).await;
        assert_eq!(answer.status, 400, "{path}: {}", answer.text());
        let wrong = path
            .rsplit(['?', '&'])
            .next()
            .unwrap()
            .split('=')
            .next()
            .unwrap();
        assert_eq!(answer.json()["field"], wrong, "{path}: {}", answer.text());
        let kind = answer.headers.get("Content-Type").unwrap_or_default();
        assert!(
            kind.starts_with("application/problem+json"),
            "{path}: {kind}"
        );
    }
}

/// axum's own answers to these are plain text.
#[tokio::test]
async fn odd_names_and_bodies_are_problems() {
    let (_app, cluster) = start_default().await;
    for (method, path, status) in [
        ("GET", "/api/v1/apps/%00", 404),
        ("GET", "/api/v1/apps/a%2Fb", 404),
        ("GET", "/api/v1/apps/%ff", 400),
        ("DELETE", "/api/v1/apps/%ff", 400),
        ("DELETE", "/api/v1/apps/%00", 404),
        ("PUT", "/api/v1/apps/%00", 400),
        ("GET", "/api/v1/workers/%ff", 400),
        ("PUT", "/api/v1/workers/a%2Fb", 400),
        ("DELETE", "/api/v1/workers/%00?instance=x", 404),
        ("POST", "/api/v1/workers/%00/drain", 404),
        ("GET", "/api/v1/sessions/%00", 404),
        ("GET", "/api/v1/requests/%ff", 400),
        ("GET", "/api/v1/requests/%00", 400),
        ("GET", "/api/v1/nothing", 404),
    ] {
        let answer = cluster.admin_call(method, path, "{}").await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        assert_eq!(
            answer.headers.get("Content-Type"),
            Some("application/problem+json"),
            "{method} {path}"
        );
    }
    for (method, path) in [
        ("PUT", "/api/v1/apps/a"),
        ("PUT", "/api/v1/workers/a"),
        ("POST", "/api/v1/workers/w1/drain"),
    ] {
        let answer = cluster
            .admin_call(method, path, &" ".repeat((1 << 20) + 1))
            .await;
        assert_eq!(
            (answer.status, answer.problem_code().as_str()),
            (413, "body_too_large"),
            "{path}"
        );
    }
    // Serde would accept an array in place of an object.
    for (path, body) in [
        ("/api/v1/workers/a", r#"["127.0.0.1:1"]"#),
        ("/api/v1/apps/a", "[]"),
    ] {
        assert_eq!(
            cluster.admin_call("PUT", path, body).await.status,
            400,
            "{path} {body}"
        );
    }
}

#[tokio::test]
async fn an_unknown_method_returns_the_allowed_ones() {
    let (_app, cluster) = start_default().await;
    for (method, status) in [("PATCH", 405), ("TRACE", 405), ("OPTIONS", 204)] {
        let answer = cluster.admin_call(method, "/api/v1/workers/w1", "").await;
        assert_eq!(answer.status, status, "{method}: {}", answer.text());
        let mut allowed: Vec<_> = answer
            .headers
            .get("Allow")
            .unwrap_or_default()
            .split(',')
            .collect();
        allowed.sort_unstable();
        assert_eq!(allowed, ["DELETE", "GET", "HEAD", "PUT"], "{method}");
    }
    let head = cluster.admin_call("HEAD", "/api/v1/apps/notes", "").await;
    assert_eq!(
        (head.status, head.headers.get("ETag").is_some()),
        (200, true)
    );
}

#[tokio::test]
async fn the_epoch_changes_when_the_store_is_lost() {
    let (_app, mut cluster) = start(|builder| builder.coordinator(&json!({}))).await;
    let before = cluster.admin_json("/api/v1/apps").await;
    cluster.kill_coordinator();
    cluster.restart_coordinator().await;
    let after = cluster.admin_json("/api/v1/apps").await;
    assert_eq!(items(&before).len(), items(&after).len());
    // Whichever store there is: the same epoch and revision must not mean another table.
    if before["epoch"] == after["epoch"] {
        assert!(number(&after, "revision") >= number(&before, "revision"));
    }
}

#[tokio::test]
async fn sessions_are_listed_and_found() {
    let (_app, cluster) = start(|builder| builder.workers(2)).await;
    let mut ids = BTreeSet::new();
    for name in ["notes", "notes", "kept"] {
        let answer = cluster.get(&format!("/apps/{name}/echo")).send().await;
        ids.insert(session_id(&answer.session_cookie().unwrap()).to_owned());
    }
    let list = cluster.admin_json("/api/v1/sessions").await;
    let listed: BTreeSet<_> = items(&list)
        .iter()
        .map(|session| session["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(listed, ids);
    for id in &ids {
        assert_eq!(cluster.session(id).await["id"], id.as_str());
    }
    let kept = cluster.admin_json("/api/v1/sessions?app=kept").await;
    assert_eq!(items(&kept).len(), 1, "{kept}");
    assert_eq!(items(&kept)[0]["app"], "kept");
    assert_eq!(
        cluster.admin_get("/api/v1/sessions/nobody").await.status,
        404
    );
    let mut by_worker = 0;
    for worker in ["w1", "w2"] {
        let some = cluster
            .admin_json(&format!("/api/v1/sessions?worker={worker}"))
            .await;
        assert!(
            items(&some)
                .iter()
                .all(|session| session["worker"] == worker)
        );
        by_worker += items(&some).len();
    }
    assert_eq!(by_worker, 3);
}

#[tokio::test]
async fn lists_are_paged() {
    let (_app, cluster) = start_default().await;
    let mut ids = BTreeSet::new();
    for _ in 0..7 {
        let answer = cluster.get("/apps/notes/echo").send().await;
        ids.insert(session_id(&answer.session_cookie().unwrap()).to_owned());
    }
    let mut found = BTreeSet::new();
    let mut path = "/api/v1/sessions?limit=3".to_owned();
    for page in 0.. {
        assert!(page < 4, "the pages never end");
        let list = cluster.admin_json(&path).await;
        assert!(items(&list).len() <= 3);
        for session in items(&list) {
            let id = session["id"].as_str().unwrap().to_owned();
            assert!(found.insert(id), "a session is on two pages");
        }
        let Some(cursor) = list["next_cursor"].as_str() else {
            break;
        };
        path = format!("/api/v1/sessions?limit=3&cursor={}", escape(cursor));
    }
    assert_eq!(found, ids);
}

#[tokio::test]
async fn no_secret_is_returned() {
    let (_app, cluster) = start_default().await;
    let cookie = cluster
        .get("/apps/notes/echo")
        .send()
        .await
        .session_cookie()
        .unwrap();
    let mac = cookie.split_once('.').unwrap().1;
    for path in ["/api/v1/apps", "/api/v1/workers", "/api/v1/sessions"] {
        let text = cluster.admin_get(path).await.text();
        for secret in [mac, &cluster.worker_token(), &cluster.admin_token()] {
            assert!(!text.contains(secret), "{path}: {text}");
        }
    }
}

#[tokio::test]
async fn the_admin_api_is_not_on_the_public_listener() {
    let (_app, cluster) = start_default().await;
    let token = format!("Bearer {}", cluster.admin_token());
    for path in [
        "/api/v1/apps",
        "/api/v1/sessions",
        "/readyz",
        "/metrics",
        "/.app-proxy/api/v1/apps",
    ] {
        let answer = cluster
            .get(path)
            .header("Authorization", &token)
            .send()
            .await;
        assert_eq!(answer.status, 404, "{path}");
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_are_rejected() {
    let (_app, cluster) = start_default().await;
    assert_eq!(cluster.admin_get("/api/v1/nothing").await.status, 404);
    for (method, path) in [
        ("POST", "/api/v1/apps"),
        ("DELETE", "/api/v1/workers"),
        ("PATCH", "/api/v1/sessions"),
    ] {
        let answer = Request::to(cluster.admin(), method, path)
            .header(
                "Authorization",
                &format!("Bearer {}", cluster.admin_token()),
            )
            .body("{}")
            .send()
            .await;
        assert!(
            (400..500).contains(&answer.status),
            "{method} {path}: {}",
            answer.status
        );
    }
}

#[tokio::test]
async fn a_broken_poll_does_not_stop_the_listener() {
    let (_app, cluster) = start_default().await;
    let revision = number(&cluster.admin_json("/api/v1/apps").await, "revision");
    let token = format!("Bearer {}", cluster.admin_token());
    let mut polls = Vec::new();
    for _ in 0..50 {
        let poll = Request::to(
            cluster.admin(),
            "GET",
            &format!("/api/v1/apps?since={revision}&wait=30s"),
        );
        polls.push(poll.header("Authorization", &token).start().await);
    }
    assert_eq!(cluster.admin_get("/api/v1/workers").await.status, 200);
    drop(polls);
    assert_eq!(cluster.admin_get("/api/v1/workers").await.status, 200);
}

#[tokio::test]
async fn secrets_are_created_once_with_mode_0600() {
    let (_app, mut cluster) = start_default().await;
    let files = ["run/admin.token", "run/worker.token", "run/session.key"];
    let read =
        |cluster: &Cluster| files.map(|file| std::fs::read(cluster.folder().join(file)).unwrap());
    let before = read(&cluster);
    for (file, content) in files.iter().zip(&before) {
        let mode = std::fs::metadata(cluster.folder().join(file))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
        assert!(content.len() >= 16, "{file}");
    }
    assert_ne!(before[0], before[1]);
    cluster.kill_coordinator();
    cluster.restart_coordinator().await;
    assert_eq!(read(&cluster), before);
}
