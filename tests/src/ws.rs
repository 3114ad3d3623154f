//! WebSocket at the level of its frames (RFC 6455, section 5): both ends of a test decide about
//! every bit.

use std::io;
use std::net::SocketAddr;

use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::http1::{Client, Head, Request, Response};
use crate::wait::within;
use crate::wire::Wire;

/// The opcode of a fragment that continues a message.
pub const CONTINUATION: u8 = 0;
/// The opcode of a text message.
pub const TEXT: u8 = 1;
/// The opcode of a binary message.
pub const BINARY: u8 = 2;
/// The opcode of a close frame.
pub const CLOSE: u8 = 8;
/// The opcode of a ping.
pub const PING: u8 = 9;
/// The opcode of a pong.
pub const PONG: u8 = 10;

/// The key that clients of the tests send.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// The `Sec-WebSocket-Accept` for [`KEY`] (the example of RFC 6455, section 1.3).
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Returns the `Sec-WebSocket-Accept` for `key`.
#[must_use]
pub fn accept_for(key: &str) -> String {
    derive_accept_key(key.as_bytes())
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The last fragment of its message.
    pub fin: bool,
    /// RSV1 to RSV3, as the number 0 to 7; RSV1 (compressed) is 4.
    pub rsv: u8,
    /// The opcode.
    pub opcode: u8,
    /// The masking key that was received, or is to be sent.
    pub mask: Option<[u8; 4]>,
    /// The payload, unmasked.
    pub payload: Vec<u8>,
}

impl Frame {
    /// A frame that is complete and not masked.
    #[must_use]
    pub fn new(opcode: u8, payload: impl AsRef<[u8]>) -> Self {
        Self {
            fin: true,
            rsv: 0,
            opcode,
            mask: None,
            payload: payload.as_ref().to_vec(),
        }
    }

    /// A text message in one frame.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::new(TEXT, text)
    }

    /// A close frame.
    #[must_use]
    pub fn close(code: u16, reason: &str) -> Self {
        let mut payload = code.to_be_bytes().to_vec();
        payload.extend_from_slice(reason.as_bytes());
        Self::new(CLOSE, payload)
    }

    /// The same frame with this masking key: what a client has to send.
    #[must_use]
    pub fn masked(mut self, mask: [u8; 4]) -> Self {
        self.mask = Some(mask);
        self
    }

    /// The same frame as a fragment that others follow.
    #[must_use]
    pub fn unfinished(mut self) -> Self {
        self.fin = false;
        self
    }

    /// The same frame with these RSV bits.
    #[must_use]
    pub fn with_rsv(mut self, rsv: u8) -> Self {
        self.rsv = rsv;
        self
    }

    /// The code of a close frame.
    #[must_use]
    pub fn close_code(&self) -> Option<u16> {
        (self.opcode == CLOSE && self.payload.len() >= 2)
            .then(|| u16::from_be_bytes([self.payload[0], self.payload[1]]))
    }

    /// The payload as text.
    #[must_use]
    pub fn as_text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }

    /// The bytes on the wire.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![(u8::from(self.fin) << 7) | (self.rsv << 4) | self.opcode];
        let mask_bit = u8::from(self.mask.is_some()) << 7;
        let length = self.payload.len();
        if let Ok(short @ 0..=125) = u8::try_from(length) {
            bytes.push(mask_bit | short);
        } else if let Ok(middle) = u16::try_from(length) {
            bytes.push(mask_bit | 126);
            bytes.extend_from_slice(&middle.to_be_bytes());
        } else {
            bytes.push(mask_bit | 127);
            bytes.extend_from_slice(&(length as u64).to_be_bytes());
        }
        let from = bytes.len();
        match self.mask {
            Some(mask) => {
                bytes.extend_from_slice(&mask);
                bytes.extend_from_slice(&self.payload);
                apply_mask(&mut bytes[from + 4..], mask);
            }
            None => bytes.extend_from_slice(&self.payload),
        }
        bytes
    }

    /// Reads one frame; `None` when the stream ends before it begins.
    pub async fn read(wire: &mut Wire) -> io::Result<Option<Self>> {
        if wire.buffered().is_empty() && wire.fill().await? == 0 {
            return Ok(None);
        }
        let start = wire.take(2).await?;
        let length = match start[1] & 0x7f {
            126 => {
                let bytes = wire.take(2).await?;
                usize::from(u16::from_be_bytes([bytes[0], bytes[1]]))
            }
            127 => {
                let bytes = wire.take(8).await?;
                let wide = bytes
                    .iter()
                    .fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
                usize::try_from(wide).map_err(|_| io::ErrorKind::InvalidData)?
            }
            short => usize::from(short),
        };
        let mask = if start[1] & 0x80 == 0 {
            None
        } else {
            let bytes = wire.take(4).await?;
            Some([bytes[0], bytes[1], bytes[2], bytes[3]])
        };
        let mut payload = wire.take(length).await?.to_vec();
        if let Some(mask) = mask {
            apply_mask(&mut payload, mask);
        }
        Ok(Some(Self {
            fin: start[0] & 0x80 != 0,
            rsv: (start[0] >> 4) & 7,
            opcode: start[0] & 0x0f,
            mask,
            payload,
        }))
    }
}

