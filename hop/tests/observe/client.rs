//! A client that sees the bytes.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A response: its header block, and the rest of the connection's bytes.
pub(crate) struct Response {
    /// The header block in lower case.
    pub(crate) head: String,
    /// The bytes behind it.
    pub(crate) rest: Vec<u8>,
}

impl Response {
    /// Returns the status.
    pub(crate) fn status(&self) -> u16 {
        self.head.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// Returns the request identifier.
    pub(crate) fn id(&self) -> &str {
        let mut lines = self.head.lines();
        lines
            .find_map(|line| line.strip_prefix("x-backend-request-id: "))
            .unwrap()
    }

    /// Returns the body, without its chunks.
    pub(crate) fn body(&self) -> Vec<u8> {
        if !self.head.contains("transfer-encoding: chunked") {
            return self.rest.clone();
        }
        let (mut rest, mut body) = (&self.rest[..], Vec::new());
        loop {
            let end = rest.windows(2).position(|pair| pair == b"\r\n").unwrap();
            let length = std::str::from_utf8(&rest[..end]).unwrap();
            let length = usize::from_str_radix(length, 16).unwrap();
            rest = &rest[end + 2..];
            if length == 0 {
                return body;
            }
            body.extend_from_slice(&rest[..length]);
            rest = &rest[length + 2..];
        }
    }
}

/// Sends a request with this identifier, and reads the connection to its end.
pub(crate) async fn get(tier: SocketAddr, path: &str, id: &str) -> Response {
    raw(tier, &request(path, id)).await
}

/// Returns a request with this identifier.
pub(crate) fn request(path: &str, id: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX-Backend-Request-ID: {id}\r\n\r\n"
    )
}

/// Returns a handshake with this identifier.
pub(crate) fn handshake(id: &str) -> String {
    format!(
        "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         X-Backend-Request-ID: {id}\r\n\r\n"
    )
}

/// Sends bytes, and reads the connection to its end.
pub(crate) async fn raw(tier: SocketAddr, bytes: impl AsRef<[u8]>) -> Response {
    let mut connection = TcpStream::connect(tier).await.unwrap();
    let (mut reader, mut writer) = connection.split();
    let mut all = Vec::new();
    let write = writer.write_all(bytes.as_ref());
    let (_, read) = tokio::join!(write, reader.read_to_end(&mut all));
    read.unwrap();
    response(all)
}

/// Sends bytes, and reads until `text` has come.
pub(crate) async fn read_until(tier: SocketAddr, bytes: &str, text: &str) -> TcpStream {
    let mut connection = TcpStream::connect(tier).await.unwrap();
    connection.write_all(bytes.as_bytes()).await.unwrap();
    let mut all = Vec::new();
    while !String::from_utf8_lossy(&all).contains(text) {
        all.push(connection.read_u8().await.unwrap());
    }
    connection
}

/// Parses all bytes of a connection.
pub(crate) fn response(all: Vec<u8>) -> Response {
    let end = all.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    Response {
        head: String::from_utf8_lossy(&all[..end]).to_lowercase(),
        rest: all[end..].to_vec(),
    }
}
