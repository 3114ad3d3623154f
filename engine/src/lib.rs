//! HTTP/1.1 and HTTP/2 under Pingora's phases, for any `ProxyHttp` implementation: independent of
//! apps, sessions and workers.
//!
//! Today Pingora's own loop calls the phases. [`proxy`] is the one place that configures it.

// A connection, and the exchanges on it.
mod connection;
mod engine;
mod exchange;
mod gateway;

// The two sides of an exchange.
mod client;
mod upgrade;
mod upstream;

// Messages: heads, bodies, and the bytes of a connection.
mod body;
mod chunk;
mod error;
mod head;
mod limits;
mod rejection;
mod wire;

// A fuzz target reports a broken property by panicking.
#[cfg(any(test, feature = "fuzzing"))]
#[allow(clippy::panic, clippy::indexing_slicing)]
#[doc(hidden)]
pub mod fuzzing;

pub use engine::Engine;
pub use gateway::{ClientTimeouts, Gateway};
pub use limits::HeadLimits;
pub use rejection::Rejection;
pub use upgrade::{Upgraded, take_client};
pub use upstream::Handshake;

use std::sync::Arc;
use std::time::Duration;

use pingora_core::apps::HttpServerOptions;
use pingora_core::server::configuration::ServerConf;
use pingora_proxy::{HttpProxy, ProxyHttp, http_proxy};

/// The protocols of one listener.
#[derive(Clone, Copy, Debug, Default)]
pub struct Protocols {
    /// Enables HTTP/2 without TLS beside HTTP/1.1 (prior knowledge, RFC 9113, section 3.3).
    pub h2c: bool,
    /// Time after which an HTTP/2 connection without streams is closed; `None` is no limit.
    pub h2_idle: Option<Duration>,
}

/// Returns the server application that runs `phases` for each request of a listener.
///
/// CONNECT reaches `request_filter`, so that its rejection carries a request ID
/// (docs/reference/request-id.md, rule 13).
#[must_use]
pub fn proxy<P: ProxyHttp>(
    conf: &Arc<ServerConf>,
    phases: P,
    protocols: Protocols,
) -> HttpProxy<P> {
    let mut proxy = http_proxy(conf, phases);
    let mut options = HttpServerOptions::default();
    options.h2c = protocols.h2c;
    options.h2_idle_timeout = protocols.h2_idle;
    options.allow_connect_method_proxying = true;
    proxy.server_options = Some(options);
    proxy
}
