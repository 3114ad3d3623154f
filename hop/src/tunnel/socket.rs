//! The connection at one end of a tunnel, taken out of Pingora.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use pingora_core::protocols::Stream;
use pingora_core::protocols::l4::stream::Stream as PlainStream;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::downstream::DownstreamStream;

/// The connection at one end of a tunnel.
pub(super) enum Socket {
    /// Plain TCP, without the read buffer of 64 KiB that Pingora keeps for each of its streams.
    Tcp(TcpStream),
    /// A Unix socket, without that buffer.
    Unix(UnixStream),
    /// A stream that cannot be unwrapped (TLS).
    Other(Stream),
}

impl Socket {
    /// Unwraps a stream whose buffered bytes were all read and written.
    pub(super) fn from_pingora(stream: Stream) -> Self {
        match duplicate(&stream) {
            Ok(Some(socket)) => socket,
            Ok(None) => Self::Other(stream),
            Err(e) => {
                log::debug!("cannot duplicate a descriptor: {e}; the stream keeps its buffer");
                Self::Other(stream)
            }
        }
    }
}

/// Duplicates the descriptor of a plain stream; none if the stream is not plain.
fn duplicate(stream: &Stream) -> io::Result<Option<Socket>> {
    let any = stream.as_any();
    let plain = any.downcast_ref::<PlainStream>().or_else(|| {
        any.downcast_ref::<DownstreamStream>()
            .and_then(DownstreamStream::plain)
    });
    let Some(fd) = plain.map(AsRawFd::as_raw_fd).filter(|fd| *fd >= 0) else {
        return Ok(None);
    };
    let owned = clone_fd(fd)?;
    let domain = SockRef::from(&owned).domain()?;
    if domain == socket2::Domain::UNIX {
        let unix = std::os::unix::net::UnixStream::from(owned);
        return UnixStream::from_std(unix).map(|s| Some(Socket::Unix(s)));
    }
    TcpStream::from_std(std::net::TcpStream::from(owned)).map(|s| Some(Socket::Tcp(s)))
}

#[allow(unsafe_code)]
fn clone_fd(fd: i32) -> io::Result<OwnedFd> {
    // SAFETY: the descriptor belongs to the stream that the caller holds, so it is open for as long
    // as this call lasts.
    unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned()
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(s) => Pin::new(s).poll_read(cx, buf),
            Self::Unix(s) => Pin::new(s).poll_read(cx, buf),
            Self::Other(s) => Pin::new(s).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(s) => Pin::new(s).poll_write(cx, buf),
            Self::Unix(s) => Pin::new(s).poll_write(cx, buf),
            Self::Other(s) => Pin::new(s).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(s) => Pin::new(s).poll_flush(cx),
            Self::Unix(s) => Pin::new(s).poll_flush(cx),
            Self::Other(s) => Pin::new(s).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(s) => Pin::new(s).poll_shutdown(cx),
            Self::Unix(s) => Pin::new(s).poll_shutdown(cx),
            Self::Other(s) => Pin::new(s).poll_shutdown(cx),
        }
    }
}
