//! Assembles the coordinator: from the configuration to services that run.

mod listeners;
mod secrets;

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use app_proxy_hop::error::Tier;
use app_proxy_hop::exchange::{HopServices, Policies};
use app_proxy_runtime::config::ConfigError;
use app_proxy_runtime::daemon::{Daemon, Flags, Logging, check_files};
use app_proxy_store::{DeferredStore, Store};
use arc_swap::ArcSwap;
use pingora::connectors::{ConnectorOptions, TransportConnector};
use pingora::services::background::background_service;

use crate::activation::activator::Activator;
use crate::activation::idle::IdleWatch;
use crate::apps::{Apps, Snapshot};
use crate::config::{Config, Networks};
use crate::pool::{Pool, Sweep};
use crate::reload::CoordinatorReload;
use crate::request::services::Services;
use crate::sessions::{SessionTable, Sessions};
use crate::state::service::{StateService, StoreLocation};
use crate::state::startup::{self, load_state, restore, state_tasks};
use crate::webhooks::Outbox;

use listeners::listen;
use secrets::{Secrets, header_value};

/// Runs the coordinator; returns only if startup fails.
///
/// # Errors
/// One line with the cause.
pub fn run(flags: &Flags, logging: &Logging) -> Result<Infallible> {
    let config = Config::load(&flags.conf)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let pool = Pool::new(
        &config.workers,
        config.health_check,
        config.registration,
        &config.timeouts,
    );
    let (pool, health) = runtime
        .block_on(pool)
        .map_err(|e| config.file.fault_of("workers", "workers", e))?;
    let location = StoreLocation::of(&config.store);
    if flags.test {
        check(&config)?;
        load_state(&config, &location, flags.upgrade)?;
        flags.end_check(&config.file);
    }
    logging.set_level(&config.log_level);
    let (snapshot, mut state) = load_state(&config, &location, flags.upgrade)?;
    let secrets = Secrets::load(&config)?;
    let hop = open_hop(&config)?;
    let mut daemon = Daemon::new(flags, &config.file, &hop, config.drain)?;
    let (store, ready) = DeferredStore::new();
    let store: Arc<dyn Store> = Arc::new(store);
    let (outbox, delivery) = Outbox::new(
        Arc::clone(&store),
        secrets.webhook_key.clone(),
        hop.identity.header().clone(),
        std::mem::take(&mut state.webhooks),
    );
    let connector = ConnectorOptions::from_server_conf(&daemon.conf());
    let connector = TransportConnector::new(Some(connector));
    let services = services(&config, &secrets, hop, (snapshot, pool), &outbox, connector)?;
    runtime.block_on(restore(&services, &mut state));
    // The predecessor's file may have had another value; this process knows only its own.
    let predecessor = flags.upgrade.then(|| config.drain.longest());
    let file = (config.apps.clone(), config.sessions.max);
    let (mut tasks, editor) = state_tasks(&services, &store, state.cursor, file, predecessor);
    let (shared, upgrade) = ((&editor, &store), flags.upgrade);
    let listeners = listen(&mut daemon, &config, &services, &secrets, shared, upgrade)?;
    if !flags.upgrade {
        // After the addresses are reserved: a process that listens on them may use the store.
        runtime.block_on(startup::apply_file(&config, &location, &mut tasks.editor))?;
    }
    // The daemon may fork from here on, and threads do not survive a fork.
    drop(runtime);
    let state_service = StateService::new(location, ready, tasks);
    let state_service = background_service("store", state_service);
    let state_service = daemon.server.add_service(state_service);
    // A successor must know all that its predecessor has acknowledged before it serves.
    listeners
        .iter()
        .for_each(|listener| listener.add_dependency(&state_service));
    add_background_services(&mut daemon, &services, &store, outbox, flags.upgrade);
    daemon.server.add_service(health);
    daemon
        .server
        .add_service(background_service("webhooks", delivery));
    let reload = CoordinatorReload::new(
        flags.conf.clone(),
        config,
        services,
        editor,
        logging.clone(),
    );
    daemon.on_reload(Arc::new(reload));
    daemon.run()
}

/// Checks the files that a start needs, without creating any (flag `-t`).
fn check(config: &Config) -> Result<()> {
    let secrets: [&Path; 4] = [
        &config.admin_token_file,
        &config.worker_token_file,
        &config.sessions.secret_file,
        &config.webhooks.secret_file,
    ];
    check_files(&config.file, &secrets, &config.access_log)?;
    if secrets.iter().all(|file| file.exists()) {
        header_value(config, &Secrets::load(config)?.worker_token)?;
    }
    Ok(())
}

fn open_hop(config: &Config) -> Result<Arc<HopServices>> {
    let hop = HopServices::open(
        Tier::Coordinator,
        &config.request_id,
        &config.access_log,
        &config.timeouts,
        &config.limits,
        config.websocket,
        Policies::default(),
    );
    Ok(hop.map_err(|e| config.file.fault_of("access_log", "access_log", e))?)
}

/// Creates the services that every request shares.
fn services(
    config: &Config,
    secrets: &Secrets,
    hop: Arc<HopServices>,
    (snapshot, pool): (Snapshot, Arc<Pool>),
    outbox: &Outbox,
    connector: TransportConnector,
) -> Result<Arc<Services>, ConfigError> {
    let table = SessionTable::new(config.sessions.max, config.sessions.ttl.0);
    let activator = Activator::new(outbox.clone(), table.clone());
    let sessions = Sessions::new(
        secrets.session_key.clone(),
        &config.sessions.cookie,
        config.session_header.clone(),
        table,
    );
    Ok(Arc::new(Services {
        hop,
        trusted_proxies: ArcSwap::from_pointee(Networks::new(&config.trusted_proxies)),
        apps: Arc::new(Apps::new(snapshot)),
        activator,
        sessions: Arc::new(sessions),
        pool,
        worker_token: header_value(config, &secrets.worker_token)?,
        connector,
    }))
}

/// Adds the services that remove silent workers and expired sessions and report idle apps.
fn add_background_services(
    daemon: &mut Daemon,
    services: &Services,
    store: &Arc<dyn Store>,
    outbox: Outbox,
    upgrade: bool,
) {
    let (drain, table) = (&services.hop.drain, services.sessions.table());
    // For some time, the registrations of workers reach the predecessor as well.
    let patience = match upgrade {
        true => startup::PREDECESSOR,
        false => Duration::ZERO,
    };
    let sweep = Sweep::new(&services.pool, drain, patience);
    let idle = IdleWatch::new(&services.apps, table, outbox, store, drain);
    let server = &mut daemon.server;
    server.add_service(background_service("workers", sweep));
    server.add_service(background_service("sessions", table.clone()));
    server.add_service(background_service("idle", idle));
}
