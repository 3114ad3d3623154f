//! A gateway for tests, a client and a next hop that speak in raw bytes.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use app_proxy_engine::{ClientTimeouts, Engine, Gateway, HeadLimits, Protocols, Rejection};
use async_trait::async_trait;
use bytes::Bytes;
use pingora_core::apps::ServerApp;
use pingora_core::prelude::HttpPeer;
use pingora_core::protocols::Digest;
use pingora_core::protocols::l4::stream::Stream as PlainStream;
use pingora_core::server::configuration::ServerConf;
use pingora_core::{Error, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, Session};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The time in which a test must get what it waits for.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// A gateway with one next hop, which records its phases.
#[derive(Clone)]
pub(crate) struct TestGateway {
    origin: SocketAddr,
    pub(crate) phases: Arc<Mutex<Vec<&'static str>>>,
    pub(crate) errors: Arc<Mutex<Vec<String>>>,
    pub(crate) closing: Arc<AtomicBool>,
    pub(crate) timeouts: ClientTimeouts,
    pub(crate) upstream_read: Option<Duration>,
}

impl TestGateway {
    pub(crate) fn new(origin: SocketAddr) -> Self {
        Self {
            origin,
            phases: Arc::default(),
            errors: Arc::default(),
            closing: Arc::default(),
            timeouts: ClientTimeouts {
                read: SOON,
                write: SOON,
                keepalive: SOON,
                half_closed: SOON,
            },
            upstream_read: None,
        }
    }

    fn record(&self, phase: &'static str) {
        self.phases.lock().unwrap().push(phase);
    }
}

impl Gateway for TestGateway {
    type Arriving = ();

    fn request_limits(&self) -> HeadLimits {
        HeadLimits {
            bytes: 16 * 1024,
            lines: 100,
            target: 8 * 1024,
        }
    }

    fn response_limits(&self) -> HeadLimits {
        HeadLimits {
            bytes: 32 * 1024,
            lines: 120,
            target: 0,
        }
    }

    fn timeouts(&self) -> ClientTimeouts {
        self.timeouts
    }

    fn closes_connections(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    fn arriving(&self) {}

    fn spelled_names(&self) -> Vec<String> {
        vec!["X-Added".to_owned()]
    }

    async fn supervise<T: Send>(&self, exchange: impl Future<Output = T> + Send) -> Option<T> {
        Some(exchange.await)
    }
}

#[async_trait]
impl ProxyHttp for TestGateway {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn early_request_filter(&self, _session: &mut Session, (): &mut ()) -> Result<()> {
        self.record("early_request_filter");
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, (): &mut ()) -> Result<bool> {
        self.record("request_filter");
        if session.req_header().uri.path() == "/own" {
            let mut response = ResponseHeader::build(200, None)?;
            response.insert_header("content-length", 3)?;
            session
                .write_response_header(Box::new(response), false)
                .await?;
            session
                .write_response_body(Some(Bytes::from_static(b"own")), true)
                .await?;
            return Ok(true);
        }
        Ok(false)
    }

    async fn upstream_peer(&self, _session: &mut Session, (): &mut ()) -> Result<Box<HttpPeer>> {
        self.record("upstream_peer");
        #[allow(clippy::disallowed_methods)]
        let mut peer = HttpPeer::new(self.origin, false, String::new());
        peer.options.read_timeout = self.upstream_read;
        Ok(Box::new(peer))
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        (): &mut (),
        e: Box<Error>,
    ) -> Box<Error> {
        self.record("fail_to_connect");
        e
    }

    async fn connected_to_upstream(
        &self,
        _session: &mut Session,
        _reused: bool,
        _peer: &HttpPeer,
        _fd: std::os::fd::RawFd,
        _digest: Option<&Digest>,
        (): &mut (),
    ) -> Result<()> {
        self.record("connected_to_upstream");
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        _session: &mut Session,
        _request: &mut RequestHeader,
        (): &mut (),
    ) -> Result<()> {
        self.record("upstream_request_filter");
        Ok(())
    }

    async fn request_body_filter(
        &self,
        _session: &mut Session,
        _body: &mut Option<Bytes>,
        _end: bool,
        (): &mut (),
    ) -> Result<()> {
        self.record("request_body_filter");
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        _session: &mut Session,
        _response: &mut ResponseHeader,
        (): &mut (),
    ) -> Result<()> {
        self.record("upstream_response_filter");
        Ok(())
    }

    async fn response_filter(
        &self,
        _session: &mut Session,
        response: &mut ResponseHeader,
        (): &mut (),
    ) -> Result<()> {
        self.record("response_filter");
        if !response.status.is_informational() {
            response.insert_header("x-added", "1")?;
        }
        Ok(())
    }

