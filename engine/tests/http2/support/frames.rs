//! A client that sends frames of HTTP/2 as bytes: what a proper client would not.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::within;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// The name and the value of a field.
pub(crate) type Field<'a> = (&'a [u8], &'a [u8]);

/// A received frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// Returns the error code of a RST_STREAM or GOAWAY.
    pub(crate) fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// A connection of frames.
pub(crate) struct RawH2 {
    pub(crate) stream: TcpStream,
}

/// Returns a frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Returns a header block of literals, without compression (RFC 7541, section 6.2.2).
pub(crate) fn block(fields: &[Field<'_>]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            push_length(&mut block, text.len());
            block.extend(*text);
        }
    }
    block
}

/// Appends an integer with a prefix of seven bits (RFC 7541, section 5.1).
fn push_length(block: &mut Vec<u8>, length: usize) {
    if length < 127 {
        return block.push(length as u8);
    }
    block.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        block.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    block.push(rest as u8);
}

/// Returns the fields of a GET, and others behind them.
pub(crate) fn get<'a>(others: &[Field<'a>]) -> Vec<Field<'a>> {
    let mut fields: Vec<Field<'_>> = vec![
        (b":method", b"GET"),
        (b":scheme", b"http"),
        (b":authority", b"app.example"),
        (b":path", b"/"),
    ];
    fields.extend(others);
    fields
}

/// Returns the fields of a GET with another value of one of them.
pub(crate) fn with(index: usize, value: &[u8]) -> Vec<Field<'_>> {
    let mut fields = get(&[]);
    fields[index].1 = value;
    fields
}

impl RawH2 {
    /// Connects, and sends the preface with empty settings.
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream.write_all(PREFACE).await.unwrap();
        stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
        Self { stream }
    }

    pub(crate) async fn send(&mut self, frame: &[u8]) {
        within("a write of a frame", self.stream.write_all(frame))
            .await
            .unwrap();
    }

    /// Sends a request without body.
    pub(crate) async fn request(&mut self, stream: u32, fields: &[Field<'_>]) {
        self.head(stream, fields, END_STREAM).await;
    }

    /// Sends a request head, in as many frames as it needs; `flags` are those of the first one.
    pub(crate) async fn head(&mut self, stream: u32, fields: &[Field<'_>], flags: u8) {
        let block = block(fields);
        let mut pieces = block.chunks(16 * 1024).peekable();
        let (mut kind, mut flags) = (HEADERS, flags);
        while let Some(piece) = pieces.next() {
            if pieces.peek().is_none() {
                flags |= END_HEADERS;
            }
            self.send(&frame(kind, flags, stream, piece)).await;
            (kind, flags) = (CONTINUATION, 0);
        }
    }

    /// Reads the next frame; `None` at the end of the connection.
    pub(crate) async fn read(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        within("a frame", self.stream.read_exact(&mut head))
            .await
            .ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        within("a payload", self.stream.read_exact(&mut payload))
            .await
            .ok()?;
        Some(Frame {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes(head[5..].try_into().unwrap()),
            payload,
        })
    }

    /// Reads frames until one of this kind comes; `None` if the connection ends before.
    pub(crate) async fn read_until(&mut self, kind: u8) -> Option<Frame> {
        loop {
            let frame = self.read().await?;
            if frame.kind == kind {
                return Some(frame);
            }
        }
    }
}
