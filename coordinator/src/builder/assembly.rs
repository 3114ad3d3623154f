//! The steps from a configuration to services that are ready to start.

use std::sync::Arc;

use app_proxy_hop::error::Tier;
use app_proxy_hop::exchange::{HopServices, Policies};
use app_proxy_runtime::config::ConfigError;
use app_proxy_runtime::daemon::{Launch, StartError, TierServer};
use app_proxy_store::Store;
use arc_swap::ArcSwap;
use pingora::connectors::{ConnectorOptions, TransportConnector};
use pingora::services::background::background_service;

use super::listeners::Reserved;
use super::secrets::{Secrets, header_value};
use super::{Builder, Coordinator};
use crate::activation::activator::Activator;
use crate::activation::idle::IdleWatch;
use crate::apps::{Apps, Snapshot};
use crate::config::{Config, Networks};
use crate::pool::{Pool, Sweep};
use crate::reload::CoordinatorReload;
use crate::request::services::{CoordinatorPolicies, Services};
use crate::request::via::Pseudonym;
use crate::sessions::{SessionTable, Sessions};
use crate::state::members::Members;
use crate::state::service::StateService;
use crate::state::startup::{self, JoinedStore, restore, state_tasks};
use crate::webhooks::Outbox;

/// Opens all that a coordinator needs, and creates its services.
pub(super) async fn assemble(builder: Builder) -> Result<Coordinator, StartError> {
    let Builder {
        config,
        policies,
        own_policies,
        launch,
    } = builder;
    let upgrade = launch.as_ref().is_some_and(Launch::is_upgrade);
    // The store first: if another process serves from it, the error names that process. Then the
    // addresses: a process that listens on them may use the log.
    let JoinedStore {
        store,
        mut state,
        others,
        scope,
    } = startup::join(&config, upgrade).await?;
    let reserved = Reserved::reserve(&config, upgrade)?;
    let addresses = reserved.addresses();
    let secrets = Secrets::load(&config)?;
    let (pool, health) = Pool::new(
        &config.workers,
        config.health_check,
        config.registration,
        &config.timeouts,
    )
    .await
    .map_err(|e| config.file.fault_of("workers", "workers", e))?;
    let snapshot = startup::snapshot_of(&state, &config, &scope)?;
    let hop = open_hop(&config, policies)?;
    let members = Arc::new(Members::new(&store, others, &hop.drain));
    let mut server = TierServer::new(&config.file, &hop, config.drain, launch.as_ref())?;
    let (outbox, delivery) = Outbox::new(
        Arc::clone(&store),
        secrets.webhook_key.clone(),
        hop.identity.header().clone(),
        &members,
    );
    let connector = ConnectorOptions::from_server_conf(&server.conf());
    let connector = TransportConnector::new(Some(connector));
    let services = services(
        &config,
        &secrets,
        (hop, own_policies),
        (snapshot, pool),
        &outbox,
        connector,
    )?;
    restore(&services, &mut state).await;
    let shared = (&members, scope.replaced);
    let (mut tasks, editor) = state_tasks(&config, &services, &store, state.cursor, shared);
    if !upgrade {
        startup::apply_file(&config, &mut tasks.editor).await?;
    }
    let listeners = reserved.listen(&mut server, &services, &secrets, (&editor, &store));
    let state_service = background_service("store", StateService::new(tasks));
    let state_service = server.add_service(state_service);
    // A successor must know all that its predecessor has acknowledged before it serves.
    listeners
        .iter()
        .for_each(|listener| listener.add_dependency(&state_service));
    add_background_services(&mut server, &services, &store, outbox, &members);
    server.add_service(health);
    server.add_service(background_service("webhooks", delivery));
    if let Some(launch) = launch {
        let reload = CoordinatorReload::new(launch, config, services, editor);
        server.on_reload(Arc::new(reload));
    }
    Ok(Coordinator { server, addresses })
}

/// Opens the access log and creates the metrics.
fn open_hop(config: &Config, policies: Policies) -> Result<Arc<HopServices>, ConfigError> {
    let hop = HopServices::open(
        Tier::Coordinator,
        &config.request_id,
        &config.access_log,
        &config.timeouts,
        config.limits,
        config.websocket,
        policies,
    );
    hop.map_err(|e| config.file.fault_of("access_log", "access_log", e))
}

/// Creates the services that every request shares.
fn services(
    config: &Config,
    secrets: &Secrets,
    (hop, policies): (Arc<HopServices>, CoordinatorPolicies),
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
        policies,
        apps: Arc::new(Apps::new(snapshot)),
        activator,
        sessions: Arc::new(sessions),
        pool,
        pseudonym: Pseudonym::new(&secrets.session_key),
        worker_token: header_value(config, &secrets.worker_token)?,
        connector,
    }))
}

/// Adds the services that remove silent workers and expired sessions and report idle apps.
fn add_background_services(
    server: &mut TierServer,
    services: &Services,
    store: &Arc<dyn Store>,
    outbox: Outbox,
    members: &Arc<Members>,
) {
    let table = services.sessions.table();
    let sweep = Sweep::new(&services.pool, members);
    let idle = IdleWatch::new(&services.apps, table, outbox, store, members);
    server.add_service(background_service("workers", sweep));
    server.add_service(background_service("sessions", table.clone()));
    server.add_service(background_service("idle", idle));
}
