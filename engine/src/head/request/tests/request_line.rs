//! The request line (RFC 9112, section 3).

use super::*;

#[test]
fn the_request_line_has_three_parts() {
    for line in [
        "GET",
        "GET ",
        "GET /",
        "GET / ",
        " / HTTP/1.1",
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET / HTTP/1.1 ",
        " GET / HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET /\tHTTP/1.1",
        "GET /a b HTTP/1.1",
        "GET HTTP/1.1",
        "/ HTTP/1.1",
        "GET / HTTP/1.1 x",
    ] {
        assert_eq!(status(line), 400, "{line:?}");
    }
}

#[test]
fn a_method_is_a_token_of_32_bytes_at_most() {
    for method in [
        "GET",
        "M-SEARCH",
        "get",
        "x!#$%&'*+-.^_`|~9",
        &"M".repeat(32),
    ] {
        assert_eq!(status(&format!("{method} / HTTP/1.1")), 200, "{method}");
    }
    assert_eq!(status(&format!("{} / HTTP/1.1", "M".repeat(33))), 501);
    assert_eq!(rejected("M".repeat(33)).0, 501);
    for method in [
        "G(T", "G@T", "G\0T", "G\u{e9}T", "\"GET\"", "G:T", "G/T", "{", "G\x7fT",
    ] {
        assert_eq!(status(&format!("{method} / HTTP/1.1")), 400, "{method:?}");
    }
    // A TLS handshake on a port without TLS.
    assert_eq!(rejected(b"\x16\x03\x01\x02\x00\x01").0, 400);
}

#[test]
fn versions() {
    for version in ["HTTP/1.1", "HTTP/1.2", "HTTP/1.9"] {
        let head = accepted(&format!("GET / {version}\r\nHost: a\r\n\r\n"));
        assert_eq!(head.header.version, Version::HTTP_11);
    }
    assert_eq!(
        accepted("GET / HTTP/1.0\r\n\r\n").header.version,
        Version::HTTP_10
    );
    for version in ["HTTP/0.9", "HTTP/2.0", "HTTP/3.1", "HTTP/9.9"] {
        assert_eq!(status(&format!("GET / {version}")), 505, "{version}");
    }
    for version in [
        "http/1.1",
        "HTTP/1",
        "HTTP/1.",
        "HTTP/1.10",
        "HTTP/11",
        "HTTP/1,1",
        "HTTPS/1.1",
        "HTTP/a.b",
        "HTTP/01.1",
        "HTTP/1.1\t",
        "XTTP/1.1",
        "HTTP/+1.1",
        "HTTP /1.1",
    ] {
        assert_eq!(status(&format!("GET / {version}")), 400, "{version:?}");
    }
    assert_eq!(rejected("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").0, 505);
}

#[test]
fn targets_have_no_control_characters_blanks_or_fragments() {
    for byte in (0..=0x20).chain([0x7f, b'#']) {
        let mut input = b"GET /a".to_vec();
        input.push(byte);
        input.extend_from_slice(b"b HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(rejected(input).0, 400, "{byte:#x}");
    }
    for byte in (0x21..=0x7e)
        .chain(0x80..=0xff)
        .filter(|byte| *byte != b'#')
    {
        let mut input = b"GET /a?".to_vec();
        input.push(byte);
        input.extend_from_slice(b"b HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(
            parse_request(&input, &LIMITS).unwrap().is_some(),
            "{byte:#x}"
        );
    }
}

#[test]
fn the_length_of_targets_is_limited() {
    let target = |length: usize| format!("/{}", "a".repeat(length - 1));
    assert_eq!(status(&format!("GET {} HTTP/1.1", target(1024))), 200);
    assert_eq!(status(&format!("GET {} HTTP/1.1", target(1025))), 414);
    // The rest of the head need not arrive.
    assert!(
        parse_request(format!("GET {}\r", target(1024)).as_bytes(), &LIMITS)
            .unwrap()
            .is_none()
    );
    assert_eq!(rejected(format!("GET {}", target(1025))).0, 414);
    let large = HeadLimits {
        bytes: 1 << 20,
        lines: 100,
        target: 1 << 20,
    };
    let input = format!("GET {} HTTP/1.1\r\nHost: a\r\n\r\n", target(65_535));
    assert_eq!(
        parse_request(input.as_bytes(), &large).unwrap_err(),
        Rejection::TargetTooLong
    );
}
