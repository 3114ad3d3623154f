//! Any input, in any reads.

use proptest::prelude::*;

use super::*;
use crate::head::write_request;

/// Parses a head that arrives byte by byte.
fn parse_slowly(input: &[u8]) -> (usize, Result<Option<usize>, Rejection>) {
    for length in 0..input.len() {
        match parse_request(&input[..length], &LIMITS) {
            Ok(None) => {}
            Ok(Some((_, end))) => return (length, Ok(Some(end))),
            Err(rejection) => return (length, Err(rejection)),
        }
    }
    (
        input.len(),
        parse_request(input, &LIMITS).map(|head| head.map(|(_, end)| end)),
    )
}

/// Heads that are nearly valid.
fn input() -> impl Strategy<Value = Vec<u8>> {
    let start = prop_oneof![
        6 => Just("GET /a?b HTTP/1.1\r\n".to_owned()),
        1 => "[A-Z]{1,40} [/*a-z<>`\"#:]{0,12} HTTP/[0-3].[0-9]\r\n",
        1 => (1020..1030_usize).prop_map(|n| format!("GET /{} HTTP/1.1\r\n", "a".repeat(n))),
        1 => Just("\r\nGET / HTTP/1.0\r\n".to_owned()),
        1 => "[ -~\r\n\t]{0,30}",
    ];
    let line = prop_oneof![
        4 => "[A-Za-z-]{1,12}:[ \t]?[ -~]{0,20}\r\n",
        2 => Just("Host: a\r\n".to_owned()),
        1 => "Content-Length: [0-9+, ]{1,4}\r\n",
        1 => "Transfer-Encoding: (chunked|gzip|, ){1,3}\r\n",
        1 => "[ -~\r\n\t\u{80}]{0,12}\r\n",
        1 => (0..5000_usize).prop_map(|n| format!("Long: {}\r\n", "x".repeat(n))),
        1 => Just("\r\n".to_owned()),
        1 => Just("\n".to_owned()),
    ];
    (start, prop::collection::vec(line, 0..12))
        .prop_map(|(start, lines)| format!("{start}{}\r\n", lines.concat()).into_bytes())
}

proptest! {
    #[test]
    fn any_split_gives_the_same_head(input in input()) {
        let (seen, slowly) = parse_slowly(&input);
        let whole = parse_request(&input, &LIMITS).map(|head| head.map(|(_, end)| end));
        prop_assert_eq!(slowly, whole);
        if let Ok(Some(end)) = whole {
            prop_assert_eq!(seen, end, "the head was found late");
        }
    }

    #[test]
    fn any_bytes_are_parsed_without_panic(input in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse_request(&input, &LIMITS);
        for (before, behind) in [
            (&b"GET / HTTP/1.1\r\n"[..], &b"\r\n\r\n"[..]),
            (b"GET ", b" HTTP/1.1\r\nHost: a\r\n\r\n"),
        ] {
            let _ = parse_request(&[before, &input, behind].concat(), &LIMITS);
        }
    }

    #[test]
    fn what_is_written_is_parsed_as_the_same_request(input in input()) {
        if let Ok(Some((first, _))) = parse_request(&input, &LIMITS) {
            prop_assume!(first.header.headers.contains_key("host"));
            let mut wire = Vec::new();
            write_request(&mut wire, &first.header, first.framing);
            let large = HeadLimits { bytes: 1 << 16, ..LIMITS };
            let (second, length) = parse_request(&wire, &large).unwrap().unwrap();
            prop_assert_eq!(length, wire.len());
            prop_assert_eq!(&second.header.uri, &first.header.uri);
            prop_assert_eq!(second.framing, first.framing);
            let mut expected = first.header.headers.clone();
            expected.remove("connection");
            let mut written = second.header.headers.clone();
            if first.framing == Framing::None { expected.remove("content-length"); }
            written.remove("connection");
            prop_assert_eq!(written, expected);
        }
    }

    /// httparse is the parser of Pingora and hyper.
    #[test]
    fn what_is_accepted_is_what_httparse_reads(input in input()) {
        let mut lines = [httparse::EMPTY_HEADER; 128];
        let mut theirs = httparse::Request::new(&mut lines);
        if let Ok(Some((head, length))) = parse_request(&input, &LIMITS) {
            prop_assert_eq!(theirs.parse(&input), Ok(httparse::Status::Complete(length)));
            prop_assert_eq!(theirs.method, Some(head.header.method.as_str()));
            let headers = &head.header.headers;
            for line in theirs.headers.iter().filter(|line| !changes(line.name)) {
                prop_assert!(headers.get_all(line.name).iter().any(|value| value == line.value));
            }
            let values = |name: &http::HeaderName| headers.get_all(name).iter().count();
            let ours: usize = headers.keys().map(values).sum();
            prop_assert!(ours.abs_diff(theirs.headers.len()) <= 1, "but for Host");
        }
    }
}

/// Returns whether the parser may change the value of a header.
fn changes(name: &str) -> bool {
    name.eq_ignore_ascii_case("content-length") || name.eq_ignore_ascii_case("host")
}
