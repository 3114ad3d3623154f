use http::Method;
use proptest::prelude::*;

use super::*;
use crate::head::{ResponseHead, parse_request, parse_response};
use crate::limits::HeadLimits;

const LIMITS: HeadLimits = HeadLimits {
    bytes: 1 << 16,
    lines: 256,
    target: 8192,
};

fn response(input: &str) -> ResponseHead {
    parse_response(input.as_bytes(), &Method::GET, &LIMITS)
        .unwrap()
        .unwrap()
        .0
}

/// Writes a parsed response as it came.
fn written(head: &ResponseHead, framing: Framing, persistence: Persistence) -> String {
    let mut out = Vec::new();
    let spelled = SpelledNames::new(["X-Backend-Request-ID".to_owned()]);
    write_response(
        &mut out,
        &head.header,
        Some(&head.spelling),
        &spelled,
        framing,
        persistence,
    );
    String::from_utf8(out).unwrap()
}

/// Parses a response and writes it for a client of HTTP/1.1.
fn passed(input: &str) -> String {
    let head = response(input);
    written(&head, head.framing, Persistence::Implied)
}

fn request_written(input: &str) -> String {
    let (head, _) = parse_request(input.as_bytes(), &LIMITS).unwrap().unwrap();
    let mut out = Vec::new();
    write_request(&mut out, &head.header, head.framing);
    String::from_utf8(out).unwrap()
}

const DATE: &str = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";

#[test]
fn requests_have_names_in_lower_case() {
    assert_eq!(
        request_written("GET /a?b HTTP/1.0\r\nHost: x\r\nX-Y:z\r\nX-Y: \r\n\r\n"),
        "GET /a?b HTTP/1.1\r\nhost: x\r\nx-y: z\r\nx-y: \r\n\r\n"
    );
}

#[test]
fn the_framing_decides_the_headers_of_a_request_body() {
    let input = "POST / HTTP/1.1\r\nHost: x\r\nConnection: close, a\r\nContent-Length: 05\r\n\r\n";
    assert_eq!(
        request_written(input),
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n"
    );
    let input = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\n\r\n";
    assert_eq!(
        request_written(input),
        "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    let input = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(
        request_written(input),
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n"
    );
}

#[test]
fn responses_keep_the_spelling_and_order_of_the_application() {
    let input = format!(
        "HTTP/1.1 200 Fine\r\nserver: a\r\nX-mIxed:b\r\nETAG: \r\nset-COOKIE:  c\r\nx-a: 1\r\n\
         {DATE}Content-length: 2\r\n\r\n"
    );
    let expected = input
        .replace("X-mIxed:b", "X-mIxed: b")
        .replace(":  c", ": c");
    assert_eq!(passed(&input), expected);
}

#[test]
fn each_of_several_values_has_its_own_spelling() {
    let input = format!(
        "HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nset-cookie: b\r\nSET-COOKIE: c\r\n{DATE}\
         Content-Length: 0\r\n\r\n"
    );
    assert_eq!(passed(&input), input);
}

#[test]
fn changed_values_keep_the_spelling_and_new_headers_get_the_usual_one() {
    let mut head = response(&format!(
        "HTTP/1.1 302 Found\r\nLOCATION: /a\r\n{DATE}Content-Length: 0\r\n\r\n"
    ));
    head.header.insert_header("location", "/b").unwrap();
    for name in [
        "x-backend-request-id",
        "etag",
        "www-authenticate",
        "x-new-name",
        "vary",
    ] {
        head.header.insert_header(name, "v").unwrap();
    }
    let out = written(&head, Framing::Length(0), Persistence::Implied);
    for line in [
        "LOCATION: /b",
        "X-Backend-Request-ID: v",
        "ETag: v",
        "WWW-Authenticate: v",
        "X-New-Name: v",
        "Vary: v",
    ] {
        assert!(out.contains(&format!("\r\n{line}\r\n")), "{line}: {out}");
    }
}

#[test]
fn the_configured_spelling_counts_first() {
    let input =
        format!("HTTP/1.1 200 OK\r\nx-backend-request-id: a\r\n{DATE}Content-Length: 0\r\n\r\n");
    assert!(passed(&input).contains("\r\nX-Backend-Request-ID: a\r\n"));
}

