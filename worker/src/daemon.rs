//! Puts the worker together: from a configuration to services that run.

use std::convert::Infallible;
use std::sync::Arc;

use anyhow::Result;
use app_proxy_api::client::Client;
use app_proxy_engine::Protocols;
use app_proxy_hop::downstream::Downstream;
use app_proxy_hop::drain::Drain;
use app_proxy_hop::error::Tier;
use app_proxy_hop::exchange::HopServices;
use app_proxy_hop::identity::IdentityPolicy;
use app_proxy_hop::observe::access_log::AccessLog;
use app_proxy_hop::observe::metrics::Metrics;
use app_proxy_runtime::admin::{AdminService, Token};
use app_proxy_runtime::config::ConfigError;
use app_proxy_runtime::daemon::{Daemon, Flags, Logging, bind, check_files, read_or_create};
use arc_swap::ArcSwap;
use pingora::connectors::{ConnectorOptions, TransportConnector};
use pingora::prelude::background_service;
use pingora::services::listening::Service;

use crate::admin;
use crate::apps::Apps;
use crate::config::Config;
use crate::registration::{Profile, Registrar};
use crate::reload::WorkerReload;
use crate::request::proxy::{Worker, WorkerProxy};
use crate::sync::Followers;

/// Runs the worker that the flags ask for; returns only when it does not start.
///
/// # Errors
/// One line that says why it does not start.
pub fn run(flags: &Flags, logging: &Logging) -> Result<Infallible> {
    let config = Config::load(&flags.conf)?;
    if flags.test {
        check_files(&[&config.token_file], &config.access_log)
            .map_err(|e| config.file.fault_of(&e.path, e.key, &e))?;
        log::info!("{} is valid", flags.conf);
        std::process::exit(0);
    }
    logging.set_level(&config.log_level);
    let token = read_or_create(&config.token_file).map_err(|e| {
        config
            .file
            .fault_of(&config.token_file.display().to_string(), "token_file", e)
    })?;
    let hop = hop(&config)?;
    // Pingora's configuration cannot be copied, and reloads compare with it.
    let server = Config::from_file(config.file.clone())?.server;
    let mut daemon = Daemon::new(
        hop.tier.as_str(),
        server,
        flags,
        hop.drain.clone(),
        config.drain,
        hop.log.clone(),
    )?;
    let apps = Arc::new(Apps::new(config.timeouts.clone()));
    let coordinators = config
        .coordinators
        .iter()
        .map(|base| Client::new(base.clone(), &token))
        .collect();
    let followers = background_service(
        "app table",
        Followers::new(Arc::clone(&apps), coordinators, config.sync),
    );
    let worker = Arc::new(Worker {
        hop: Arc::clone(&hop),
        id: config.id.as_str().into(),
        token: Token::new(&token),
        apps: Arc::clone(&apps),
        followers: followers.task(),
        connector: TransportConnector::new(Some(ConnectorOptions::from_server_conf(
            &daemon.conf(),
        ))),
    });
    listen_for_coordinators(&mut daemon, &config, &worker, flags.upgrade)?;
    listen_for_admins(&mut daemon, &config, &worker, flags.upgrade)?;
    daemon.server.add_service(followers);
    daemon.on_reload(Arc::new(WorkerReload::new(
        flags.conf.clone(),
        config,
        hop,
        apps,
        logging.clone(),
    )));
    daemon.run()
}

/// What every request needs.
fn hop(config: &Config) -> Result<Arc<HopServices>> {
    let metrics = Metrics::new(Tier::Worker)?;
    let log = AccessLog::open(&config.access_log, metrics.log_dropped.clone())
        .map_err(|e| config.file.fault_of("access_log", "access_log", e))?;
    Ok(Arc::new(HopServices {
        tier: Tier::Worker,
        identity: IdentityPolicy::new(&config.request_id),
        log,
        metrics,
        drain: Drain::default(),
        timeouts: ArcSwap::from_pointee(config.timeouts.clone()),
        limits: config.limits.clone(),
        websocket: config.websocket,
    }))
}

fn listen_for_coordinators(
    daemon: &mut Daemon,
    config: &Config,
    worker: &Arc<Worker>,
    inherited: bool,
) -> Result<(), ConfigError> {
    let bound = bind(&config.listener, "proxy", inherited).map_err(|e| {
        config
            .file
            .fault_of(&config.listener.to_string(), "listener", e)
    })?;
    let phases = WorkerProxy(Arc::clone(worker));
    let proxy = app_proxy_engine::proxy(&daemon.conf(), phases, Protocols::default());
    let mut service = Service::new(bound.name.to_owned(), Downstream::new(proxy, &worker.hop));
    bound.listen(&mut service);
    daemon.server.add_service(service);
    if config.register {
        let address = match &config.advertise {
            Some(address) => address.clone(),
            // The listener's own, with the port that it has.
            None => bound
                .display()
                .parse()
                .map_err(|e| config.file.fault_of("listener", "listener", e))?,
        };
        let (id, labels) = (config.id.clone(), config.labels.clone());
        let profile = Profile {
            id,
            address,
            weight: config.weight,
            labels,
        };
        let retry = config.sync.retry.0;
        let registrar = Registrar::new(
            profile,
            &bound.address,
            &worker.followers,
            &worker.hop,
            retry,
        );
        daemon.server.add_service(registrar);
    }
    daemon.hold(bound);
    Ok(())
}

fn listen_for_admins(
    daemon: &mut Daemon,
    config: &Config,
    worker: &Arc<Worker>,
    inherited: bool,
) -> Result<(), ConfigError> {
    let bound = bind(&config.admin, "admin", inherited)
        .map_err(|e| config.file.fault_of(&config.admin.to_string(), "admin", e))?;
    daemon
        .server
        .add_service(AdminService::new(&bound, admin::router(worker)));
    daemon.hold(bound);
    Ok(())
}
