//! Streams that the proxy closes: what client and application receive, log lines, and the record of
//! the session.

use app_proxy_tests::app::{Manual, RecordingApp};
use app_proxy_tests::cluster::{Cluster, ClusterBuilder};
use app_proxy_tests::http1::{BodyReader, Client, Framing, Request};
use app_proxy_tests::wait::{eventually_async, within};
use app_proxy_tests::ws::{Frame, TEXT, WebSocket};
use app_proxy_tests::{SESSION_COOKIE, pattern};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::{number, session_id, start, start_default};

const EVENTS: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
    Transfer-Encoding: chunked\r\n\r\n8\r\ndata: 1\n\r\n";
const DOWNLOAD_BYTES: usize = 96 * 1024 * 1024;

async fn new_session(cluster: &Cluster) -> String {
    cluster
        .get("/apps/notes/echo")
        .send()
        .await
        .session_cookie()
        .expect("a session")
}

fn cookie_of(session: &str) -> String {
    format!("{SESSION_COOKIE}={session}")
}

/// Deletes a session through the admin API; returns the status.
async fn delete(cluster: &Cluster, id: &str) -> u16 {
    let call = Request::to(cluster.admin(), "DELETE", &format!("/api/v1/sessions/{id}"));
    call.header(
        "Authorization",
        &format!("Bearer {}", cluster.admin_token()),
    )
    .send()
    .await
    .status
}

/// Waits until the record of the session has this number of open streams.
async fn open_streams(cluster: &Cluster, id: &str, expected: u64) -> Value {
    eventually_async(&format!("{expected} open streams"), || async {
        let record = cluster.session(id).await;
        (number(&record, "open_streams") == expected).then_some(record)
    })
    .await
}

/// Returns whether data has flowed in the session since `before`, and replaces `before` by the
/// current record. Two events may fall into one millisecond of the record: callers repeat the
/// activity that they wait for.
async fn is_active_since(cluster: &Cluster, id: &str, before: &mut Value) -> bool {
    let now = cluster.session(id).await;
    let active = now["last_active_at"] != before["last_active_at"];
    *before = now;
    active
}

/// A WebSocket of a session, and the application's end of it.
async fn websocket(
    app: &RecordingApp,
    cluster: &Cluster,
    session: &str,
    name: &str,
) -> (WebSocket, WebSocket) {
    let cookie = cookie_of(session);
    let headers = [("Cookie", cookie.as_str()), ("X-Backend-Request-ID", name)];
    let path = format!("/apps/notes/manual/{name}");
    let upgrade = async { app.accept(name).await.upgrade().await };
    tokio::join!(cluster.websocket(&path, &headers), upgrade)
}

/// An event stream of a session, with one event that has come, and the application's end of it.
async fn events(
    app: &RecordingApp,
    cluster: &Cluster,
    session: &str,
    name: &str,
) -> (Client, Manual) {
    let mut client = cluster
        .get(&format!("/apps/notes/manual/{name}"))
        .session(session)
        .id(name)
        .start()
        .await;
    let mut manual = app.accept(name).await;
    manual.send(EVENTS).await;
    client.read_head().await;
    within("the event", client.wire.take_through(b"data: 1"))
        .await
        .unwrap();
    (client, manual)
}

/// A download of a session whose client reads nothing, and the task that sends it. It ends when the
/// application can send no more.
async fn download(
    app: &RecordingApp,
    cluster: &Cluster,
    session: &str,
    name: &str,
) -> (Client, JoinHandle<std::io::Error>) {
    let client = cluster
        .get(&format!("/apps/notes/manual/{name}"))
        .session(session)
        .id(name)
        .start()
        .await;
    client.wire.shrink_receive_buffer();
    let mut wire = app.accept(name).await.wire;
    wire.send(format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {DOWNLOAD_BYTES}\r\n\r\n"
    ))
    .await;
    let sender = tokio::spawn(async move {
        let block = pattern(64 * 1024);
        loop {
            if let Err(e) = wire.try_send(&block).await {
                return e;
            }
        }
    });
    (client, sender)
}

