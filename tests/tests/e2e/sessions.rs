//! Sessions: made, recognised, refused, pinned, moved, bounded and forgotten.

use std::collections::{HashMap, HashSet};

use app_proxy_tests::http1::Response;
use app_proxy_tests::wait::{eventually, eventually_async};
use app_proxy_tests::ws::Frame;
use app_proxy_tests::{SESSION, SESSION_COOKIE, cluster::Cluster};
use serde_json::{Value, json};

use crate::{number, session_id, start, start_default};

async fn new_session(cluster: &Cluster) -> String {
    let answer = cluster.get("/apps/notes/echo").send().await;
    answer.session_cookie().expect("a session")
}

async fn use_session(cluster: &Cluster, cookie: &str) -> Response {
    cluster.get("/apps/notes/echo").session(cookie).send().await
}

#[tokio::test]
async fn the_first_request_creates_a_session() {
    let (app, cluster) = start_default().await;
    let answer = cluster.get("/apps/notes/echo").send().await;
    let value = answer.session_cookie().expect("a cookie");
    assert_eq!(answer.session_header(), Some(value.as_str()));
    let (id, mac) = value.split_once('.').expect("an id and a MAC");
    assert!(id.len() >= 16 && mac.len() >= 16, "{value}");
    assert_eq!(app.last().session_id(), Some(id));
    let set = answer.session_set_cookie().unwrap().to_ascii_lowercase();
    let attributes: HashSet<_> = set.split(';').skip(1).map(str::trim).collect();
    assert!(attributes.contains("httponly"), "{set}");
    assert!(attributes.contains("samesite=lax"), "{set}");
    assert!(
        attributes.contains("path=/apps/notes") || attributes.contains("path=/apps/notes/"),
        "{set}"
    );
    assert!(
        !attributes.contains("secure"),
        "no Secure without TLS: {set}"
    );
    assert!(!set.contains("domain="), "{set}");
}

#[tokio::test]
async fn the_cookie_continues_the_session() {
    let (app, cluster) = start_default().await;
    let cookie = new_session(&cluster).await;
    for _ in 0..3 {
        let answer = use_session(&cluster, &cookie).await;
        assert_eq!(answer.session_cookie(), None, "a cookie is handed out once");
        assert_eq!(app.last().session_id(), Some(session_id(&cookie)));
    }
    let record = cluster.session(session_id(&cookie)).await;
    assert_eq!(record["requests"], 4);
}

#[tokio::test]
async fn the_header_continues_the_session() {
    let (app, cluster) = start_default().await;
    let first = cluster.get("/apps/notes/echo").send().await;
    let value = first.session_header().unwrap().to_owned();
    let next = cluster
        .get("/apps/notes/echo")
        .header(SESSION, &value)
        .send()
        .await;
    assert_eq!(next.session_cookie(), None);
    assert_eq!(app.last().session_id(), Some(session_id(&value)));
}

#[tokio::test]
async fn a_session_that_was_not_issued_is_rejected() {
    let (app, cluster) = start_default().await;
    let cookie = new_session(&cluster).await;
    let other = new_session(&cluster).await;
    let (id, mac) = cookie.split_once('.').unwrap();
    let (other_id, other_mac) = other.split_once('.').unwrap();
    // Not the last character: in base64 it may carry unused bits.
    let start = if mac.starts_with("00") { "11" } else { "00" };
    let changed = format!("{id}.{start}{}", &mac[2..]);
    let forged = [
        format!("{id}.{other_mac}"),
        format!("{other_id}.{mac}"),
        changed,
        format!("{id}."),
        id.to_owned(),
        format!(".{mac}"),
        ".".to_owned(),
        String::new(),
        format!("{id}.{}", &mac[..mac.len() / 2]),
        format!("{id}.{mac}.{mac}"),
        format!("{id}.{mac}x"),
        format!("chosen-by-me.{mac}"),
        "x".repeat(6_000),
        "%00.%00".to_owned(),
    ];
    for value in &forged {
        for header in ["Cookie", SESSION] {
            let sent = if header == "Cookie" {
                format!("{SESSION_COOKIE}={value}")
            } else {
                value.clone()
            };
            let answer = cluster
                .get("/apps/notes/echo")
                .header(header, &sent)
                .send()
                .await;
            assert_eq!(answer.status, 200, "{value}");
            let new = answer.session_cookie().expect("a new session");
            let seen = app.last().session_id().map(str::to_owned).unwrap();
            assert_eq!(seen, session_id(&new));
            assert!(seen != id && seen != other_id, "{value} was recognised");
        }
    }
}