#[test]
fn generated_responses_are_in_title_case() {
    let mut header = ResponseHeader::build_no_case(404, None).unwrap();
    header.insert_header("content-type", "text/plain").unwrap();
    let mut out = Vec::new();
    write_response(
        &mut out,
        &header,
        None,
        &SpelledNames::default(),
        Framing::Length(3),
        Persistence::Close,
    );
    let out = String::from_utf8(out).unwrap();
    assert!(
        out.starts_with(
            "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 3\r\nDate: "
        ),
        "{out}"
    );
    assert!(out.ends_with(" GMT\r\nConnection: close\r\n\r\n"), "{out}");
}

#[test]
fn the_framing_decides_the_headers_of_a_response_body() {
    let head = response(&format!(
        "HTTP/1.1 200 OK\r\n{DATE}content-Length: 7\r\nConnection: x\r\nKeep-Alive: 5\r\n\r\n"
    ));
    let start = format!("HTTP/1.1 200 OK\r\n{DATE}");
    let out = |framing, persistence| written(&head, framing, persistence);
    assert_eq!(
        out(Framing::Length(7), Persistence::Implied),
        format!("{start}content-Length: 7\r\nKeep-Alive: 5\r\n\r\n")
    );
    assert_eq!(
        out(Framing::Length(9), Persistence::Close),
        format!("{start}content-Length: 9\r\nKeep-Alive: 5\r\nConnection: close\r\n\r\n")
    );
    assert_eq!(
        out(Framing::Chunked, Persistence::Implied),
        format!("{start}Keep-Alive: 5\r\nTransfer-Encoding: chunked\r\n\r\n")
    );
    assert_eq!(
        out(Framing::UntilClose, Persistence::Close),
        format!("{start}Keep-Alive: 5\r\nConnection: close\r\n\r\n")
    );
    // HEAD: the length of the body it would have had.
    assert_eq!(
        out(Framing::None, Persistence::KeepAlive),
        format!("{start}content-Length: 7\r\nKeep-Alive: 5\r\nConnection: keep-alive\r\n\r\n")
    );
    let none = response(&format!("HTTP/1.1 200 OK\r\n{DATE}\r\n"));
    assert_eq!(
        written(&none, Framing::Length(4), Persistence::Implied),
        format!("{start}Content-Length: 4\r\n\r\n")
    );
}

#[test]
fn statuses_without_body_have_no_framing() {
    for status in ["204 No Content", "103 Early Hints"] {
        let mut head = response(&format!("HTTP/1.1 {status}\r\n{DATE}\r\n"));
        head.header.insert_header("content-length", "4").unwrap();
        head.header
            .insert_header("transfer-encoding", "chunked")
            .unwrap();
        assert_eq!(
            written(&head, Framing::None, Persistence::Implied),
            format!("HTTP/1.1 {status}\r\n{DATE}\r\n")
        );
    }
    let input = format!("HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n{DATE}\r\n");
    assert_eq!(passed(&input), input);
}

#[test]
fn a_101_keeps_its_connection_header() {
    let input =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let head = response(input);
    assert_eq!(written(&head, Framing::None, Persistence::Close), input);
}

#[test]
fn a_final_response_has_a_date() {
    assert!(passed("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").contains(" GMT\r\n"));
    let input = format!("HTTP/1.1 200 OK\r\n{DATE}Content-Length: 0\r\n\r\n");
    assert_eq!(passed(&input).matches("ate: ").count(), 1);
    assert_eq!(
        passed("HTTP/1.1 103 Early Hints\r\n\r\n"),
        "HTTP/1.1 103 Early Hints\r\n\r\n"
    );
}

proptest! {
    #[test]
    fn what_is_written_is_parsed_as_the_same_response(
        status in 200..600_u16,
        lines in prop::collection::vec("[A-Za-z-]{1,12}:[ \t]{0,2}[!-~]{0,20}\r\n", 0..10),
        length in prop::option::of(0..100_u64),
    ) {
        let framing = length.map_or(Framing::Chunked, Framing::Length);
        let first = response(&format!("HTTP/1.1 {status} R\r\n{}\r\n", lines.concat()));
        let wire = written(&first, framing, Persistence::Implied);
        let second = response(&wire);
        prop_assert_eq!(second.header.status, first.header.status);
        if !matches!(status, 204 | 304) {
            prop_assert_eq!(second.framing, framing);
        }
        for (name, value) in &first.header.headers {
            if name != "connection" {
                let mut values = second.header.headers.get_all(name).iter();
                prop_assert!(values.any(|other| other == value));
            }
        }
        for line in &lines {
            let name = line.split(':').next().unwrap();
            if !["connection", "date", "x-backend-request-id"].contains(&&*name.to_lowercase()) {
                prop_assert!(wire.contains(&format!("\r\n{name}: ")), "{} in {}", name, wire);
            }
        }
    }
}