/// Waits until a download's count of bytes stays the same: its client reads nothing.
async fn stalled(cluster: &Cluster, id: &str) {
    let mut last = 0;
    let mut still = 0;
    while still < 20 {
        let bytes = number(&cluster.session(id).await, "bytes_out");
        still = if bytes == last && bytes > 1024 * 1024 {
            still + 1
        } else {
            0
        };
        last = bytes;
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

fn events_of(lines: &[Value]) -> Vec<&str> {
    lines
        .iter()
        .map(|line| line["event"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn deleting_a_session_closes_its_quiet_websocket() {
    let (app, cluster) = start_default().await;
    let session = new_session(&cluster).await;
    let id = session_id(&session);
    let (mut client, mut server) = websocket(&app, &cluster, &session, "ws-deleted").await;
    open_streams(&cluster, id, 1).await;
    assert_eq!(delete(&cluster, id).await, 204);
    let frame = client.frame().await;
    assert_eq!(
        (frame.close_code(), &frame.payload[2..]),
        (Some(1008), &b"the session was deleted"[..])
    );
    assert_eq!(server.frame().await.close_code(), Some(1008));
    // Both ends answer, as they should, and the connections end.
    client.send(Frame::close(1008, "")).await;
    server.send(Frame::close(1008, "")).await;
    assert_eq!((client.next().await, server.next().await), (None, None));
    for log in [cluster.coordinator_log(), cluster.worker_log(0)] {
        let close = log.event("ws-deleted", "stream_close").await;
        assert_eq!(close["close_code"], 1008, "{close}");
        assert_eq!(
            events_of(&log.of_request("ws-deleted")),
            ["stream_open", "stream_close"]
        );
    }
    let close = cluster
        .coordinator_log()
        .event("ws-deleted", "stream_close")
        .await;
    assert_eq!(
        (&close["closed_by"], &close["error"]),
        (&"proxy".into(), &"session_deleted".into())
    );
}

#[tokio::test]
async fn a_websocket_without_close_replies_is_closed_at_the_deadline() {
    let (app, cluster) = start_default().await;
    let session = new_session(&cluster).await;
    let id = session_id(&session);
    let (mut client, mut server) = websocket(&app, &cluster, &session, "ws-silent").await;
    // Within a frame there is no place for another one.
    let (mut torn, mut torn_server) = websocket(&app, &cluster, &session, "ws-torn").await;
    let half = torn_server.encode(Frame::new(TEXT, "0123456789"));
    torn_server.wire.send(&half[..5]).await;
    within("half a frame", torn.wire.take(5)).await.unwrap();
    assert_eq!(delete(&cluster, id).await, 204);
    assert_eq!(client.frame().await.close_code(), Some(1008));
    assert_eq!((client.next().await, torn.next().await), (None, None));
    assert_eq!(server.frame().await.close_code(), Some(1008));
    assert_eq!(torn_server.frame().await.close_code(), Some(1008));
    assert_eq!(
        (server.next().await, torn_server.next().await),
        (None, None)
    );
    for name in ["ws-silent", "ws-torn"] {
        let close = cluster.coordinator_log().event(name, "stream_close").await;
        assert_eq!(
            (&close["closed_by"], &close["error"]),
            (&"proxy".into(), &"session_deleted".into()),
            "{close}"
        );
        cluster.worker_log(0).event(name, "stream_close").await;
    }
}

#[tokio::test]
async fn a_websocket_of_a_client_that_reads_nothing_is_closed() {
    let (app, cluster) = start_default().await;
    let session = new_session(&cluster).await;
    let id = session_id(&session);
    let (client, mut server) = websocket(&app, &cluster, &session, "ws-blocked").await;
    client.wire.shrink_receive_buffer();
    let sender = tokio::spawn(async move {
        let block = pattern(64 * 1024);
        while server.try_send(Frame::new(2, &block)).await.is_ok() {}
    });
    stalled(&cluster, id).await;
    assert_eq!(delete(&cluster, id).await, 204);
    within("the application to be cut off", sender)
        .await
        .unwrap();
    for log in [cluster.coordinator_log(), cluster.worker_log(0)] {
        log.event("ws-blocked", "stream_close").await;
        assert_eq!(
            events_of(&log.of_request("ws-blocked")),
            ["stream_open", "stream_close"]
        );
    }
    drop(client);
}

#[tokio::test]
async fn deleting_a_session_ends_its_quiet_event_stream() {
    let (app, cluster) = start_default().await;
    let session = new_session(&cluster).await;
    let id = session_id(&session);
    let (mut client, mut server) = events(&app, &cluster, &session, "sse-deleted").await;
    let (mut other, mut other_server) =
        events(&app, &cluster, &new_session(&cluster).await, "sse-other").await;
    open_streams(&cluster, id, 1).await;
    assert_eq!(delete(&cluster, id).await, 204);
    let rest = within("the end", client.wire.read_to_end()).await;
    assert!(!rest.ends_with(b"0\r\n\r\n"), "it looks complete");
    within("the application to see the end", server.wire.closed()).await;
    for log in [cluster.coordinator_log(), cluster.worker_log(0)] {
        log.event("sse-deleted", "stream_close").await;
        assert_eq!(
            events_of(&log.of_request("sse-deleted")),
            ["stream_open", "stream_close"]
        );
    }
    let close = cluster
        .coordinator_log()
        .event("sse-deleted", "stream_close")
        .await;
    assert_eq!(
        (&close["closed_by"], &close["error"]),
        (&"proxy".into(), &"session_deleted".into())
    );
    assert!(number(&close, "bytes_out") >= 8, "{close}");
    // A stream of another session continues.
    other_server.send("8\r\ndata: 2\n\r\n0\r\n\r\n").await;
    within("an event", other.wire.take_through(b"data: 2"))
        .await
        .unwrap();
    within("the end", other.wire.take_through(b"0\r\n\r\n"))
        .await
        .unwrap();
}

#[tokio::test]
async fn deleting_a_session_ends_a_download_that_its_client_does_not_read() {
    let (app, cluster) = start_default().await;
    let session = new_session(&cluster).await;
    let id = session_id(&session);
    let (mut client, sender) = download(&app, &cluster, &session, "download-deleted").await;
    open_streams(&cluster, id, 1).await;
    stalled(&cluster, id).await;
    assert_eq!(delete(&cluster, id).await, 204);
    within("the application to be cut off", sender)
        .await
        .unwrap();
    let head = client.read_head().await;
    let mut body = BodyReader::new(Framing::of_response("GET", &head));
    let end = loop {
        match within("the end", body.next(&mut client.wire)).await {
            Ok(Some(_)) => {}
            end => break end,
        }
    };
    assert!(end.is_err(), "it looks complete");
    let log = cluster.coordinator_log();
    let line = log.request("download-deleted").await;
    assert_eq!(
        (&line["closed_by"], &line["error"]),
        (&"proxy".into(), &"session_deleted".into())
    );
    assert!(number(&line, "bytes_out") > 1024 * 1024, "{line}");
    for log in [log, cluster.worker_log(0)] {
        log.request("download-deleted").await;
        assert_eq!(log.of_request("download-deleted").len(), 1);
    }
}

#[tokio::test]
async fn closing_an_http2_stream_keeps_the_connection() {
    let (app, cluster) = start(ClusterBuilder::h2c).await;
    let (mine, other) = (new_session(&cluster).await, new_session(&cluster).await);
    let client = cluster.h2_client().await;
    let mut bodies = Vec::new();
    for (session, name) in [(&mine, "h2-mine"), (&other, "h2-other")] {
        let cookie = cookie_of(session);
        let headers = [("cookie", cookie.as_str()), ("x-backend-request-id", name)];
        let response = client
            .start("GET", &format!("/apps/notes/manual/{name}"), &headers, None)
            .await;
        let mut manual = app.accept(name).await;
        manual.send(EVENTS).await;
        let mut body = within("the head", response).await.unwrap().into_body();
        let event = within("the event", body.data()).await.unwrap().unwrap();
        body.flow_control().release_capacity(event.len()).unwrap();
        bodies.push((body, manual));
    }
    let id = session_id(&mine);
    open_streams(&cluster, id, 1).await;
    assert_eq!(delete(&cluster, id).await, 204);
    let (mut other_body, mut other_server) = bodies.pop().unwrap();
    let (mut body, mut server) = bodies.pop().unwrap();
    let end = within("the end", body.data()).await.unwrap();
    assert_eq!(end.unwrap_err().reason(), Some(h2::Reason::CANCEL));
    within("the application to see the end", server.wire.closed()).await;
    let close = cluster
        .coordinator_log()
        .event("h2-mine", "stream_close")
        .await;
    assert_eq!(
        (&close["closed_by"], &close["error"]),
        (&"proxy".into(), &"session_deleted".into())
    );
    assert_eq!(
        events_of(&cluster.coordinator_log().of_request("h2-mine")),
        ["stream_open", "stream_close"]
    );
    other_server.send("8\r\ndata: 2\n\r\n0\r\n\r\n").await;
    let event = within("an event", other_body.data())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&event[..], b"data: 2\n");
    other_body
        .flow_control()
        .release_capacity(event.len())
        .unwrap();
    while let Some(rest) = within("the end", other_body.data()).await {
        assert!(rest.unwrap().is_empty());
    }
    // The worker has kept its connection to an application that no longer responds.
    drop(other_server);
    assert_eq!(
        client.get("/apps/notes/echo", &[]).await.status,
        200,
        "the connection lives on"
    );
}

#[tokio::test]
async fn a_client_with_the_cookie_of_a_deleted_session_gets_another() {
    let (app, cluster) = start_default().await;
    let session = new_session(&cluster).await;
    let id = session_id(&session);
    assert_eq!(delete(&cluster, id).await, 204);
    assert_eq!(delete(&cluster, id).await, 404);
    assert_eq!(delete(&cluster, "no-session").await, 404);
    let answer = cluster
        .get("/apps/notes/echo")
        .session(&session)
        .send()
        .await;
    let new = answer.session_cookie().expect("a new session");
    assert_ne!(session_id(&new), id);
    assert_eq!(app.last().session_id(), Some(session_id(&new)));
    assert_eq!(
        cluster
            .admin_get(&format!("/api/v1/sessions/{id}"))
            .await
            .status,
        404
    );
    let again = cluster.get("/apps/notes/echo").session(&new).send().await;
    assert_eq!(again.session_cookie(), None);
}

#[tokio::test]
async fn only_the_admin_token_deletes_a_session() {
    let (_app, cluster) = start_default().await;
    let session = new_session(&cluster).await;
    let path = format!("/api/v1/sessions/{}", session_id(&session));
    let bare = Request::to(cluster.admin(), "DELETE", &path).send().await;
    let worker = format!("Bearer {}", cluster.worker_token());
    let worker = Request::to(cluster.admin(), "DELETE", &path)
        .header("Authorization", &worker)
        .send()
        .await;
    assert_eq!((bare.status, worker.status), (401, 401));
    cluster.session(session_id(&session)).await;
}

#[tokio::test]
async fn a_connection_goes_on_after_a_long_download() {
    let (_app, cluster) = start_default().await;
    let session = new_session(&cluster).await;
    let mut client = cluster.client().await;
    for _ in 0..3 {
        let answer = client
            .get("/apps/notes/bytes/2000000")
            .session(&session)
            .send()
            .await;
        assert_eq!((answer.status, answer.body.len()), (200, 2_000_000));
        let answer = client
            .get("/apps/notes/chunked/3")
            .session(&session)
            .send()
            .await;
        assert_eq!((answer.status, answer.truncated), (200, false));
    }
    open_streams(&cluster, session_id(&session), 0).await;
    assert_eq!(delete(&cluster, session_id(&session)).await, 204);
    // The connection carries no stream any more that would end with the session.
    assert_eq!(client.get("/apps/notes/echo").send().await.status, 200);
}

#[tokio::test]
async fn open_streams_are_exact_however_a_stream_ends() {
    let (app, cluster) = start_default().await;
    let session = new_session(&cluster).await;
    let id = session_id(&session);
    for round in ["client", "upstream"] {
        let (ws, ws_server) = websocket(&app, &cluster, &session, &format!("ws-{round}")).await;
        open_streams(&cluster, id, 1).await;
        let (sse, sse_server) = events(&app, &cluster, &session, &format!("sse-{round}")).await;
        open_streams(&cluster, id, 2).await;
        let (download, sender) =
            download(&app, &cluster, &session, &format!("download-{round}")).await;
        open_streams(&cluster, id, 3).await;
        if round == "client" {
            // Without a close frame: a silent application must not keep the tunnel open.
            ws.wire.reset();
            open_streams(&cluster, id, 2).await;
            drop(sse);
            open_streams(&cluster, id, 1).await;
            drop(download);
            open_streams(&cluster, id, 0).await;
        } else {
            ws_server.wire.reset();
            // A client that receives the end closes its side as well.
            let mut ws = ws;
            assert_eq!(ws.next().await, None);
            drop(ws);
            open_streams(&cluster, id, 2).await;
            drop(sse_server);
            open_streams(&cluster, id, 1).await;
            sender.abort();
            // The bytes in flight must be read before the end is seen.
            let mut download = download;
            download.wire.read_to_end().await;
            open_streams(&cluster, id, 0).await;
        }
    }
}

#[tokio::test]
async fn a_worker_that_dies_leaves_no_stream_behind() {
    let (app, mut cluster) = start_default().await;
    let session = new_session(&cluster).await;
    let id = session_id(&session);
    let (mut ws, _ws_server) = websocket(&app, &cluster, &session, "ws-orphan").await;
    let _sse = events(&app, &cluster, &session, "sse-orphan").await;
    open_streams(&cluster, id, 2).await;
    cluster.kill_worker(0);
    assert_eq!(ws.next().await, None);
    drop(ws);
    open_streams(&cluster, id, 0).await;
}

#[tokio::test]
async fn data_in_a_stream_is_activity_of_its_session() {
    let (app, cluster) = start_default().await;
    let session = new_session(&cluster).await;
    let id = session_id(&session);
    let (mut ws, mut ws_server) = websocket(&app, &cluster, &session, "ws-active").await;
    let (mut sse, mut sse_server) = events(&app, &cluster, &session, "sse-active").await;
    let mut client = cluster
        .get("/apps/notes/manual/chunks-active")
        .session(&session)
        .start()
        .await;
    let mut chunks = app.accept("chunks-active").await;
    chunks
        .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
        .await;
    client.read_head().await;
    let mut record = open_streams(&cluster, id, 3).await;
    loop {
        ws.send_text("from the client").await;
        ws_server.frame().await;
        if is_active_since(&cluster, id, &mut record).await {
            break;
        }
    }
    loop {
        ws_server.send_text("from the application").await;
        ws.frame().await;
        if is_active_since(&cluster, id, &mut record).await {
            break;
        }
    }
    loop {
        sse_server.send("8\r\ndata: 2\n\r\n").await;
        within("the event", sse.wire.take_through(b"data: 2"))
            .await
            .unwrap();
        if is_active_since(&cluster, id, &mut record).await {
            break;
        }
    }
    loop {
        chunks.send("1\r\ny\r\n").await;
        within("the chunk", client.wire.take_through(b"y"))
            .await
            .unwrap();
        if is_active_since(&cluster, id, &mut record).await {
            break;
        }
    }
    assert_eq!(number(&record, "open_streams"), 3);
}

#[tokio::test]
async fn a_worker_closes_the_streams_of_an_app_that_is_gone() {
    let (app, mut cluster) = start_default().await;
    let worker = cluster.worker(0).address.parse().unwrap();
    let token = cluster.worker_token();
    // As another coordinator, not the one that ends.
    let headers = [
        ("X-App-Proxy-Token", token.as_str()),
        ("X-Backend-Request-ID", "ws-gone"),
    ];
    let upgrade = async { app.accept("ws-gone").await.upgrade().await };
    let (mut client, mut server) = tokio::join!(
        WebSocket::connect(worker, "/proxy/notes/manual/ws-gone", &headers),
        upgrade
    );
    let request = |name: &str, app: &str| {
        Request::to(worker, "GET", &format!("/proxy/{app}/manual/{name}"))
            .header("X-App-Proxy-Token", &token)
            .id(name)
    };
    let mut quiet = request("sse-gone", "notes").start().await;
    let mut quiet_server = app.accept("sse-gone").await;
    quiet_server.send(EVENTS).await;
    within("the event", quiet.wire.take_through(b"data: 1"))
        .await
        .unwrap();
    let mut stays = request("sse-stays", "api").start().await;
    let mut stays_server = app.accept("sse-stays").await;
    stays_server.send(EVENTS).await;
    within("the event", stays.wire.take_through(b"data: 1"))
        .await
        .unwrap();

    cluster.kill_coordinator();
    let endpoints = json!([{"address": app.addr().to_string()}]);
    let left = json!([{"name": "api", "affinity": "none", "endpoints": endpoints}]);
    cluster.patch_coordinator_config(&json!({"coordinator": {"apps": left}}));
    cluster.restart_coordinator().await;

    assert_eq!(
        (
            client.frame().await.close_code(),
            server.frame().await.close_code()
        ),
        (Some(1001), Some(1001))
    );
    assert!(
        !within("the end", quiet.wire.read_to_end())
            .await
            .ends_with(b"0\r\n\r\n"),
        "it looks complete"
    );
    within("the application to see the end", quiet_server.wire.closed()).await;
    for name in ["ws-gone", "sse-gone"] {
        let close = cluster.worker_log(0).event(name, "stream_close").await;
        assert_eq!(
            (&close["closed_by"], &close["error"]),
            (&"proxy".into(), &"app_deleted".into()),
            "{close}"
        );
    }
    stays_server.send("8\r\ndata: 2\n\r\n").await;
    within("an event", stays.wire.take_through(b"data: 2"))
        .await
        .unwrap();
}
