//! Builds the worker: from a configuration to running services.

use std::convert::Infallible;
use std::sync::Arc;

use anyhow::Result;
use app_proxy_api::client::Client;
use app_proxy_engine::Protocols;
use app_proxy_hop::downstream::Downstream;
use app_proxy_hop::error::Tier;
use app_proxy_hop::exchange::{HopServices, Policies};
use app_proxy_runtime::admin::{AdminService, Token};
use app_proxy_runtime::config::ConfigError;
use app_proxy_runtime::daemon::{Daemon, Flags, Logging, check_files, read_or_create, reserve};
use pingora::connectors::{ConnectorOptions, TransportConnector};
use pingora::prelude::background_service;

use crate::admin;
use crate::apps::Apps;
use crate::config::Config;
use crate::registration::{Profile, Registrar};
use crate::reload::WorkerReload;
use crate::request::proxy::WorkerProxy;
use crate::request::services::Services;
use crate::sync::Followers;

/// Runs a worker as the flags say; returns only if startup fails.
///
/// # Errors
/// The cause, on one line.
pub fn run(flags: &Flags, logging: &Logging) -> Result<Infallible> {
    let config = Config::load(&flags.conf)?;
    if flags.test {
        check_files(&config.file, &[&config.token_file], &config.access_log)?;
        flags.end_check(&config.file);
    }
    logging.set_level(&config.log_level);
    let token = read_or_create(&config.file, "token_file", &config.token_file)?;
    let hop = HopServices::open(
        Tier::Worker,
        &config.request_id,
        &config.access_log,
        &config.timeouts,
        &config.limits,
        config.websocket,
        Policies::default(),
    )
    .map_err(|e| config.file.fault_of("access_log", "access_log", e))?;
    let mut daemon = Daemon::new(flags, &config.file, &hop, config.drain)?;
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
    let services = Arc::new(Services {
        hop: Arc::clone(&hop),
        id: config.id.as_str().into(),
        token: Token::new(&token),
        apps: Arc::clone(&apps),
        followers: followers.task(),
        connector: TransportConnector::new(Some(ConnectorOptions::from_server_conf(
            &daemon.conf(),
        ))),
    });
    listen_for_coordinators(&mut daemon, &config, &services, flags.upgrade)?;
    listen_for_admins(&mut daemon, &config, &services, flags.upgrade)?;
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

fn listen_for_coordinators(
    daemon: &mut Daemon,
    config: &Config,
    services: &Arc<Services>,
    inherited: bool,
) -> Result<(), ConfigError> {
    let address = reserve(
        &config.file,
        "listener",
        &config.listener,
        "proxy",
        inherited,
    )?;
    let phases = WorkerProxy::new(services);
    let proxy = app_proxy_engine::proxy(&daemon.conf(), phases, Protocols::default());
    daemon
        .server
        .add_service(address.service(Downstream::new(proxy, &services.hop)));
    if config.register {
        let advertised = match &config.advertise {
            Some(advertised) => advertised.clone(),
            // The address of the listener, with its actual port.
            None => address
                .display()
                .parse()
                .map_err(|e| config.file.fault_of("listener", "listener", e))?,
        };
        let (id, labels) = (config.id.clone(), config.labels.clone());
        let profile = Profile {
            id,
            address: advertised,
            weight: config.weight,
            labels,
        };
        let retry = config.sync.retry.0;
        let registrar = Registrar::new(
            profile,
            address.as_str(),
            &services.followers,
            &services.hop,
            retry,
        );
        daemon.server.add_service(registrar);
    }
    daemon.expect_listener(address);
    Ok(())
}

fn listen_for_admins(
    daemon: &mut Daemon,
    config: &Config,
    services: &Arc<Services>,
    inherited: bool,
) -> Result<(), ConfigError> {
    let address = reserve(&config.file, "admin", &config.admin, "admin", inherited)?;
    daemon
        .server
        .add_service(AdminService::new(&address, admin::router(services)));
    daemon.expect_listener(address);
    Ok(())
}
