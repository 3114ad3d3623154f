//! The ends of lines, and header lines (RFC 9112, sections 2.2 and 5).

use super::*;

#[test]
fn exactly_one_leading_crlf_is_skipped() {
    accepted("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(
        rejected("\r\n\r\nGET / HTTP/1.1\r\n").1,
        "The request line is empty."
    );
    assert_eq!(
        rejected("\nGET / HTTP/1.1\r\n").1,
        "A line ends with LF alone."
    );
    assert_eq!(
        rejected("\r\n\nGET / HTTP/1.1\r\n").1,
        "A line ends with LF alone."
    );
    for begun in ["", "\r", "\r\n", "\r\n\r"] {
        assert!(
            parse_request(begun.as_bytes(), &LIMITS).unwrap().is_none(),
            "{begun:?}"
        );
    }
}

#[test]
fn lf_without_cr_is_rejected_at_once() {
    for input in [
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost: a\nB: c\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        "GET / HTTP/1.1\r\nHost: a\n",
    ] {
        assert_eq!(
            rejected(input),
            (400, "A line ends with LF alone.".into()),
            "{input:?}"
        );
    }
}

#[test]
fn cr_without_lf_is_rejected() {
    for input in [
        "GET / HTTP/1.1\rHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\r\nHost: a\r\n\r\n",
        "GET /\r HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\rB: c\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n",
        "GET / HTTP/1.1\r\nHost\r: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\r\r\n\r\n",
    ] {
        assert_eq!(rejected(input).0, 400, "{input:?}");
    }
}

#[test]
fn faults_of_header_lines_have_their_own_text() {
    for (line, text) in [
        ("A : b", "A header name has a blank before its colon."),
        ("A\t: b", "A header name has a blank before its colon."),
        (" A: b", "A header line begins with a blank."),
        ("A: b\r\n c", "A header line begins with a blank."),
        ("A: b\r\n\tc: d", "A header line begins with a blank."),
        ("A: b\r\n ", "A header line begins with a blank."),
        ("A", "A header line has no colon."),
        (": b", "A header line has no name."),
        ("A b: c", "A header name has an invalid byte."),
        ("A\u{e9}: c", "A header name has an invalid byte."),
        ("A(: c", "A header name has an invalid byte."),
        ("\"A\": c", "A header name has an invalid byte."),
        ("A\0: c", "A header line has a control character."),
        ("A: b\rc", "A header line has a CR without LF."),
        ("A: b\0", "A header line has a control character."),
        ("A: \x01", "A header line has a control character."),
        ("A: b\x0bc", "A header line has a control character."),
        ("A: b\x1b", "A header line has a control character."),
        ("A: b\x7f", "A header line has a control character."),
    ] {
        let rejection = with(line).unwrap_err();
        assert_eq!(
            (rejection.status().as_u16(), rejection.to_string()),
            (400, text.into())
        );
    }
}

#[test]
fn values_may_have_tabs_and_bytes_beyond_ascii() {
    let head = with("A: b\tc\r\nB: caf\u{e9}\r\nC:\r\nD: \t \r\nE: :")
        .unwrap()
        .header
        .headers
        .clone();
    assert_eq!(head["a"], "b\tc");
    assert_eq!(head["b"].as_bytes(), "caf\u{e9}".as_bytes());
    assert!(head["c"].is_empty() && head["d"].is_empty() && head["e"] == ":");
    let latin = b"GET / HTTP/1.1\r\nHost: a\r\nA: \xe9\xff\x80\r\n\r\n";
    let (head, _) = parse_request(latin, &LIMITS).unwrap().unwrap();
    assert_eq!(head.header.headers["a"].as_bytes(), b"\xe9\xff\x80");
}

#[test]
fn the_number_of_lines_is_limited() {
    for count in [24, 25, 26, 99] {
        let head = with(&vec!["A: b"; count].join("\r\n")).unwrap();
        assert_eq!(head.header.headers.get_all("a").iter().count(), count);
    }
    assert_eq!(with(&["A: b"; 100].join("\r\n")).unwrap_err().status(), 431);
    // The rest of the head need not arrive.
    let begun = format!("GET / HTTP/1.1\r\n{}", "A: b\r\n".repeat(101));
    assert_eq!(
        rejected(begun),
        (431, "The request has too many header lines.".into())
    );
    let many = HeadLimits {
        lines: 256,
        ..LIMITS
    };
    let input = format!(
        "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
        "A: b\r\n".repeat(255)
    );
    assert!(parse_request(input.as_bytes(), &many).unwrap().is_some());
}

#[test]
fn the_length_of_heads_is_limited() {
    let head = |length: usize| {
        format!(
            "GET / HTTP/1.1\r\nHost: a\r\nA: {}\r\n\r\n",
            "b".repeat(length - 32)
        )
    };
    assert_eq!(head(4096).len(), 4096);
    accepted(&head(4096));
    accepted(&format!("\r\n{}", head(4096)));
    let text = "The request head is longer than this proxy accepts.";
    assert_eq!(rejected(head(4097)), (431, text.into()));
    assert!(
        parse_request(&head(5000).as_bytes()[..4095], &LIMITS)
            .unwrap()
            .is_none()
    );
    assert_eq!(rejected(&head(5000).as_bytes()[..4096]), (431, text.into()));
    // A fault of the request line comes first.
    assert_eq!(
        rejected(format!("GET a HTTP/7.0\r\nA: {}", "b".repeat(5000))).0,
        505
    );
}
