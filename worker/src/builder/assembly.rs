//! The steps from a configuration to services that are ready to start.

use std::sync::Arc;

use app_proxy_api::client::Client;
use app_proxy_engine::{Engine, Protocols};
use app_proxy_hop::config::EngineKind;
use app_proxy_hop::downstream::{Downstream, Supervised};
use app_proxy_hop::error::Tier;
use app_proxy_hop::exchange::{HopServices, Policies};
use app_proxy_runtime::admin::{AdminService, Token};
use app_proxy_runtime::config::ConfigError;
use app_proxy_runtime::daemon::{
    Buffers, Launch, ListenAddress, StartError, TierServer, read_or_create, reserve,
};
use pingora::connectors::{ConnectorOptions, TransportConnector};
use pingora::prelude::background_service;

use super::running::Addresses;
use super::{Builder, Worker};
use crate::admin;
use crate::apps::Apps;
use crate::config::Config;
use crate::registration::{Profile, Registrar};
use crate::reload::WorkerReload;
use crate::request::proxy::WorkerProxy;
use crate::request::services::Services;
use crate::sync::Followers;

/// Opens all that a worker needs, and creates its services.
pub(super) fn assemble(builder: Builder) -> Result<Worker, StartError> {
    let Builder {
        config,
        policies,
        launch,
    } = builder;
    let inherited = launch.as_ref().is_some_and(Launch::is_upgrade);
    let file = &config.file;
    let proxy = reserve(file, "listener", &config.listener, "proxy", inherited)?;
    let admin = reserve(file, "admin", &config.admin, "admin", inherited)?;
    let addresses = Addresses {
        proxy: proxy.address(),
        admin: admin.address(),
    };
    let token = read_or_create(file, "token_file", &config.token_file)?;
    let hop = open_hop(&config, policies)?;
    let mut server = TierServer::new(file, &hop, config.drain, launch.as_ref())?;
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
    let connector = ConnectorOptions::from_server_conf(&server.conf());
    let services = Arc::new(Services {
        hop: Arc::clone(&hop),
        id: config.id.as_str().into(),
        token: Token::new(&token),
        apps: Arc::clone(&apps),
        followers: followers.task(),
        connector: TransportConnector::new(Some(connector)),
    });
    if config.register {
        server.add_service(registrar(&config, &proxy, &services));
    }
    listen(&mut server, &services, config.engine, proxy, admin);
    server.add_service(followers);
    if let Some(launch) = launch {
        let reload = WorkerReload::new(launch, config, hop, apps);
        server.on_reload(Arc::new(reload));
    }
    Ok(Worker { server, addresses })
}

/// Opens the access log and creates the metrics.
fn open_hop(config: &Config, policies: Policies) -> Result<Arc<HopServices>, ConfigError> {
    let hop = HopServices::open(
        Tier::Worker,
        &config.request_id,
        &config.access_log,
        &config.timeouts,
        config.limits,
        config.websocket,
        policies,
    );
    hop.map_err(|e| config.file.fault_of("access_log", "access_log", e))
}

/// Creates the service that registers the worker once it listens at `proxy`.
fn registrar(config: &Config, proxy: &ListenAddress, services: &Services) -> Registrar {
    // The address of the listener, with its actual port.
    let address = config.advertise.clone().unwrap_or_else(|| proxy.address());
    let profile = Profile {
        id: config.id.clone(),
        address,
        weight: config.weight,
        labels: config.labels.clone(),
    };
    let (followers, retry) = (&services.followers, config.sync.retry.0);
    Registrar::new(profile, proxy.as_str(), followers, &services.hop, retry)
}

/// Adds the services that listen.
fn listen(
    server: &mut TierServer,
    services: &Arc<Services>,
    engine: EngineKind,
    proxy: ListenAddress,
    admin: ListenAddress,
) {
    let (conf, hop) = (server.conf(), &services.hop);
    let (phases, protocols) = (WorkerProxy::new(services), Protocols::default());
    match engine {
        EngineKind::Ours => {
            let engine = Engine::new(&conf, phases, protocols);
            let service = proxy.service(Supervised::new(engine, hop), Buffers::None);
            server.add_listener(proxy, service);
        }
        EngineKind::Pingora => {
            let engine = app_proxy_engine::proxy(&conf, phases, protocols);
            let service = proxy.service(Downstream::new(engine, hop), Buffers::Pingora);
            server.add_listener(proxy, service);
        }
    }
    let service = AdminService::new(&admin, admin::router(services));
    server.add_listener(admin, service);
}
