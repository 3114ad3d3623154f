//! Puts the coordinator together: from a configuration to services that run.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use app_proxy_hop::access_log::AccessLog;
use app_proxy_hop::address::Address;
use app_proxy_hop::admin::{AdminService, Token};
use app_proxy_hop::config::ConfigError;
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
use pingora::services::background::background_service;
use pingora::services::listening::Service;
use pingora_proxy::http_proxy;

use crate::admin::{self, AdminState};
use crate::apps::Apps;
use crate::config::{Config, Networks};
use crate::forward::Forwarder;
use crate::idle::IdleWatch;
use crate::pool::Pool;
use crate::proxy::{Coordinator, CoordinatorProxy};
use crate::sessions::cookie::SessionKey;
use crate::sessions::{SessionTable, Sessions};
use crate::store::{ActivityBatch, AppCommit, Contents, Cursor, News, Store, StoreError, StoredWebhook, StoredWorker};
use crate::wake::Waker;
use crate::webhooks::{Outbox, SigningKey};

/// Runs the coordinator that the flags ask for; returns only when it does not start.
///
/// # Errors
/// One line that says why it does not start.
pub fn run(flags: &Flags) -> Result<Infallible> {
    let mut config = Config::load(&flags.conf)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (pool, health) = runtime
        .block_on(Pool::new(&config.workers, config.health_check, &config.timeouts))
        .map_err(|e| config.file.fault_of("workers", "workers", e))?;
    drop(runtime);
    let apps = Apps::from_file(config.apps.clone(), config.domain.clone()).map_err(|e| anyhow!("apps: {e}"))?;
    if flags.test {
        let secrets: [&Path; 4] = [
            &config.admin_token_file,
            &config.worker_token_file,
            &config.sessions.secret_file,
            &config.webhooks.secret_file,
        ];
        check_files(&secrets, &config.access_log).map_err(|e| config.file.fault_of(&e.path, e.key, &e))?;
        if secrets.iter().all(|file| file.exists()) {
            let secrets = Secrets::load(&config)?;
            forwarder(&config, &secrets)?;
        }
        log::info!("{} is valid", flags.conf.display());
        std::process::exit(0);
    }
    let secrets = Secrets::load(&config)?;
    let hop = hop(&config)?;
    let server = std::mem::take(&mut config.server);
    let mut daemon = Daemon::new(hop.tier.as_str(), server, flags, hop.drain.clone(), config.drain, hop.log.clone())?;
    let table = SessionTable::new(config.sessions.max, config.sessions.ttl.0);
    let sweep = background_service("sessions", table.clone());
    let apps = Arc::new(apps);
    let store: Arc<dyn Store> = Arc::new(Forgetful);
    let header = hop.identity.header().clone();
    let (outbox, delivery) = Outbox::new(Arc::clone(&store), secrets.webhook_key.clone(), header, Vec::new());
    let idle = IdleWatch::new(Arc::clone(&apps), table.clone(), outbox.clone(), store);
    let waker = Waker::new(outbox, table.clone());
    let header = config.session_header.clone();
    let coordinator = Arc::new(Coordinator {
        hop,
        apps,
        sessions: Arc::new(Sessions::new(secrets.session_key.clone(), &config.sessions.cookie, header, table)),
        pool: Arc::new(pool),
        waker,
        trusted_proxies: Networks::new(&config.trusted_proxies),
        forwarder: forwarder(&config, &secrets)?,
        connector: TransportConnector::new(Some(ConnectorOptions::from_server_conf(&daemon.conf()))),
    });
    listen(&mut daemon, &config, &coordinator, &secrets, flags.upgrade)?;
    daemon.server.add_service(health);
    daemon.server.add_service(sweep);
    daemon.server.add_service(background_service("webhooks", delivery));
    daemon.server.add_service(background_service("idle", idle));
    daemon.run()
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
        let secret = |key: &str, path: &Path| {
            read_or_create(path).map_err(|e| config.file.fault_of(&path.display().to_string(), key, e))
        };
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

fn forwarder(config: &Config, secrets: &Secrets) -> Result<Forwarder, ConfigError> {
    Forwarder::new(&secrets.worker_token).map_err(|e| config.file.fault_of("worker_token_file", "worker_token_file", e))
}

/// What every request needs.
fn hop(config: &Config) -> Result<Arc<Hop>> {
    let metrics = Metrics::new(Tier::Coordinator)?;
    let log = AccessLog::open(&config.access_log, metrics.log_dropped.clone())
        .map_err(|e| config.file.fault_of("access_log", "access_log", e))?;
    Ok(Arc::new(Hop {
        tier: Tier::Coordinator,
        identity: Policy::new(&config.request_id),
        log,
        metrics,
        drain: Drain::default(),
        timeouts: config.timeouts.clone(),
        limits: config.limits.clone(),
        websocket: config.websocket,
    }))
}

/// Gives the daemon its public listeners and its admin listener.
fn listen(
    daemon: &mut Daemon,
    config: &Config,
    coordinator: &Arc<Coordinator>,
    secrets: &Secrets,
    inherited: bool,
) -> Result<(), ConfigError> {
    let bind = |address: &Address, name, key| {
        bind(address, name, inherited).map_err(|e| config.file.fault_of(&address.to_string(), key, e))
    };
    for listener in &config.listeners {
        let bound = bind(&listener.address, if listener.h2c { "public h2c" } else { "public" }, "listeners")?;
        daemon.server.add_service(public_service(coordinator, &daemon.conf(), &bound, listener.h2c));
        daemon.hold(bound);
    }
    let bound = bind(&config.admin, "admin", "admin")?;
    let state = AdminState {
        apps: Arc::clone(&coordinator.apps),
        pool: Arc::clone(&coordinator.pool),
        sessions: Arc::clone(&coordinator.sessions),
        drain: coordinator.hop.drain.clone(),
    };
    let tokens = (Token::new(&secrets.admin_token), Token::new(&secrets.worker_token));
    let router = admin::router(state, &coordinator.hop, tokens.0, tokens.1);
    daemon.server.add_service(AdminService::new(&bound, router));
    daemon.hold(bound);
    Ok(())
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
    // CONNECT comes to our own code, which refuses it with an identifier (docs/request-id.md, rule 13).
    options.allow_connect_method_proxying = true;
    proxy.server_options = Some(options);
    let mut service = Service::new(bound.name.to_owned(), Entrance::new(proxy, &coordinator.hop));
    bound.listen(&mut service);
    service
}

/// Stands in for a store until there is one.
struct Forgetful;

#[async_trait::async_trait]
impl Store for Forgetful {
    async fn load(&self) -> Result<Contents, StoreError> {
        Ok(Contents::default())
    }

    async fn news(&self, _seen: &Cursor) -> Result<Option<News>, StoreError> {
        Ok(None)
    }

    async fn commit_apps(&self, _commit: AppCommit) -> Result<(), StoreError> {
        Ok(())
    }

    async fn save_worker(&self, _worker: StoredWorker) -> Result<(), StoreError> {
        Ok(())
    }

    async fn remove_worker(&self, _id: &str) -> Result<(), StoreError> {
        Ok(())
    }

    async fn save_activity(&self, _batch: &ActivityBatch) -> Result<(), StoreError> {
        Ok(())
    }

    async fn delete_sessions(&self, _ids: &[String], _at_ms: u64) -> Result<(), StoreError> {
        Ok(())
    }

    async fn trim_sessions(&self, _before_ms: u64, _most: u64) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn save_webhook(&self, _webhook: StoredWebhook) -> Result<(), StoreError> {
        Ok(())
    }

    async fn remove_webhook(&self, _event_id: &str) -> Result<(), StoreError> {
        Ok(())
    }
}
