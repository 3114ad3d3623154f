//! Server-sent events and other bodies that come piece by piece. Rule 17 of
//! docs/reference/request-id.md.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use app_proxy_tests::app::respond;
use app_proxy_tests::http1::BodyReader;
use app_proxy_tests::http1::Framing;
use app_proxy_tests::is_generated_id;
use app_proxy_tests::wait::{eventually, within};
use app_proxy_tests::{Checksum, pattern};
use serde_json::json;

use crate::{number, start, start_default};

#[tokio::test]
async fn the_first_event_arrives_while_the_second_is_held() {
    let (app, cluster) = start_default().await;
    let mut client = cluster
        .get("/apps/notes/sse/held/3")
        .id("held")
        .start()
        .await;
    let head = client.read_head().await;
    assert_eq!(head.status(), 200);
    assert_eq!(head.headers.get("Content-Type"), Some("text/event-stream"));
    for n in 1..=3 {
        app.release("held", 1);
        let event = format!("data: event {n} of held\n\n");
        let arriving = client.wire.take_through(event.as_bytes());
        within(&event, arriving).await.unwrap();
        let rest = String::from_utf8_lossy(client.wire.buffered()).into_owned();
        assert!(!rest.contains("event"), "{rest}");
    }
    within("the end", client.wire.take_through(b"0\r\n\r\n"))
        .await
        .unwrap();
}

#[tokio::test]
async fn the_head_of_a_stream_arrives_before_its_first_event() {
    let (app, cluster) = start_default().await;
    let mut client = cluster.get("/apps/notes/sse/silent/1").start().await;
    assert_eq!(client.read_head().await.status(), 200);
    app.release("silent", 1);
    within("the event", client.wire.take_through(b"event 1"))
        .await
        .unwrap();
}

#[tokio::test]
async fn rule_17_an_event_stream_is_logged_when_it_opens_and_when_it_ends() {
    let (app, cluster) = start_default().await;
    let mut client = cluster
        .get("/apps/notes/sse/rule17/2")
        .id("rule-17")
        .start()
        .await;
    client.read_head().await;
    app.release("rule17", 1);
    within("an event", client.wire.take_through(b"event 1 of rule-17"))
        .await
        .unwrap();
    let logs = [cluster.coordinator_log(), cluster.worker_log(0)];
    for log in &logs {
        let open = log.event("rule-17", "stream_open").await;
        assert_eq!(open["kind"], "sse");
        assert_eq!(open["status"], 200);
        assert_eq!(log.of_request("rule-17").len(), 1, "it is still open");
    }
    app.release("rule17", 1);
    within("the end", client.wire.take_through(b"0\r\n\r\n"))
        .await
        .unwrap();
    for log in &logs {
        let close = log.event("rule-17", "stream_close").await;
        assert_eq!(close["kind"], "sse");
        assert!(number(&close, "bytes_out") >= 2 * 30, "{close}");
        assert!(close["duration_ms"].is_number());
        let lines = log.of_request("rule-17");
        let events: Vec<_> = lines
            .iter()
            .map(|line| line["event"].as_str().unwrap())
            .collect();
        assert_eq!(events, ["stream_open", "stream_close"]);
    }
}

#[tokio::test]
async fn rule_17_a_reconnect_is_a_new_request() {
    let (app, cluster) = start_default().await;
    app.release("again", 2);
    let first = cluster.get("/apps/notes/sse/again/1").send().await;
    let again = cluster
        .get("/apps/notes/sse/again/1")
        .header("Last-Event-ID", "1")
        .send()
        .await;
    let (first, again) = (first.request_id(), again.request_id());
    assert_ne!(first, again);
    assert!(
        is_generated_id(&again),
        "Last-Event-ID became the identifier: {again}"
    );
    assert_eq!(app.last().header("Last-Event-ID"), Some("1"));
    assert_eq!(app.last().request_id(), again);
}

#[tokio::test]
async fn an_event_stream_over_http2_is_not_held_back() {
    let (app, cluster) = start(app_proxy_tests::cluster::ClusterBuilder::h2c).await;
    let client = cluster.h2_client().await;
    let headers = [("x-backend-request-id", "h2-events")];
    let response = client
        .start("GET", "/apps/notes/sse/h2/2", &headers, None)
        .await;
    let response = within("the head", response).await.unwrap();
    assert_eq!(response.headers()["x-backend-request-id"], "h2-events");
    let mut body = response.into_body();
    let mut text = String::new();
    for n in 1..=2 {
        app.release("h2", 1);
        while !text.contains(&format!("event {n} of h2-events")) {
            let piece = within("an event", body.data()).await.unwrap().unwrap();
            body.flow_control().release_capacity(piece.len()).unwrap();
            text.push_str(&String::from_utf8_lossy(&piece));
        }
    }
    while let Some(Ok(_)) = within("the end", body.data()).await {}
    cluster
        .coordinator_log()
        .event("h2-events", "stream_close")
        .await;
}

