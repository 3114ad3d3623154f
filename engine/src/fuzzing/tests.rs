use app_proxy_tests::corpus;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// The cases of the corpus that are short enough for every prefix to be parsed.
fn inputs(kind: &str) -> Vec<Vec<u8>> {
    let bytes = |case: &corpus::Case| match kind {
        "requests" => case.client_bytes(),
        _ => case.app_bytes(),
    };
    let inputs = corpus::load(kind);
    let inputs = inputs.iter().map(bytes);
    inputs.filter(|input| input.len() <= 2048).collect()
}

#[test]
fn the_properties_hold_for_the_corpus() {
    for input in inputs("requests") {
        super::request_head(&input);
        let end = input.windows(4).position(|window| window == b"\r\n\r\n");
        let body = end.map_or(&[][..], |end| &input[end + 4..]);
        super::body(&[b"\x02\x03", body].concat());
    }
    for input in inputs("responses") {
        super::response_head(&[b"\0", &input[..]].concat());
        super::response_head(&[b"\x01", &input[..]].concat());
    }
}

/// Bytes of which messages are made.
const PIECES: &[&[u8]] = &[
    b"\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n",
    b"HTTP/1.1 200 OK\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Content-Length: 3\r\n",
    b"X-A: b\r\n",
    b"3\r\nabc\r\n",
    b"0\r\n",
    b"5;a=b\r\n",
    b" ",
    b":",
    b"a",
    b"\n",
    b"\r",
    b"\0",
    b"\xff",
];

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(select(PIECES), 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn the_properties_hold_for_pieces_of_messages(input in bytes(), first in any::<[u8; 2]>()) {
        super::request_head(&input);
        super::response_head(&[&first[..1], &input].concat());
        super::body(&[&first[..], &input].concat());
    }
}
