use proptest::prelude::*;

use super::*;

/// What a decoder made of an input: content, trailers, and the bytes it left.
#[derive(Debug, PartialEq)]
struct Outcome {
    content: Vec<u8>,
    end: Option<Vec<(String, String)>>,
    rest: Vec<u8>,
    error: Option<FramingError>,
}

/// Decodes reads that arrive one after the other, as a connection does.
fn decode(framing: Framing, reads: &[&[u8]]) -> Outcome {
    let mut decoder = Decoder::new(framing);
    let mut outcome = Outcome {
        content: Vec::new(),
        end: None,
        rest: Vec::new(),
        error: None,
    };
    let mut buffer = Vec::new();
    'reads: for read in reads {
        buffer.extend_from_slice(read);
        let mut input = Bytes::from(std::mem::take(&mut buffer));
        while outcome.end.is_none() {
            match decoder.next(&mut input) {
                Ok(Some(Piece::Data(data))) => {
                    assert!(!data.is_empty(), "an empty piece");
                    outcome.content.extend_from_slice(&data);
                }
                Ok(Some(Piece::End(trailers))) => {
                    assert!(decoder.is_done());
                    let trailers = trailers.map(|map| *map).unwrap_or_default();
                    let pair = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
                        (
                            name.to_string(),
                            String::from_utf8_lossy(value.as_bytes()).into_owned(),
                        )
                    };
                    outcome.end = Some(trailers.iter().map(pair).collect());
                }
                Ok(None) => break,
                Err(error) => {
                    outcome.error = Some(error);
                    break 'reads;
                }
            }
        }
        buffer = input.to_vec();
    }
    outcome.rest = buffer;
    outcome
}

fn chunked(input: &[u8]) -> Outcome {
    decode(Framing::Chunked, &[input])
}

/// Returns the content and the rest of a chunked body that must be valid.
fn valid(input: &[u8]) -> (String, String) {
    let outcome = chunked(input);
    assert_eq!(outcome.error, None, "{input:?}");
    assert!(outcome.end.is_some(), "{input:?} has no end");
    (
        String::from_utf8(outcome.content).unwrap(),
        String::from_utf8(outcome.rest).unwrap(),
    )
}

fn error(input: &[u8]) -> &'static str {
    chunked(input)
        .error
        .unwrap_or_else(|| panic!("{:?} passes", String::from_utf8_lossy(input)))
        .0
}

#[test]
fn a_body_of_known_length_ends_behind_its_last_byte() {
    let outcome = decode(Framing::Length(5), &[b"he", b"llo", b"next"]);
    assert_eq!(outcome.content, b"hello");
    assert_eq!(outcome.end, Some(vec![]));
    let outcome = decode(Framing::Length(5), &[b"helloGET /"]);
    assert_eq!(
        (outcome.content, outcome.rest),
        (b"hello".to_vec(), b"GET /".to_vec())
    );
}

#[test]
fn the_end_follows_the_last_content_without_input() {
    let mut decoder = Decoder::new(Framing::Length(2));
    let mut input = Bytes::from_static(b"ab");
    assert_eq!(decoder.remaining(), Some(2));
    assert!(matches!(decoder.next(&mut input), Ok(Some(Piece::Data(data))) if data == "ab"));
    assert!(!decoder.is_done());
    assert_eq!(decoder.remaining(), Some(0));
    assert!(matches!(
        decoder.next(&mut input),
        Ok(Some(Piece::End(None)))
    ));
    assert!(decoder.is_done());
    assert_eq!(decoder.eof(), Ok(()));
}

#[test]
fn a_message_without_body_is_done_from_the_beginning() {
    for framing in [Framing::None, Framing::Length(0)] {
        let mut decoder = Decoder::new(framing);
        assert!(decoder.is_done());
        assert_eq!(decoder.remaining(), Some(0));
        let mut input = Bytes::from_static(b"GET / HTTP/1.1\r\n");
        assert!(matches!(
            decoder.next(&mut input),
            Ok(Some(Piece::End(None)))
        ));
        assert_eq!(input.len(), 16);
    }
}

