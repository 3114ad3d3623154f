//! Kept connections that an application resets under a request: the request is repeated where it
//! may be, and the client sees nothing of it.

use app_proxy_tests::cluster::Cluster;
use app_proxy_tests::raw_app::{RawApp, Reply};

use super::support::{Journal, assert_problem, only_line, request, send, start};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// One thread, so that the request after [`prime`] gets the kept connection.
async fn start_with_one_thread() -> (RawApp, Cluster) {
    start(|builder| builder.threads(1)).await
}

/// Leaves a kept connection to the application.
async fn prime(cluster: &Cluster) {
    let (answer, _) = send(cluster, request("GET", "/apps/raw/prime", "prime", "", "")).await;
    assert_eq!(answer.text(), "ok");
}

#[tokio::test]
async fn a_request_is_repeated_with_its_body_when_the_kept_connection_is_reset() {
    let (app, cluster) = start_with_one_thread().await;
    let mut journal = Journal::default();
    // Before the body is read, and after it.
    app.reply(
        "/at-head",
        Reply::default().reset_if_reused().read_body().send(OK),
    );
    app.reply(
        "/at-body",
        Reply::default().read_body().reset_if_reused().send(OK),
    );
    let long = "b".repeat(60_000);
    let chunks = "5\r\nhello\r\n0\r\n\r\n";
    let length = format!("Content-Length: {}\r\n", long.len());
    for (n, (method, lines, body, decoded)) in [
        ("GET", "", "", ""),
        ("HEAD", "", "", ""),
        ("OPTIONS", "", "", ""),
        ("DELETE", "", "", ""),
        ("PUT", "Content-Length: 5\r\n", "hello", "hello"),
        ("DELETE", "Content-Length: 5\r\n", "hello", "hello"),
        ("GET", "Content-Length: 5\r\n", "hello", "hello"),
        ("PUT", "Transfer-Encoding: chunked\r\n", chunks, "hello"),
        ("PUT", &length, &long, &long),
    ]
    .into_iter()
    .enumerate()
    {
        for (path, is_split) in [("at-head", false), ("at-head", true), ("at-body", false)] {
            let id = format!("repeat-{n}-{path}-{is_split}");
            println!("{id}: {method} {lines:?}");
            prime(&cluster).await;
            let target = format!("/apps/raw/{path}");
            let mut client = cluster.client().await;
            let bytes = request(method, &target, &id, lines, body);
            let (start, rest) = bytes.split_at(bytes.len() - body.len());
            if is_split {
                client.send(start).await;
                // The reset may come before the body, and while it is written.
                app.wait_for(&id).await;
                client.send(rest).await;
            } else {
                client.send(&bytes).await;
            }
            let answer = client.read_response(method).await;
            assert_eq!(answer.status, 200, "{id}: {}", answer.text());
            assert_eq!(answer.request_id(), id);
            let seen = app.with_id(&id);
            assert_eq!(seen.len(), 2, "{id}: {seen:?}");
            assert_ne!(seen[0].connection, seen[1].connection, "{id}");
            assert_eq!(seen[1].body.len(), decoded.len(), "{id}");
            assert_eq!(seen[1].body, decoded.as_bytes(), "{id}");
            assert!(seen[1].whole, "{id}");
            let line = only_line(&cluster.worker_log(0), &id).await;
            assert_eq!(line["attempts"], 2, "{line}");
            journal.passed(&id, 200);
        }
    }
    app.assert_strict();
    journal.check(&cluster).await;
}

