//! The framing of the body (RFC 9112, section 6).

use super::*;

#[test]
fn framing_by_content_length() {
    assert_eq!(with("A: b").unwrap().framing, Framing::None);
    for (value, length) in [("0", 0), ("5", 5), ("18446744073709551615", u64::MAX)] {
        let head = with(&format!("Content-Length: {value}")).unwrap();
        assert_eq!(head.framing, Framing::Length(length));
        assert_eq!(head.header.headers["content-length"], value);
    }
    for value in ["05", "0000000000000000000000005"] {
        let head = with(&format!("Content-Length: {value}")).unwrap();
        assert_eq!(
            (head.framing, &head.header.headers["content-length"]),
            (Framing::Length(5), &HeaderValue::from_static("5"))
        );
    }
    for value in [
        "",
        "+5",
        "-5",
        "5, 5",
        "5,5",
        "5 5",
        "5,",
        ",5",
        "0x5",
        "5.0",
        "5e1",
        "a",
        "\u{0665}",
        "\"5\"",
        "18446744073709551616",
        "99999999999999999999999",
        "5;a",
        "1_0",
    ] {
        assert_eq!(
            status_with(&format!("Content-Length: {value}")),
            400,
            "{value:?}"
        );
    }
    assert_eq!(status_with("Content-Length: 5\r\nContent-Length: 5"), 400);
    assert_eq!(status_with("Content-Length: 5\r\ncontent-length: 6"), 400);
}

#[test]
fn framing_by_transfer_encoding() {
    for value in ["chunked", "Chunked", "CHUNKED"] {
        let head = with(&format!("Transfer-Encoding: {value}")).unwrap();
        assert_eq!((head.framing, head.hop_by_hop), (Framing::Chunked, true));
    }
    for value in [
        "gzip, chunked",
        "gzip",
        "identity",
        "cow, chunked",
        "gzip;a=b, chunked",
        "xchunked",
        "identity, chunked",
        "chunked\r\nTransfer-Encoding: ",
    ] {
        let expected = if value.ends_with(": ") { 400 } else { 501 };
        assert_eq!(
            status_with(&format!("Transfer-Encoding: {value}")),
            expected,
            "{value}"
        );
    }
    assert_eq!(
        status_with("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked"),
        501
    );
    for value in [
        "chunked, chunked",
        ",chunked",
        "chunked,",
        "",
        ",",
        "chunked, gzip",
        "chunked;a=b",
        "chunked;",
        "\"chunked\"",
        "chunked x",
        "chunked, identity",
        "\x0bchunked",
    ] {
        assert_eq!(
            status_with(&format!("Transfer-Encoding: {value}")),
            400,
            "{value}"
        );
    }
    assert_eq!(
        status_with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
        400
    );
    assert_eq!(
        status_with("Transfer-Encoding: chunked\r\nContent-Length: 5"),
        400
    );
    assert_eq!(
        status_with("Content-Length: 0\r\nTransfer-Encoding: gzip"),
        400
    );
    assert_eq!(
        rejected("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n").0,
        400
    );
}
