//! WebSockets at the coordinator: the handshake is spoken with a worker, a second one when the
//! first cannot be connected (phase `request_filter`).

use std::sync::Arc;

use app_proxy_hop::error::ProxyError;
use app_proxy_hop::exchange::Exchange;
use app_proxy_hop::identity::RequestId;
use app_proxy_hop::websocket::observer::Direction;
use app_proxy_hop::websocket::{NextHop, TunnelObserver};
use pingora_core::Result;
use pingora_core::prelude::HttpPeer;
use pingora_http::{RequestHeader, ResponseHeader};

use crate::apps::usage::Usage;
use crate::pool::LoadGuard;
use crate::request::context::RequestContext;
use crate::request::forward;
use crate::request::proxy::Coordinator;
use crate::sessions::OpenStream;

/// A WebSocket request on its way to a worker.
pub struct ToWorker<'r> {
    /// The coordinator.
    pub coordinator: &'r Coordinator,
    /// The request.
    pub ctx: &'r mut RequestContext,
}

/// Follows a tunnel: for its app and its session, if it has one, and keeps its worker counted as
/// busy.
struct AtWorker {
    usage: Option<Arc<Usage>>,
    stream: Option<OpenStream>,
    _busy: Option<LoadGuard>,
}

impl TunnelObserver for AtWorker {
    fn data(&mut self, from: Direction, bytes: u64) {
        if let Some(usage) = &self.usage {
            usage.mark();
        }
        if let Some(stream) = &mut self.stream {
            TunnelObserver::data(stream, from, bytes);
        }
    }
}

impl NextHop for ToWorker<'_> {
    fn exchange(&mut self) -> &mut Exchange {
        &mut self.ctx.exchange
    }

    fn place(&mut self) -> Result<HttpPeer, ProxyError> {
        let worker = self
            .coordinator
            .place(self.ctx)
            .ok_or(ProxyError::NoWorkerAvailable)?;
        Ok(worker.peer.clone())
    }

    fn name(&self) -> String {
        let worker = self.ctx.placement.worker.as_ref();
        worker.map_or_else(String::new, |busy| format!("worker {}", busy.worker().id))
    }

    fn unconnected(&mut self) {
        self.ctx.placement.give_up();
    }

    fn prepare(&mut self, request: &mut RequestHeader) -> Result<()> {
        let Coordinator {
            forwarder,
            hop,
            sessions,
            ..
        } = self.coordinator;
        forwarder.request(request, self.ctx, &hop.identity, sessions)
    }

    fn finish(&mut self, response: &mut ResponseHeader) {
        forward::response(response, self.ctx, &self.coordinator.sessions);
    }

    fn captured(&mut self, id: RequestId) -> Box<dyn TunnelObserver> {
        self.ctx.websocket_id = Some(id);
        let RequestContext {
            exchange,
            route,
            session,
            placement,
            in_use,
            ..
        } = &mut *self.ctx;
        // From now on only data keeps the app in use.
        *in_use = None;
        let opened = route
            .as_ref()
            .map(|route| exchange.register(&route.app.streams));
        let mut busy = placement.worker.take();
        if let Some(busy) = &mut busy {
            busy.mark_stream();
        }
        let table = self.coordinator.sessions.table();
        let stream = match (session, opened) {
            (Some(used), Some(opened)) => Some(OpenStream::new(&used.record, table, opened)),
            _ => None,
        };
        let usage = route.as_ref().map(|route| Arc::clone(&route.app.usage));
        Box::new(AtWorker {
            usage,
            stream,
            _busy: busy,
        })
    }
}
