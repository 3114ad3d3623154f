//! The listeners of the coordinator, in an upgrade inherited from the predecessor.

use std::sync::Arc;

use app_proxy_engine::Protocols;
use app_proxy_hop::downstream::Downstream;
use app_proxy_runtime::admin::{AdminService, Token};
use app_proxy_runtime::config::ConfigError;
use app_proxy_runtime::daemon::{Daemon, ListenAddress, reserve};
use app_proxy_store::Store;
use pingora::server::configuration::ServerConf;
use pingora::services::ServiceHandle;
use pingora::services::listening::Service;

use super::secrets::Secrets;
use crate::admin::{self, AdminState};
use crate::apps::editor::Editor;
use crate::config::Config;
use crate::request::proxy::CoordinatorProxy;
use crate::request::services::Services;

/// Adds the public listeners and the admin listener.
pub(super) fn listen(
    daemon: &mut Daemon,
    config: &Config,
    services: &Arc<Services>,
    secrets: &Secrets,
    (editor, store): (&Editor, &Arc<dyn Store>),
    inherited: bool,
) -> Result<Vec<ServiceHandle>, ConfigError> {
    let mut handles = Vec::new();
    let file = &config.file;
    for listener in &config.listeners {
        let name = if listener.h2c { "public h2c" } else { "public" };
        let address = reserve(file, "listeners", &listener.address, name, inherited)?;
        handles.push(daemon.server.add_service(public_service(
            services,
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
        apps: Arc::clone(&services.apps),
        pool: Arc::clone(&services.pool),
        sessions: Arc::clone(&services.sessions),
        drain: services.hop.drain.clone(),
        log: services.hop.log.clone(),
        worker_token: services.worker_token.clone(),
    };
    let tokens = (
        Token::new(&secrets.admin_token),
        Token::new(&secrets.worker_token),
    );
    let router = admin::router(state, &services.hop, tokens.0, tokens.1);
    handles.push(
        daemon
            .server
            .add_service(AdminService::new(&address, router)),
    );
    daemon.expect_listener(address);
    Ok(handles)
}

/// Creates the service of a public listener.
fn public_service(
    services: &Arc<Services>,
    conf: &Arc<ServerConf>,
    address: &ListenAddress,
    h2c: bool,
) -> Service<Downstream<pingora_proxy::HttpProxy<CoordinatorProxy>>> {
    let phases = CoordinatorProxy::new(services);
    let protocols = Protocols {
        h2c,
        h2_idle: Some(services.hop.timeouts().keepalive.0),
    };
    let proxy = app_proxy_engine::proxy(conf, phases, protocols);
    address.service(Downstream::new(proxy, &services.hop))
}
