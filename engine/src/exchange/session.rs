//! The session that phases see: an implementation of Pingora's custom session. Its trait is not
//! covered by Pingora's promise of compatibility, so this file is the only one that names it.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use pingora_core::protocols::Digest;
use pingora_core::protocols::http::HttpTask;
use pingora_core::protocols::http::custom::CustomMessageWrite;
use pingora_core::protocols::http::custom::server::Session as CustomSession;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use tokio::time::timeout;

use super::{Handle, Shared};
use crate::body::Piece;
use crate::error::downstream;
use crate::head::SpelledNames;

/// Messages of a protocol of one's own, which this session does not have.
type Messages = Box<dyn futures::Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>;

/// Unsent bytes of a phase's own response from which on they are sent before more is written.
const UNSENT_BYTES: usize = 16 * 1024;

/// The session of one exchange.
pub(crate) struct EngineSession {
    handle: Handle,
    request: RequestHeader,
    response: Option<Box<ResponseHeader>>,
    digest: Arc<Digest>,
    spelled: Arc<SpelledNames>,
    has_body: bool,
    read_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
    drain_timeout: Option<Duration>,
}

impl EngineSession {
    /// Creates the session of a request.
    pub(crate) fn new(
        handle: Handle,
        request: RequestHeader,
        has_body: bool,
        digest: Arc<Digest>,
        spelled: Arc<SpelledNames>,
    ) -> Self {
        Self {
            handle,
            request,
            response: None,
            digest,
            spelled,
            has_body,
            read_timeout: None,
            write_timeout: None,
            drain_timeout: None,
        }
    }

    /// Runs `poll` on the client's side until it completes, for at most `limit`.
    async fn within<T>(
        &self,
        limit: Option<Duration>,
        kind: ErrorType,
        mut poll: impl FnMut(&mut Shared, &mut Context<'_>) -> Poll<Result<T>> + Send,
    ) -> Result<T> {
        let work = poll_fn(|cx| poll(&mut self.handle.lock(), cx));
        match limit {
            None => work.await,
            Some(limit) => timeout(limit, work)
                .await
                .unwrap_or_else(|_| Err(downstream(kind, "the client is too slow"))),
        }
    }

    async fn flush(&self) -> Result<()> {
        self.within(
            self.write_timeout,
            ErrorType::WriteTimedout,
            |shared, cx| shared.client.poll_flush(cx),
        )
        .await
    }

    fn write_head(&mut self, head: &ResponseHeader, end: bool) -> Result<()> {
        let shared = &mut *self.handle.lock();
        if head.status.is_informational() && head.status.as_u16() != 101 {
            shared.client.write_interim(head);
            return Ok(());
        }
        let spelling = shared.spelling.take();
        shared
            .client
            .write_head(head, spelling.as_ref(), &self.spelled, end)
    }
}

/// Reads and keeps the next piece of the request body; `None` at its end.
fn poll_read(shared: &mut Shared, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
    if shared.client.is_body_done() {
        return Poll::Ready(Ok(None));
    }
    Poll::Ready(match ready!(shared.client.poll_body(cx)) {
        Ok(Piece::Data(data)) => {
            // What a phase has read is lost for the next hop.
            shared.replay.forget();
            Ok(Some(data))
        }
        Ok(Piece::End(_)) => Ok(None),
        Err(e) => Err(e),
    })
}

fn poll_drain(shared: &mut Shared, cx: &mut Context<'_>) -> Poll<Result<()>> {
    while ready!(poll_read(shared, cx))?.is_some() {}
    Poll::Ready(Ok(()))
}

#[async_trait]
impl CustomSession for EngineSession {
    fn req_header(&self) -> &RequestHeader {
        &self.request
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        &mut self.request
    }

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        self.within(self.read_timeout, ErrorType::ReadTimedout, poll_read)
            .await
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        self.within(self.drain_timeout, ErrorType::ReadTimedout, poll_drain)
            .await
    }

    async fn write_response_header(&mut self, resp: Box<ResponseHeader>, end: bool) -> Result<()> {
        self.write_head(&resp, end)?;
        if !resp.status.is_informational() {
            self.response = Some(resp);
        }
        Ok(())
    }

