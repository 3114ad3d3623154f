use std::future::pending;

use super::*;

fn worker(name: &str) -> Arc<str> {
    name.into()
}

#[test]
fn streams_are_counted_until_they_end() {
    let streams = Streams::default();
    let (w1, w2) = (worker("w1"), worker("w2"));
    let first = streams.register(Some("a"), Some(&w1));
    let second = streams.register(Some("b"), Some(&w2));
    let third = streams.register(None, Some(&w2));
    assert_eq!(streams.len(), 3);
    assert_eq!(
        streams.count_where(|stream| stream.worker() == Some("w2")),
        2
    );
    drop(first);
    assert_eq!(
        streams.count_where(|stream| stream.session() == Some("a")),
        0
    );
    drop(third);
    assert_eq!(
        streams.count_where(|stream| stream.session() == Some("b")),
        1
    );
    drop(second);
    assert!(streams.is_empty());
}

#[test]
fn only_the_selected_streams_are_closed_and_once() {
    let streams = Streams::default();
    let (a, b) = (
        streams.register(Some("a"), None),
        streams.register(Some("b"), None),
    );
    let of_a = |stream: &StreamHandle| stream.session() == Some("a");
    assert_eq!(streams.close_where(CloseReason::SessionDeleted, of_a), 1);
    assert_eq!(
        streams.close_where(CloseReason::AppDeleted, of_a),
        0,
        "the first reason counts"
    );
    assert_eq!(a.handle().closed(), Some(CloseReason::SessionDeleted));
    assert_eq!(b.handle().closed(), None);
    let later = streams.register(Some("a"), None);
    assert_eq!(later.handle().closed(), None);
}

#[test]
fn a_stream_of_a_deleted_app_is_closed_when_it_opens() {
    let streams = Streams::default();
    let open = streams.register(None, None);
    assert_eq!(streams.end_all(CloseReason::AppDeleted), 1);
    let late = streams.register(None, None);
    for stream in [&open, &late] {
        assert_eq!(stream.handle().closed(), Some(CloseReason::AppDeleted));
    }
}

#[test]
fn a_stream_that_has_ended_is_not_closed_any_more() {
    let streams = Streams::default();
    let registration = streams.register(None, None);
    let stream = Arc::clone(registration.handle());
    drop(registration);
    assert!(!stream.close(CloseReason::AppDeleted));
    assert_eq!(stream.closed(), None);
}

#[test]
fn the_reasons_have_their_codes() {
    let codes = [
        CloseReason::SessionDeleted,
        CloseReason::AppDeleted,
        CloseReason::WorkerDraining,
    ]
    .map(|reason| reason.code().as_str());
    assert_eq!(codes, ["session_deleted", "app_deleted", "worker_draining"]);
}

#[tokio::test]
async fn work_is_dropped_when_its_stream_is_closed() {
    let streams = Streams::default();
    let theirs = streams.clone();
    let task = tokio::spawn(until_closed(async move {
        let registration = theirs.register(Some("a"), None);
        notify_opened(registration.handle());
        pending::<()>().await;
        drop(registration);
    }));
    while streams.is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        streams.close_where(CloseReason::SessionDeleted, |_| true),
        1
    );
    assert_eq!(task.await.unwrap(), None);
    assert!(streams.is_empty());
}

#[tokio::test]
async fn work_continues_when_its_stream_has_ended_by_itself() {
    let streams = Streams::default();
    let done = until_closed(async {
        let registration = streams.register(None, None);
        notify_opened(registration.handle());
        tokio::task::yield_now().await;
        let stream = Arc::clone(registration.handle());
        stream.close(CloseReason::SessionDeleted);
        // It ends in the same poll in which it was closed.
        drop(registration);
        tokio::task::yield_now().await;
        "another request"
    });
    assert_eq!(done.await, Some("another request"));
}
