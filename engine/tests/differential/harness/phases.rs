//! The simplest phases: every request goes to the application in memory.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use app_proxy_engine::{ClientTimeouts, Gateway, HeadLimits};
use async_trait::async_trait;
use pingora_core::Result;
use pingora_core::protocols::http::ServerSession as HttpSession;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_http::RequestHeader;
use pingora_proxy::{ProxyHttp, Session};

use super::memory::Memory;

/// The phases.
pub(super) struct Phases {
    peer: HttpPeer,
}

impl Phases {
    #[allow(clippy::disallowed_methods)] // An address, of which nothing is resolved.
    pub(super) fn new(memory: Memory) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let mut peer = HttpPeer::new(address, false, String::new());
        peer.options.custom_l4 = Some(Arc::new(memory));
        Self { peer }
    }
}

#[async_trait]
impl ProxyHttp for Phases {
    type CTX = ();

    fn new_ctx(&self) {}

    /// Enables pipelining, which Pingora leaves out unless it is asked for.
    async fn early_request_filter(&self, session: &mut Session, (): &mut ()) -> Result<()> {
        if let HttpSession::H1(session) = session.downstream_session.as_mut() {
            session.set_pipelining_enabled(true);
        }
        Ok(())
    }

    /// Rejects CONNECT, as both tiers do.
    async fn request_filter(&self, session: &mut Session, (): &mut ()) -> Result<bool> {
        if session.req_header().method == http::Method::CONNECT {
            session.respond_error(405).await?;
            return Ok(true);
        }
        Ok(false)
    }

    /// Adds the Host that HTTP/1.0 may leave out, as both tiers do.
    async fn upstream_request_filter(
        &self,
        _session: &mut Session,
        request: &mut RequestHeader,
        (): &mut (),
    ) -> Result<()> {
        if !request.headers.contains_key("host") {
            request.insert_header("host", "none.example")?;
        }
        Ok(())
    }

    async fn upstream_peer(&self, _session: &mut Session, (): &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(self.peer.clone()))
    }
}

impl Gateway for Phases {
    type Arriving = ();

    fn request_limits(&self) -> HeadLimits {
        HeadLimits {
            bytes: 64 * 1024,
            lines: 200,
            target: 16 * 1024,
        }
    }

    fn response_limits(&self) -> HeadLimits {
        self.request_limits()
    }

    fn timeouts(&self) -> ClientTimeouts {
        ClientTimeouts {
            read: Duration::from_secs(60),
            write: Duration::from_secs(60),
            keepalive: Duration::from_secs(60),
            half_closed: Duration::from_secs(60),
        }
    }

    fn closes_connections(&self) -> bool {
        false
    }

    fn arriving(&self) {}

    fn spelled_names(&self) -> Vec<String> {
        Vec::new()
    }

    async fn supervise<T: Send>(&self, exchange: impl Future<Output = T> + Send) -> Option<T> {
        Some(exchange.await)
    }
}
