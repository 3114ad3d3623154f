//! One WebSocket of the client's (RFC 6455): masked messages out, echoes in.

use std::net::SocketAddr;

use super::connection::Connection;
use super::failure::Failure;
use super::request::{Request, Visitor};

/// The mask of every frame: fixed, so that a frame is built once.
const MASK: [u8; 4] = [0x1d, 0xc4, 0x7a, 0x93];

/// A key as clients send it; which one does not matter.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// An open WebSocket.
#[derive(Debug)]
pub struct WebSocket {
    connection: Connection,
}

impl WebSocket {
    /// Opens one at the application's `/ws`.
    ///
    /// # Errors
    /// The answer is not 101.
    pub async fn open(
        entry: SocketAddr,
        visitor: &Visitor,
        request_id: bool,
    ) -> Result<Self, Failure> {
        let handshake = Request::get(visitor, "/ws")
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", KEY);
        let mut connection = Connection::open_with(entry, 1 << 10).await?;
        connection.send(&handshake.into_bytes()).await?;
        let head = connection.head(|_, _| ()).await?;
        if head.status != 101 {
            return Err(Failure::Status(head.status));
        }
        if request_id && !head.request_id {
            return Err(Failure::NoRequestId);
        }
        Ok(Self { connection })
    }

    /// Sends a message and reads its echo.
    ///
    /// # Errors
    /// The echo is something else.
    pub async fn echo(&mut self, message: &Message) -> Result<(), Failure> {
        self.connection.send(&message.sent).await?;
        let length = message.echoed.len();
        let came = self.connection.at_least(length).await?;
        if came != message.echoed {
            return Err(Failure::Echo);
        }
        self.connection.consume(length);
        Ok(())
    }

    /// Closes it properly, and waits until the other side has closed it too.
    ///
    /// # Errors
    /// The other side does something else.
    pub async fn close(mut self) -> Result<(), Failure> {
        let close = Message::new(0x8, &1000_u16.to_be_bytes());
        self.echo(&close).await?;
        self.connection.end().await
    }
}

/// A message: the frame that is sent, and the frame that must come back.
#[derive(Clone, Debug)]
pub struct Message {
    sent: Vec<u8>,
    echoed: Vec<u8>,
}

impl Message {
    /// A message of one frame. The payload is at most 125 bytes.
    #[must_use]
    pub fn new(opcode: u8, payload: &[u8]) -> Self {
        let first = 0x80 | opcode;
        let length = u8::try_from(payload.len().min(125)).unwrap_or(125);
        let masked = payload
            .iter()
            .zip(MASK.iter().cycle())
            .map(|(byte, mask)| byte ^ mask);
        Self {
            sent: [first, 0x80 | length]
                .into_iter()
                .chain(MASK)
                .chain(masked)
                .collect(),
            echoed: [first, length]
                .into_iter()
                .chain(payload.iter().copied())
                .collect(),
        }
    }
}