#[tokio::test]
async fn a_client_that_leaves_a_stream_ends_it_at_the_application() {
    let (app, cluster) = start_default().await;
    let mut client = cluster
        .get("/apps/notes/manual/left")
        .id("left")
        .start()
        .await;
    let mut manual = app.accept("left").await;
    manual
        .send(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
             Transfer-Encoding: chunked\r\n\r\n8\r\ndata: 1\n\r\n",
        )
        .await;
    client.read_head().await;
    within("the event", client.wire.take_through(b"data: 1"))
        .await
        .unwrap();
    drop(client);
    let end = async {
        // A proxy may notice the client's end only when it writes.
        while manual.wire.try_send(b"8\r\ndata: 2\n\r\n").await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    within("the application to see the end", end).await;
    for log in [cluster.coordinator_log(), cluster.worker_log(0)] {
        log.event("left", "stream_close").await;
        assert_eq!(log.of_request("left").len(), 2);
    }
}

#[tokio::test]
async fn a_stream_aborted_by_the_application_does_not_look_complete() {
    let (app, cluster) = start_default().await;
    let client = cluster
        .get("/apps/notes/manual/broken")
        .id("broken")
        .start();
    let mut client = client.await;
    let mut manual = app.accept("broken").await;
    manual
        .send(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
             Transfer-Encoding: chunked\r\n\r\n8\r\ndata: 1\n\r\n",
        )
        .await;
    client.read_head().await;
    within("the event", client.wire.take_through(b"data: 1"))
        .await
        .unwrap();
    drop(manual);
    let rest = client.wire.read_to_end().await;
    assert!(
        !rest.ends_with(b"0\r\n\r\n"),
        "a broken stream looks complete"
    );
    for log in [cluster.coordinator_log(), cluster.worker_log(0)] {
        log.event("broken", "stream_close").await;
        assert_eq!(log.of_request("broken").len(), 2);
    }
}

#[tokio::test]
async fn a_chunked_response_is_not_held_back() {
    let (app, cluster) = start_default().await;
    let mut client = cluster
        .get("/apps/notes/manual/chunks")
        .id("chunks")
        .start()
        .await;
    let mut manual = app.accept("chunks").await;
    manual
        .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        .await;
    let head = client.read_head().await;
    let mut body = BodyReader::new(Framing::of_response("GET", &head));
    let first = within("the first chunk", body.next(&mut client.wire)).await;
    assert_eq!(first.unwrap().unwrap(), b"first");
    manual.send("6\r\nsecond\r\n").await;
    let second = within("the second chunk", body.next(&mut client.wire)).await;
    assert_eq!(second.unwrap().unwrap(), b"second");
    manual.send("0\r\n\r\n").await;
    assert_eq!(
        within("the end", body.next(&mut client.wire))
            .await
            .unwrap(),
        None
    );
    assert_eq!(
        cluster.coordinator_log().request("chunks").await["kind"],
        "http"
    );
}

#[tokio::test]
async fn a_response_with_a_length_is_not_held_back() {
    let (app, cluster) = start_default().await;
    let mut client = cluster.get("/apps/notes/manual/length").start().await;
    let mut manual = app.accept("length").await;
    manual
        .send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")
        .await;
    client.read_head().await;
    assert_eq!(
        &within("half", client.wire.take(5)).await.unwrap()[..],
        b"first"
    );
    manual.send("other").await;
    assert_eq!(
        &within("half", client.wire.take(5)).await.unwrap()[..],
        b"other"
    );
}

#[tokio::test]
async fn an_upload_is_not_held_back() {
    let (app, cluster) = start_default().await;
    for (name, framing, first, second, end) in [
        ("length", "Content-Length: 10", "first", "other", ""),
        (
            "chunked",
            "Transfer-Encoding: chunked",
            "5\r\nfirst\r\n",
            "5\r\nother\r\n",
            "0\r\n\r\n",
        ),
    ] {
        let mut client = cluster.client().await;
        let head = format!(
            "POST /apps/notes/manual/upload-{name} HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n{first}"
        );
        client.send(head).await;
        let mut manual = app.accept(&format!("upload-{name}")).await;
        let mut body = BodyReader::new(Framing::of_request(&manual.head));
        let half = within("the first half", body.next(&mut manual.wire)).await;
        assert_eq!(half.unwrap().unwrap(), b"first", "{name}");
        client.send(second).await;
        let half = within("the second half", body.next(&mut manual.wire)).await;
        assert_eq!(half.unwrap().unwrap(), b"other", "{name}");
        client.send(end).await;
        assert_eq!(
            within("the end", body.next(&mut manual.wire))
                .await
                .unwrap(),
            None
        );
        manual
            .send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .await;
        assert_eq!(client.read_response("POST").await.text(), "ok");
    }
}

#[tokio::test]
async fn an_answer_that_comes_before_the_body_has_ended_reaches_the_client() {
    let (app, cluster) = start_default().await;
    let mut client = cluster
        .request("POST", "/apps/notes/manual/early-answer")
        .id("early-answer")
        .header("Content-Length", "1000000")
        .start()
        .await;
    client.send(vec![b'x'; 1000]).await;
    let mut manual = app.accept("early-answer").await;
    manual
        .send("HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\nConnection: close\r\n\r\nstop")
        .await;
    let answer = client.read_response("POST").await;
    assert_eq!((answer.status, answer.text().as_str()), (413, "stop"));
    assert_eq!(answer.request_id(), "early-answer");
    // The request ends with its body, which this client never sends.
    drop(client);
    let line = cluster.coordinator_log().request("early-answer").await;
    assert_eq!(line["status"], 413);
}

#[tokio::test]
async fn a_client_that_does_not_read_a_download_stops_the_application() {
    let (app, cluster) = start_default().await;
    let mut client = cluster.get("/apps/notes/manual/slow-reader").start().await;
    client.wire.shrink_receive_buffer();
    let manual = app.accept("slow-reader").await;
    let total = 96 * 1024 * 1024_usize;
    let block = pattern(64 * 1024);
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&sent);
    let writer = tokio::spawn(async move {
        let mut wire = manual.wire;
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {total}\r\n\r\n");
        wire.try_send(head.as_bytes()).await?;
        while counter.load(Ordering::SeqCst) < total {
            wire.try_send(&block).await?;
            counter.fetch_add(block.len(), Ordering::SeqCst);
        }
        Ok::<_, std::io::Error>(wire)
    });
    let (mut last, mut still) = (0, 0);
    eventually("the application to be stopped", || {
        let now = sent.load(Ordering::SeqCst);
        still = if now == last { still + 1 } else { 0 };
        last = now;
        (now > 0 && still > 100).then_some(())
    })
    .await;
    assert!(
        last < total / 2,
        "{last} bytes were taken for a client that reads nothing"
    );
    let head = client.read_head().await;
    let mut body = BodyReader::new(Framing::of_response("GET", &head));
    let mut received = 0;
    let block = Checksum::of(&pattern(64 * 1024));
    let mut first = Vec::new();
    while let Some(piece) = within("a piece", body.next(&mut client.wire))
        .await
        .unwrap()
    {
        if first.len() < 64 * 1024 {
            first.extend_from_slice(&piece);
        }
        received += piece.len();
    }
    assert_eq!(received, total);
    assert!(Checksum::of(&first[..64 * 1024]) == block);
    within("the writer to end", writer).await.unwrap().unwrap();
}

