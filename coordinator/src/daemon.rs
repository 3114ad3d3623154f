//! Puts the coordinator together: from a configuration to services that run.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use app_proxy_hop::access_log::AccessLog;
use app_proxy_hop::address::Address;
use app_proxy_hop::admin::{AdminService, Token};
use app_proxy_hop::config::ConfigError;
use app_proxy_hop::daemon::{Bound, Daemon, Flags, Logging, bind, check_files, read_or_create};
use app_proxy_hop::drain::Drain;
use app_proxy_hop::entrance::Entrance;
use app_proxy_hop::error::Tier;
use app_proxy_hop::exchange::Hop;
use app_proxy_hop::metrics::Metrics;
use app_proxy_hop::request_id::Policy;
use app_proxy_hop::streams::CloseReason;
use arc_swap::ArcSwap;
use pingora::apps::HttpServerOptions;
use pingora::connectors::{ConnectorOptions, TransportConnector};
use pingora::server::configuration::ServerConf;
use pingora::services::background::{GenBackgroundService, background_service};
use pingora::services::listening::Service;
use pingora_proxy::http_proxy;

use crate::admin::{self, AdminState};
use crate::apps::editor::{Editor, EditorTask};
use crate::apps::{Apps, Snapshot};
use crate::config::{Config, Networks};
use crate::effects::{Effects, restore_sessions};
use crate::forward::Forwarder;
use crate::keeper::{BeginError, Keeper, Place, begin, take_over};
use crate::pool::{Pool, Sweep};
use crate::proxy::{Coordinator, CoordinatorProxy};
use crate::sessions::cookie::{SessionId, SessionKey};
use crate::sessions::journal::Journal;
use crate::sessions::{SessionTable, Sessions};
use crate::store::late::LateStore;
use crate::store::{Contents, Cursor, Store};

/// Runs the coordinator that the flags ask for; returns only when it does not start.
///
/// # Errors
/// One line that says why it does not start.
pub fn run(flags: &Flags, logging: &Logging) -> Result<Infallible> {
    let mut config = Config::load(&flags.conf)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (pool, health) = runtime
        .block_on(Pool::new(&config.workers, config.health_check, config.registration, &config.timeouts))
        .map_err(|e| config.file.fault_of("workers", "workers", e))?;
    let place = Place::of(&config.store);
    if flags.test {
        check(&config, &place, &runtime)?;
        log::info!("{} is valid", flags.conf);
        std::process::exit(0);
    }
    logging.set_level(&config.log_level);
    let (snapshot, mut contents) = runtime.block_on(first_state(&config, &place))?;
    let secrets = Secrets::load(&config)?;
    let hop = hop(&config)?;
    let server = std::mem::take(&mut config.server);
    let mut daemon = Daemon::new(hop.tier.as_str(), server, flags, hop.drain.clone(), config.drain, hop.log.clone())?;
    let table = SessionTable::new(config.sessions.max, config.sessions.ttl.0);
    let sweep = background_service("sessions", table.clone());
    let header = config.session_header.clone();
    let coordinator = Arc::new(Coordinator {
        hop,
        apps: Arc::new(Apps::new(snapshot)),
        sessions: Arc::new(Sessions::new(secrets.session_key.clone(), &config.sessions.cookie, header, table)),
        pool: Arc::clone(&pool),
        trusted_proxies: ArcSwap::from_pointee(Networks::new(&config.trusted_proxies)),
        forwarder: forwarder(&config, &secrets)?,
        connector: TransportConnector::new(Some(ConnectorOptions::from_server_conf(&daemon.conf()))),
    });
    runtime.block_on(restore(&coordinator, &mut contents));
    drop(runtime);
    let (keeping, editor, store) = keeper(&coordinator, place, contents.cursor, &config, flags);
    listen(&mut daemon, &config, &coordinator, &secrets, (editor, store), flags.upgrade)?;
    daemon.server.add_service(background_service("workers", Sweep::new(&pool, &coordinator.hop.drain)));
    daemon.server.add_service(health);
    daemon.server.add_service(sweep);
    daemon.server.add_service(keeping);
    daemon.run()
}

/// The first state of the app table, and all that the store has. The store is closed again: the daemon may fork after this.
async fn first_state(config: &Config, place: &Place) -> Result<(Snapshot, Contents)> {
    let fault = |e: BeginError| {
        config.file.fault_of(if matches!(e, BeginError::Apps(_)) { "apps" } else { "store" }, "store", e)
    };
    let store = place.open().map_err(|e| fault(e.into()))?;
    Ok(begin(&*store, &config.apps, config.domain.as_ref()).await.map_err(fault)?)
}

