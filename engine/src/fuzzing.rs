//! Properties that hold for any bytes that a client or a next hop can send; the targets in `fuzz/`
//! call them.
//!
//! They are part of the crate because the parsers are private to it. Only tests and builds with the
//! feature `fuzzing` contain this module. Each function panics if its property does not hold.

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

use crate::body::{Decoder, Framing, Piece};
use crate::head::{
    Persistence, SpelledNames, parse_request, parse_response, salvage_request, write_request,
    write_response,
};
use crate::limits::HeadLimits;

/// Bounds that a fuzzer reaches soon.
const NARROW: HeadLimits = HeadLimits {
    bytes: 1024,
    lines: 24,
    target: 200,
};
/// Bounds for what the engine itself has written.
const WIDE: HeadLimits = HeadLimits {
    bytes: 1024 * 1024,
    lines: 1000,
    target: 64 * 1024,
};

/// An accepted request head is within its bounds, is not accepted before it is whole, and is the
/// same after it was written and parsed again. A head that was rejected stays rejected, whatever
/// follows.
pub fn request_head(input: &[u8]) {
    let salvaged = salvage_request(input, &NARROW);
    assert!(salvaged.headers.len() <= NARROW.lines);
    let (head, length) = match parse_request(input, &NARROW) {
        Ok(Some(found)) => found,
        Ok(None) => {
            assert!(input.len() <= NARROW.bytes + 2, "a head without a bound");
            return;
        }
        Err(rejection) => {
            let longer = [input, b"\r\n\r\n"].concat();
            assert!(parse_request(&longer, &NARROW).is_err(), "{rejection}");
            return;
        }
    };
    assert!(length <= NARROW.bytes + 2 && head.header.headers.len() <= NARROW.lines + 1);
    assert_whole(input, length, |part| {
        matches!(parse_request(part, &NARROW), Ok(None))
    });
    assert_clean(&head.header.headers);
    assert!(head.header.headers.get_all("host").iter().count() <= 1);

    let mut wire = Vec::new();
    write_request(&mut wire, &head.header, head.framing);
    if !head.header.headers.contains_key("host") {
        return;
    }
    let again = parse_request(&wire, &WIDE);
    let Ok(Some((again, length))) = again else {
        panic!("written, but not accepted: {again:?}");
    };
    assert_eq!((length, again.framing), (wire.len(), head.framing));
    let mut twice = Vec::new();
    write_request(&mut twice, &again.header, again.framing);
    assert_eq!(
        twice.escape_ascii().to_string(),
        wire.escape_ascii().to_string()
    );
}

/// The same for a response head. The first byte is the method of the request.
pub fn response_head(input: &[u8]) {
    let Some((&first, input)) = input.split_first() else {
        return;
    };
    let method = if first & 1 == 0 {
        Method::GET
    } else {
        Method::HEAD
    };
    let Ok(Some((head, length))) = parse_response(input, &method, &NARROW) else {
        let longer = [input, b"\r\n\r\n"].concat();
        let is_rejected = parse_response(input, &method, &NARROW).is_err();
        assert!(!is_rejected || parse_response(&longer, &method, &NARROW).is_err());
        assert!(
            is_rejected || input.len() < NARROW.bytes,
            "a head without a bound"
        );
        return;
    };
    assert!(length <= NARROW.bytes && head.header.headers.len() <= NARROW.lines);
    assert_whole(input, length, |part| {
        matches!(parse_response(part, &method, &NARROW), Ok(None))
    });
    assert_clean(&head.header.headers);
    let status = head.header.status;
    if status.is_informational() || status == StatusCode::NO_CONTENT {
        assert!(!head.header.headers.contains_key("content-length"));
    }

    let spelled = SpelledNames::new(["X-A".to_owned()]);
    let mut wire = Vec::new();
    let persistence = if head.keep_alive {
        Persistence::Implied
    } else {
        Persistence::Close
    };
    let spelling = Some(&head.spelling);
    write_response(
        &mut wire,
        &head.header,
        spelling,
        &spelled,
        head.framing,
        persistence,
    );
    let again = parse_response(&wire, &method, &WIDE);
    let Ok(Some((again, length))) = again else {
        panic!("written, but not accepted: {again:?}");
    };
    assert_eq!((length, again.framing), (wire.len(), head.framing));
    assert_eq!(again.header.status, status);
    for (name, value) in &head.header.headers {
        let is_own = ["connection", "content-length", "transfer-encoding"].contains(&name.as_str());
        let mut values = again.header.headers.get_all(name).iter();
        assert!(
            is_own || values.any(|other| other == value),
            "{name} is lost"
        );
    }
}

