//! The observation of a request: data that flowed, streams that open, and its end.

use std::sync::Arc;

use app_proxy_hop::streams::Streams;
use app_proxy_hop::tunnel::{Direction, TunnelObserver};

use crate::apps::usage::Usage;
use crate::request::context::{RequestContext, RequestState};
use crate::sessions::{OpenStream, Sessions};

/// The open streams of the request's app.
pub(super) fn streams(state: &RequestState) -> Option<&Streams> {
    state.route.as_ref().map(|route| &route.app.streams)
}

/// Records body bytes for the app, and for the session or its stream (phases `request_body_filter`
/// and `response_body_filter`).
pub(super) fn data(state: &RequestState, from: Direction, bytes: u64) {
    if let Some(route) = &state.route {
        route.app.usage.mark();
    }
    let (bytes_in, bytes_out) = match from {
        Direction::FromClient => (bytes, 0),
        Direction::FromServer => (0, bytes),
    };
    match (&state.stream, &state.session) {
        (Some(stream), _) => stream.count_bytes(bytes_in, bytes_out),
        (None, Some(used)) => used.record.count_bytes(bytes_in, bytes_out),
        (None, None) => {}
    }
}

/// Counts the request as an open stream of its worker and its session (phase `response_filter`, or
/// after a WebSocket's 101).
pub(super) fn stream(sessions: &Sessions, ctx: &mut RequestContext) {
    // From now on only data keeps the app in use.
    ctx.state.in_use = None;
    if let Some(worker) = ctx.placement.current_mut() {
        worker.mark_stream();
    }
    if let (Some(used), Some(stream)) = (&ctx.state.session, ctx.exchange.stream()) {
        ctx.state.stream = Some(OpenStream::new(&used.record, sessions.table(), stream));
    }
}

/// Returns the observer of a WebSocket's tunnel.
pub(super) fn tunnel(state: &mut RequestState) -> AppTunnel {
    let route = state.route.as_ref();
    AppTunnel {
        usage: route.map(|route| Arc::clone(&route.app.usage)),
        stream: state.stream.take(),
    }
}

/// Ends the use of the app and the stream of the session (phase `logging`).
pub(super) fn end(state: &mut RequestState) {
    state.stream = None;
    state.in_use = None;
}

/// Follows a tunnel for its app and its session.
pub(crate) struct AppTunnel {
    usage: Option<Arc<Usage>>,
    stream: Option<OpenStream>,
}

impl TunnelObserver for AppTunnel {
    fn data(&mut self, from: Direction, bytes: u64) {
        if let Some(usage) = &self.usage {
            usage.mark();
        }
        if let Some(stream) = &mut self.stream {
            TunnelObserver::data(stream, from, bytes);
        }
    }
}
