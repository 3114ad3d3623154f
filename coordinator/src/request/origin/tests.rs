//! Forwarded headers of peers that are trusted, and of others.

use super::*;

fn networks(nets: &[&str]) -> Networks {
    Networks::new(
        &nets
            .iter()
            .map(|net| net.parse().unwrap())
            .collect::<Vec<_>>(),
    )
}

fn request(lines: &[(&'static str, &str)]) -> RequestHeader {
    let mut request = RequestHeader::build("GET", b"/", None).unwrap();
    for (name, value) in lines {
        request.append_header(*name, *value).unwrap();
    }
    request
}

fn written(peer: &str, trusted: &[&str], lines: &[(&'static str, &str)]) -> (Origin, HeaderMap) {
    let request = request(lines);
    let peer = Some(peer.parse().unwrap());
    let origin = Origin::of(
        &request,
        "h.example:8080",
        peer,
        None,
        false,
        &networks(trusted),
    );
    let mut headers = request.headers.clone();
    origin.write(&mut headers, "/apps/a");
    (origin, headers)
}

fn get<'h>(headers: &'h HeaderMap, name: &str) -> Vec<&'h str> {
    headers
        .get_all(name)
        .iter()
        .map(|value| value.to_str().unwrap())
        .collect()
}

const CLAIMS: [(&str, &str); 6] = [
    ("X-Forwarded-For", "198.51.100.7, 10.0.0.9"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "outer.example"),
    ("X-Forwarded-Port", "8443"),
    ("X-Forwarded-Prefix", "/outer"),
    ("Forwarded", "for=198.51.100.7"),
];

#[test]
fn headers_of_an_untrusted_peer_are_replaced() {
    let (origin, headers) = written("192.0.2.1", &["10.0.0.0/8"], &CLAIMS);
    assert_eq!(origin.client, Some("192.0.2.1".parse().unwrap()));
    assert_eq!(get(&headers, "x-forwarded-for"), ["192.0.2.1"]);
    assert_eq!(get(&headers, "x-forwarded-proto"), ["http"]);
    assert_eq!(get(&headers, "x-forwarded-host"), ["h.example:8080"]);
    assert_eq!(get(&headers, "x-forwarded-port"), ["8080"]);
    assert_eq!(get(&headers, "x-forwarded-prefix"), ["/apps/a"]);
    assert_eq!(
        get(&headers, "forwarded"),
        [r#"for=192.0.2.1;host="h.example:8080";proto=http"#]
    );
}

#[test]
fn headers_of_a_trusted_proxy_are_extended() {
    let (origin, headers) = written("10.0.0.1", &["10.0.0.0/8"], &CLAIMS);
    assert_eq!(origin.client, Some("198.51.100.7".parse().unwrap()));
    assert!(origin.secure);
    assert_eq!(
        get(&headers, "x-forwarded-for"),
        ["198.51.100.7, 10.0.0.9, 10.0.0.1"]
    );
    assert_eq!(get(&headers, "x-forwarded-proto"), ["https"]);
    assert_eq!(get(&headers, "x-forwarded-host"), ["outer.example"]);
    assert_eq!(get(&headers, "x-forwarded-port"), ["8443"]);
    assert_eq!(get(&headers, "x-forwarded-prefix"), ["/outer/apps/a"]);
    let forwarded = r#"for=198.51.100.7, for=10.0.0.1;host="outer.example";proto=https"#;
    assert_eq!(get(&headers, "forwarded"), [forwarded]);
}

#[test]
fn addresses_before_an_untrusted_one_are_ignored() {
    let claims = [
        ("X-Forwarded-For", "203.0.113.1, 198.51.100.7"),
        ("X-Forwarded-For", "10.0.0.2"),
    ];
    let (origin, _) = written("10.0.0.1", &["10.0.0.0/8"], &claims);
    assert_eq!(origin.client, Some("198.51.100.7".parse().unwrap()));
}

/// Regression: `Forwarded` alone was only appended to, and Traefik's `wss` counted as plain HTTP.
#[test]
fn forwarded_alone_is_believed_from_a_trusted_proxy() {
    let claims = [(
        "Forwarded",
        r#"for="[2001:db8::7]:4711";proto=https;host=pub.example"#,
    )];
    let (origin, headers) = written("10.0.0.1", &["10.0.0.0/8"], &claims);
    assert_eq!(origin.client, Some("2001:db8::7".parse().unwrap()));
    assert!(origin.secure);
    assert_eq!(origin.host(), Some("pub.example"));
    assert_eq!(get(&headers, "x-forwarded-for"), ["2001:db8::7, 10.0.0.1"]);
    assert_eq!(get(&headers, "x-forwarded-proto"), ["https"]);
    assert_eq!(get(&headers, "x-forwarded-host"), ["pub.example"]);
    assert_eq!(get(&headers, "x-forwarded-port"), ["443"]);
    assert_eq!(
        get(&headers, "forwarded"),
        [concat!(
            r#"for="[2001:db8::7]:4711";proto=https;host=pub.example, "#,
            r#"for=10.0.0.1;host="pub.example";proto=https"#
        )]
    );
    let (origin, headers) = written("192.0.2.1", &["10.0.0.0/8"], &claims);
    assert_eq!(origin.client, Some("192.0.2.1".parse().unwrap()));
    assert!(!origin.secure);
    assert_eq!(get(&headers, "x-forwarded-host"), ["h.example:8080"]);
}

#[test]
fn elements_before_an_untrusted_address_are_ignored() {
    let claims = [
        (
            "Forwarded",
            "for=203.0.113.1;proto=http;host=forged.example, for=198.51.100.7;proto=https",
        ),
        ("Forwarded", "for=10.0.0.2;proto=http;host=pub.example"),
    ];
    let (origin, _) = written("10.0.0.1", &["10.0.0.0/8"], &claims);
    assert_eq!(origin.client, Some("198.51.100.7".parse().unwrap()));
    assert!(origin.secure);
    assert_eq!(origin.host(), Some("pub.example"));
}

/// A proxy that sets `X-Forwarded-For` may pass its client's `Forwarded` on unread.
#[test]
fn forwarded_beside_other_headers_is_not_believed() {
    for other in [
        ("X-Forwarded-For", "198.51.100.7"),
        ("X-Forwarded-Proto", "http"),
        ("X-Forwarded-Host", "outer.example"),
        ("X-Forwarded-Port", "80"),
    ] {
        let forged = (
            "Forwarded",
            "for=203.0.113.1;proto=https;host=forged.example",
        );
        let (origin, headers) = written("10.0.0.1", &["10.0.0.0/8"], &[forged, other]);
        assert_ne!(origin.client, Some("203.0.113.1".parse().unwrap()));
        assert!(!origin.secure);
        assert_ne!(origin.host(), Some("forged.example"));
        assert!(!get(&headers, "x-forwarded-for")[0].contains("203.0.113.1"));
    }
}

#[test]
fn a_header_that_does_not_parse_is_dropped() {
    let broken = [("Forwarded", "for=\"203.0.113.1, for=198.51.100.7")];
    let (origin, headers) = written("10.0.0.1", &["10.0.0.0/8"], &broken);
    assert_eq!(origin.client, Some("10.0.0.1".parse().unwrap()));
    let own = r#"for=10.0.0.1;host="h.example:8080";proto=http"#;
    assert_eq!(get(&headers, "forwarded"), [own]);
    assert_eq!(get(&headers, "x-forwarded-for"), ["10.0.0.1"]);
}

#[test]
fn the_scheme_of_a_websocket_counts() {
    for (proto, secure) in [("wss", true), ("ws", false)] {
        let claims = [("X-Forwarded-Proto", proto)];
        let (origin, headers) = written("10.0.0.1", &["10.0.0.0/8"], &claims);
        assert_eq!(origin.secure, secure, "{proto}");
        let scheme = if secure { "https" } else { "http" };
        assert_eq!(get(&headers, "x-forwarded-proto"), [scheme]);
    }
}

#[test]
fn a_forwarded_host_that_is_none_is_ignored() {
    let forged = r#"a", for=203.0.113.1;x=""#;
    let claims = [("X-Forwarded-Host", forged)];
    let (origin, headers) = written("10.0.0.1", &["10.0.0.0/8"], &claims);
    assert_eq!(origin.host(), Some("h.example:8080"));
    assert!(!get(&headers, "forwarded")[0].contains("203.0.113.1"));
}
