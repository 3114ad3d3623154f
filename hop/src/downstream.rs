//! Where a connection enters a tier, before Pingora reads a request from it.
//!
//! Four things need a hand on the connection itself, and all of them cost an ordinary request next
//! to nothing: a first request that is on its way when the daemon begins to drain is still served;
//! one that never comes, or that comes by drips, ends with a time limit (also before HTTP/2 is told
//! from HTTP/1); a stream can be ended from outside while nothing flows in it; and the answer that
//! the framework itself gives to a header block that does not parse carries an identifier
//! (docs/reference/request-id.md, rule 13).

mod each_stream;
mod ticker;

use std::fmt;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use pingora_core::apps::{HttpServerApp, ServerApp};
use pingora_core::protocols::l4::stream::Stream as PlainStream;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::{SslDigest, TlsRef};
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    Stream, TimingDigest, UniqueID, UniqueIDType,
};
use pingora_core::server::ShutdownWatch;
use pingora_proxy::Session as HttpSession;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::exchange::{Exchange, HopServices};
use crate::streams::until_closed;
use each_stream::EachStream;

/// What an HTTP/2 connection begins with (RFC 9113, section 3.4).
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Room for the first read; most request headers fit.
const FIRST_READ_BYTES: usize = 4096;
/// How long a connection that was accepted before the drain has for its first request to arrive.
const LATE_REQUEST: Duration = Duration::from_secs(1);

/// Wraps the proxy as the application of a listener.
pub struct Downstream<A> {
    proxy: Arc<EachStream<A>>,
    hop: Arc<HopServices>,
}

impl<A> Downstream<A> {
    /// The entrance of `proxy`.
    pub fn new(proxy: A, hop: &Arc<HopServices>) -> Self {
        Self {
            proxy: Arc::new(EachStream(Arc::new(proxy))),
            hop: Arc::clone(hop),
        }
    }
}

#[async_trait]
impl<A: HttpServerApp + Send + Sync + 'static> ServerApp for Downstream<A> {
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        ticker::start();
        let mut stream = DownstreamStream::new(stream, Arc::clone(&self.hop));
        // Counted as in flight, so that a drain waits for a first request that is on its way.
        let arriving = self.hop.drain.enter();
        stream.first_bytes(shutdown.clone()).await?;
        drop(arriving);
        let served = until_closed(self.proxy.process_new(Box::new(stream), shutdown));
        self.hop
            .drain
            .unless_cut_off(served)
            .await
            .flatten()
            .flatten()
    }

    async fn cleanup(&self) {
        self.proxy.cleanup().await;
    }
}