#[test]
fn only_a_body_until_close_may_end_with_the_connection() {
    let mut decoder = Decoder::new(Framing::UntilClose);
    let mut input = Bytes::from_static(b"all");
    assert!(matches!(decoder.next(&mut input), Ok(Some(Piece::Data(_)))));
    assert!(matches!(decoder.next(&mut input), Ok(None)));
    assert_eq!(decoder.eof(), Ok(()));
    assert!(matches!(
        decoder.next(&mut input),
        Ok(Some(Piece::End(None)))
    ));
    assert!(Decoder::new(Framing::Length(1)).eof().is_err());
    assert!(Decoder::new(Framing::Chunked).eof().is_err());
}

#[test]
fn pieces_are_slices_of_the_input() {
    let mut input = Bytes::from(b"3\r\nabc\r\n0\r\n\r\n".to_vec());
    let place = input.as_ptr() as usize;
    let mut decoder = Decoder::new(Framing::Chunked);
    let Ok(Some(Piece::Data(data))) = decoder.next(&mut input) else {
        panic!("no data")
    };
    assert_eq!(data.as_ptr() as usize, place + 3);
}

#[test]
fn chunks_are_joined_to_the_content() {
    assert_eq!(
        valid(b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\nGET"),
        ("hello world".into(), "GET".into())
    );
    assert_eq!(valid(b"0\r\n\r\n"), (String::new(), String::new()));
    assert_eq!(valid(b"00A\r\n0123456789\r\n000\r\n\r\n").0, "0123456789");
    assert_eq!(valid(b"a\r\n0123456789\r\n0\r\n\r\n").0, "0123456789");
    assert_eq!(valid(b"0000000000000001\r\nx\r\n0\r\n\r\n").0, "x");
}

#[test]
fn extensions_and_padding_are_ignored() {
    for line in [
        "1;a",
        "1;a=b",
        "1 ;a=\"b;c\"",
        "1;",
        "1\t; x = y",
        "1 ",
        "1  \t",
        "1;caf\u{e9}",
    ] {
        let body = format!("{line}\r\nx\r\n0;end\r\n\r\n");
        assert_eq!(valid(body.as_bytes()).0, "x", "{line}");
    }
}

#[test]
fn a_size_without_digits_is_rejected() {
    // Pingora reads them as 0, so the next request was smuggled in the body.
    for line in [
        "", ";a", ";", " ", " 5", "\t5", "g", "-5", "+5", "x5", "0x5",
    ] {
        chunked(format!("{line}\r\n5\r\nhello\r\n0\r\n\r\n").as_bytes())
            .error
            .expect(line);
    }
    assert_eq!(error(b"\r\n5\r\n"), "A chunk size has no digits.");
}

#[test]
fn a_size_of_more_than_64_bits_is_rejected() {
    assert_eq!(
        error(b"10000000000000000\r\n"),
        "A chunk size has more than 16 digits."
    );
    assert_eq!(
        error(b"00000000000000001\r\n"),
        "A chunk size has more than 16 digits."
    );
    let largest = chunked(b"ffffffffffffffff\r\nx");
    assert_eq!((largest.error, &*largest.content), (None, &b"x"[..]));
}

#[test]
fn lines_of_the_chunked_coding_end_with_crlf() {
    for body in [
        &b"5\nhello\r\n0\r\n\r\n"[..],
        b"5\rhello\r\n0\r\n\r\n",
        b"5;a\nhello\r\n0\r\n\r\n",
        b"5;a\rb\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhello0\r\n\r\n",
        b"5\r\nhelloXX0\r\n\r\n",
        b"5\r\nhello\r0\r\n\r\n",
        b"0\n\n",
        b"0\r\n\n",
        b"0\r\nA: b\n\r\n",
        b"5 5\r\nhello\r\n",
        b"5,\r\n",
        b"5;\0\r\n",
    ] {
        error(body);
    }
}

#[test]
fn the_size_line_has_a_limit() {
    let fits = format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(4092));
    assert_eq!(valid(fits.as_bytes()).0, "x");
    let exceeds = format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(4093));
    assert_eq!(
        error(exceeds.as_bytes()),
        "The size line of a chunk is too long."
    );
}

