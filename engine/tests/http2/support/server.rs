//! An engine that listens.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use app_proxy_engine::{Engine, Protocols};
use pingora_core::apps::ServerApp;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::server::configuration::ServerConf;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{TestGateway, Upstream};

/// An engine on a port of its own, with HTTP/1 and HTTP/2.
pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    pub(crate) gateway: TestGateway,
    /// Tells connections that the process ends.
    pub(crate) shutdown: watch::Sender<bool>,
    acceptor: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

impl Server {
    /// Starts an engine before the next hop at `upstream`.
    pub(crate) async fn start(upstream: &Upstream) -> Self {
        Self::with(TestGateway::new(upstream.path()), None).await
    }

    /// Starts an engine with this gateway, and this limit of connections without streams.
    pub(crate) async fn with(gateway: TestGateway, h2_idle: Option<Duration>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (shutdown, watch) = watch::channel(false);
        let protocols = Protocols { h2c: true, h2_idle };
        let engine = Engine::new(&ServerConf::default(), gateway.clone(), protocols);
        let engine = Arc::new(engine);
        let acceptor = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let (engine, watch) = (Arc::clone(&engine), watch.clone());
                tokio::spawn(async move {
                    engine
                        .process_new(Box::new(Stream::from(stream)), &watch)
                        .await;
                });
            }
        });
        Self {
            addr,
            gateway,
            shutdown,
            acceptor,
        }
    }
}
