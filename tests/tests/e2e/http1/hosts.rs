//! Hosts: the same host in several spellings, and different ones.

use app_proxy_tests::REQUEST_ID;
use serde_json::json;

use super::support::{Journal, assert_refused, send, start_default};

#[tokio::test]
async fn hosts_compare_without_case_and_default_port() {
    let (app, cluster) = start_default().await;
    cluster
        .put_app(
            "hosted",
            &json!({"affinity": "none", "match": [{"host": "hosted.example"}],
                "endpoints": [{"address": app.addr().to_string()}]}),
        )
        .await;
    let mut journal = Journal::default();
    for (n, (target, host)) in [
        ("/x", "hosted.example"),
        ("/x", "HOSTED.Example"),
        ("/x", "hosted.example:"),
        ("/x", "hosted.example:80"),
        ("http://hosted.example/x", "hosted.example"),
        ("http://HOSTED.example/x", "hosted.example"),
        ("http://hosted.example/x", "HOSTED.EXAMPLE"),
        ("http://HOSTED.example:80/x", "hosted.example"),
        ("http://hosted.example/x", "hosted.example:80"),
        ("http://hosted.example:/x", "hosted.example"),
        ("http://hosted.example:80/x", "hosted.example:"),
        ("https://hosted.example/x", "hosted.example:443"),
        ("HTTP://hosted.example/x", "hosted.example"),
        ("http://hosted.example:8080/x", "hosted.example:8080"),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("same-host-{n}");
        let bytes = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{REQUEST_ID}: {id}\r\n\r\n");
        let (answer, _) = send(&cluster, bytes).await;
        assert_eq!(answer.status, 200, "{target} {host}: {}", answer.text());
        assert_eq!(app.only(&id).target(), b"/x", "{target} {host}");
        journal.passed(&id, 200);
    }
    for (n, (target, host)) in [
        ("http://hosted.example/x", "other.example"),
        ("http://hosted.example:8080/x", "hosted.example"),
        ("http://hosted.example/x", "hosted.example:443"),
        ("https://hosted.example/x", "hosted.example:80"),
        ("http://hosted.example/x", ""),
        ("/x", ""),
        ("/x", "a b"),
        ("/x", "hosted.example, other.example"),
        ("/x", "hosted.example/x"),
        ("/x", "user@hosted.example"),
        ("/x", "hosted.example:x"),
        ("/x", "hosted.example:99999"),
        ("/x", "hosted.example\r\nHost: hosted.example"),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("other-host-{n}");
        let bytes = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{REQUEST_ID}: {id}\r\n\r\n");
        println!("{id}: {target} {host}");
        assert_refused(send(&cluster, bytes).await, 400, "bad_request", &id).await;
        assert!(app.with_id(&id).is_empty());
        journal.refused(&id, 400, "bad_request");
    }
    let id = "no-host";
    let bytes = format!("GET /apps/raw/a HTTP/1.1\r\n{REQUEST_ID}: {id}\r\n\r\n");
    assert_refused(send(&cluster, bytes).await, 400, "bad_request", id).await;
    journal.refused(id, 400, "bad_request");
    journal.check(&cluster).await;
}