#[tokio::test]
async fn the_right_cookie_among_stale_ones_is_found() {
    let (app, cluster) = start_default().await;
    let cookie = new_session(&cluster).await;
    // A browser sends one cookie for each path that it was set for.
    for sent in [
        format!("{SESSION_COOKIE}=stale.mac; {SESSION_COOKIE}={cookie}"),
        format!("{SESSION_COOKIE}={cookie}; {SESSION_COOKIE}=stale.mac"),
    ] {
        cluster
            .get("/apps/notes/echo")
            .header("Cookie", &sent)
            .send()
            .await;
        assert_eq!(app.last().session_id(), Some(session_id(&cookie)), "{sent}");
    }
}

#[tokio::test]
async fn a_session_of_one_app_is_not_valid_for_another() {
    let (app, cluster) = start_default().await;
    let cookie = new_session(&cluster).await;
    let answer = cluster.get("/apps/kept/echo").session(&cookie).send().await;
    let own = answer.session_cookie().expect("a session of its own");
    assert_ne!(session_id(&own), session_id(&cookie));
    assert_eq!(app.last().session_id(), Some(session_id(&own)));
    let record = cluster.session(session_id(&cookie)).await;
    assert_eq!(
        (&record["app"], &record["requests"]),
        (&json!("notes"), &json!(1))
    );
}

#[tokio::test]
async fn a_cookie_is_recognised_after_the_coordinator_restarted() {
    let (app, mut cluster) = start_default().await;
    let cookie = new_session(&cluster).await;
    cluster.kill_coordinator();
    cluster.restart_coordinator().await;
    assert_eq!(use_session(&cluster, &cookie).await.status, 200);
    assert_eq!(app.last().session_id(), Some(session_id(&cookie)));
    let record = cluster.session(session_id(&cookie)).await;
    assert_eq!(record["app"], "notes");
}

