//! Error responses: their content, the party at fault, and contents that they must not have.

use app_proxy_tests::app::raw;
use app_proxy_tests::cluster::{Cluster, free_address, own_address};
use app_proxy_tests::http1::Response;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::{start, start_default};

fn assert_problem(answer: &Response, status: u16, code: &str, tier: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    let kind = answer.headers.get("Content-Type").unwrap_or_default();
    assert!(kind.starts_with("application/problem+json"), "{kind}");
    let problem = answer.json();
    assert_eq!(problem["status"], status, "{problem}");
    assert_eq!(problem["code"], code, "{problem}");
    assert_eq!(problem["tier"], tier, "{problem}");
    assert_eq!(
        problem["request_id"],
        answer.request_id().as_str(),
        "{problem}"
    );
    for field in ["type", "title", "detail"] {
        assert!(
            problem[field].as_str().is_some_and(|text| !text.is_empty()),
            "{field}: {problem}"
        );
    }
}

/// Returns the response to the client when the application sends `data` and closes.
async fn answer_with(cluster: &Cluster, data: &str, id: &str) -> Response {
    let target = format!("/apps/api{}", raw(data, "close"));
    cluster.get(&target).id(id).send().await
}

#[tokio::test]
async fn an_error_is_a_problem_document() {
    let (_app, cluster) = start_default().await;
    for accept in [
        None,
        Some("*/*"),
        Some("application/json"),
        Some("application/problem+json"),
    ] {
        let request = cluster.get("/apps/unknown/").id("problem");
        let request = match accept {
            Some(accept) => request.header("Accept", accept),
            None => request,
        };
        assert_problem(&request.send().await, 404, "app_not_found", "coordinator");
    }
}

#[tokio::test]
async fn an_error_is_a_page_where_html_is_preferred() {
    let (_app, cluster) = start_default().await;
    for (accept, html) in [
        ("text/html", true),
        (
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            true,
        ),
        ("application/json;q=0.5, text/html", true),
        ("TEXT/HTML", true),
        ("application/json, text/html;q=0.5", false),
        ("text/html;q=0, */*", false),
        ("text/plain", false),
        ("", false),
    ] {
        let answer = cluster
            .get("/apps/unknown/")
            .header("Accept", accept)
            .send()
            .await;
        assert_eq!(answer.status, 404);
        let kind = answer.headers.get("Content-Type").unwrap_or_default();
        assert_eq!(kind.starts_with("text/html"), html, "{accept:?}: {kind}");
        assert!(answer.text().contains(&answer.request_id()));
        assert_eq!(
            answer.headers.all("Content-Length"),
            [answer.body.len().to_string()]
        );
    }
}

#[tokio::test]
async fn a_page_never_contains_what_the_client_wrote() {
    let (_app, cluster) = start_default().await;
    for path in [
        "/apps/<script>alert(1)</script>/",
        "/apps/%3Cscript%3Ealert(1)%3C/script%3E/",
        "/apps/x/?\"><script>alert(1)</script>",
    ] {
        let answer = cluster
            .get(path)
            .header("Accept", "text/html")
            .host("\"onload=x")
            .send()
            .await;
        assert!(answer.status >= 400);
        assert!(
            !answer.text().contains("<script>alert"),
            "{}",
            answer.text()
        );
        let answer = cluster.get(path).header("Accept", "text/html").send().await;
        assert!(
            !answer.text().contains("<script>alert"),
            "{}",
            answer.text()
        );
    }
}

#[tokio::test]
async fn an_error_of_a_worker_is_passed_on() {
    let dead = free_address(own_address());
    let (_app, cluster) = start(|builder| builder.app_at("gone", dead)).await;
    let answer = cluster.get("/apps/gone/x").id("gone").send().await;
    assert_problem(&answer, 502, "endpoint_unreachable", "worker");
    assert_eq!(answer.request_id(), "gone");
    let page = cluster
        .get("/apps/gone/x")
        .header("Accept", "text/html")
        .send()
        .await;
    assert!(
        page.headers
            .get("Content-Type")
            .unwrap()
            .starts_with("text/html")
    );
    assert!(page.text().contains(&page.request_id()));
    for log in [cluster.coordinator_log(), cluster.worker_log(0)] {
        assert_eq!(log.request("gone").await["status"], 502);
    }
}

