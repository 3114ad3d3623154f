//! A WebSocket that echoes messages of up to 64 KiB.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tungstenite::handshake::derive_accept_key;

use super::request::Request;

/// Answers the handshake and echoes until the client closes.
pub(super) async fn serve(stream: &mut TcpStream, request: &Request) -> io::Result<()> {
    let accept = derive_accept_key(request.key.as_deref().unwrap_or_default().as_bytes());
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    let mut buffer = vec![0; 1 << 10];
    let mut end = 0;
    let mut out = Vec::new();
    loop {
        if end == buffer.len() {
            buffer.resize(end * 2, 0);
        }
        let read = stream
            .read(buffer.get_mut(end..).unwrap_or_default())
            .await?;
        if read == 0 {
            return Ok(());
        }
        end += read;
        let (mut used, mut closed) = (0, false);
        while let Some(frame) = Frame::parse(buffer.get(used..end).unwrap_or_default()) {
            frame.echo(&mut out);
            closed |= frame.opcode == 0x8;
            used += frame.length;
        }
        buffer.copy_within(used..end, 0);
        end -= used;
        stream.write_all(&out).await?;
        out.clear();
        if closed {
            return stream.shutdown().await;
        }
    }
}

/// A client's frame.
struct Frame<'a> {
    opcode: u8,
    mask: &'a [u8],
    payload: &'a [u8],
    /// Of all of it, its header included.
    length: usize,
}

impl<'a> Frame<'a> {
    /// The frame at the beginning of the bytes, if all of it is there.
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (&first, &second) = (bytes.first()?, bytes.get(1)?);
        let (payload, header) = match second & 0x7f {
            126 => (
                usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?])),
                4,
            ),
            short => (usize::from(short), 2),
        };
        let length = header + 4 + payload;
        Some(Self {
            opcode: first & 0xf,
            mask: bytes.get(header..header + 4)?,
            payload: bytes.get(header + 4..length)?,
            length,
        })
    }

    /// The same, unmasked.
    fn echo(&self, out: &mut Vec<u8>) {
        out.push(0x80 | self.opcode);
        match u8::try_from(self.payload.len()) {
            Ok(short) if short < 126 => out.push(short),
            _ => {
                out.push(126);
                out.extend(
                    u16::try_from(self.payload.len())
                        .unwrap_or(u16::MAX)
                        .to_be_bytes(),
                );
            }
        }
        out.extend(
            self.payload
                .iter()
                .zip(self.mask.iter().cycle())
                .map(|(byte, mask)| byte ^ mask),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_comes_back_unmasked_when_all_of_it_is_there() {
        let bytes = [0x81, 0x83, 1, 2, 3, 4, b'a' ^ 1, b'b' ^ 2, b'c' ^ 3, 0x88];
        assert!(Frame::parse(&bytes[..8]).is_none());
        let frame = Frame::parse(&bytes).unwrap();
        let mut out = Vec::new();
        frame.echo(&mut out);
        assert_eq!((out.as_slice(), frame.length), (&b"\x81\x03abc"[..], 9));
    }
}
