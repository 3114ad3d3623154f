//! Requests that h2 rejects before the engine sees them: they reach no next hop.

use crate::support::frames::{Field, GOAWAY, RST_STREAM, get, with};
use crate::support::{RawH2, Server, Upstream};

/// What a client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Reset,
    GoAway,
}

/// Sends a request on a connection, and returns how it was rejected.
async fn rejected(fields: &[Field<'_>]) -> Told {
    let upstream = Upstream::bind();
    let server = Server::start(&upstream).await;
    let mut client = RawH2::connect(server.addr).await;
    client.request(1, fields).await;
    let told = loop {
        let frame = client.read().await.expect("an answer");
        match frame.kind {
            RST_STREAM => break Told::Reset,
            GOAWAY => break Told::GoAway,
            kind => assert!(matches!(kind, 4 | 6 | 8), "{frame:?}"),
        }
    };
    let idle = tokio::time::timeout(std::time::Duration::from_millis(20), upstream.accept());
    assert!(idle.await.is_err(), "the next hop got a request");
    told
}

#[tokio::test]
async fn connection_headers_and_transfer_codings_are_rejected() {
    for (name, value) in [
        (&b"connection"[..], &b"close"[..]),
        (b"keep-alive", b"timeout=5"),
        (b"proxy-connection", b"close"),
        (b"transfer-encoding", b"chunked"),
        (b"upgrade", b"websocket"),
        (b"te", b"gzip"),
    ] {
        assert_eq!(rejected(&get(&[(name, value)])).await, Told::Reset);
    }
}

#[tokio::test]
async fn invalid_bytes_of_names_and_values_end_the_connection() {
    for (name, value) in [
        (&b"X-Upper"[..], &b"1"[..]),
        (b"x-cr", b"a\rb"),
        (b"x-lf", b"a\nb: c"),
        (b"x-nul", b"a\0b"),
        (b"x name", b"1"),
        (b"x-name:", b"1"),
        (b"", b"1"),
        (b":unknown", b"1"),
    ] {
        assert_eq!(rejected(&get(&[(name, value)])).await, Told::GoAway);
    }
}

#[tokio::test]
async fn invalid_pseudo_headers_are_rejected() {
    let without = |index: usize| {
        let mut fields = get(&[]);
        fields.remove(index);
        fields
    };
    let mut late = get(&[]);
    late.insert(0, (b"x-first", b"1"));
    for fields in [
        with(2, b"app.example\r\nx: y"),
        with(2, b"app example"),
        with(3, b""),
        with(3, b"x"),
        with(3, b"/a b"),
        with(3, b"/a\r\nb"),
        with(3, b"/a\0"),
        with(3, b"http://other.example/"),
        without(0),
        without(1),
        without(3),
        get(&[(b":path", b"/b")]),
        get(&[(b":status", b"200")]),
        get(&[(b":protocol", b"websocket")]),
        late,
    ] {
        assert_eq!(rejected(&fields).await, Told::Reset, "{fields:?}");
    }
    assert_eq!(rejected(&with(0, b"GE T")).await, Told::GoAway);
}

#[tokio::test]
async fn invalid_lengths_are_rejected() {
    for length in [
        &b"2, 2"[..],
        b"+2",
        b"-1",
        b"2 ",
        b"0x2",
        b"99999999999999999999",
    ] {
        let fields = get(&[(b"content-length", length)]);
        assert_eq!(rejected(&fields).await, Told::Reset);
    }
    let fields = get(&[(b"content-length", b"1"), (b"content-length", b"2")]);
    assert_eq!(rejected(&fields).await, Told::Reset);
    let fields = get(&[(b"content-length", b"5")]);
    assert_eq!(rejected(&fields).await, Told::Reset, "no body");
}
