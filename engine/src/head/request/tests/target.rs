//! Targets and `Host` (RFC 9112, sections 3.2 and 3.3).

use super::*;

#[test]
fn http_11_requires_exactly_one_host() {
    assert_eq!(
        rejected("GET / HTTP/1.1\r\n\r\n").1,
        "The request has no Host header."
    );
    assert_eq!(rejected("GET / HTTP/1.2\r\nA: b\r\n\r\n").0, 400);
    for version in ["1.0", "1.1"] {
        for second in ["a", "b"] {
            let input = format!("GET / HTTP/{version}\r\nHost: a\r\nhost: {second}\r\n\r\n");
            assert_eq!(rejected(input).1, "The request has several Host headers.");
        }
    }
    accepted("GET / HTTP/1.0\r\n\r\n");
    accepted("GET / HTTP/1.1\r\nHost:\r\n\r\n");
}

#[test]
fn the_length_of_hosts_is_limited() {
    let host = |length| format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", "a".repeat(length));
    accepted(&host(300));
    assert_eq!(rejected(host(301)).1, "The host is too long.");
    let target = format!("GET http://{}/ HTTP/1.0\r\n\r\n", "a".repeat(301));
    assert_eq!(rejected(target).1, "The host is too long.");
}

#[test]
fn forms_of_targets() {
    for line in [
        "OPTIONS * HTTP/1.1",
        "CONNECT a:443 HTTP/1.1",
        "CONNECT [::1]:443 HTTP/1.1",
        "GET http://a HTTP/1.1",
        "GET HTTPS://A:443/b HTTP/1.1",
        "GET //a/b HTTP/1.1",
        "GET /http://b/ HTTP/1.1",
        "GET http://a:/b HTTP/1.1",
        "GET /* HTTP/1.1",
    ] {
        assert_eq!(status(line), 200, "{line}");
    }
    for line in [
        "GET * HTTP/1.1",
        "OPTIONS ** HTTP/1.1",
        "GET a HTTP/1.1",
        "GET a:80 HTTP/1.1",
        "GET ?a HTTP/1.1",
        "CONNECT / HTTP/1.1",
        "CONNECT a HTTP/1.1",
        "CONNECT a: HTTP/1.1",
        "CONNECT :443 HTTP/1.1",
        "CONNECT u@a:443 HTTP/1.1",
        "CONNECT http://a:443 HTTP/1.1",
        "CONNECT a:443/b HTTP/1.1",
        "CONNECT a:443?b:1 HTTP/1.1",
        "CONNECT * HTTP/1.1",
        "GET http:/a HTTP/1.1",
        "GET http:// HTTP/1.1",
        "GET http:///b HTTP/1.1",
        "GET http://:80/ HTTP/1.1",
        "GET http://?b HTTP/1.1",
        "GET http://u@a/ HTTP/1.1",
        "GET http://u:p@a/ HTTP/1.1",
        "GET ftp://a/ HTTP/1.1",
        "GET x:y HTTP/1.1",
        "GET \\a HTTP/1.1",
        "GET .. HTTP/1.1",
    ] {
        assert_eq!(status(line), 400, "{line}");
    }
}

#[test]
fn an_absolute_target_becomes_host_and_path() {
    for (target, host, path) in [
        ("http://a/b?c", "a", "/b?c"),
        ("http://a", "a", "/"),
        ("http://a?c", "a", "/?c"),
        ("HTTP://a:8080/", "a:8080", "/"),
        ("https://[::1]/b", "[::1]", "/b"),
    ] {
        let head = accepted(&format!("GET {target} HTTP/1.0\r\n\r\n")).header;
        assert_eq!(
            (head.headers["host"].to_str().unwrap(), head.uri.to_string()),
            (host, path.into())
        );
    }
    let options = accepted("OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n").header;
    assert_eq!(options.uri, "*");
}

#[test]
fn host_and_absolute_target_name_the_same_host() {
    for (target, host) in [
        ("http://Hosted.example:80/", "hosted.example"),
        ("http://hosted.example/", "HOSTED.example:80"),
        ("http://a:/", "a"),
        ("http://a", "a:"),
        ("https://a", "a:443"),
        ("http://a:81", "A:81"),
        ("http://[::1]", "[::1]:80"),
    ] {
        let head = accepted(&format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")).header;
        assert_eq!(head.headers.get_all("host").iter().count(), 1);
    }
    for (target, host) in [
        ("http://a/", "b"),
        ("http://a/", ""),
        ("http://a/", "a:443"),
        ("https://a/", "a:80"),
        ("http://a:81/", "a:82"),
        ("http://[::1]/", "[::1"),
        ("http://a/", "a, a"),
    ] {
        let input = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(
            rejected(input).1,
            "The request target and Host name different hosts."
        );
    }
    let input = "GET http://a/ HTTP/1.1\r\n\r\n";
    assert_eq!(rejected(input).1, "The request has no Host header.");
}