#[tokio::test]
async fn errors_contain_no_addresses_or_causes() {
    let dead = free_address(own_address());
    let (_app, mut cluster) = start(|builder| builder.app_at("gone", dead)).await;
    let mut answers = vec![cluster.get("/apps/gone/x").send().await];
    answers.push(answer_with(&cluster, "garbage\r\n\r\n", "told").await);
    let (worker, ip) = (cluster.worker(0).address.clone(), cluster.ip().to_string());
    cluster.kill_worker(0);
    cluster.wait_health("w1", false).await;
    answers.push(cluster.get("/apps/notes/echo").send().await);
    for answer in answers {
        let text = format!("{:?} {}", answer.headers, answer.text()).to_lowercase();
        for secret in [
            dead.ip().to_string(),
            dead.port().to_string(),
            worker.clone(),
            ip.clone(),
            "os error".to_owned(),
            "refused".to_owned(),
            "pingora".to_owned(),
            ".rs".to_owned(),
        ] {
            assert!(!text.contains(&secret), "{secret}: {text}");
        }
    }
}

#[tokio::test]
async fn a_response_that_is_not_http_returns_502() {
    let (_app, mut cluster) = start_default().await;
    for (n, data) in [
        "garbage\r\n\r\n",
        "",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Le",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "\u{0}\u{0}\u{0}\u{0}",
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("garbage-{n}");
        let answer = answer_with(&cluster, data, &id).await;
        assert_problem(&answer, 502, "bad_upstream_response", "worker");
        assert_eq!(answer.request_id(), id);
        assert!(cluster.worker_log(0).request(&id).await["error"].is_string());
    }
    assert_eq!(cluster.get("/apps/api/echo").send().await.status, 200);
    assert!(cluster.coordinator().try_status().is_none());
}

#[tokio::test]
async fn an_application_that_resets_its_connection_causes_a_502() {
    let (_app, cluster) = start_default().await;
    let target = format!("/apps/api{}", raw("", "reset"));
    let answer = cluster
        .request("POST", &target)
        .id("reset")
        .body("x")
        .send()
        .await;
    assert_eq!(answer.status, 502);
    assert_eq!(answer.request_id(), "reset");
}

#[tokio::test]
async fn a_truncated_response_does_not_look_complete() {
    let (_app, cluster) = start_default().await;
    for (name, data) in [
        (
            "length",
            "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this",
        ),
        (
            "chunk",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nonly this",
        ),
        (
            "last",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n",
        ),
    ] {
        let answer = answer_with(&cluster, data, name).await;
        assert!(
            answer.truncated || answer.status == 502,
            "{name}: {answer:?}"
        );
        answer.request_id();
        for log in [cluster.coordinator_log(), cluster.worker_log(0)] {
            let line = log.request(name).await;
            assert!(line["error"].is_string(), "{name}: {line}");
        }
    }
}

#[tokio::test]
async fn bytes_beyond_the_length_are_not_the_next_response() {
    let (_app, cluster) = start_default().await;
    let data = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfour\
        HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged";
    let target = format!("/apps/api{}", raw(data, "keep"));
    let mut client = cluster.client().await;
    let answer = client.get(&target).send().await;
    assert_eq!(answer.text(), "four");
    for _ in 0..5 {
        let answer = cluster.get("/apps/api/echo").send().await;
        assert_ne!(answer.text(), "forged", "a response was smuggled in");
        assert!(matches!(answer.status, 200 | 502));
    }
}

#[tokio::test]
async fn a_silent_application_causes_a_504() {
    let (app, cluster) =
        start(|builder| builder.worker(&json!({"timeouts": {"upstream_read": "300ms"}}))).await;
    let answer = cluster
        .get("/apps/api/gate/never")
        .id("silent")
        .send()
        .await;
    assert_problem(&answer, 504, "upstream_timeout", "worker");
    assert_eq!(answer.request_id(), "silent");
    assert_eq!(
        app.with_id("silent").len(),
        1,
        "a timeout is not tried again"
    );
}

#[tokio::test]
async fn a_timeout_of_an_app_overrides_that_of_the_worker() {
    let app = app_proxy_tests::app::RecordingApp::start().await;
    let cluster = Cluster::builder()
        .app_with("quick", app.addr(), &json!({"timeouts": {"read": "300ms"}}))
        .app_at("patient", app.addr())
        .start()
        .await;
    let mut patient = cluster.get("/apps/patient/gate/later").start().await;
    let answer = cluster.get("/apps/quick/gate/never").send().await;
    assert_problem(&answer, 504, "upstream_timeout", "worker");
    app.release("later", 1);
    assert_eq!(patient.read_response("GET").await.status, 200);
}

