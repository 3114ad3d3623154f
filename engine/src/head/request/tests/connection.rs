//! The connection (RFC 9112, section 9; RFC 9110, sections 7.6.1 and 10.1).

use super::*;

#[test]
fn connections_persist_by_version_and_option() {
    for (version, connection, persists) in [
        ("1.1", "a", true),
        ("1.1", "close", false),
        ("1.1", "Close", false),
        ("1.1", "a, close", false),
        ("1.1", "keep-alive, close", false),
        ("1.1", "keep-alive", true),
        ("1.1", "closed", true),
        ("1.0", "a", false),
        ("1.0", "Keep-Alive", true),
        ("1.0", "keep-alive,close", false),
        ("1.0", "a\r\nConnection: keep-alive", true),
        ("1.1", "a\r\nConnection: close", false),
    ] {
        let head = accepted(&format!(
            "GET / HTTP/{version}\r\nHost: a\r\nConnection: {connection}\r\n\r\n"
        ));
        assert_eq!(head.keep_alive, persists, "{version} {connection:?}");
        assert!(head.hop_by_hop);
    }
    assert!(!accepted("GET / HTTP/1.0\r\n\r\n").keep_alive);
}

#[test]
fn hop_by_hop_headers_are_noticed() {
    for name in [
        "Connection",
        "Keep-Alive",
        "TE",
        "Trailer",
        "Upgrade",
        "Proxy-Connection",
        "HTTP2-Settings",
    ] {
        assert!(with(&format!("{name}: x")).unwrap().hop_by_hop, "{name}");
    }
    for name in [
        "Accept",
        "User-Agent",
        "Keep-Aliv3",
        "X-Upgrade",
        "Proxy-Authorization",
    ] {
        assert!(!with(&format!("{name}: x")).unwrap().hop_by_hop, "{name}");
    }
}

#[test]
fn a_client_of_http_11_with_a_body_may_wait_for_100() {
    let expects = |version: &str, length: u8| {
        let lines = format!("Expect: 100-Continue\r\nContent-Length: {length}");
        accepted(&format!(
            "PUT / HTTP/{version}\r\nHost: a\r\n{lines}\r\n\r\n"
        ))
        .expects_continue
    };
    assert!(expects("1.1", 1));
    assert!(!expects("1.1", 0) && !expects("1.0", 1));
    assert!(!with("Expect: 100-continue").unwrap().expects_continue);
    assert!(
        with("Expect: 100-continue\r\nTransfer-Encoding: chunked")
            .unwrap()
            .expects_continue
    );
}

#[test]
fn a_client_may_accept_trailers() {
    for value in ["trailers", "gzip, Trailers", "trailers;q=0.5"] {
        assert!(
            with(&format!("TE: {value}")).unwrap().accepts_trailers,
            "{value}"
        );
    }
    assert!(!with("TE: gzip").unwrap().accepts_trailers);
}
