use proptest::prelude::*;

use super::*;

const LIMITS: HeadLimits = HeadLimits {
    bytes: 4096,
    lines: 100,
    target: 0,
};

fn parse_for(method: &Method, input: &[u8]) -> Result<ResponseHead, BadResponse> {
    let (head, length) = parse_response(input, method, &LIMITS)?.expect("a whole head");
    assert_eq!(length, input.len());
    Ok(head)
}

fn parse(input: &str) -> Result<ResponseHead, BadResponse> {
    parse_for(&Method::GET, input.as_bytes())
}

/// Parses a 200 with these header lines.
fn with(lines: &str) -> Result<ResponseHead, BadResponse> {
    parse(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n"))
}

fn error(input: &[u8]) -> &'static str {
    match parse_response(input, &Method::GET, &LIMITS) {
        Err(error) => error.0,
        Ok(head) => panic!("{head:?} from {:?}", String::from_utf8_lossy(input)),
    }
}

#[test]
fn a_head_is_parsed() {
    let input = b"HTTP/1.1 200 Fine\r\nServer: x\r\nSet-Cookie: a\r\nset-cookie: b\r\n\
        Content-Length: 2\r\n\r\nhi";
    let (head, length) = parse_response(input, &Method::GET, &LIMITS)
        .unwrap()
        .unwrap();
    assert_eq!(&input[length..], b"hi");
    assert_eq!(
        (head.header.status, head.header.version),
        (StatusCode::OK, Version::HTTP_11)
    );
    assert_eq!(head.header.get_reason_phrase(), Some("Fine"));
    assert_eq!(head.header.headers["server"], "x");
    assert_eq!(head.header.headers.get_all("set-cookie").iter().count(), 2);
    assert_eq!(head.framing, Framing::Length(2));
    assert!(head.keep_alive);
}

#[test]
fn status_lines() {
    for (line, status, reason) in [
        ("HTTP/1.1 200 OK", 200, "OK"),
        ("HTTP/1.0 404 Gone fishing", 404, "Gone fishing"),
        ("HTTP/1.1 200", 200, ""),
        ("HTTP/1.1 200 ", 200, ""),
        ("HTTP/1.2 204 a\tb", 204, "a\tb"),
        ("HTTP/1.1 999 caf\u{e9}", 999, "caf\u{e9}"),
    ] {
        let head = parse(&format!("{line}\r\n\r\n")).unwrap().header;
        assert_eq!(head.status, status);
        assert_eq!(head.get_reason_phrase(), Some(reason));
    }
    let latin = parse_for(&Method::GET, b"HTTP/1.1 200 caf\xe9\r\n\r\n").unwrap();
    assert_eq!(latin.header.get_reason_phrase(), Some("OK"));
    for line in [
        "",
        "HTTP/1.1",
        "HTTP/1.1 ",
        "HTTP/1.1 20",
        "HTTP/1.1 2000",
        "HTTP/1.1 099 x",
        "HTTP/1.1 +20",
        "HTTP/1.1  200 OK",
        "HTTP/2.0 200 OK",
        "HTTP/1 200 OK",
        "ICY 200 OK",
        "http/1.1 200 OK",
        "HTTP/1.1\t200 OK",
        "HTTP/1.1 200\tOK",
        " HTTP/1.1 200 OK",
        "HTTP/1.1 200 O\0K",
        "HTTP/1.1 200 O\rK",
        "HTTP/1.1 200 OK\x7f",
        "200 OK",
        "HTTP/1.10 200 OK",
        "HTTP/1.1 2x0 OK",
    ] {
        parse(&format!("{line}\r\n\r\n")).expect_err(line);
    }
}

#[test]
fn lines_are_as_strict_as_those_of_requests() {
    assert_eq!(error(b"HTTP/1.1 200 OK\n\n"), "a line ends with LF alone");
    assert_eq!(
        error(b"HTTP/1.1 200 OK\r\nA: b\n\r\n"),
        "a line ends with LF alone"
    );
    assert_eq!(
        error(b"\r\nHTTP/1.1 200 OK\r\n\r\n"),
        "the status line is invalid"
    );
    for (line, cause) in [
        ("A : b", "a header name has a blank before its colon"),
        ("A: b\r\n c", "a header line begins with a blank"),
        ("A", "a header line has no colon"),
        (": b", "a header line has no name"),
        ("A b: c", "a header name has an invalid byte"),
        ("A: b\rc", "a header line has a CR without LF"),
        ("A: \x01", "a header line has a control character"),
        ("A: \x7f", "a header line has a control character"),
        ("A: \0", "a header line has a control character"),
    ] {
        assert_eq!(with(line).unwrap_err().0, cause, "{line:?}");
    }
    let latin = parse_for(&Method::GET, b"HTTP/1.1 200 OK\r\nA: caf\xe9\r\n\r\n").unwrap();
    assert_eq!(latin.header.headers["a"].as_bytes(), b"caf\xe9");
}