#[tokio::test]
async fn many_requests_over_connections_that_are_reset_all_succeed() {
    let (app, cluster) = start(|builder| builder).await;
    app.reply(
        "/reset",
        Reply::default().reset_if_reused().read_body().send(OK),
    );
    let mut tasks = Vec::new();
    for n in 0..16 {
        let method = ["PUT", "DELETE", "GET", "PUT"][n % 4];
        let mut client = cluster.client().await;
        tasks.push(tokio::spawn(async move {
            for m in 0..20 {
                let id = format!("many-{n}-{m}");
                let body = "b".repeat(1 + (m * 397) % 5_000);
                let lines = format!("Content-Length: {}\r\n", body.len());
                let bytes = request(method, "/apps/raw/reset", &id, &lines, "");
                if m % 2 == 0 {
                    client.send([&bytes, body.as_bytes()].concat()).await;
                } else {
                    client.send(bytes).await;
                    tokio::task::yield_now().await;
                    client.send(body).await;
                }
                let answer = client.read_response(method).await;
                assert_eq!(answer.status, 200, "{id}: {}", answer.text());
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let whole = app.requests().into_iter().filter(|seen| seen.whole);
    assert_eq!(whole.count(), 16 * 20);
    app.assert_strict();
}

#[tokio::test]
async fn a_request_that_may_not_be_repeated_fails_once() {
    let (app, cluster) = start_with_one_thread().await;
    let mut journal = Journal::default();
    app.reply(
        "/at-head",
        Reply::default().reset_if_reused().read_body().send(OK),
    );
    app.reply(
        "/at-body",
        Reply::default().read_body().reset_if_reused().send(OK),
    );
    let long = "b".repeat(200_000);
    let length = format!("Content-Length: {}\r\n", long.len());
    for (n, (method, path, lines, body)) in [
        ("POST", "at-head", "Content-Length: 5\r\n", "hello"),
        ("POST", "at-body", "Content-Length: 5\r\n", "hello"),
        ("PATCH", "at-body", "Content-Length: 5\r\n", "hello"),
        ("POST", "at-body", "", ""),
        ("INVENTED", "at-body", "", ""),
        // Too long to be kept for a repetition.
        ("PUT", "at-body", &length[..], &long[..]),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("once-{n}");
        prime(&cluster).await;
        let bytes = request(method, &format!("/apps/raw/{path}"), &id, lines, body);
        let (answer, _) = send(&cluster, bytes).await;
        assert_problem(&answer, 502, "bad_upstream_response", &id);
        app.only(&id);
        journal.failed(&id, 502, "bad_upstream_response");
    }
    app.assert_strict();
    journal.check(&cluster).await;
}

#[tokio::test]
async fn a_new_connection_that_is_reset_is_not_tried_without_end() {
    let (app, cluster) = start_with_one_thread().await;
    let mut journal = Journal::default();
    app.reply("/reset", Reply::default().read_body().reset());
    for (n, method) in ["GET", "PUT", "POST"].into_iter().enumerate() {
        let id = format!("fresh-{n}");
        let lines = "Content-Length: 5\r\n";
        let bytes = request(method, "/apps/raw/reset", &id, lines, "hello");
        let (answer, _) = send(&cluster, bytes).await;
        assert_problem(&answer, 502, "bad_upstream_response", &id);
        let attempts = app.with_id(&id).len();
        assert!(attempts <= 3, "{method}: {attempts}");
        assert!(method != "POST" || attempts == 1, "{attempts}");
        journal.failed(&id, 502, "bad_upstream_response");
    }
    journal.check(&cluster).await;
}

#[tokio::test]
async fn a_response_that_has_begun_is_not_repeated() {
    let (app, cluster) = start_with_one_thread().await;
    let mut journal = Journal::default();
    for (n, part) in [
        "HTTP/1.1 200 OK\r\nContent-Le",
        "H",
        "HTTP/1.1 103 Early\r\n\r\n",
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("begun-{n}");
        prime(&cluster).await;
        app.reply("/begun", Reply::new(part).wait("begun").reset());
        app.release("begun", 1);
        let (answer, _) = send(&cluster, request("GET", "/apps/raw/begun", &id, "", "")).await;
        assert_problem(&answer, 502, "bad_upstream_response", &id);
        journal.failed(&id, 502, "bad_upstream_response");
    }
    journal.check(&cluster).await;
}
