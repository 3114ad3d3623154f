//! A gateway that forwards everything, and answers failures with the request ID of the client.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use app_proxy_engine::{ClientTimeouts, Gateway, HeadLimits};
use async_trait::async_trait;
use bytes::Bytes;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorSource, ErrorType, Result};
use pingora_http::ResponseHeader;
use pingora_proxy::{FailToProxy, ProxyHttp, Session};

/// What `logging` saw of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Logged {
    pub(crate) id: String,
    pub(crate) path: String,
    pub(crate) status: u16,
    pub(crate) error: Option<String>,
}

/// The settings and the records of a gateway; clones share the records.
#[derive(Clone)]
pub(crate) struct TestGateway {
    pub(crate) upstream: PathBuf,
    pub(crate) limits: HeadLimits,
    pub(crate) timeouts: ClientTimeouts,
    pub(crate) closing: Arc<AtomicBool>,
    /// The requests that a phase holds for good.
    pub(crate) held: Arc<AtomicUsize>,
    pub(crate) log: Arc<Mutex<Vec<Logged>>>,
}

/// The longest request body, in bytes.
pub(crate) const BODY_LIMIT: usize = 256 * 1024;

impl TestGateway {
    pub(crate) fn new(upstream: &Path) -> Self {
        let long = Duration::from_secs(30);
        Self {
            upstream: upstream.to_owned(),
            limits: HeadLimits {
                bytes: 16 * 1024,
                lines: 40,
                target: 4096,
            },
            timeouts: ClientTimeouts {
                read: long,
                write: long,
                keepalive: long,
                half_closed: long,
            },
            closing: Arc::default(),
            held: Arc::default(),
            log: Arc::default(),
        }
    }

    /// Returns what was logged.
    pub(crate) fn logged(&self) -> Vec<Logged> {
        self.log.lock().unwrap().clone()
    }
}

/// Writes a response whose body is the text of the failure.
async fn answer(session: &mut Session, status: u16, text: String) -> Result<()> {
    let id = session.req_header().headers.get("x-request-id").cloned();
    let mut head = ResponseHeader::build(status, None)?;
    head.insert_header("content-type", "application/problem+json")?;
    head.insert_header("content-length", text.len())?;
    if let Some(id) = id {
        head.insert_header("x-request-id", id)?;
    }
    session.write_response_header(Box::new(head), false).await?;
    session
        .write_response_body(Some(Bytes::from(text)), true)
        .await
}

#[async_trait]
impl ProxyHttp for TestGateway {
    type CTX = usize;

    fn new_ctx(&self) -> usize {
        0
    }

    async fn request_filter(&self, session: &mut Session, _received: &mut usize) -> Result<bool> {
        if session.req_header().uri.path() == "/held" {
            self.held.fetch_add(1, Ordering::Relaxed);
            std::future::pending::<()>().await;
        }
        if session.req_header().uri.path() == "/refused" {
            answer(session, 413, "too large".to_owned()).await?;
            return Ok(true);
        }
        Ok(false)
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        _end: bool,
        received: &mut usize,
    ) -> Result<()> {
        *received += body.as_ref().map_or(0, Bytes::len);
        let is_limited = session.req_header().uri.path() == "/limited";
        if is_limited && *received > BODY_LIMIT {
            return Err(Error::explain(ErrorType::HTTPStatus(413), "body limit").into_down());
        }
        Ok(())
    }

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        _received: &mut usize,
    ) -> Result<Box<HttpPeer>> {
        let path = self.upstream.to_str().unwrap();
        let mut peer = HttpPeer::new_uds(path, false, String::new())?;
        peer.options.read_timeout = Some(Duration::from_secs(30));
        Ok(Box::new(peer))
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        e: &Error,
        _received: &mut usize,
    ) -> FailToProxy {
        let status = match (e.etype(), e.esource()) {
            (ErrorType::HTTPStatus(status), _) => *status,
            (_, ErrorSource::Upstream) => 502,
            (ErrorType::ReadTimedout, ErrorSource::Downstream) => 408,
            (_, ErrorSource::Downstream) => 499,
            _ => 500,
        };
        if status != 499 && session.response_written().is_none() {
            let text = e.root_cause().to_string();
            let _ = answer(session, status, text).await;
        }
        FailToProxy {
            error_code: status,
            can_reuse_downstream: false,
        }
    }

    async fn logging(&self, session: &mut Session, e: Option<&Error>, _received: &mut usize) {
        let request = session.req_header();
        let id = request.headers.get("x-request-id");
        self.log.lock().unwrap().push(Logged {
            id: id.map_or_else(String::new, |id| id.to_str().unwrap().to_owned()),
            path: request.uri.path().to_owned(),
            status: session
                .response_written()
                .map_or(0, |head| head.status.as_u16()),
            error: e.map(ToString::to_string),
        });
    }

    fn suppress_error_log(&self, _session: &Session, _ctx: &usize, _error: &Error) -> bool {
        true
    }
}

impl Gateway for TestGateway {
    type Arriving = ();

    fn request_limits(&self) -> HeadLimits {
        self.limits
    }

    fn response_limits(&self) -> HeadLimits {
        self.limits
    }

    fn timeouts(&self) -> ClientTimeouts {
        self.timeouts
    }

    fn closes_connections(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    fn arriving(&self) {}

    fn spelled_names(&self) -> Vec<String> {
        Vec::new()
    }

    async fn supervise<T: Send>(&self, exchange: impl Future<Output = T> + Send) -> Option<T> {
        Some(exchange.await)
    }
}