#[tokio::test]
async fn connect_and_trace_are_not_allowed() {
    let (app, cluster) = start_default().await;
    for (method, target) in [
        ("TRACE", "/apps/api/echo"),
        ("trace", "/apps/api/echo"),
        ("CONNECT", "example.com:443"),
        ("TRACE", "/apps/unknown/"),
    ] {
        // A target that names a host must name the one of `Host`: the framework refuses a
        // contradiction.
        let host = if method == "CONNECT" {
            target.to_owned()
        } else {
            cluster.public().to_string()
        };
        let request = cluster
            .request(method, target)
            .host(&host)
            .id("not-allowed");
        let answer = request.header("Authorization", "secret").send().await;
        if method == "trace" {
            // Methods are case-sensitive (RFC 9110, section 9.1): this one is unknown.
            answer.request_id();
            continue;
        }
        assert_problem(&answer, 405, "method_not_allowed", "coordinator");
        assert!(!answer.text().contains("secret"));
    }
    assert!(
        app.requests()
            .iter()
            .all(|seen| seen.method != "TRACE" && seen.method != "CONNECT")
    );
}

#[tokio::test]
async fn a_missing_or_invalid_host_returns_400() {
    let (app, cluster) = start_default().await;
    let answer = cluster.get("/apps/api/echo").without_host().send().await;
    assert_problem(&answer, 400, "bad_request", "coordinator");
    for host in [
        "a b", "a/b", "a,b", "a:b", "a:99999", "[::1", "a:80:80", "<x>",
    ] {
        let answer = cluster.get("/apps/api/echo").host(host).send().await;
        assert_problem(&answer, 400, "bad_request", "coordinator");
    }
    for host in [
        "a",
        "a.b.",
        "a:80",
        "127.0.0.1",
        "[::1]",
        "[::1]:80",
        "xn--nxasmq6b",
        "a_b",
    ] {
        let answer = cluster.get("/apps/api/echo").host(host).send().await;
        assert_eq!(answer.status, 200, "{host}: {}", answer.text());
    }
    let served = app.count();
    let twice = cluster
        .get("/apps/api/echo")
        .header("Host", "b")
        .try_send()
        .await;
    if let Ok(answer) = twice {
        assert_eq!(answer.status, 400);
    }
    assert_eq!(app.count(), served, "two hosts");
}

#[tokio::test]
async fn a_body_above_the_limit_returns_413() {
    let limit = json!({"limits": {"request_body": "1KiB"}});
    let (app, cluster) = start(|builder| builder.coordinator(&limit)).await;
    let fits = cluster
        .request("POST", "/apps/api/echo")
        .body(vec![b'x'; 1024])
        .send()
        .await;
    assert_eq!(fits.status, 200, "{}", fits.text());
    // Known from the announced length alone; no byte of the body is needed.
    let mut client = cluster
        .request("POST", "/apps/api/echo")
        .id("announced")
        .header("Content-Length", "1025")
        .start()
        .await;
    let answer = client.read_response("POST").await;
    assert_problem(&answer, 413, "body_too_large", "coordinator");
    assert_eq!(answer.request_id(), "announced");
    assert_eq!(app.with_id("announced").len(), 0);
    let mut client = cluster
        .request("POST", "/apps/api/echo")
        .id("chunked")
        .header("Transfer-Encoding", "chunked")
        .start()
        .await;
    let _ = client
        .wire
        .try_send(format!("600\r\n{}\r\n", "x".repeat(0x600)).as_bytes())
        .await;
    let _ = client.wire.try_send(b"0\r\n\r\n").await;
    if let Ok(answer) = client.try_read_response("POST").await {
        assert_problem(&answer, 413, "body_too_large", "coordinator");
    }
    let line = cluster.coordinator_log().request("chunked").await;
    assert_eq!(line["status"], 413, "{line}");
    let complete = app.with_id("chunked");
    assert!(
        complete.iter().all(|seen| seen.body_bytes.is_none()),
        "{complete:?}"
    );
}

#[tokio::test]
async fn the_limit_of_the_worker_applies_as_well() {
    let limit = json!({"limits": {"request_body": "1KiB"}});
    let (_app, cluster) = start(|builder| builder.worker(&limit)).await;
    let mut client = cluster
        .request("POST", "/apps/api/echo")
        .id("workers-limit")
        .header("Content-Length", "2000")
        .start()
        .await;
    let answer = client.read_response("POST").await;
    assert_problem(&answer, 413, "body_too_large", "worker");
}

#[tokio::test]
async fn a_client_that_stops_in_the_middle_of_a_body_gets_408() {
    let short = json!({"timeouts": {"client_read": "500ms"}});
    let (_app, cluster) = start(|builder| builder.coordinator(&short)).await;
    let mut client = cluster
        .request("POST", "/apps/api/echo")
        .id("stalled")
        .header("Content-Length", "100")
        .start()
        .await;
    client.send("some").await;
    match client.try_read_response("POST").await {
        Ok(answer) => {
            assert_problem(&answer, 408, "request_timeout", "coordinator");
            assert_eq!(answer.request_id(), "stalled");
        }
        Err(error) => println!("closed without an answer: {error}"),
    }
    let line = cluster.coordinator_log().request("stalled").await;
    assert_eq!(line["status"], 408, "{line}");
}

