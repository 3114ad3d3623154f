//! A client's connection at a tier: [`Supervised`] around the engine, [`Downstream`] around
//! Pingora's own loop, before it reads a request.
//!
//! - A first request that is on its way when a drain begins is still served.
//! - A first request that does not arrive, or arrives too slowly, ends with a timeout, also before
//!   the protocol is known.
//! - A connection or an HTTP/2 stream can be closed from outside while nothing flows in it.
//! - Pingora's own response to an invalid header block carries an identifier
//!   (docs/reference/request-id.md, rule 13).

mod cancellable;
mod stream;
mod supervised;
mod ticker;

use std::sync::Arc;

use async_trait::async_trait;
use pingora_core::apps::{HttpServerApp, ServerApp};
use pingora_core::protocols::Stream;
use pingora_core::server::ShutdownWatch;
use pingora_proxy::Session as HttpSession;

use crate::exchange::HopServices;
use crate::streams::until_closed;
use cancellable::Cancellable;

pub(crate) use stream::DownstreamStream;
pub use supervised::Supervised;

/// A proxy as the application of a listener.
pub struct Downstream<A> {
    proxy: Arc<Cancellable<A>>,
    hop: Arc<HopServices>,
}

impl<A> Downstream<A> {
    /// Creates the application that serves connections with `proxy`.
    pub fn new(proxy: A, hop: &Arc<HopServices>) -> Self {
        Self {
            proxy: Arc::new(Cancellable(Arc::new(proxy))),
            hop: Arc::clone(hop),
        }
    }
}

#[async_trait]
impl<A: HttpServerApp + Send + Sync + 'static> ServerApp for Downstream<A> {
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        ticker::start();
        let mut stream = DownstreamStream::new(stream, Arc::clone(&self.hop));
        // In flight, so that a drain waits for a first request that is on its way.
        let arriving = self.hop.drain.enter();
        stream.read_first(shutdown.clone()).await?;
        drop(arriving);
        let served = until_closed(self.proxy.process_new(Box::new(stream), shutdown));
        self.hop
            .drain
            .unless_cut_off(served)
            .await
            .flatten()
            .flatten()
    }

    async fn cleanup(&self) {
        self.proxy.cleanup().await;
    }
}

/// Records that the connection serves a parsed request from now on, or that its response has ended.
/// Until then, Pingora writes that response; at other times, it writes responses of its own.
pub(crate) fn mark_serving(session: &HttpSession, serving: bool) {
    let stream = session.downstream_session.stream();
    if let Some(stream) =
        stream.and_then(|stream| stream.as_any().downcast_ref::<DownstreamStream>())
    {
        stream.set_serving(serving);
    }
}
