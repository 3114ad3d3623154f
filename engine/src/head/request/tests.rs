use proptest::prelude::*;

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

/// Returns the status and the text of the rejection of `input`.
fn rejected(input: &[u8]) -> (u16, String) {
    match parse_request(input, &LIMITS) {
        Err(rejection) => (rejection.status().as_u16(), rejection.to_string()),
        Ok(head) => panic!("{head:?} from {:?}", String::from_utf8_lossy(input)),
    }
}

/// Returns the status of a request with these lines behind `Host`.
fn status_with(lines: &str) -> u16 {
    match parse(&format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n")) {
        Ok(_) => 200,
        Err(rejection) => rejection.status().as_u16(),
    }
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
}