#[tokio::test]
async fn too_many_headers_are_rejected() {
    let (app, cluster) = start_default().await;
    let request = (0..400).fold(cluster.get("/apps/api/echo"), |request, n| {
        request.header(&format!("X-Header-{n}"), "value")
    });
    if let Ok(answer) = request.try_send().await {
        assert!(matches!(answer.status, 400 | 431), "{}", answer.status);
    }
    let huge = cluster
        .get("/apps/api/echo")
        .header("X-Huge", &"x".repeat(3 * 1024 * 1024))
        .try_send()
        .await;
    if let Ok(answer) = huge {
        assert!(matches!(answer.status, 400 | 431), "{}", answer.status);
    }
    assert_eq!(app.count(), 0);
    assert_eq!(cluster.get("/apps/api/echo").send().await.status, 200);
}

#[tokio::test]
async fn an_error_leaves_the_clients_connection_usable() {
    let dead = free_address(own_address());
    let (_app, cluster) = start(|builder| builder.app_at("gone", dead)).await;
    let mut client = cluster.client().await;
    for _ in 0..3 {
        assert_eq!(client.get("/apps/unknown/").send().await.status, 404);
        assert_eq!(client.get("/apps/gone/").send().await.status, 502);
        assert_eq!(
            client
                .request("POST", "/apps/unknown/")
                .body("ignored")
                .send()
                .await
                .status,
            404
        );
        assert_eq!(client.get("/apps/api/echo").send().await.status, 200);
    }
}

#[tokio::test]
async fn errors_over_http2_are_the_same() {
    let dead = free_address(own_address());
    let (_app, cluster) = start(|builder| builder.h2c().app_at("gone", dead)).await;
    let client = cluster.h2_client().await;
    assert_problem(
        &client.get("/apps/unknown/", &[]).await,
        404,
        "app_not_found",
        "coordinator",
    );
    assert_problem(
        &client.get("/apps/gone/", &[]).await,
        502,
        "endpoint_unreachable",
        "worker",
    );
    assert_problem(
        &client.send("TRACE", "/apps/api/", &[], None).await,
        405,
        "method_not_allowed",
        "coordinator",
    );
    let page = client
        .get("/apps/unknown/", &[("accept", "text/html")])
        .await;
    assert!(
        page.headers
            .get("content-type")
            .unwrap()
            .starts_with("text/html")
    );
}

/// Regression: a refusal often arrived as a reset of the stream.
#[tokio::test]
async fn refusals_over_http2_arrive_while_the_client_sends() {
    let limit = json!({"limits": {"request_body": "1KiB"}});
    let (app, cluster) = start(|builder| builder.h2c().coordinator(&limit)).await;
    let client = cluster.h2_client().await;
    let body = bytes::Bytes::from(vec![b'x'; 1 << 20]);
    for number in 0..20 {
        let id = format!("large-{number}");
        let own = [("x-request-id", id.as_str()), ("content-length", "1048576")];
        let headers = if number % 2 == 0 { &own[..] } else { &own[..1] };
        let answer = client
            .send("POST", "/apps/api/echo", headers, Some(body.clone()))
            .await;
        assert_problem(&answer, 413, "body_too_large", "coordinator");
        assert_eq!(answer.request_id(), id);
    }
    let own = [("x-request-id", "mine"), ("host", "other.example")];
    let answer = client.get("/apps/api/echo", &own).await;
    assert_problem(&answer, 400, "bad_request", "coordinator");
    assert_eq!(answer.request_id(), "mine");
    assert_eq!(app.with_id("mine").len(), 0);
    let fits = client
        .send("POST", "/apps/api/echo", &[], Some(body.slice(..1024)))
        .await;
    assert_eq!(fits.status, 200);
}

/// Regression: the worker's refusal went to the client as if it were the application's, with two
/// different identifiers.
#[tokio::test]
async fn a_worker_that_rejects_the_coordinator_is_a_proxy_error() {
    let (app, mut cluster) = start_default().await;
    cluster.coordinator().signal(Signal::SIGTERM);
    cluster.coordinator().ended().await;
    std::fs::write(
        cluster.folder().join("run/worker.token"),
        "another token than the worker's\n",
    )
    .unwrap();
    cluster.restart_coordinator().await;
    let answer = cluster.get("/apps/api/echo").id("other-token").send().await;
    assert_problem(&answer, 500, "internal", "coordinator");
    assert_eq!(answer.request_id(), "other-token");
    assert_eq!(app.count(), 0);
    assert_eq!(
        cluster.coordinator_log().request("other-token").await["status"],
        500
    );
}
