//! A tier that forwards every request to one application.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use app_proxy_engine::{Protocols, proxy};
use app_proxy_hop::config::{RequestIdSection, TimeoutsSection, WorkerLimitsSection};
use app_proxy_hop::context::RequestContext;
use app_proxy_hop::downstream::Downstream;
use app_proxy_hop::enter::connection_addresses;
use app_proxy_hop::error::{ProxyError, Tier};
use app_proxy_hop::exchange::{HopServices, Policies};
use app_proxy_hop::forwarding::{PeerTimeouts, peer};
use app_proxy_hop::header::set;
use app_proxy_hop::phases::Phases;
use app_proxy_hop::placement::NextHop;
use app_proxy_hop::streams::Streams;
use app_proxy_hop::tier::{Entry, TierPolicy};
use app_proxy_hop::tunnel::{Direction, Unobserved};
use pingora_core::Result;
use pingora_core::apps::ServerApp;
use pingora_core::connectors::TransportConnector;
use pingora_core::prelude::HttpPeer;
use pingora_core::protocols::l4::socket::SocketAddr as PeerAddr;
use pingora_core::protocols::l4::stream::Stream as PlainStream;
use pingora_core::server::configuration::ServerConf;
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session as HttpSession;
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// The path of requests that no next hop serves.
const NOWHERE: &str = "/nowhere";

type Context = RequestContext<State, Next>;

struct Forwarding {
    hop: Arc<HopServices>,
    connector: TransportConnector,
    application: Arc<HttpPeer>,
    streams: Streams,
}

struct State {
    streams: Streams,
    nowhere: bool,
}

struct Next(Arc<HttpPeer>);

impl NextHop for Next {
    const NOUN: &'static str = "application";
    type Target = HttpPeer;

    fn target(&self) -> &Arc<HttpPeer> {
        &self.0
    }

    fn name(&self) -> &str {
        "the application"
    }

    fn peer(&self) -> &HttpPeer {
        &self.0
    }
}

impl TierPolicy for Forwarding {
    type State = State;
    type NextHop = Next;
    type Tunnel = Unobserved;

    const RETRIES_UNREAD: bool = false;

    fn hop(&self) -> &Arc<HopServices> {
        &self.hop
    }

    fn connector(&self) -> &TransportConnector {
        &self.connector
    }

    fn new_state(&self) -> State {
        State {
            streams: self.streams.clone(),
            nowhere: false,
        }
    }

    async fn enter(&self, session: &mut HttpSession, ctx: &mut Context) -> Result<Entry> {
        let (peer, _) = connection_addresses(session);
        let request = session.req_header();
        let established = self.hop.establish(&request.headers, peer);
        ctx.exchange.begin(request, peer, established);
        ctx.state.nowhere = request.uri.path() == NOWHERE;
        Ok(Entry::Forward)
    }

    fn place(&self, _: &RequestHeader, ctx: &mut Context) -> Result<Next, ProxyError> {
        if ctx.state.nowhere {
            return Err(ProxyError::EndpointUnreachable);
        }
        Ok(Next(Arc::clone(&self.application)))
    }

    fn prepare(&self, request: &mut RequestHeader, ctx: &Context) -> Result<()> {
        let id = ctx.exchange.id().header_value();
        app_proxy_hop::forwarding::rewrite(request, &request.uri.clone(), |headers| {
            set(headers, self.hop.identity.header(), id);
        });
        Ok(())
    }

    fn finish(&self, _response: &mut ResponseHeader, _ctx: &Context) {}

    fn streams(state: &State) -> Option<&Streams> {
        Some(&state.streams)
    }

    fn observe_data(&self, _ctx: &Context, _from: Direction, _bytes: u64) {}

    fn observe_stream(&self, _ctx: &mut Context) {}

    fn observe_tunnel(&self, _ctx: &mut Context) -> Unobserved {
        Unobserved
    }

    fn observe_end(&self, _ctx: &mut Context) {}
}

/// A tier that serves.
pub(crate) struct Served {
    /// Its address.
    pub(crate) address: SocketAddr,
    /// The open streams.
    pub(crate) streams: Streams,
    hop: Arc<HopServices>,
    log: NamedTempFile,
    _shutdown: watch::Sender<bool>,
}

impl Served {
    /// Returns the lines of the access log so far.
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.hop.log.flush(Duration::from_secs(10));
        let text = std::fs::read_to_string(self.log.path()).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Returns the metrics.
    pub(crate) fn metrics(&self) -> String {
        String::from_utf8(self.hop.metrics.render()).unwrap()
    }
}

/// Serves with these policies before the application at `application`.
pub(crate) async fn serve(application: SocketAddr, policies: Policies) -> Served {
    let log = NamedTempFile::new().unwrap();
    let hop = HopServices::open(
        Tier::Worker,
        &RequestIdSection::default(),
        &serde_json::from_value(json!({"path": log.path()})).unwrap(),
        &TimeoutsSection::default(),
        WorkerLimitsSection::default().resolve(),
        serde_json::from_value(json!({"message_ids": true})).unwrap(),
        policies,
    )
    .unwrap();
    hop.log.start();
    let limit = Duration::from_secs(30);
    let timeouts = PeerTimeouts {
        connect: limit,
        read: limit,
        write: limit,
        idle: limit,
    };
    let streams = Streams::default();
    let tier = Arc::new(Forwarding {
        hop: Arc::clone(&hop),
        connector: TransportConnector::new(None),
        application: Arc::new(peer(&PeerAddr::Inet(application), timeouts)),
        streams: streams.clone(),
    });
    let conf = Arc::new(ServerConf::default());
    let proxy = proxy(&conf, Phases::new(&tier), Protocols::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, shutdown) = watch::channel(false);
    tokio::spawn(accept(
        listener,
        Arc::new(Downstream::new(proxy, &hop)),
        shutdown,
    ));
    Served {
        address,
        streams,
        hop,
        log,
        _shutdown: sender,
    }
}

async fn accept<A: ServerApp + Send + Sync + 'static>(
    listener: TcpListener,
    app: Arc<A>,
    shutdown: watch::Receiver<bool>,
) {
    while let Ok((connection, _)) = listener.accept().await {
        let (app, shutdown) = (Arc::clone(&app), shutdown.clone());
        tokio::spawn(async move {
            let mut next: Option<pingora_core::protocols::Stream> =
                Some(Box::new(PlainStream::from(connection)));
            while let Some(stream) = next {
                next = app.process_new(stream, &shutdown).await;
            }
        });
    }
}
