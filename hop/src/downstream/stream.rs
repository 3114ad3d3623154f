//! The stream between a client's connection and Pingora's HTTP server.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use std::{fmt, io};

use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use pingora_core::protocols::l4::stream::Stream as PlainStream;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::{SslDigest, TlsRef};
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    Stream, TimingDigest, UniqueID, UniqueIDType,
};
use pingora_core::server::ShutdownWatch;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::exchange::{Exchange, HopServices};

/// The preface of HTTP/2 (RFC 9113, section 3.4).
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Size of the first read; most header blocks fit.
const FIRST_READ_BYTES: usize = 4096;
/// Time for the first request of a connection that was accepted before a drain began.
const LATE_REQUEST: Duration = Duration::from_secs(1);

/// A client's connection: the stream that Pingora reads requests from and writes responses to.
pub(crate) struct DownstreamStream {
    inner: Stream,
    /// Bytes that were read from `inner` and not yet by Pingora.
    prefix: BytesMut,
    /// A request is being served: its header block was parsed, its response has not ended.
    serving: AtomicBool,
    /// The number of requests on this connection whose header block was parsed.
    requests: AtomicU32,
    /// The value of `requests` when the current header block began.
    header_of: u32,
    /// Pingora's own error response with an identifier, while it is being written.
    identified: Option<BytesMut>,
    /// The deadline of a header block that arrives in several pieces.
    header_deadline: Option<Pin<Box<Sleep>>>,
    /// Bytes of a header block have arrived since the last request.
    header_begun: bool,
    /// Bytes were written that `inner` may still buffer.
    unflushed: bool,
    /// The connection speaks HTTP/2, which has timeouts of its own.
    is_h2: bool,
    hop: Arc<HopServices>,
}

impl DownstreamStream {
    pub(super) fn new(inner: Stream, hop: Arc<HopServices>) -> Self {
        let is_h2 = matches!(inner.selected_alpn_proto(), Some(ALPN::H2));
        Self {
            inner,
            prefix: BytesMut::new(),
            serving: AtomicBool::new(false),
            requests: AtomicU32::new(0),
            header_of: 0,
            identified: None,
            header_deadline: None,
            header_begun: false,
            unflushed: false,
            is_h2,
            hop,
        }
    }

