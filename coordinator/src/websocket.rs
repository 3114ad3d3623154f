//! WebSockets at the coordinator: the handshake is spoken with a worker, a second one when the first cannot be connected (phase `request_filter`).

use app_proxy_hop::error::Failure;
use app_proxy_hop::exchange::Exchange;
use app_proxy_hop::request_id::RequestId;
use app_proxy_hop::websocket::{NextHop, StreamObserver, Unobserved};
use pingora_core::Result;
use pingora_core::prelude::HttpPeer;
use pingora_http::{RequestHeader, ResponseHeader};

use crate::context::RequestContext;
use crate::forward;
use crate::proxy::Coordinator;
use crate::sessions::OpenStream;

/// A WebSocket request on its way to a worker.
pub struct ToWorker<'r> {
    /// The coordinator.
    pub coordinator: &'r Coordinator,
    /// The request.
    pub ctx: &'r mut RequestContext,
}

impl NextHop for ToWorker<'_> {
    fn exchange(&mut self) -> &mut Exchange {
        &mut self.ctx.exchange
    }

    fn place(&mut self) -> Result<HttpPeer, Failure> {
        let worker = self.coordinator.place(self.ctx).ok_or(Failure::NoWorkerAvailable)?;
        Ok(worker.peer.clone())
    }

    fn name(&self) -> String {
        self.ctx.placement.worker.as_ref().map_or_else(String::new, |worker| format!("worker {}", worker.id))
    }

    fn unconnected(&mut self) {
        self.ctx.placement.give_up();
    }

    fn prepare(&mut self, request: &mut RequestHeader) -> Result<()> {
        let Coordinator { forwarder, hop, sessions, .. } = self.coordinator;
        forwarder.request(request, self.ctx, &hop.identity, sessions)
    }

    fn finish(&mut self, response: &mut ResponseHeader) {
        forward::response(response, self.ctx, &self.coordinator.sessions);
    }

    fn captured(&mut self, id: RequestId) -> Box<dyn StreamObserver> {
        self.ctx.websocket_id = Some(id);
        let RequestContext { exchange, route, session, .. } = &mut *self.ctx;
        let opened = route.as_ref().map(|route| exchange.register(&route.app.streams));
        match (session, opened) {
            (Some(used), Some(opened)) => {
                Box::new(OpenStream::new(&used.record, self.coordinator.sessions.table(), opened))
            }
            _ => Box::new(Unobserved),
        }
    }
}
