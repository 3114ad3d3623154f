//! Puts the coordinator together: from a configuration to services that run.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use app_proxy_hop::access_log::AccessLog;
use app_proxy_hop::admin::{AdminService, Token};
use app_proxy_hop::daemon::{Bound, Daemon, Flags, bind, check_files, read_or_create};
use app_proxy_hop::drain::Drain;
use app_proxy_hop::entrance::Entrance;
use app_proxy_hop::error::Tier;
use app_proxy_hop::exchange::Hop;
use app_proxy_hop::metrics::Metrics;
use app_proxy_hop::request_id::Policy;
use pingora::apps::HttpServerOptions;
use pingora::connectors::{ConnectorOptions, TransportConnector};
use pingora::server::configuration::ServerConf;
use pingora::services::listening::Service;
use pingora_proxy::http_proxy;

use crate::admin::{self, AdminState};
use crate::apps::Apps;
use crate::config::{Config, Networks};
use crate::forward::Forwarder;
use crate::pool::Pool;
use crate::proxy::{Coordinator, CoordinatorProxy};
use crate::sessions::cookie::SessionKey;
use crate::sessions::{SessionTable, Sessions};

/// Runs the coordinator that the flags ask for; returns only when it does not start.
///
/// # Errors
/// One line that says why it does not start.
pub fn run(flags: &Flags) -> Result<Infallible> {
    let config = Config::load(&flags.conf)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (pool, health) = runtime
        .block_on(Pool::new(&config.workers, config.health_check, &config.timeouts))
        .context("workers: an address does not resolve")?;
    drop(runtime);
    let apps = Apps::from_file(config.apps.clone(), config.domain.clone()).map_err(|e| anyhow!("apps: {e}"))?;
    if flags.test {
        check_files(
            &[&config.admin_token_file, &config.worker_token_file, &config.sessions.secret_file],
            &config.access_log,
        )
        .map_err(|e| config.file.fault_of(&e.path, e.key, &e))?;
        log::info!("{} is valid", flags.conf.display());
        std::process::exit(0);
    }
    let secret = |key: &str, path: &Path| {
        read_or_create(path).map_err(|e| config.file.fault_of(&path.display().to_string(), key, e))
    };
    let admin_token = secret("token_file", &config.admin_token_file)?;
    let worker_token = secret("worker_token_file", &config.worker_token_file)?;
    let session_key = SessionKey::new(secret("secret_file", &config.sessions.secret_file)?.as_bytes())
        .map_err(|e| config.file.fault_of("secret_file", "secret_file", e))?;

    let metrics = Metrics::new(Tier::Coordinator)?;
    let log = AccessLog::open(&config.access_log, metrics.log_dropped.clone())
        .map_err(|e| config.file.fault_of("access_log", "access_log", e))?;
    let drain = Drain::default();
    let mut daemon =
        Daemon::new(Tier::Coordinator.as_str(), config.server, flags, drain.clone(), config.drain, log.clone())?;
    let hop = Arc::new(Hop {
        tier: Tier::Coordinator,
        identity: Policy::new(&config.request_id),
        log,
        metrics,
        drain,
        timeouts: config.timeouts,
        limits: config.limits,
        websocket: config.websocket,
    });
    let table = SessionTable::new(config.sessions.max, config.sessions.ttl.0);
    let coordinator = Arc::new(Coordinator {
        hop: Arc::clone(&hop),
        apps: Arc::new(apps),
        sessions: Arc::new(Sessions::new(session_key, &config.sessions.cookie, config.session_header, table)),
        pool: Arc::new(pool),
        trusted_proxies: Networks::new(&config.trusted_proxies),
        forwarder: Forwarder::new(&worker_token).with_context(|| config.worker_token_file.display().to_string())?,
        connector: TransportConnector::new(Some(ConnectorOptions::from_server_conf(&daemon.conf()))),
    });

    for listener in &config.listeners {
        let name = if listener.h2c { "public h2c" } else { "public" };
        let bound = bind(&listener.address, name, flags.upgrade)
            .map_err(|e| config.file.fault_of(&listener.address.to_string(), "listeners", e))?;
        daemon.server.add_service(public_service(&coordinator, &daemon.conf(), &bound, listener.h2c));
        daemon.hold(bound);
    }
    let bound = bind(&config.admin, "admin", flags.upgrade)
        .map_err(|e| config.file.fault_of(&config.admin.to_string(), "admin", e))?;
    let state = AdminState {
        apps: Arc::clone(&coordinator.apps),
        pool: Arc::clone(&coordinator.pool),
        sessions: Arc::clone(&coordinator.sessions),
        drain: hop.drain.clone(),
    };
    let router = admin::router(state, &hop, Token::new(&admin_token), Token::new(&worker_token));
    daemon.server.add_service(AdminService::new(&bound, router));
    daemon.hold(bound);
    daemon.server.add_service(health);
    daemon.run()
}

/// The service of one public listener.
fn public_service(
    coordinator: &Arc<Coordinator>,
    conf: &Arc<ServerConf>,
    bound: &Bound,
    h2c: bool,
) -> Service<Entrance<pingora_proxy::HttpProxy<CoordinatorProxy>>> {
    let mut proxy = http_proxy(conf, CoordinatorProxy(Arc::clone(coordinator)));
    let mut options = HttpServerOptions::default();
    options.h2c = h2c;
    options.h2_idle_timeout = Some(coordinator.hop.timeouts.keepalive.0);
    // CONNECT comes to our own code, which refuses it with an identifier (REQUEST_ID.md, rule 13).
    options.allow_connect_method_proxying = true;
    proxy.server_options = Some(options);
    let mut service = Service::new(bound.name.to_owned(), Entrance::new(proxy, &coordinator.hop));
    bound.listen(&mut service);
    service
}
