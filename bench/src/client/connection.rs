//! One HTTP/1.1 connection.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::failure::Failure;
use crate::REQUEST_ID;

/// The requirements for a response.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// The length of its body.
    pub length: u64,
    /// True if it must have a request ID.
    pub request_id: bool,
}

/// The head of a response, as far as the client needs it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Head {
    /// The status.
    pub status: u16,
    /// `Content-Length`.
    pub length: Option<u64>,
    /// True if the body is chunked.
    pub chunked: bool,
    /// True if there is a request ID.
    pub request_id: bool,
}

/// A connection with a buffer for bytes that were read and not yet used.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

/// Room for a head with a small body.
const SMALL: usize = 8 << 10;

impl Connection {
    /// Connects, with a buffer for small answers.
    ///
    /// # Errors
    /// It cannot be connected.
    pub async fn open(address: SocketAddr) -> Result<Self, Failure> {
        Self::open_with(address, SMALL).await
    }

    /// Connects, with a buffer of this size.
    ///
    /// # Errors
    /// It cannot be connected.
    pub async fn open_with(address: SocketAddr, buffer: usize) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: vec![0; buffer],
            start: 0,
            end: 0,
        })
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        Ok(self.stream.write_all(bytes).await?)
    }

    /// Sends a request, reads the whole answer, and checks it.
    ///
    /// # Errors
    /// The answer is not as expected.
    pub async fn exchange(&mut self, request: &[u8], expected: Expected) -> Result<(), Failure> {
        self.send(request).await?;
        self.answer(expected, |_, _| ()).await
    }

    /// Reads the whole answer and checks it; shows its headers.
    ///
    /// # Errors
    /// The answer is not as expected.
    pub async fn answer(
        &mut self,
        expected: Expected,
        header: impl FnMut(&str, &[u8]),
    ) -> Result<(), Failure> {
        let head = self.head(header).await?;
        if head.status != 200 {
            return Err(Failure::Status(head.status));
        }
        let found = head.length.ok_or(Failure::Malformed("no Content-Length"))?;
        if found != expected.length {
            return Err(Failure::Length {
                expected: expected.length,
                found,
            });
        }
        if expected.request_id && !head.request_id {
            return Err(Failure::NoRequestId);
        }
        self.discard(found).await
    }

    /// Reads the head of a response; shows its headers.
    ///
    /// # Errors
    /// It is not one.
    pub async fn head(&mut self, mut header: impl FnMut(&str, &[u8])) -> Result<Head, Failure> {
        loop {
            if self.start < self.end
                && let Some((length, head)) = parse(self.unread(), &mut header)?
            {
                self.consume(length);
                return Ok(head);
            }
            self.fill().await?;
        }
    }

    /// Reads so many bytes and forgets them.
    ///
    /// # Errors
    /// The connection ends before.
    pub async fn discard(&mut self, mut length: u64) -> Result<(), Failure> {
        loop {
            let here = usize::try_from(length)
                .unwrap_or(usize::MAX)
                .min(self.end - self.start);
            self.consume(here);
            length -= here as u64;
            if length == 0 {
                return Ok(());
            }
            self.fill().await?;
        }
    }

    /// Bytes that were read and not yet used; waits for some if there are none. They count as used.
    ///
    /// # Errors
    /// The connection ended.
    pub async fn next(&mut self) -> Result<&[u8], Failure> {
        if self.start == self.end {
            self.fill().await?;
        }
        let range = self.start..self.end;
        (self.start, self.end) = (0, 0);
        Ok(self.buffer.get(range).unwrap_or_default())
    }

    /// Reads to the end of the connection, where nothing more may come.
    ///
    /// # Errors
    /// The connection delivered bytes.
    pub async fn end(&mut self) -> Result<(), Failure> {
        if self.start == self.end && self.stream.read(&mut self.buffer).await? == 0 {
            return Ok(());
        }
        Err(Failure::Malformed("more than the answer"))
    }

    /// Reads until at least so many bytes are there, and shows all of them.
    ///
    /// # Errors
    /// The connection ended.
    pub async fn at_least(&mut self, length: usize) -> Result<&[u8], Failure> {
        while self.end - self.start < length {
            self.fill().await?;
        }
        Ok(self.unread())
    }

    /// Counts so many bytes as used.
    pub fn consume(&mut self, length: usize) {
        self.start += length;
        if self.start >= self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    fn unread(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// Reads more bytes, after the bytes already read.
    async fn fill(&mut self) -> Result<(), Failure> {
        if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let free = self.buffer.get_mut(self.end..).unwrap_or_default();
        if free.is_empty() {
            return Err(Failure::Malformed("an answer that is too long"));
        }
        let read = self.stream.read(free).await?;
        if read == 0 {
            return Err(Failure::Closed);
        }
        self.end += read;
        Ok(())
    }
}

/// The head at the beginning of the bytes with its length, if all of it is there.
fn parse(
    bytes: &[u8],
    header: &mut impl FnMut(&str, &[u8]),
) -> Result<Option<(usize, Head)>, Failure> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let length = match response.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(Failure::Malformed("no HTTP response")),
    };
    let mut head = Head {
        status: response.code.unwrap_or(0),
        ..Head::default()
    };
    for field in response.headers.iter() {
        if field.name.eq_ignore_ascii_case("content-length") {
            head.length = std::str::from_utf8(field.value)
                .ok()
                .and_then(|value| value.parse().ok());
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            head.chunked = field.value.eq_ignore_ascii_case(b"chunked");
        } else if field.name.eq_ignore_ascii_case(REQUEST_ID) {
            head.request_id = !field.value.is_empty();
        }
        header(field.name, field.value);
    }
    Ok(Some((length, head)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_when_all_of_it_is_there() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nx-backend-request-id: a\r\n\r\nhello";
        assert!(parse(&whole[..40], &mut |_, _| ()).unwrap().is_none());
        let mut names = Vec::new();
        let (length, head) = parse(whole, &mut |name, _| names.push(name.to_owned()))
            .unwrap()
            .unwrap();
        assert_eq!(&whole[length..], b"hello");
        assert_eq!(
            (head.status, head.length, head.chunked, head.request_id),
            (200, Some(5), false, true)
        );
        assert_eq!(names, ["Content-Length", "x-backend-request-id"]);
    }

    #[test]
    fn an_empty_request_id_is_none_and_nonsense_is_an_error() {
        let (_, head) = parse(
            b"HTTP/1.1 204 No\r\nX-Backend-Request-ID:\r\n\r\n",
            &mut |_, _| (),
        )
        .unwrap()
        .unwrap();
        assert!(!head.request_id);
        assert!(parse(b"nonsense\r\n\r\n", &mut |_, _| ()).is_err());
    }
}