/// Asserts that no part of a head is taken for the whole.
fn assert_whole(input: &[u8], length: usize, is_partial: impl Fn(&[u8]) -> bool) {
    assert!(length <= input.len());
    for cut in 0..length {
        let part = input.get(..cut).unwrap_or_default();
        assert!(is_partial(part), "{cut} of {length} bytes");
    }
}

/// Asserts that no value can end its line.
fn assert_clean(headers: &HeaderMap) {
    for (name, value) in headers {
        let is_text = |byte: &u8| !byte.is_ascii_control() || *byte == b'\t';
        assert!(value.as_bytes().iter().all(is_text), "{name}");
        assert_eq!(value.as_bytes().trim_ascii(), value.as_bytes(), "{name}");
    }
}

/// What a decoder makes of its input.
#[derive(Debug, Default, PartialEq)]
struct Decoded {
    content: Vec<u8>,
    trailers: Option<HeaderMap>,
    rest: Vec<u8>,
    ended: bool,
    error: Option<&'static str>,
}

/// Any split of a body into reads gives the same content, trailers, end and error, and leaves the
/// same bytes to the next message. The first two bytes are the framing and the split.
pub fn body(input: &[u8]) {
    let [kind, pieces, input @ ..] = input else {
        return;
    };
    let framing = match kind % 4 {
        0 => Framing::Length(u64::from(*kind)),
        1 => Framing::UntilClose,
        _ => Framing::Chunked,
    };
    let whole = decode(framing, std::iter::once(input));
    let size = usize::from(*pieces).max(1);
    assert_eq!(decode(framing, input.chunks(size)), whole);
    assert_eq!(decode(framing, input.chunks(1)), whole);
    if let Framing::Length(length) = framing {
        assert!(whole.content.len() as u64 <= length);
    }
    if framing != Framing::UntilClose {
        assert!(whole.content.len() + whole.rest.len() <= input.len());
    }
    if let Some(trailers) = &whole.trailers {
        assert_clean(trailers);
    }
}

fn decode<'i>(framing: Framing, reads: impl Iterator<Item = &'i [u8]>) -> Decoded {
    let mut decoder = Decoder::new(framing);
    let mut decoded = Decoded::default();
    let mut buffer = Vec::new();
    for read in reads {
        buffer.extend_from_slice(read);
        if decoded.ended {
            continue;
        }
        let mut input = Bytes::from(std::mem::take(&mut buffer));
        decoded.take(&mut decoder, &mut input);
        buffer = input.to_vec();
        if decoded.error.is_some() {
            // The rest of the connection is meaningless.
            return decoded;
        }
    }
    if !decoded.ended {
        decoded.error = decoder.eof().err().map(|error| error.0);
        if decoded.error.is_none() {
            decoded.take(&mut decoder, &mut Bytes::new());
            assert!(decoded.ended, "no end behind the end of the connection");
        }
    }
    assert!(!decoded.ended || decoder.is_done());
    decoded.rest = buffer;
    decoded
}

impl Decoded {
    fn take(&mut self, decoder: &mut Decoder, input: &mut Bytes) {
        loop {
            let left = decoder.remaining();
            match decoder.next(input) {
                Ok(Some(Piece::Data(data))) => {
                    assert!(!data.is_empty(), "an empty piece");
                    let taken = data.len() as u64;
                    assert!(left.is_none_or(|left| decoder.remaining() == Some(left - taken)));
                    self.content.extend_from_slice(&data);
                }
                Ok(Some(Piece::End(trailers))) => {
                    self.ended = true;
                    self.trailers = trailers.map(|trailers| *trailers);
                    return;
                }
                Ok(None) => return,
                Err(error) => {
                    self.error = Some(error.0);
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
