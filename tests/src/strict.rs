//! A strict reader of HTTP/1.1 messages: the application and the client of the corpus. The messages
//! that a proxy generates have no excuse, so that whatever RFC 9112 calls invalid is a fault.

mod body;
mod head;

pub use head::Fields;

/// A whole message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The start line.
    pub line: Vec<u8>,
    /// Header fields; names in lower case.
    pub fields: Fields,
    /// The content.
    pub body: Vec<u8>,
    /// Trailer fields; names in lower case.
    pub trailers: Fields,
    /// The body ended before its framing did, or with the connection.
    pub ending: Ending,
}

/// The end of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ending {
    /// As its framing says.
    #[default]
    Framed,
    /// With the connection, by rule.
    Closed,
    /// With the connection, too early.
    Truncated,
}

/// The outcome of an attempt to read a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// More bytes are needed.
    Partial,
    /// A message, and its length.
    Whole(Box<Message>, usize),
    /// A message that violates RFC 9112.
    Invalid(String),
}

impl Message {
    /// The n-th word of the start line, from 0.
    #[must_use]
    pub fn word(&self, n: usize) -> &[u8] {
        self.line
            .splitn(3, |byte| *byte == b' ')
            .nth(n)
            .unwrap_or_default()
    }

    /// The values of the header lines `name`.
    #[must_use]
    pub fn all(&self, name: &str) -> Vec<&[u8]> {
        head::all(&self.fields, name)
    }

    /// Method and target.
    #[must_use]
    pub fn request(&self) -> Vec<u8> {
        [self.word(0), self.word(1)].join(&b' ')
    }

    /// The status, or 0.
    #[must_use]
    pub fn status(&self) -> u16 {
        let text = String::from_utf8_lossy(self.word(1));
        text.parse().unwrap_or_default()
    }
}

/// Reads a request. `ended`: no byte follows.
#[must_use]
pub fn request(bytes: &[u8], ended: bool) -> Read {
    read(bytes, ended, |message| {
        head::check_request(message)?;
        body::Framing::of_request(message)
    })
}

/// Reads a valid request head; `None` if it is not whole.
#[must_use]
pub fn head(bytes: &[u8]) -> Option<Message> {
    let (message, _) = head::parse(bytes).ok().flatten()?;
    Some(message)
}

/// Reads a response to a request with this method. `ended`: no byte follows.
#[must_use]
pub fn response(bytes: &[u8], method: &[u8], ended: bool) -> Read {
    read(bytes, ended, |message| {
        head::check_response(message)?;
        body::Framing::of_response(message, method)
    })
}

fn read(
    bytes: &[u8],
    ended: bool,
    framing: impl FnOnce(&Message) -> Result<body::Framing, String>,
) -> Read {
    let (mut message, length) = match head::parse(bytes) {
        Ok(Some(head)) => head,
        Ok(None) if ended && !bytes.is_empty() => {
            return Read::Invalid("the head ends with the connection".to_owned());
        }
        Ok(None) => return Read::Partial,
        Err(fault) => return Read::Invalid(fault),
    };
    let rest = &bytes[length..];
    let body = framing(&message).and_then(|framing| body::read(framing, rest, ended));
    match body {
        Ok(None) => Read::Partial,
        Ok(Some(body)) => {
            message.body = body.content;
            message.trailers = body.trailers;
            message.ending = body.ending;
            Read::Whole(Box::new(message), length + body.length)
        }
        Err(fault) => Read::Invalid(fault),
    }
}

#[cfg(test)]
mod tests {
    use super::{Ending, Read, request, response};

    #[test]
    fn whole_messages_are_read() {
        let bytes = b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\
            3\r\nabc\r\n0\r\nT: v\r\n\r\nGET";
        let Read::Whole(message, length) = request(bytes, false) else {
            panic!("a request");
        };
        assert_eq!(
            (message.body.as_slice(), length),
            (&b"abc"[..], bytes.len() - 3)
        );
        assert_eq!(message.trailers, [("t".to_owned(), b"v".to_vec())]);
        for cut in 0..length {
            assert_eq!(request(&bytes[..cut], false), Read::Partial, "{cut}");
        }
        let Read::Whole(message, _) = response(b"HTTP/1.1 200 \r\n\r\nabc", b"GET", true) else {
            panic!("a response");
        };
        assert_eq!(
            (message.body.as_slice(), message.ending),
            (&b"abc"[..], Ending::Closed)
        );
    }

    #[test]
    fn invalid_messages_are_noticed() {
        let heads: [&[u8]; 10] = [
            b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET / HTTP/1.0\r\nHost: x\r\n\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\n a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 05\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;a\r\na\r\n",
        ];
        for head in heads {
            let read = request(head, false);
            assert!(matches!(read, Read::Invalid(_)), "{read:?}");
        }
    }
}