#[tokio::test]
async fn an_app_without_affinity_has_neither_cookie_nor_session() {
    let (app, cluster) = start_default().await;
    let cookie = new_session(&cluster).await;
    for request in [
        cluster.get("/apps/api/echo"),
        cluster.get("/apps/api/echo").session(&cookie),
        cluster.get("/apps/api/echo").header(SESSION, &cookie),
    ] {
        let answer = request.send().await;
        assert_eq!(answer.session_cookie(), None);
        assert_eq!(answer.session_header(), None);
        assert_eq!(app.last().session_id(), None);
    }
    let all = cluster.admin_json("/api/v1/sessions").await;
    assert_eq!(all["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn the_session_cookie_leaves_the_applications_cookies() {
    let (_app, cluster) = start_default().await;
    let target = app_proxy_tests::app::respond(
        200,
        &[
            ("Set-Cookie", "a=1"),
            ("Set-Cookie", "app_proxy_session=evil.mac; Path=/apps/notes"),
        ],
        "",
    );
    let answer = cluster.get(&format!("/apps/notes{target}")).send().await;
    let cookies = answer.headers.all("Set-Cookie");
    assert!(
        cookies.iter().any(|cookie| cookie.starts_with("a=1")),
        "{cookies:?}"
    );
    let value = answer.session_header().expect("a session").to_owned();
    assert!(
        cookies
            .iter()
            .any(|cookie| cookie.starts_with(&format!("{SESSION_COOKIE}={value}"))),
        "{cookies:?}"
    );
}

#[tokio::test]
async fn an_unknown_app_creates_no_session() {
    let (_app, cluster) = start_default().await;
    for path in ["/apps/unknown/", "/apps/notes", "/.app-proxy/healthz"] {
        assert_eq!(
            cluster.get(path).send().await.session_cookie(),
            None,
            "{path}"
        );
    }
    let all = cluster.admin_json("/api/v1/sessions").await;
    assert_eq!(all["items"], json!([]));
}

#[tokio::test]
async fn a_handshake_creates_a_session_too() {
    let (app, cluster) = start_default().await;
    let mut socket = cluster.websocket("/apps/notes/ws/echo", &[]).await;
    let value = socket
        .head
        .headers
        .get(SESSION)
        .expect("a session")
        .to_owned();
    assert_eq!(app.last().session_id(), Some(session_id(&value)));
    let cookies = socket.head.headers.all("Set-Cookie");
    assert!(
        cookies.iter().any(|cookie| cookie.contains(&value)),
        "{cookies:?}"
    );
    socket.close(1000).await;
    use_session(&cluster, &value).await;
    assert_eq!(app.last().session_id(), Some(session_id(&value)));
}

#[tokio::test]
async fn the_record_of_a_session_is_complete() {
    let (_app, cluster) = start_default().await;
    let answer = cluster
        .request("POST", "/apps/notes/echo")
        .id("record-origin")
        .body(vec![b'x'; 1000])
        .send()
        .await;
    let cookie = answer.session_cookie().unwrap();
    let id = session_id(&cookie);
    let record = cluster.session(id).await;
    for (field, expected) in [
        ("id", json!(id)),
        ("app", json!("notes")),
        ("worker", json!("w1")),
        ("origin_request_id", json!("record-origin")),
        ("last_request_id", json!("record-origin")),
        ("requests", json!(1)),
        ("open_streams", json!(0)),
    ] {
        assert_eq!(record[field], expected, "{field}: {record}");
    }
    assert!(
        record["client"].as_str().unwrap().contains("127.0.0.1"),
        "{record}"
    );
    for field in ["created_at", "last_active_at"] {
        assert!(
            record[field].as_str().unwrap().contains('T'),
            "{field}: {record}"
        );
    }
    let bytes = answer.body.len() as u64;
    eventually_async("the bytes of the session to be counted", || async {
        let record = cluster.session(id).await;
        (number(&record, "bytes_in") >= 1000 && number(&record, "bytes_out") >= bytes).then_some(())
    })
    .await;
}

#[tokio::test]
async fn open_streams_are_counted_while_they_are_open() {
    let (_app, cluster) = start_default().await;
    let cookie = new_session(&cluster).await;
    let id = session_id(&cookie);
    let open = |expected: u64| {
        let cluster = &cluster;
        eventually_async("the number of open streams", move || async move {
            let record = cluster.session(id).await;
            (number(&record, "open_streams") == expected).then_some(())
        })
    };
    let header = format!("{SESSION_COOKIE}={cookie}");
    let mut first = cluster
        .websocket("/apps/notes/ws/echo", &[("Cookie", &header)])
        .await;
    open(1).await;
    let mut second = cluster
        .websocket("/apps/notes/ws/echo", &[("Cookie", &header)])
        .await;
    open(2).await;
    first.close(1000).await;
    open(1).await;
    second.close(1000).await;
    open(0).await;
}

#[tokio::test]
async fn only_data_that_flowed_is_activity() {
    let (_app, cluster) = start_default().await;
    let cookie = new_session(&cluster).await;
    let id = session_id(&cookie);
    let header = format!("{SESSION_COOKIE}={cookie}");
    let mut socket = cluster
        .websocket("/apps/notes/ws/echo", &[("Cookie", &header)])
        .await;
    let before = cluster.session(id).await["last_active_at"].clone();
    let mut after = before.clone();
    while after == before {
        socket.send_text("activity").await;
        assert_eq!(socket.frame().await.as_text(), "activity");
        after = cluster.session(id).await["last_active_at"].clone();
    }
    // The last message has been counted in full when its echo has arrived and the numbers
    // stay the same.
    let settled = |record: &Value| record["last_active_at"].clone();
    let mut last = settled(&cluster.session(id).await);
    loop {
        let now = settled(&cluster.session(id).await);
        if now == last {
            break;
        }
        last = now;
    }
    for _ in 0..20 {
        socket
            .send(Frame::new(app_proxy_tests::ws::PING, "are you there"))
            .await;
        assert_eq!(socket.frame().await.opcode, app_proxy_tests::ws::PONG);
    }
    assert_eq!(
        settled(&cluster.session(id).await),
        last,
        "a ping is no activity"
    );
    socket.close(1000).await;
}

#[tokio::test]
async fn a_session_is_pinned_to_its_worker() {
    let (_app, cluster) = start(|builder| builder.workers(2)).await;
    let mut workers = HashSet::new();
    for n in 0..24 {
        let cookie = new_session(&cluster).await;
        let worker = cluster.session(session_id(&cookie)).await["worker"].clone();
        for k in 0..3 {
            let id = format!("pinned-{n}-{k}");
            cluster
                .get("/apps/notes/echo")
                .session(&cookie)
                .id(&id)
                .send()
                .await;
            assert_eq!(
                cluster.coordinator_log().request(&id).await["worker"],
                worker
            );
        }
        workers.insert(worker.as_str().unwrap().to_owned());
    }
    assert_eq!(workers.len(), 2, "24 sessions are all at {workers:?}");
}

#[tokio::test]
async fn a_session_moves_when_its_worker_dies_and_stays_where_it_went() {
    let (app, mut cluster) = start(|builder| builder.workers(2)).await;
    let cookie = new_session(&cluster).await;
    let id = session_id(&cookie);
    let first = cluster.session(id).await["worker"]
        .as_str()
        .unwrap()
        .to_owned();
    let index = cluster.index_of(&first);
    cluster.kill_worker(index);
    assert_eq!(use_session(&cluster, &cookie).await.status, 200);
    cluster.wait_health(&first, false).await;
    let answer = use_session(&cluster, &cookie).await;
    assert_eq!((answer.status, answer.session_cookie()), (200, None));
    assert_eq!(app.last().session_id(), Some(id));
    let second = cluster.session(id).await["worker"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_ne!(first, second, "the move is recorded");
    cluster.restart_worker(index).await;
    cluster.wait_health(&first, true).await;
    cluster
        .get("/apps/notes/echo")
        .session(&cookie)
        .id("came-back")
        .send()
        .await;
    let line = cluster.coordinator_log().request("came-back").await;
    assert_eq!(
        line["worker"],
        second.as_str(),
        "a session moves only when it has to"
    );
}

#[tokio::test]
async fn clients_that_never_return_the_cookie_do_not_fill_the_table() {
    let (_app, cluster) =
        start(|builder| builder.coordinator(&json!({"sessions": {"max": 50}}))).await;
    let kept = new_session(&cluster).await;
    for _ in 0..5 {
        use_session(&cluster, &kept).await;
    }
    let mut client = cluster.client().await;
    for n in 0..400 {
        client.get("/apps/notes/echo").send().await;
        if n % 20 == 0 {
            use_session(&cluster, &kept).await;
        }
    }
    eventually_async("at most 50 sessions", || async {
        let all = cluster.admin_json("/api/v1/sessions?limit=1000").await;
        (all["items"].as_array().unwrap().len() <= 50).then_some(())
    })
    .await;
    let record = cluster.session(session_id(&kept)).await;
    assert!(
        number(&record, "requests") >= 20,
        "the session in use was dropped: {record}"
    );
}

#[tokio::test]
async fn an_unused_session_expires() {
    let (_app, cluster) =
        start(|builder| builder.coordinator(&json!({"sessions": {"ttl": "1s"}}))).await;
    let cookie = new_session(&cluster).await;
    let path = format!("/api/v1/sessions/{}", session_id(&cookie));
    eventually_async("the session to expire", || async {
        (cluster.admin_get(&path).await.status == 404).then_some(())
    })
    .await;
    assert_eq!(use_session(&cluster, &cookie).await.status, 200);
}

#[tokio::test]
async fn the_cookie_and_the_header_have_configurable_names() {
    let names = json!({"sessions": {"cookie": "my_session", "header": "X-My-Session"}});
    let (app, cluster) = start(|builder| builder.coordinator(&names)).await;
    let answer = cluster.get("/apps/notes/echo").send().await;
    let value = answer
        .headers
        .get("X-My-Session")
        .expect("the header")
        .to_owned();
    assert!(answer.headers.all("Set-Cookie")[0].starts_with(&format!("my_session={value}")));
    cluster
        .get("/apps/notes/echo")
        .header("Cookie", &format!("a=1; my_session={value}"))
        .send()
        .await;
    assert_eq!(app.last().session_id(), Some(session_id(&value)));
    assert_eq!(app.last().headers.all("Cookie"), ["a=1"]);
}

#[tokio::test]
async fn sessions_of_parallel_requests_do_not_mix() {
    let (app, cluster) = start(|builder| builder.workers(2)).await;
    let mut expected = HashMap::new();
    let cluster = std::sync::Arc::new(cluster);
    let mut tasks = Vec::new();
    for n in 0..8 {
        let cluster = std::sync::Arc::clone(&cluster);
        tasks.push(tokio::spawn(async move {
            let cookie = new_session(&cluster).await;
            let mut client = cluster.client().await;
            for k in 0..20 {
                let id = format!("mix-{n}-{k}");
                client
                    .get("/apps/notes/echo")
                    .session(&cookie)
                    .id(&id)
                    .send()
                    .await;
            }
            (n, cookie)
        }));
    }
    for task in tasks {
        let (n, cookie) = task.await.unwrap();
        expected.insert(n, session_id(&cookie).to_owned());
    }
    eventually("all requests at the application", || {
        (app.count() == 168).then_some(())
    })
    .await;
    for seen in app.requests() {
        if let Some(rest) = seen.request_id().strip_prefix("mix-") {
            let n: i32 = rest.split('-').next().unwrap().parse().unwrap();
            assert_eq!(seen.session_id(), Some(expected[&n].as_str()));
        }
    }
}
