//! A TCP connection with a read buffer: what clients and applications of the tests are built on, so
//! that they decide about every byte.

use std::io;
use std::net::{IpAddr, SocketAddr};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::wait::within;

/// A connection and the bytes that arrived on it but were not read yet.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    buffer: BytesMut,
}

impl Wire {
    /// Wraps an accepted or connected stream.
    #[must_use]
    pub fn new(stream: TcpStream) -> Self {
        let _ = stream.set_nodelay(true);
        Self {
            stream,
            buffer: BytesMut::new(),
        }
    }

    /// Connects to `addr`.
    pub async fn connect(addr: SocketAddr) -> io::Result<Self> {
        Ok(Self::new(TcpStream::connect(addr).await?))
    }

    /// Connects to `addr` from a chosen source address (all of 127/8 is at hand).
    pub async fn connect_from(source: IpAddr, addr: SocketAddr) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(source, 0))?;
        Ok(Self::new(socket.connect(addr).await?))
    }

    /// The address at this end.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.stream
            .local_addr()
            .expect("a connected socket has an address")
    }

    /// The address at the other end.
    #[must_use]
    pub fn peer_addr(&self) -> SocketAddr {
        self.stream
            .peer_addr()
            .expect("a connected socket has a peer")
    }

    /// Writes all of `bytes`.
    pub async fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Writes all of `bytes`.
    ///
    /// # Panics
    /// If the connection fails.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        within("the peer to take the bytes", self.try_send(bytes))
            .await
            .expect("the connection accepts bytes");
    }

    /// Reads once; `Ok(0)` is the end of the stream.
    pub async fn fill(&mut self) -> io::Result<usize> {
        self.buffer.reserve(16 * 1024);
        self.stream.read_buf(&mut self.buffer).await
    }

    /// Returns the bytes that have arrived and were not read yet.
    #[must_use]
    pub fn buffered(&self) -> &[u8] {
        &self.buffer
    }

    /// Returns up to `limit` of the bytes that arrived; reads when there are none. Empty at the end
    /// of the stream.
    pub async fn take_some(&mut self, limit: usize) -> io::Result<BytesMut> {
        if self.buffer.is_empty() {
            self.fill().await?;
        }
        let length = self.buffer.len().min(limit);
        Ok(self.buffer.split_to(length))
    }

    /// Reads exactly `length` bytes; an early end is an `UnexpectedEof`.
    pub async fn take(&mut self, length: usize) -> io::Result<BytesMut> {
        while self.buffer.len() < length {
            if self.fill().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.buffer.split_to(length))
    }

    /// Reads up to and with the first occurrence of `end`; `None` when the stream ends before its
    /// first byte.
    pub async fn take_through(&mut self, end: &[u8]) -> io::Result<Option<BytesMut>> {
        let mut searched = 0;
        loop {
            let from = searched.min(self.buffer.len());
            let found = self.buffer[from..]
                .windows(end.len())
                .position(|window| window == end);
            if let Some(at) = found {
                return Ok(Some(self.buffer.split_to(from + at + end.len())));
            }
            searched = self.buffer.len().saturating_sub(end.len());
            if self.fill().await? == 0 {
                if self.buffer.is_empty() {
                    return Ok(None);
                }
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Prepends bytes to the unread ones.
    pub fn put_back(&mut self, bytes: &[u8]) {
        let mut joined = BytesMut::from(bytes);
        joined.extend_from_slice(&self.buffer);
        self.buffer = joined;
    }

    /// Discards the unread bytes.
    pub fn discard_buffered(&mut self) {
        self.buffer.advance(self.buffer.len());
    }

    /// Everything up to the end of the stream (a reset counts as an end).
    pub async fn read_to_end(&mut self) -> Vec<u8> {
        while let Ok(1..) = within("the end of the stream", self.fill()).await {}
        self.buffer.split().to_vec()
    }

    /// Waits until the peer closes or resets the stream, and returns the number of bytes received
    /// before.
    pub async fn closed(&mut self) -> usize {
        self.read_to_end().await.len()
    }

    /// Sends a FIN; reading continues.
    pub async fn finish(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// Ends the connection with a RST.
    pub fn reset(self) {
        self.reset_on_drop();
    }

    /// Makes the connection end with a RST instead of a FIN.
    pub fn reset_on_drop(&self) {
        let _ = socket2::SockRef::from(&self.stream).set_linger(Some(std::time::Duration::ZERO));
    }

    /// Keeps the kernel's receive buffer from growing, so that a stalled reader is felt soon by the
    /// writer. Much less than this, and the kernel reopens a closed window only bit by bit.
    pub fn shrink_receive_buffer(&self) {
        let _ = socket2::SockRef::from(&self.stream).set_recv_buffer_size(256 * 1024);
    }

    /// The stream itself, with the bytes that were read from it already.
    #[must_use]
    pub fn into_parts(self) -> (TcpStream, BytesMut) {
        (self.stream, self.buffer)
    }
}
