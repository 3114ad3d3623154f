//! Puts the worker together: from a configuration to services that run.

use std::convert::Infallible;
use std::sync::Arc;

use anyhow::Result;
use app_proxy_control::client::Client;
use app_proxy_hop::access_log::AccessLog;
use app_proxy_hop::admin::{AdminService, Token, identified, probes};
use app_proxy_hop::daemon::{Daemon, Flags, bind, check_files, read_or_create};
use app_proxy_hop::drain::Drain;
use app_proxy_hop::entrance::Entrance;
use app_proxy_hop::error::Tier;
use app_proxy_hop::exchange::Hop;
use app_proxy_hop::metrics::Metrics;
use app_proxy_hop::request_id::Policy;
use pingora::apps::HttpServerOptions;
use pingora::connectors::{ConnectorOptions, TransportConnector};
use pingora::prelude::background_service;
use pingora::services::listening::Service;
use pingora_proxy::http_proxy;

use crate::apps::Apps;
use crate::config::Config;
use crate::proxy::{Worker, WorkerProxy};
use crate::registration::{Profile, Registrar};
use crate::sync::Followers;

/// Runs the worker that the flags ask for; returns only when it does not start.
///
/// # Errors
/// One line that says why it does not start.
pub fn run(flags: &Flags) -> Result<Infallible> {
    let config = Config::load(&flags.conf)?;
    if flags.test {
        check_files(&[&config.token_file], &config.access_log).map_err(|e| config.file.fault_of(&e.path, e.key, &e))?;
        log::info!("{} is valid", flags.conf.display());
        std::process::exit(0);
    }
    let token = read_or_create(&config.token_file)
        .map_err(|e| config.file.fault_of(&config.token_file.display().to_string(), "token_file", e))?;

    let metrics = Metrics::new(Tier::Worker)?;
    let log = AccessLog::open(&config.access_log, metrics.log_dropped.clone())
        .map_err(|e| config.file.fault_of("access_log", "access_log", e))?;
    let drain = Drain::default();
    let mut daemon =
        Daemon::new(Tier::Worker.as_str(), config.server, flags, drain.clone(), config.drain, log.clone())?;
    let apps = Arc::new(Apps::new(config.timeouts.clone()));
    let coordinators = config.coordinators.iter().map(|base| Client::new(base.clone(), &token)).collect();
    let followers = background_service("app table", Followers::new(Arc::clone(&apps), coordinators, config.sync));
    let hop = Arc::new(Hop {
        tier: Tier::Worker,
        identity: Policy::new(&config.request_id),
        log,
        metrics,
        drain,
        timeouts: config.timeouts,
        limits: config.limits,
        websocket: config.websocket,
    });
    let worker = Worker {
        hop: Arc::clone(&hop),
        id: config.id.as_str().into(),
        token: Token::new(&token),
        apps: Arc::clone(&apps),
        followers: followers.task(),
        connector: TransportConnector::new(Some(ConnectorOptions::from_server_conf(&daemon.conf()))),
    };

    let bound = bind(&config.listener, "proxy", flags.upgrade)
        .map_err(|e| config.file.fault_of(&config.listener.to_string(), "listener", e))?;
    let mut proxy = http_proxy(&daemon.conf(), WorkerProxy(Arc::new(worker)));
    let mut options = HttpServerOptions::default();
    // CONNECT comes to our own code, which refuses it with an identifier (docs/request-id.md, rule 13).
    options.allow_connect_method_proxying = true;
    proxy.server_options = Some(options);
    let mut service = Service::new(bound.name.to_owned(), Entrance::new(proxy, &hop));
    bound.listen(&mut service);
    daemon.server.add_service(service);
    if config.register {
        let address = match config.advertise {
            Some(address) => address,
            None => bound.display().parse()?,
        };
        let profile = Profile { id: config.id, address, weight: config.weight, labels: config.labels };
        let retry = config.sync.retry.0;
        let registrar = Registrar::new(profile, &bound.address, &followers.task(), &hop, retry);
        daemon.server.add_service(registrar);
    }
    daemon.hold(bound);

    let bound = bind(&config.admin, "admin", flags.upgrade)
        .map_err(|e| config.file.fault_of(&config.admin.to_string(), "admin", e))?;
    let ready = Arc::new(move || if apps.load().is_loaded() { Ok(()) } else { Err("no app table".to_owned()) });
    daemon.server.add_service(AdminService::new(&bound, identified(probes(&hop, ready), &hop)));
    daemon.hold(bound);
    daemon.server.add_service(followers);
    daemon.run()
}
