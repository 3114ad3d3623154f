//! A wrapper of the proxy that makes each HTTP/2 stream, which has its own task, cancellable.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use pingora_core::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::H2Options;
use pingora_core::server::ShutdownWatch;

use crate::streams::until_closed;

/// Cancels requests of HTTP/2 connections one by one. A request of HTTP/1.1 is cancelled with its
/// connection, by [`super::Downstream`].
pub(super) struct Cancellable<A>(pub(super) Arc<A>);

impl<A: HttpServerApp + Send + Sync + 'static> HttpServerApp for Cancellable<A> {
    /// Returns the inner future itself for HTTP/1.1: an `async fn` would allocate another one for
    /// each request.
    fn process_new_http<'s, 'w, 'f>(
        self: &'s Arc<Self>,
        session: ServerSession,
        shutdown: &'w ShutdownWatch,
    ) -> Pin<Box<dyn Future<Output = Option<ReusedHttpStream>> + Send + 'f>>
    where
        's: 'f,
        'w: 'f,
    {
        let is_h2 = matches!(session, ServerSession::H2(_));
        let served = self.0.process_new_http(session, shutdown);
        if is_h2 {
            Box::pin(async move { until_closed(served).await.flatten() })
        } else {
            served
        }
    }

    fn h2_options(&self) -> Option<H2Options> {
        self.0.h2_options()
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        self.0.server_options()
    }

    fn http_cleanup<'s, 'f>(&'s self) -> Pin<Box<dyn Future<Output = ()> + Send + 'f>>
    where
        's: 'f,
    {
        self.0.http_cleanup()
    }
}