#[tokio::test]
async fn two_streams_of_one_client_do_not_wait_for_each_other() {
    let (app, cluster) = start_default().await;
    let mut held = cluster.get("/apps/notes/sse/one/1").start().await;
    held.read_head().await;
    let mut other = cluster.get("/apps/notes/sse/two/1").start().await;
    other.read_head().await;
    app.release("two", 1);
    within("the event", other.wire.take_through(b"event 1"))
        .await
        .unwrap();
    assert_eq!(cluster.get("/apps/notes/echo").send().await.status, 200);
    app.release("one", 1);
    within("the event", held.wire.take_through(b"event 1"))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_content_type_with_parameters_is_an_event_stream_too() {
    let (_app, cluster) = start_default().await;
    let target = respond(
        200,
        &[("Content-Type", "Text/Event-Stream; charset=utf-8")],
        "data: x\n\n",
    );
    cluster
        .get(&format!("/apps/api{target}"))
        .id("typed")
        .send()
        .await;
    let close = cluster
        .coordinator_log()
        .event("typed", "stream_close")
        .await;
    assert_eq!(close["kind"], "sse");
    assert_eq!(cluster.coordinator_log().of_request("typed").len(), 2);
}

#[tokio::test]
async fn an_event_stream_outlives_the_read_timeouts_of_the_client() {
    let short = json!({"timeouts": {"client_read": "300ms", "keepalive": "300ms"}});
    let (app, cluster) = start(|builder| builder.coordinator(&short).worker(&short)).await;
    let mut client = cluster.get("/apps/notes/sse/long/2").start().await;
    client.read_head().await;
    let begin = std::time::Instant::now();
    app.release("long", 1);
    within("the event", client.wire.take_through(b"event 1"))
        .await
        .unwrap();
    while begin.elapsed() < std::time::Duration::from_millis(1200) {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    app.release("long", 1);
    within("the event", client.wire.take_through(b"event 2"))
        .await
        .unwrap();
}
