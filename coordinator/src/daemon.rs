//! Puts the coordinator together: from a configuration to services that run.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use app_proxy_engine::Protocols;
use app_proxy_hop::downstream::Downstream;
use app_proxy_hop::error::Tier;
use app_proxy_hop::exchange::HopServices;
use app_proxy_runtime::admin::{AdminService, Token};
use app_proxy_runtime::config::ConfigError;
use app_proxy_runtime::daemon::{
    Daemon, Flags, ListenAddress, Logging, check_files, read_or_create, reserve,
};
use arc_swap::ArcSwap;
use http::HeaderValue;
use pingora::connectors::{ConnectorOptions, TransportConnector};
use pingora::server::configuration::ServerConf;
use pingora::services::ServiceHandle;
use pingora::services::background::background_service;
use pingora::services::listening::Service;

use crate::activation::activator::Activator;
use crate::activation::idle::IdleWatch;
use crate::admin::{self, AdminState};
use crate::apps::Apps;
use crate::apps::editor::Editor;
use crate::config::{Config, Networks};
use crate::pool::{Pool, Sweep};
use crate::reload::CoordinatorReload;
use crate::request::proxy::CoordinatorProxy;
use crate::request::services::Coordinator;
use crate::sessions::cookie::SessionKey;
use crate::sessions::{SessionTable, Sessions};
use crate::state::service::{StateService, StoreLocation};
use crate::state::startup::{self, load_state, restore, state_tasks};
use crate::webhooks::{Outbox, SigningKey};
use app_proxy_store::DeferredStore;
use app_proxy_store::Store;

/// Runs the coordinator that the flags ask for; returns only when it does not start.
///
/// # Errors
/// One line that says why it does not start.
pub fn run(flags: &Flags, logging: &Logging) -> Result<Infallible> {
    let config = Config::load(&flags.conf)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (pool, health) = runtime
        .block_on(Pool::new(
            &config.workers,
            config.health_check,
            config.registration,
            &config.timeouts,
        ))
        .map_err(|e| config.file.fault_of("workers", "workers", e))?;
    let place = StoreLocation::of(&config.store);
    if flags.test {
        check(&config)?;
        load_state(&config, &place, flags.upgrade)?;
        flags.end_check(&config.file);
    }
    logging.set_level(&config.log_level);
    let (snapshot, mut contents) = load_state(&config, &place, flags.upgrade)?;
    let secrets = Secrets::load(&config)?;
    let hop = HopServices::open(
        Tier::Coordinator,
        &config.request_id,
        &config.access_log,
        &config.timeouts,
        &config.limits,
        config.websocket,
    )
    .map_err(|e| config.file.fault_of("access_log", "access_log", e))?;
    let mut daemon = Daemon::new(flags, &config.file, &hop, config.drain)?;
    let table = SessionTable::new(config.sessions.max, config.sessions.ttl.0);
    let (store, opened) = DeferredStore::new();
    let store: Arc<dyn Store> = Arc::new(store);
    let webhooks = std::mem::take(&mut contents.webhooks);
    let id_header = hop.identity.header().clone();
    let (outbox, delivery) = Outbox::new(
        Arc::clone(&store),
        secrets.webhook_key.clone(),
        id_header,
        webhooks,
    );
    let cookie = &config.sessions.cookie;
    let sessions = Sessions::new(
        secrets.session_key.clone(),
        cookie,
        config.session_header.clone(),
        table.clone(),
    );
    let coordinator = Arc::new(Coordinator {
        hop,
        apps: Arc::new(Apps::new(snapshot)),
        sessions: Arc::new(sessions),
        pool,
        activator: Activator::new(outbox.clone(), table.clone()),
        trusted_proxies: ArcSwap::from_pointee(Networks::new(&config.trusted_proxies)),
        worker_token: header_value(&config, &secrets.worker_token)?,
        connector: TransportConnector::new(Some(ConnectorOptions::from_server_conf(
            &daemon.conf(),
        ))),
    });
    runtime.block_on(restore(&coordinator, &mut contents));
    let (apps, pool) = (&coordinator.apps, &coordinator.pool);
    let idle = IdleWatch::new(apps, &table, outbox, &store, &coordinator.hop.drain);
    // As long as its own file says, at least: it may be another one by now.
    let predecessor = flags.upgrade.then(|| config.drain.longest());
    let kept = (config.apps.clone(), config.sessions.max);
    let (mut tasks, editor) = state_tasks(&coordinator, &store, contents.cursor, kept, predecessor);
    let listeners = listen(
        &mut daemon,
        &config,
        &coordinator,
        &secrets,
        (&editor, &store),
        flags.upgrade,
    )?;
    if !flags.upgrade {
        // Not before its addresses are found free: a process that has them may be at work with the
        // store.
        runtime.block_on(startup::apply_file(&config, &place, &mut tasks.editor))?;
    }
    // The daemon may fork from here on: nothing may run that it would leave behind.
    drop(runtime);
    let keeper = daemon.server.add_service(background_service(
        "store",
        StateService::new(place, opened, tasks),
    ));
    // A successor serves no request before it knows what its predecessor has acknowledged.
    listeners
        .iter()
        .for_each(|listener| listener.add_dependency(&keeper));
    // What workers say reaches the predecessor as well, for some time.
    let patience = if flags.upgrade {
        startup::PREDECESSOR
    } else {
        Duration::ZERO
    };
    let server = &mut daemon.server;
    server.add_service(background_service(
        "workers",
        Sweep::new(pool, &coordinator.hop.drain, patience),
    ));
    server.add_service(health);
    server.add_service(background_service("sessions", table));
    server.add_service(background_service("webhooks", delivery));
    server.add_service(background_service("idle", idle));
    daemon.on_reload(Arc::new(CoordinatorReload::new(
        flags.conf.clone(),
        config,
        coordinator,
        editor,
        logging.clone(),
    )));
    daemon.run()
}