/// Checks all that a start would need, without making anything (flag `-t`).
fn check(config: &Config, place: &Place, runtime: &tokio::runtime::Runtime) -> Result<()> {
    let secrets: [&Path; 3] = [&config.admin_token_file, &config.worker_token_file, &config.sessions.secret_file];
    check_files(&secrets, &config.access_log).map_err(|e| config.file.fault_of(&e.path, e.key, &e))?;
    if secrets.iter().all(|file| file.exists()) {
        let secrets = Secrets::load(config)?;
        forwarder(config, &secrets)?;
    }
    let exists = match place {
        Place::File(path) => path.exists(),
        Place::Memory(_) => false,
    };
    if exists {
        let store = place.open().map_err(|e| config.file.fault_of("store", "store", e))?;
        let contents = runtime.block_on(store.load()).map_err(|e| config.file.fault_of("store", "store", e))?;
        take_over(&contents, &config.apps, config.domain.as_ref())
            .map_err(|e| config.file.fault_of("apps", "apps", e))?;
    }
    Ok(())
}

/// Gives the coordinator what its store has.
async fn restore(coordinator: &Coordinator, contents: &mut Contents) {
    let Coordinator { sessions, apps, pool, .. } = coordinator;
    // Workers first: sessions are pinned to them.
    pool.restore(std::mem::take(&mut contents.workers)).await;
    let pools: Vec<_> = apps.load().pools().cloned().collect();
    if let Err(e) = pool.want_selectors(pools).await {
        log::warn!("the pools that apps ask for have no rings: {e}");
    }
    for (id, _) in &contents.deleted_sessions {
        if let Ok(id) = SessionId::parse(id.as_bytes()) {
            sessions.table().note_deleted(&id);
        }
    }
    restore_sessions(sessions, apps, pool, &contents.sessions);
}

/// Closes what is open at a worker whose drain is over.
fn close_streams_at(apps: &Apps, worker: &str) -> usize {
    let at = |stream: &app_proxy_hop::streams::Opened| stream.worker() == Some(worker);
    apps.load().apps().map(|app| app.streams.close_where(CloseReason::WorkerDraining, at)).sum()
}

/// How long after its start a successor takes its predecessor for alive: that takes connections for some 5 s after the hand-over, which
/// is some seconds after the start.
const PREDECESSOR: Duration = Duration::from_secs(30);

/// The service that keeps the state, and what changes it.
fn keeper(
    coordinator: &Arc<Coordinator>,
    place: Place,
    cursor: Cursor,
    config: &Config,
    flags: &Flags,
) -> (GenBackgroundService<Keeper>, Editor, Arc<dyn Store>) {
    let (late, opened) = LateStore::new();
    let store: Arc<dyn Store> = Arc::new(late);
    let (editor, queue) = Editor::new();
    let Coordinator { hop, apps, sessions, pool, .. } = &**coordinator;
    pool.keep_in(Arc::clone(&store));
    let streams = Arc::clone(apps);
    pool.on_deadline(Arc::new(move |worker| close_streams_at(&streams, worker)));
    let effects = Effects { apps: Arc::clone(apps), sessions: Arc::clone(sessions), pool: Arc::clone(pool) };
    let (drain, started, successor) = (hop.drain.clone(), Instant::now(), flags.upgrade);
    let task = EditorTask {
        apps: Arc::clone(apps),
        store: Arc::clone(&store),
        observer: Arc::new(effects),
        cursor,
        overlaps: Box::new(move || drain.closes_connections() || (successor && started.elapsed() < PREDECESSOR)),
    };
    let journal = Journal {
        table: sessions.table().clone(),
        apps: Arc::clone(apps),
        store: Arc::clone(&store),
        drain: hop.drain.clone(),
        most: config.sessions.max,
    };
    (background_service("store", Keeper::new(place, opened, task, queue, journal)), editor, store)
}

/// What the secret files hold.
struct Secrets {
    admin_token: String,
    worker_token: String,
    session_key: SessionKey,
}

impl Secrets {
    /// Reads the secret files, and makes those that do not exist.
    fn load(config: &Config) -> Result<Self, ConfigError> {
        let secret = |key: &str, path: &Path| {
            read_or_create(path).map_err(|e| config.file.fault_of(&path.display().to_string(), key, e))
        };
        let session_secret = secret("secret_file", &config.sessions.secret_file)?;
        Ok(Self {
            admin_token: secret("token_file", &config.admin_token_file)?,
            worker_token: secret("worker_token_file", &config.worker_token_file)?,
            session_key: SessionKey::new(session_secret.as_bytes())
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
        timeouts: ArcSwap::from_pointee(config.timeouts.clone()),
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
    (editor, store): (Editor, Arc<dyn Store>),
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
        editor,
        store,
        lists: admin::ListCache::default(),
        apps: Arc::clone(&coordinator.apps),
        pool: Arc::clone(&coordinator.pool),
        sessions: Arc::clone(&coordinator.sessions),
        drain: coordinator.hop.drain.clone(),
        log: coordinator.hop.log.clone(),
        worker_token: coordinator.forwarder.token().clone(),
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
    options.h2_idle_timeout = Some(coordinator.hop.timeouts().keepalive.0);
    // CONNECT comes to our own code, which refuses it with an identifier (docs/request-id.md, rule 13).
    options.allow_connect_method_proxying = true;
    proxy.server_options = Some(options);
    let mut service = Service::new(bound.name.to_owned(), Entrance::new(proxy, &coordinator.hop));
    bound.listen(&mut service);
    service
}
