//! HTTP/1.1 and HTTP/2 under Pingora's phases: drives any `ProxyHttp` implementation, and knows
//! nothing of apps, sessions or workers.
//!
//! Today the driver is Pingora's own loop. [`proxy`] is the one place that configures it.

use std::sync::Arc;
use std::time::Duration;

use pingora_core::apps::HttpServerOptions;
use pingora_core::server::configuration::ServerConf;
use pingora_proxy::{HttpProxy, ProxyHttp, http_proxy};

/// The protocols of one listener.
#[derive(Clone, Copy, Debug, Default)]
pub struct Protocols {
    /// Whether the listener also speaks HTTP/2 without TLS (prior knowledge, RFC 9113, section
    /// 3.3).
    pub h2c: bool,
    /// How long an HTTP/2 connection without streams stays open; `None` is no limit.
    pub h2_idle: Option<Duration>,
}

/// Returns the server application that runs `phases` for each request of a listener.
///
/// CONNECT reaches `request_filter`, so that its refusal carries a request ID
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