/// Checks the files that a start would need, without making any (flag `-t`).
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

/// What the secret files hold.
struct Secrets {
    admin_token: String,
    worker_token: String,
    session_key: SessionKey,
    webhook_key: SigningKey,
}

impl Secrets {
    /// Reads the secret files, and makes those that do not exist.
    fn load(config: &Config) -> Result<Self, ConfigError> {
        let secret = |key: &str, path: &Path| read_or_create(&config.file, key, path);
        let session_secret = secret("secret_file", &config.sessions.secret_file)?;
        let webhook_secret = secret("secret_file", &config.webhooks.secret_file)?;
        Ok(Self {
            admin_token: secret("token_file", &config.admin_token_file)?,
            worker_token: secret("worker_token_file", &config.worker_token_file)?,
            session_key: SessionKey::new(session_secret.as_bytes())
                .map_err(|e| config.file.fault_of("secret_file", "secret_file", e))?,
            webhook_key: SigningKey::new(&webhook_secret)
                .map_err(|e| config.file.fault_of("secret_file", "secret_file", e))?,
        })
    }
}

/// Returns the token between the tiers as a header value, marked as sensitive.
fn header_value(config: &Config, worker_token: &str) -> Result<HeaderValue, ConfigError> {
    let mut value = HeaderValue::from_str(worker_token).map_err(|e| {
        config
            .file
            .fault_of("worker_token_file", "worker_token_file", e)
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// Gives the daemon its public listeners and its admin listener.
fn listen(
    daemon: &mut Daemon,
    config: &Config,
    coordinator: &Arc<Coordinator>,
    secrets: &Secrets,
    (editor, store): (&Editor, &Arc<dyn Store>),
    inherited: bool,
) -> Result<Vec<ServiceHandle>, ConfigError> {
    let mut services = Vec::new();
    let file = &config.file;
    for listener in &config.listeners {
        let name = if listener.h2c { "public h2c" } else { "public" };
        let address = reserve(file, "listeners", &listener.address, name, inherited)?;
        services.push(daemon.server.add_service(public_service(
            coordinator,
            &daemon.conf(),
            &address,
            listener.h2c,
        )));
        daemon.expect_listener(address);
    }
    let address = reserve(file, "admin", &config.admin, "admin", inherited)?;
    let state = AdminState {
        editor: editor.clone(),
        store: Arc::clone(store),
        lists: admin::ListCache::default(),
        apps: Arc::clone(&coordinator.apps),
        pool: Arc::clone(&coordinator.pool),
        sessions: Arc::clone(&coordinator.sessions),
        drain: coordinator.hop.drain.clone(),
        log: coordinator.hop.log.clone(),
        worker_token: coordinator.worker_token.clone(),
    };
    let tokens = (
        Token::new(&secrets.admin_token),
        Token::new(&secrets.worker_token),
    );
    let router = admin::router(state, &coordinator.hop, tokens.0, tokens.1);
    services.push(
        daemon
            .server
            .add_service(AdminService::new(&address, router)),
    );
    daemon.expect_listener(address);
    Ok(services)
}

/// The service of one public listener.
fn public_service(
    coordinator: &Arc<Coordinator>,
    conf: &Arc<ServerConf>,
    address: &ListenAddress,
    h2c: bool,
) -> Service<Downstream<pingora_proxy::HttpProxy<CoordinatorProxy>>> {
    let phases = CoordinatorProxy::new(coordinator);
    let protocols = Protocols {
        h2c,
        h2_idle: Some(coordinator.hop.timeouts().keepalive.0),
    };
    let proxy = app_proxy_engine::proxy(conf, phases, protocols);
    address.service(Downstream::new(proxy, &coordinator.hop))
}
