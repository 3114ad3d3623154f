//! WebSockets at the worker: the handshake is spoken with the application (phase `request_filter`).

use app_proxy_hop::error::ProxyError;
use app_proxy_hop::exchange::Exchange;
use app_proxy_hop::identity::RequestId;
use app_proxy_hop::websocket::observer::Direction;
use app_proxy_hop::websocket::{NextHop, TunnelObserver};
use pingora_core::Result;
use pingora_core::prelude::HttpPeer;
use pingora_http::RequestHeader;

use crate::endpoints::LoadGuard;
use crate::request::context::RequestContext;
use crate::request::forward;
use crate::request::proxy::Worker;

/// A WebSocket request on its way to an application.
pub struct ToApplication<'r> {
    /// The worker.
    pub worker: &'r Worker,
    /// The request.
    pub ctx: &'r mut RequestContext,
}

/// Keeps the endpoint counted as busy for as long as the tunnel lives.
struct AtEndpoint {
    _busy: Option<LoadGuard>,
}

impl TunnelObserver for AtEndpoint {
    fn data(&mut self, _from: Direction, _bytes: u64) {}
}

impl NextHop for ToApplication<'_> {
    fn exchange(&mut self) -> &mut Exchange {
        &mut self.ctx.exchange
    }

    fn place(&mut self) -> Result<HttpPeer, ProxyError> {
        self.worker
            .place(self.ctx)
            .map(|endpoint| endpoint.peer.clone())
    }

    fn name(&self) -> String {
        let endpoint = self.ctx.placement.endpoint.as_ref();
        endpoint.map_or_else(String::new, |busy| {
            format!("endpoint {}", busy.endpoint().address)
        })
    }

    fn unconnected(&mut self) {
        self.ctx.placement.give_up();
    }

    fn prepare(&mut self, request: &mut RequestHeader) -> Result<()> {
        forward::request(request, self.ctx, &self.worker.hop.identity)
    }

    fn captured(&mut self, id: RequestId) -> Box<dyn TunnelObserver> {
        self.ctx.websocket_id = Some(id);
        if let Some(route) = &self.ctx.route {
            self.ctx.exchange.register(&route.app.streams);
        }
        Box::new(AtEndpoint {
            _busy: self.ctx.placement.endpoint.take(),
        })
    }
}