#[test]
fn trailers_are_kept() {
    let outcome =
        chunked(b"1\r\nx\r\n0\r\nDigest: a\r\nServer-Timing:b\r\nserver-timing: c \r\n\r\nGET");
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let expected = vec![
        pair("digest", "a"),
        pair("server-timing", "b"),
        pair("server-timing", "c"),
    ];
    assert_eq!(outcome.end, Some(expected));
    assert_eq!(outcome.rest, b"GET");
}

#[test]
fn forbidden_trailers_are_dropped() {
    for name in [
        "Content-Length",
        "Transfer-Encoding",
        "Host",
        "Set-Cookie",
        "Cookie",
        "Authorization",
        "Content-Type",
        "Connection",
        "Trailer",
        "TE",
        "Upgrade",
        "Keep-Alive",
        "Cache-Control",
        "Proxy-Authorization",
        "X-Backend-Request-ID",
        "X_Backend.Request_ID",
        "X-App-Proxy-Token",
        "X-Forwarded-For",
        "Forwarded",
        "If-Match",
        "Location",
        "Date",
    ] {
        let body = format!("0\r\n{name}: x\r\n\r\n");
        assert_eq!(chunked(body.as_bytes()).end, Some(vec![]), "{name}");
    }
}

#[test]
fn invalid_trailers_are_rejected() {
    for line in [
        "A b: c",
        "A : b",
        " A: b",
        "A",
        ":",
        "A: \0",
        "A: b\r\n folded",
        "A: \x7f",
    ] {
        assert_eq!(
            error(format!("0\r\n{line}\r\n\r\n").as_bytes()),
            "A trailer line is invalid."
        );
    }
}

#[test]
fn trailers_have_limits() {
    let with = |lines: usize| format!("0\r\n{}\r\n", "A: b\r\n".repeat(lines));
    assert_eq!(chunked(with(64).as_bytes()).end.unwrap().len(), 64);
    assert_eq!(
        error(with(65).as_bytes()),
        "The body has too many trailers."
    );
    let long = |length: usize| format!("0\r\nA: {}\r\n\r\n", "b".repeat(length - 7));
    assert!(chunked(long(8192).as_bytes()).end.is_some());
    assert_eq!(error(long(8193).as_bytes()), "The trailers are too long.");
    assert_eq!(
        error(&[b"0\r\n".as_slice(), &[b'a'; 100_000]].concat()),
        "The trailers are too long."
    );
}

/// Splits `input` before the positions `cuts`.
fn split<'a>(input: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<_> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
    places.extend([0, input.len()]);
    places.sort_unstable();
    places
        .windows(2)
        .map(|pair| &input[pair[0]..pair[1]])
        .collect()
}

/// Bodies that are nearly chunked: valid parts in any order, and some bytes.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        8 => prop::collection::vec(any::<u8>(), 1..20).prop_map(|data| {
            [format!("{:x}\r\n", data.len()).as_bytes(), &data, b"\r\n"].concat()
        }),
        2 => Just(b"3;ext=\"1\"\r\nabc\r\n".to_vec()),
        1 => Just(b"0\r\nA: b\r\nHost: c\r\n\r\n".to_vec()),
        2 => Just(b"0\r\n\r\n".to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..4),
        1 => prop::sample::select(vec![b"\n".to_vec(), b"\r".to_vec(), b"5".to_vec()]),
    ];
    prop::collection::vec(part, 0..8).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn any_split_gives_the_same_pieces(
        input in body(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        length in prop::option::of(0..40_u64),
    ) {
        let framing = length.map_or(Framing::Chunked, Framing::Length);
        let whole = decode(framing, &[&input]);
        let parts = decode(framing, &split(&input, &cuts));
        prop_assert_eq!(&parts.content, &whole.content);
        prop_assert_eq!(&parts.end, &whole.end);
        prop_assert_eq!(parts.error, whole.error);
        let bytes: Vec<_> = input.chunks(1).chain([&[][..]]).collect();
        let bytes = decode(framing, &bytes);
        prop_assert_eq!((bytes.content, bytes.end), (whole.content, whole.end));
    }

    #[test]
    fn any_bytes_are_decoded_without_panic(input in prop::collection::vec(any::<u8>(), 0..300)) {
        let outcome = chunked(&input);
        prop_assert!(outcome.content.len() <= input.len());
    }
}