/// Says whether a response that is written from now on answers a request that our code has seen.
pub fn mark_serving(session: &HttpSession, serving: bool) {
    let stream = session.downstream_session.stream();
    if let Some(stream) =
        stream.and_then(|stream| stream.as_any().downcast_ref::<DownstreamStream>())
    {
        stream.serving.store(serving, Ordering::Relaxed);
        if serving {
            stream.requests.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A client's connection.
pub struct DownstreamStream {
    inner: Stream,
    /// What has been read and not yet taken.
    prefix: BytesMut,
    /// Whether our code has seen the request that is being answered.
    serving: AtomicBool,
    /// How many requests our code has seen on this connection.
    requests: AtomicU32,
    /// As many as there were when the header block that is being read began.
    header_of: u32,
    /// The framework's own answer with an identifier put in, while it is being written.
    identified: Option<BytesMut>,
    /// Until when a header block that has begun must be whole; set once one comes in more than one
    /// piece.
    header_due: Option<Pin<Box<Sleep>>>,
    /// Whether bytes of a header block have come since the last request.
    header_begun: bool,
    /// Whether something was written that the stream below may still hold.
    unflushed: bool,
    /// Whether the connection speaks HTTP/2, which has time limits of its own.
    is_h2: bool,
    hop: Arc<HopServices>,
}

impl DownstreamStream {
    fn new(inner: Stream, hop: Arc<HopServices>) -> Self {
        let is_h2 = matches!(inner.selected_alpn_proto(), Some(ALPN::H2));
        Self {
            inner,
            prefix: BytesMut::new(),
            serving: AtomicBool::new(false),
            requests: AtomicU32::new(0),
            header_of: 0,
            identified: None,
            header_due: None,
            header_begun: false,
            unflushed: false,
            is_h2,
            hop,
        }
    }

    /// The plain stream below, once nothing is held here any more.
    pub(crate) fn plain(&self) -> Option<&PlainStream> {
        if self.prefix.is_empty() {
            self.inner.as_any().downcast_ref()
        } else {
            None
        }
    }

    /// Waits for the first bytes; none when they do not come.
    async fn first_bytes(&mut self, mut shutdown: ShutdownWatch) -> Option<()> {
        let limit = self.hop.timeouts().client_read.0;
        let late = async {
            // Without a sender there is no drain to hurry for.
            if shutdown.wait_for(|ending| *ending).await.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(LATE_REQUEST).await;
        };
        tokio::select! {
            biased;
            read = tokio::time::timeout(limit, read_more(&mut self.inner, &mut self.prefix)) => read.ok()?.ok(),
            () = late => None,
        }
    }

    /// Ends a header block that drips in: Pingora has a time limit for each read alone.
    fn poll_header_due(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.header_begun || self.is_h2 {
            return Poll::Pending;
        }
        let hop = &self.hop;
        let due = self
            .header_due
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(hop.timeouts().client_read.0)));
        due.as_mut()
            .poll(cx)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Takes note that bytes have come, and of which part of a request they are.
    fn note_read(&mut self, bytes: bool) {
        let requests = self.requests.load(Ordering::Relaxed);
        if requests != self.header_of {
            self.header_of = requests;
            self.header_begun = false;
            self.header_due = None;
        }
        self.header_begun |= bytes && !self.serving.load(Ordering::Relaxed);
    }

    fn client(&self) -> Option<IpAddr> {
        let digest = self.inner.get_socket_digest()?;
        digest.peer_addr()?.as_inet().map(std::net::SocketAddr::ip)
    }

    /// Whether `bytes` are the framework's own answer to a header block that does not parse.
    fn is_frameworks_answer(&self, bytes: &[u8]) -> bool {
        bytes.starts_with(b"HTTP/1.1 400 ")
            && !self.is_h2
            && !self.serving.load(Ordering::Relaxed)
            && !contains_ignoring_case(bytes, self.hop.identity.header().as_str().as_bytes())
    }

    /// The framework's answer with an identifier, logged and counted as any other.
    fn identify(&self, bytes: &[u8]) -> BytesMut {
        self.hop.metrics.unparsable.inc();
        let mut exchange = Exchange::idle(&self.hop);
        exchange.begin_unparsable(self.client());
        let line_end = bytes
            .windows(2)
            .position(|pair| pair == b"\r\n")
            .map_or(0, |at| at + 2);
        let (status_line, rest) = bytes.split_at(line_end);
        let mut answer = BytesMut::with_capacity(bytes.len() + 64);
        answer.extend_from_slice(status_line);
        answer.extend_from_slice(self.hop.identity.header().as_str().as_bytes());
        answer.extend_from_slice(b": ");
        answer.extend_from_slice(exchange.id().as_str().as_bytes());
        answer.extend_from_slice(b"\r\n");
        answer.extend_from_slice(rest);
        exchange.answered(400);
        exchange.end();
        answer
    }
}

/// Reads once; the end of the stream is an error, because nothing more can come of it.
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
            let got = buf.filled().len() > before;
            self.note_read(got);
            if read.is_ready() {
                return read;
            }
            // Nothing more comes in for now, so what went out is not the beginning of a larger
            // write: Pingora alone would hold a header back until its body begins.
            if self.unflushed && Pin::new(&mut self.inner).poll_flush(cx)?.is_ready() {
                self.unflushed = false;
            }
            return self.poll_header_due(cx);
        }
        let taken = self.prefix.len().min(buf.remaining());
        self.note_read(true);
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
            if !self.is_frameworks_answer(buf) {
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
    /// Fills `buf` with the first bytes, as far as they still can be the beginning of HTTP/2.
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