    /// Records that a request is served from now on, or that its response has ended.
    pub(super) fn set_serving(&self, serving: bool) {
        self.serving.store(serving, Ordering::Relaxed);
        if serving {
            self.requests.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns the plain stream below, if no bytes are buffered here.
    pub(crate) fn plain(&self) -> Option<&PlainStream> {
        if self.prefix.is_empty() {
            self.inner.as_any().downcast_ref()
        } else {
            None
        }
    }

    /// Reads the first bytes of a connection; `None` if they do not arrive in time.
    pub(super) async fn read_first(&mut self, mut shutdown: ShutdownWatch) -> Option<()> {
        let limit = self.hop.timeouts().client_read.0;
        let late = async {
            // Without a sender no drain begins.
            if shutdown.wait_for(|ending| *ending).await.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(LATE_REQUEST).await;
        };
        let read = read_more(&mut self.inner, &mut self.prefix);
        tokio::select! {
            biased;
            read = tokio::time::timeout(limit, read) => read.ok()?.ok(),
            () = late => None,
        }
    }

    /// Fails when a header block arrives too slowly: Pingora limits the time of each read alone.
    fn poll_header_deadline(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.header_begun || self.is_h2 {
            return Poll::Pending;
        }
        let hop = &self.hop;
        let deadline = self
            .header_deadline
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(hop.timeouts().client_read.0)));
        deadline
            .as_mut()
            .poll(cx)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Tracks whether a header block has begun, after each read; `any` if it returned bytes.
    fn after_read(&mut self, any: bool) {
        let requests = self.requests.load(Ordering::Relaxed);
        if requests != self.header_of {
            self.header_of = requests;
            self.header_begun = false;
            self.header_deadline = None;
        }
        self.header_begun |= any && !self.serving.load(Ordering::Relaxed);
    }

    /// The client's address.
    fn client(&self) -> Option<IpAddr> {
        let digest = self.inner.get_socket_digest()?;
        digest.peer_addr()?.as_inet().map(SocketAddr::ip)
    }

    /// Returns whether `bytes` are Pingora's own response to a header block that does not parse.
    fn is_parse_error(&self, bytes: &[u8]) -> bool {
        bytes.starts_with(b"HTTP/1.1 400 ")
            && !self.is_h2
            && !self.serving.load(Ordering::Relaxed)
            && !contains_ignoring_case(bytes, self.hop.identity.header().as_str().as_bytes())
    }

    /// Returns Pingora's response with an identifier; logs and counts the request like any other
    /// (docs/reference/request-id.md, rule 13).
    fn identify(&self, bytes: &[u8]) -> BytesMut {
        let mut exchange = Exchange::idle(&self.hop);
        exchange.begin_unparsable(self.client());
        let line_end = bytes
            .windows(2)
            .position(|pair| pair == b"\r\n")
            .map_or(0, |at| at + 2);
        let (status_line, rest) = bytes.split_at(line_end);
        let mut response = BytesMut::with_capacity(bytes.len() + 64);
        response.extend_from_slice(status_line);
        response.extend_from_slice(self.hop.identity.header().as_str().as_bytes());
        response.extend_from_slice(b": ");
        response.extend_from_slice(exchange.id().as_str().as_bytes());
        response.extend_from_slice(b"\r\n");
        response.extend_from_slice(rest);
        exchange.answered(400);
        exchange.end();
        response
    }
}

/// Reads once. The end of the stream is an error: no request can follow.
async fn read_more(stream: &mut Stream, into: &mut BytesMut) -> io::Result<()> {
    into.reserve(FIRST_READ_BYTES);
    if stream.read_buf(into).await? == 0 {
        Err(io::ErrorKind::UnexpectedEof.into())
    } else {
        Ok(())
    }
}

fn contains_ignoring_case(bytes: &[u8], name: &[u8]) -> bool {
    bytes
        .windows(name.len())
        .any(|window| window.eq_ignore_ascii_case(name))
}

impl AsyncRead for DownstreamStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.prefix.is_empty() {
            let before = buf.filled().len();
            let read = Pin::new(&mut self.inner).poll_read(cx, buf);
            let any = buf.filled().len() > before;
            self.after_read(any);
            if read.is_ready() {
                return read;
            }
            // The task waits for the client, so no further write is about to follow: Pingora alone
            // would hold a response header back until its body begins.
            if self.unflushed && Pin::new(&mut self.inner).poll_flush(cx)?.is_ready() {
                self.unflushed = false;
            }
            return self.poll_header_deadline(cx);
        }
        let taken = self.prefix.len().min(buf.remaining());
        self.after_read(true);
        buf.put_slice(&self.prefix.split_to(taken));
        if self.prefix.is_empty() {
            self.prefix = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for DownstreamStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.identified.is_none() {
            if !self.is_parse_error(buf) {
                self.unflushed = true;
                return Pin::new(&mut self.inner).poll_write(cx, buf);
            }
            self.identified = Some(self.identify(buf));
        }
        let Self {
            inner, identified, ..
        } = &mut *self;
        while let Some(rest) = identified.as_mut().filter(|rest| rest.has_remaining()) {
            let n = ready!(Pin::new(&mut *inner).poll_write(cx, rest))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            rest.advance(n);
        }
        *identified = None;
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.unflushed = true;
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[async_trait]
impl Peek for DownstreamStream {
    /// Fills `buf` with the first bytes, as long as they may be the preface of HTTP/2.
    async fn try_peek(&mut self, buf: &mut [u8]) -> io::Result<bool> {
        let limit = self.hop.timeouts().client_read.0;
        let enough = async {
            while self.prefix.len() < buf.len() && H2_PREFACE.starts_with(&self.prefix) {
                read_more(&mut self.inner, &mut self.prefix).await?;
            }
            Ok::<_, io::Error>(())
        };
        tokio::time::timeout(limit, enough).await??;
        self.is_h2 = self.prefix.starts_with(H2_PREFACE);
        for (slot, byte) in buf.iter_mut().zip(&self.prefix) {
            *slot = *byte;
        }
        Ok(true)
    }
}

#[async_trait]
impl Shutdown for DownstreamStream {
    async fn shutdown(&mut self) {
        self.inner.shutdown().await;
    }
}

impl UniqueID for DownstreamStream {
    fn id(&self) -> UniqueIDType {
        self.inner.id()
    }
}

impl Ssl for DownstreamStream {
    fn get_ssl(&self) -> Option<&TlsRef> {
        self.inner.get_ssl()
    }

    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.inner.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.inner.selected_alpn_proto()
    }
}

impl GetTimingDigest for DownstreamStream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.inner.get_timing_digest()
    }

    fn get_read_pending_time(&self) -> Duration {
        self.inner.get_read_pending_time()
    }

    fn get_write_pending_time(&self) -> Duration {
        self.inner.get_write_pending_time()
    }
}

impl GetProxyDigest for DownstreamStream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.inner.get_proxy_digest()
    }

    fn set_proxy_digest(&mut self, digest: ProxyDigest) {
        self.inner.set_proxy_digest(digest);
    }
}

impl GetSocketDigest for DownstreamStream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.inner.get_socket_digest()
    }

    fn set_socket_digest(&mut self, digest: SocketDigest) {
        self.inner.set_socket_digest(digest);
    }
}

impl fmt::Debug for DownstreamStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DownstreamStream")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