#[test]
fn heads_have_limits() {
    assert_eq!(
        with(&["A: b"; 100].join("\r\n"))
            .unwrap()
            .header
            .headers
            .len(),
        100
    );
    assert_eq!(
        with(&["A: b"; 101].join("\r\n")).unwrap_err().0,
        "the response has too many header lines"
    );
    let long = |length: usize| format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "b".repeat(length - 24));
    parse(&long(4096)).unwrap();
    assert_eq!(
        error(long(4097).as_bytes()),
        "the response head is too long"
    );
    assert!(
        parse_response(&long(5000).as_bytes()[..4095], &Method::GET, &LIMITS)
            .unwrap()
            .is_none()
    );
}

#[test]
fn framing_by_content_length() {
    for (lines, length) in [
        ("Content-Length: 0", 0),
        ("Content-Length: 05", 5),
        ("Content-Length: 5\r\nContent-Length: 5", 5),
        ("Content-Length: 5, 5", 5),
        ("Content-Length: 5,05\r\nContent-Length: 5", 5),
        ("Content-Length: 18446744073709551615", u64::MAX),
        ("Transfer-Encoding: identity\r\nContent-Length: 5", 5),
    ] {
        let head = with(lines).unwrap();
        assert_eq!(head.framing, Framing::Length(length), "{lines}");
        let values: Vec<_> = head
            .header
            .headers
            .get_all("content-length")
            .iter()
            .collect();
        assert_eq!(values, [length.to_string().as_str()], "{lines}");
    }
    for value in [
        "5, 6",
        "5\r\nContent-Length: 6",
        "",
        "-1",
        "+1",
        "a",
        "5,",
        ",",
        "5;5",
        "1 2",
        "18446744073709551616",
    ] {
        with(&format!("Content-Length: {value}")).expect_err(value);
    }
}

#[test]
fn framing_by_transfer_encoding() {
    for value in ["chunked", "CHUNKED"] {
        assert_eq!(
            with(&format!("Transfer-Encoding: {value}"))
                .unwrap()
                .framing,
            Framing::Chunked
        );
    }
    assert_eq!(
        with("Transfer-Encoding: identity").unwrap().framing,
        Framing::UntilClose
    );
    for value in [
        "gzip",
        "gzip, chunked",
        "chunked, gzip",
        "chunked, chunked",
        ",chunked",
        "",
        "chunked;a",
        "identity, chunked",
    ] {
        with(&format!("Transfer-Encoding: {value}")).expect_err(value);
    }
    for lines in [
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    ] {
        with(lines).expect_err(lines);
    }
}

#[test]
fn some_responses_have_no_body() {
    let head = parse_for(
        &Method::HEAD,
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
    )
    .unwrap();
    assert_eq!((head.framing, head.keep_alive), (Framing::None, true));
    assert_eq!(head.header.headers["content-length"], "5");
    let head = parse("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n").unwrap();
    assert_eq!(
        (head.framing, &head.header.headers["content-length"]),
        (Framing::None, &HeaderValue::from(5))
    );
    for status in [100, 101, 103, 204] {
        let head = parse(&format!("HTTP/1.1 {status} X\r\nContent-Length: 4\r\n\r\n")).unwrap();
        assert_eq!(head.framing, Framing::None);
        assert!(head.header.headers.is_empty(), "{status}");
    }
    let head = parse_for(
        &Method::HEAD,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    assert_eq!(head.unwrap().framing, Framing::None);
    parse_for(
        &Method::HEAD,
        b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\n",
    )
    .unwrap_err();
}

#[test]
fn connections_persist_by_version_option_and_framing() {
    for (input, persists) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n", true),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: Close\r\n\r\n",
            false,
        ),
        ("HTTP/1.1 200 OK\r\n\r\n", false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n", false),
        (
            "HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\n",
            true,
        ),
        (
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n",
            false,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            true,
        ),
        ("HTTP/1.1 204 No Content\r\n\r\n", true),
    ] {
        assert_eq!(parse(input).unwrap().keep_alive, persists, "{input:?}");
    }
}

proptest! {
    #[test]
    fn any_split_gives_the_same_head(
        line in prop_oneof![3 => Just("HTTP/1.1 200 OK\r\n".to_owned()), 1 => "[ -~\r\n]{0,24}"],
        lines in prop::collection::vec(prop_oneof![
            4 => "[A-Za-z-]{1,12}:[ \t]?[ -~]{0,20}\r\n",
            1 => "[ -~\r\n\t\u{80}]{0,12}\r\n",
            1 => (0..5000_usize).prop_map(|n| format!("Long: {}\r\n", "x".repeat(n))),
            1 => Just("\r\n".to_owned()),
            1 => Just("\n".to_owned()),
        ], 0..10),
    ) {
        let input = format!("{line}{}\r\n", lines.concat()).into_bytes();
        let parse = |length| parse_response(&input[..length], &Method::GET, &LIMITS)
            .map(|head| head.map(|(_, end)| end));
        let slowly = (0..=input.len()).map(parse).find(|found| !matches!(found, Ok(None)));
        prop_assert_eq!(slowly.unwrap_or(Ok(None)), parse(input.len()));
    }

    #[test]
    fn any_bytes_are_parsed_without_panic(input in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse_response(&input, &Method::GET, &LIMITS);
        for before in [&b"HTTP/1.1 200 "[..], b"HTTP/1.1 200 OK\r\n"] {
            let head = [before, &input, b"\r\n\r\n"].concat();
            let _ = parse_response(&head, &Method::GET, &LIMITS);
        }
    }
}