    async fn write_response_header_ref(&mut self, resp: &ResponseHeader, end: bool) -> Result<()> {
        self.write_response_header(Box::new(resp.clone()), end)
            .await
    }

    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        let unsent = {
            let client = &mut self.handle.lock().client;
            client.write_body(data)?;
            if end {
                client.finish(None)?;
            }
            client.unsent()
        };
        if end || unsent >= UNSENT_BYTES {
            self.flush().await?;
        }
        Ok(())
    }

    async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        self.handle.lock().client.finish(Some(Box::new(trailers)))
    }

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        for task in tasks {
            match task {
                HttpTask::Header(head, end) => self.write_response_header(head, end).await?,
                HttpTask::Body(data, end) | HttpTask::UpgradedBody(data, end) => {
                    self.write_body(data.unwrap_or_default(), end).await?;
                }
                HttpTask::Trailer(trailers) => {
                    self.handle.lock().client.finish(trailers)?;
                }
                HttpTask::Done => self.handle.lock().client.finish(None)?,
                HttpTask::Failed(e) => return Err(e),
            }
        }
        Ok(self.handle.lock().client.is_finished())
    }

    fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.read_timeout = timeout;
    }

    fn get_read_timeout(&self) -> Option<Duration> {
        self.read_timeout
    }

    fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.write_timeout = timeout;
    }

    fn get_write_timeout(&self) -> Option<Duration> {
        self.write_timeout
    }

    fn set_total_drain_timeout(&mut self, timeout: Option<Duration>) {
        self.drain_timeout = timeout;
    }

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        self.drain_timeout
    }

    fn request_summary(&self) -> String {
        format!("{} {}", self.request.method, self.request.uri.path())
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.response.as_deref()
    }

    async fn shutdown(&mut self, _code: u32, _ctx: &str) {
        self.handle.lock().client.abort();
    }

    fn is_body_done(&mut self) -> bool {
        self.handle.lock().client.is_body_done()
    }

    async fn finish(&mut self) -> Result<()> {
        self.handle.lock().client.finish(None)?;
        self.flush().await
    }

    fn is_body_empty(&mut self) -> bool {
        !self.has_body
    }

    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        if no_body_expected || self.is_body_done() {
            let closed = poll_fn(|cx| self.handle.lock().client.poll_closed(cx)).await;
            return Err(downstream(
                ErrorType::ConnectionClosed,
                format!("the client left: {closed:?}"),
            ));
        }
        self.read_body_bytes().await
    }

    fn body_bytes_sent(&self) -> usize {
        usize::try_from(self.handle.lock().client.bytes_sent()).unwrap_or(usize::MAX)
    }

    fn body_bytes_read(&self) -> usize {
        usize::try_from(self.handle.lock().client.bytes_read()).unwrap_or(usize::MAX)
    }

    fn digest(&self) -> Option<&Digest> {
        Some(&self.digest)
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        Arc::get_mut(&mut self.digest)
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        self.digest.socket_digest.as_ref()?.peer_addr()
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        self.digest.socket_digest.as_ref()?.local_addr()
    }

    /// The engine keeps no raw head: what Pingora's own loop would show of HTTP/2.
    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        Bytes::new()
    }

    /// The engine keeps the start of every body, within its limit.
    fn enable_retry_buffering(&mut self) {}

    fn retry_buffer_truncated(&self) -> bool {
        self.handle.lock().replay.is_truncated()
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        self.handle.lock().replay.joined()
    }

    async fn finish_custom(&mut self) -> Result<()> {
        self.finish().await
    }

    fn take_custom_message_reader(&mut self) -> Option<Messages> {
        None
    }

    fn restore_custom_message_reader(&mut self, _reader: Messages) -> Result<()> {
        Err(no_messages())
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        None
    }

    fn restore_custom_message_writer(
        &mut self,
        _writer: Box<dyn CustomMessageWrite>,
    ) -> Result<()> {
        Err(no_messages())
    }
}

fn no_messages() -> Box<Error> {
    Error::explain(ErrorType::InternalError, "HTTP has no custom messages")
}