    fn response_body_filter(
        &self,
        _session: &mut Session,
        _body: &mut Option<Bytes>,
        _end: bool,
        (): &mut (),
    ) -> Result<Option<Duration>> {
        self.record("response_body_filter");
        Ok(None)
    }

    async fn fail_to_proxy(&self, session: &mut Session, e: &Error, (): &mut ()) -> FailToProxy {
        self.record("fail_to_proxy");
        self.errors.lock().unwrap().push(e.to_string());
        let rejection = e.root_cause().downcast_ref::<Rejection>();
        let status = rejection.map_or(502, |rejection| rejection.status().as_u16());
        if session.response_written().is_none() {
            let mut response = ResponseHeader::build(status, None).unwrap();
            response.insert_header("content-length", 0).unwrap();
            let _ = session
                .write_response_header(Box::new(response), true)
                .await;
        }
        FailToProxy {
            error_code: status,
            can_reuse_downstream: false,
        }
    }

    async fn logging(&self, _session: &mut Session, _e: Option<&Error>, (): &mut ()) {
        self.record("logging");
    }

    fn suppress_error_log(&self, _session: &Session, (): &(), _error: &Error) -> bool {
        true
    }
}

/// A running engine.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    pub(crate) gateway: TestGateway,
}

impl Proxy {
    /// Starts an engine whose next hop serves each connection by `origin`.
    pub(crate) async fn start<F, W>(origin: F) -> Self
    where
        F: Fn(TcpStream, usize) -> W + Send + Sync + 'static,
        W: Future<Output = ()> + Send + 'static,
    {
        Self::start_with(origin, |_| {}).await
    }

    /// Starts an engine with a changed gateway.
    pub(crate) async fn start_with<F, W>(origin: F, change: impl FnOnce(&mut TestGateway)) -> Self
    where
        F: Fn(TcpStream, usize) -> W + Send + Sync + 'static,
        W: Future<Output = ()> + Send + 'static,
    {
        let mut gateway = TestGateway::new(serve_origin(origin).await);
        change(&mut gateway);
        let engine = Engine::new(
            &ServerConf::default(),
            gateway.clone(),
            Protocols::default(),
        );
        let engine = Arc::new(engine);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (_running, shutdown) = tokio::sync::watch::channel(false);
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (engine, shutdown) = (Arc::clone(&engine), shutdown.clone());
                tokio::spawn(async move {
                    let stream = Box::new(PlainStream::from(stream));
                    engine.process_new(stream, &shutdown).await
                });
            }
        });
        Self { address, gateway }
    }

    pub(crate) async fn client(&self) -> Client {
        Client(TcpStream::connect(self.address).await.unwrap())
    }
}

/// Serves each connection of a next hop by `serve`, which gets its number too.
async fn serve_origin<F, W>(serve: F) -> SocketAddr
where
    F: Fn(TcpStream, usize) -> W + Send + Sync + 'static,
    W: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = AtomicUsize::new(0);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(stream, count.fetch_add(1, Ordering::Relaxed)));
        }
    });
    address
}

/// A raw client.
pub(crate) struct Client(pub(crate) TcpStream);

impl Client {
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Reads until what was read ends with `end`.
    pub(crate) async fn read_to(&mut self, end: &str) -> String {
        read_to(&mut self.0, end).await
    }

    /// Reads until the connection ends.
    pub(crate) async fn read_all(&mut self) -> String {
        let mut all = Vec::new();
        tokio::time::timeout(SOON, self.0.read_to_end(&mut all))
            .await
            .expect("the connection ends")
            .unwrap();
        String::from_utf8(all).unwrap()
    }
}

/// Reads until what was read ends with `end`.
pub(crate) async fn read_to(stream: &mut TcpStream, end: &str) -> String {
    let mut all = Vec::new();
    while !all.ends_with(end.as_bytes()) {
        let mut byte = [0];
        let read = tokio::time::timeout(SOON, stream.read(&mut byte)).await;
        let count = read
            .unwrap_or_else(|_| panic!("only {:?} came", String::from_utf8_lossy(&all)))
            .unwrap();
        assert_eq!(count, 1, "ends after {:?}", String::from_utf8_lossy(&all));
        all.push(byte[0]);
    }
    String::from_utf8(all).unwrap()
}

/// Answers every request without a body by `answer`.
pub(crate) async fn answer_all(mut stream: TcpStream, answer: &'static str) {
    let mut head = Vec::new();
    loop {
        let mut byte = [0];
        match stream.read(&mut byte).await {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
        if head.ends_with(b"\r\n\r\n") {
            head.clear();
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}
