//! WebSockets at the coordinator: the handshake is spoken with a worker, a second one when the first cannot be connected (phase `request_filter`).

use std::sync::Arc;

use app_proxy_hop::error::Failure;
use app_proxy_hop::exchange::Exchange;
use app_proxy_hop::request_id::RequestId;
use app_proxy_hop::websocket::observer::Direction;
use app_proxy_hop::websocket::{NextHop, StreamObserver};
use pingora_core::Result;
use pingora_core::prelude::HttpPeer;
use pingora_http::{RequestHeader, ResponseHeader};

use crate::context::RequestContext;
use crate::forward;
use crate::proxy::Coordinator;
use crate::sessions::OpenStream;
use crate::usage::Usage;

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
        // From now on only data keeps the app in use.
        self.ctx.busy = None;
        let table = self.coordinator.sessions.table();
        let session = self.ctx.session.as_ref().map(|used| OpenStream::new(&used.record, table));
        let usage = self.ctx.route.as_ref().map(|route| Arc::clone(&route.app.usage));
        Box::new(Followed { usage, session })
    }
}

/// A WebSocket whose data counts for its app, and for its session if it has one.
struct Followed {
    usage: Option<Arc<Usage>>,
    session: Option<OpenStream>,
}

impl StreamObserver for Followed {
    fn data(&mut self, from: Direction, bytes: u64) {
        if let Some(usage) = &self.usage {
            usage.mark();
        }
        if let Some(session) = &mut self.session {
            StreamObserver::data(session, from, bytes);
        }
    }
}
