//! URLs of responses, with and without the prefix.

use super::*;
use crate::config::Networks;

const PREFIX: &str = "/apps/a";

fn relocated(host: &str, secure: bool, name: &'static str, value: &[u8]) -> Vec<u8> {
    let request = pingora_http::RequestHeader::build("GET", b"/", None).unwrap();
    let origin = Origin::of(&request, host, None, None, secure, &Networks::new(&[]));
    let endpoints = ["127.0.0.1:8888", "[::1]:80", "unix:/run/a.sock"].map(|address| Endpoint {
        address: address.parse().unwrap(),
        weight: 1,
    });
    let mut response = ResponseHeader::build(302, None).unwrap();
    let value = HeaderValue::from_bytes(value).unwrap();
    response.insert_header(name, value).unwrap();
    urls(&mut response, PREFIX, &origin, &endpoints);
    response.headers[name].as_bytes().to_vec()
}

fn location(value: &str) -> String {
    let value = relocated("proxy.example:8080", false, "Location", value.as_bytes());
    String::from_utf8(value).unwrap()
}

#[test]
fn locations_within_the_application_get_the_prefix() {
    for (value, expected) in [
        ("/", "/apps/a/"),
        ("/x?y#z", "/apps/a/x?y#z"),
        ("/caf\u{e9}", "/apps/a/caf\u{e9}"),
        (
            "http://proxy.example:8080/x",
            "http://proxy.example:8080/apps/a/x",
        ),
        (
            "HTTP://Proxy.Example:8080",
            "HTTP://Proxy.Example:8080/apps/a/",
        ),
        ("http://127.0.0.1:8888/x", "/apps/a/x"),
        ("http://[0::1]/x", "/apps/a/x"),
        ("//proxy.example:8080/x", "//proxy.example:8080/apps/a/x"),
        ("/apps/ab", "/apps/a/apps/ab"),
        ("/apps/a%2fx", "/apps/a/apps/a%2fx"),
    ] {
        assert_eq!(location(value), expected, "{value}");
    }
}

#[test]
fn other_locations_stay() {
    for value in [
        "x",
        "../x",
        "?x",
        "",
        "http://other.example/x",
        "//other.example/x",
        "http://proxy.example/x",
        "http://proxy.example:8080@other.example/x",
        "http://user@proxy.example:8080/x",
        "http://proxy.example:8080.other.example/x",
        "http://proxy.example:8080\\@other.example/x",
        "/apps/a/x",
        "/apps/a",
        "/apps/a?x",
        "mailto:a@b",
        "http:/x",
    ] {
        assert_eq!(location(value), value);
    }
}

/// Regression: Latin-1 hid a location from the rewriting.
#[test]
fn bytes_that_are_not_utf_8_are_rewritten_too() {
    for (name, value, expected) in [
        ("Location", &b"/caf\xe9"[..], &b"/apps/a/caf\xe9"[..]),
        ("Content-Location", b"/caf\xe9", b"/apps/a/caf\xe9"),
        ("Refresh", b"0; url=/caf\xe9", b"0; url=/apps/a/caf\xe9"),
    ] {
        assert_eq!(relocated("h", false, name, value), expected, "{name}");
    }
}

/// Regression: a default port, or a URL without a path, hid a location from the rewriting.
#[test]
fn default_ports_are_equal_and_an_empty_path_is_a_slash() {
    for (host, secure, value, expected) in [
        (
            "app.example",
            false,
            "https://app.example:443/x",
            "https://app.example:443/apps/a/x",
        ),
        (
            "app.example:80",
            false,
            "http://app.example/x",
            "http://app.example/apps/a/x",
        ),
        (
            "app.example:443",
            true,
            "https://app.example/x",
            "https://app.example/apps/a/x",
        ),
        // The application redirects to TLS.
        (
            "app.example:80",
            false,
            "https://app.example/x",
            "https://app.example/apps/a/x",
        ),
        (
            "app.example",
            false,
            "http://app.example?code=1",
            "http://app.example/apps/a/?code=1",
        ),
        (
            "app.example",
            false,
            "http://app.example:#f",
            "http://app.example:/apps/a/#f",
        ),
        (
            "app.example",
            true,
            "//app.example:443/x",
            "//app.example:443/apps/a/x",
        ),
        // Another port is another server.
        (
            "app.example",
            false,
            "http://app.example:8080/x",
            "http://app.example:8080/x",
        ),
        (
            "app.example",
            false,
            "http://app.example:443/x",
            "http://app.example:443/x",
        ),
    ] {
        let found = relocated(host, secure, "Location", value.as_bytes());
        assert_eq!(String::from_utf8(found).unwrap(), expected, "{value}");
    }
}

#[test]
fn refreshes_and_content_locations_are_rewritten() {
    for (name, value, expected) in [
        ("Refresh", "0; url=/next", "0; url=/apps/a/next"),
        ("Refresh", "5;URL='/next'", "5;URL='/apps/a/next'"),
        (
            "Refresh",
            "5; url=http://h/next",
            "5; url=http://h/apps/a/next",
        ),
        ("Refresh", "5; url=next", "5; url=next"),
        ("Refresh", "5; url=http://other/", "5; url=http://other/"),
        ("Refresh", "5", "5"),
        ("Content-Location", "/a.json", "/apps/a/a.json"),
        ("Content-Location", "a.json", "a.json"),
    ] {
        let found = relocated("h", false, name, value.as_bytes());
        assert_eq!(String::from_utf8(found).unwrap(), expected, "{value}");
    }
}
