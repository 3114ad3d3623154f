//! One tier of the bare Pingora chain: `bare-pingora LISTEN NEXT LOG`. It forwards over kept
//! connections, makes a request ID where there is none, passes it on, answers with it, and logs a
//! line. The allocator is the system's, the line is written when the request ends, and everything
//! else is as the framework has it by default.

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use http::HeaderValue;
use pingora::upstreams::peer::HttpPeer;
use pingora_core::server::Server;
use pingora_core::server::configuration::ServerConf;
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

const REQUEST_ID: &str = app_proxy_bench::REQUEST_ID;

struct Bare {
    next: SocketAddr,
    log: File,
}

struct Context {
    id: HeaderValue,
    begun: Instant,
}

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = Context;

    fn new_ctx(&self) -> Self::CTX {
        Context {
            id: HeaderValue::from_static(""),
            begun: Instant::now(),
        }
    }

    async fn request_filter(
        &self,
        session: &mut Session,
        ctx: &mut Self::CTX,
    ) -> pingora::Result<bool> {
        ctx.id = match session.get_header(REQUEST_ID) {
            Some(id) => id.clone(),
            None => HeaderValue::from_str(&uuid::Uuid::now_v7().to_string()).map_err(|e| {
                pingora::Error::because(pingora::ErrorType::InternalError, "no ID", e)
            })?,
        };
        Ok(false)
    }

    async fn upstream_peer(
        &self,
        _: &mut Session,
        _: &mut Self::CTX,
    ) -> pingora::Result<Box<HttpPeer>> {
        // A socket address resolves to itself, so neither DNS nor a panic is possible here.
        #[allow(clippy::disallowed_methods)]
        let peer = HttpPeer::new(self.next, false, String::new());
        Ok(Box::new(peer))
    }

    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Self::CTX,
    ) -> pingora::Result<()> {
        request.insert_header(REQUEST_ID, ctx.id.clone())
    }

    async fn response_filter(
        &self,
        _: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Self::CTX,
    ) -> pingora::Result<()> {
        response.insert_header(REQUEST_ID, ctx.id.clone())
    }

    async fn logging(
        &self,
        session: &mut Session,
        _: Option<&pingora::Error>,
        ctx: &mut Self::CTX,
    ) {
        let line = format!(
            "{{\"ts\":\"{}\",\"request_id\":\"{}\",\"client\":\"{}\",\"method\":\"{}\",\
             \"path\":\"{}\",\"status\":{},\"bytes_out\":{},\
             \"duration_ms\":{:.3},\"upstream\":\"{}\"}}\n",
            chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
            ctx.id.to_str().unwrap_or_default(),
            session
                .client_addr()
                .map(ToString::to_string)
                .unwrap_or_default(),
            session.req_header().method,
            session.req_header().uri.path(),
            session
                .response_written()
                .map_or(0, |response| response.status.as_u16()),
            session.body_bytes_sent(),
            ctx.begun.elapsed().as_secs_f64() * 1000.0,
            self.next,
        );
        // A line that cannot be written is missed by the check of the chain's features.
        let _ = (&self.log).write_all(line.as_bytes());
    }
}

fn main() -> Result<()> {
    let [_, listen, next, log] =
        std::env::args()
            .collect::<Vec<_>>()
            .try_into()
            .map_err(|args: Vec<_>| {
                anyhow::anyhow!(
                    "bare-pingora takes LISTEN NEXT LOG, not {} arguments",
                    args.len().saturating_sub(1)
                )
            })?;
    let next = next
        .parse()
        .with_context(|| format!("{next} is no address"))?;
    let log = File::options()
        .create(true)
        .append(true)
        .open(&log)
        .with_context(|| log.clone())?;
    let conf = ServerConf {
        threads: 1,
        upstream_keepalive_pool_size: 512,
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, Bare { next, log });
    service.add_tcp(&listen);
    server.add_service(service);
    server.run_forever()
}
