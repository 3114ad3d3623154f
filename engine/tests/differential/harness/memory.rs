//! Connections in memory from a proxy to its application.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_trait::async_trait;
use pingora_core::Result;
use pingora_core::connectors::L4Connect;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};

use super::BUFFER;
use super::recorder::Recorder;

/// A connector whose connections all lead to one application.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    recorder: Recorder,
}

impl Memory {
    pub(super) fn new(recorder: &Recorder) -> Self {
        Self {
            recorder: recorder.clone(),
        }
    }
}

#[async_trait]
impl L4Connect for Memory {
    async fn connect(&self, _addr: &SocketAddr) -> Result<Stream> {
        let (near, far) = duplex(BUFFER);
        self.recorder.serve(far);
        Ok(VirtualSocketStream::new(Box::new(End(near))).into())
    }
}

/// The proxy's end of a connection.
#[derive(Debug)]
struct End(DuplexStream);

impl VirtualSocket for End {
    fn set_socket_option(&self, _option: VirtualSockOpt) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for End {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for End {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