fn apply_mask(bytes: &mut [u8], mask: [u8; 4]) {
    for (byte, key) in bytes.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

/// One end of a WebSocket after its handshake.
#[derive(Debug)]
pub struct WebSocket {
    /// Returns the connection, to send unusual bytes.
    pub wire: Wire,
    /// The head of the 101, at the client's end; of the request, at the application's.
    pub head: Head,
    mask: Option<[u8; 4]>,
}

impl WebSocket {
    /// The application's end.
    #[must_use]
    pub fn server(wire: Wire, head: Head) -> Self {
        Self {
            wire,
            head,
            mask: None,
        }
    }

    /// The client's end, whose frames are masked.
    #[must_use]
    pub fn client(wire: Wire, head: Head) -> Self {
        Self {
            wire,
            head,
            mask: Some([0x37, 0xfa, 0x21, 0x3d]),
        }
    }

    /// Connects to `addr` and shakes hands for `target`, with further header lines.
    ///
    /// # Panics
    /// When the handshake is refused.
    pub async fn connect(addr: SocketAddr, target: &str, headers: &[(&str, &str)]) -> Self {
        match Self::try_connect(addr, target, headers).await {
            Ok(socket) => socket,
            Err(refusal) => panic!(
                "{target}: the handshake was answered with {}: {}",
                refusal.status,
                refusal.text()
            ),
        }
    }

    /// Connects to `addr` and sends a handshake for `target`; returns the response that rejects it.
    ///
    /// # Panics
    /// If the connection fails.
    pub async fn try_connect(
        addr: SocketAddr,
        target: &str,
        headers: &[(&str, &str)],
    ) -> Result<Self, Box<Response>> {
        let client = handshake(addr, target, headers).start().await;
        Self::finish_handshake(client).await
    }

    /// Reads the answer to a handshake that was sent on `client`.
    pub async fn finish_handshake(mut client: Client) -> Result<Self, Box<Response>> {
        let head = client.read_head().await;
        if head.status() == 101 {
            assert_eq!(
                head.headers.get("Sec-WebSocket-Accept"),
                Some(ACCEPT),
                "{head:?}"
            );
            assert!(head.headers.lists("Upgrade", "websocket"), "{head:?}");
            assert!(head.headers.lists("Connection", "upgrade"), "{head:?}");
            return Ok(Self::client(client.wire, head));
        }
        let mut text = format!("{}\r\n", head.line);
        for (name, value) in &head.headers.0 {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        client.wire.put_back(text.as_bytes());
        Err(Box::new(client.read_response("GET").await))
    }

    /// Sends a frame, masked as this end has to.
    pub async fn send(&mut self, frame: Frame) {
        let bytes = self.encode(frame);
        self.wire.send(bytes).await;
    }

    /// Sends a frame; fails when the connection does.
    pub async fn try_send(&mut self, frame: Frame) -> io::Result<()> {
        let bytes = self.encode(frame);
        self.wire.try_send(&bytes).await
    }

    /// The bytes of a frame, masked as this end has to.
    #[must_use]
    pub fn encode(&self, frame: Frame) -> Vec<u8> {
        let mask = frame.mask.or(self.mask);
        Frame { mask, ..frame }.encode()
    }

    /// Sends a text message.
    pub async fn send_text(&mut self, text: &str) {
        self.send(Frame::text(text)).await;
    }

    /// The next frame; `None` at the end of the stream, be it by FIN or by RST.
    pub async fn next(&mut self) -> Option<Frame> {
        within("a frame", Frame::read(&mut self.wire))
            .await
            .ok()
            .flatten()
    }

    /// The next frame.
    ///
    /// # Panics
    /// When the stream ends first.
    pub async fn frame(&mut self) -> Frame {
        self.next()
            .await
            .expect("a frame before the end of the stream")
    }

    /// Sends a close frame, waits for that of the peer and for the end of the stream; returns the
    /// code of the peer.
    pub async fn close(&mut self, code: u16) -> Option<u16> {
        self.send(Frame::close(code, "")).await;
        let mut answered = None;
        while let Some(frame) = self.next().await {
            answered = answered.or(frame.close_code());
        }
        answered
    }
}

/// A complete handshake for `target`, with further header lines.
pub fn handshake(addr: SocketAddr, target: &str, headers: &[(&str, &str)]) -> Request<'static> {
    let request = Request::to(addr, "GET", target)
        .header("Upgrade", "websocket")
        .header("Connection", "Upgrade")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", KEY);
    headers.iter().fold(request, |request, (name, value)| {
        request.header(name, value)
    })
}
