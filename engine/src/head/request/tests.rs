mod connection;
mod framing;
mod lines;
mod property;
mod request_line;
mod target;

use super::*;

const LIMITS: HeadLimits = HeadLimits {
    bytes: 4096,
    lines: 100,
    target: 1024,
};

/// Parses `input`, which has to be a whole head.
fn parse(input: &str) -> Result<RequestHead, Rejection> {
    let (head, length) = parse_request(input.as_bytes(), &LIMITS)?.expect("a whole head");
    assert_eq!(length, input.len());
    Ok(head)
}

fn accepted(input: &str) -> RequestHead {
    parse(input).unwrap_or_else(|rejection| panic!("{rejection:?}: {input:?}"))
}

/// Parses a request with these lines behind `Host`.
fn with(lines: &str) -> Result<RequestHead, Rejection> {
    parse(&format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n"))
}

/// Returns the status and the text of the rejection of `input`.
fn rejected(input: impl AsRef<[u8]>) -> (u16, String) {
    match parse_request(input.as_ref(), &LIMITS) {
        Err(rejection) => (rejection.status().as_u16(), rejection.to_string()),
        Ok(head) => panic!(
            "{head:?} from {:?}",
            String::from_utf8_lossy(input.as_ref())
        ),
    }
}

/// Returns the status of a request with this request line; 200 if it is accepted.
fn status(line: &str) -> u16 {
    match parse(&format!("{line}\r\nHost: a\r\n\r\n")) {
        Ok(_) => 200,
        Err(rejection) => rejection.status().as_u16(),
    }
}

/// Returns the status of a request with these lines behind `Host`.
fn status_with(lines: &str) -> u16 {
    with(lines).map_or_else(|rejection| rejection.status().as_u16(), |_| 200)
}

#[test]
fn a_head_is_parsed() {
    let head =
        accepted("GET /a?b HTTP/1.1\r\nHost: x.example\r\nAccept:*/*\r\nX-A:  b c \t\r\n\r\n");
    assert_eq!(head.header.method, "GET");
    assert_eq!(head.header.uri, "/a?b");
    assert_eq!(head.header.version, Version::HTTP_11);
    assert_eq!(head.header.headers["host"], "x.example");
    assert_eq!(head.header.headers["accept"], "*/*");
    assert_eq!(head.header.headers["x-a"], "b c");
    assert_eq!(head.framing, Framing::None);
    assert!(head.keep_alive && !head.hop_by_hop && !head.expects_continue);
    assert!(!head.header.has_case());
}

#[test]
fn bytes_behind_the_head_are_left() {
    let input = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /next HTTP/1.1\r\n";
    let (_, length) = parse_request(input, &LIMITS).unwrap().unwrap();
    assert_eq!(length, 27);
}
