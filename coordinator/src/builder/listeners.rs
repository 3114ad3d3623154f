//! The listeners of the coordinator, in an upgrade inherited from the predecessor.

use std::sync::Arc;

use app_proxy_engine::{Engine, Protocols};
use app_proxy_hop::config::EngineKind;
use app_proxy_hop::downstream::{Downstream, Supervised};
use app_proxy_runtime::admin::{AdminService, Token};
use app_proxy_runtime::config::ConfigError;
use app_proxy_runtime::daemon::{Buffers, ListenAddress, TierServer, reserve};
use app_proxy_store::Store;
use pingora::services::ServiceHandle;

use super::running::Addresses;
use super::secrets::Secrets;
use crate::admin::{self, AdminState};
use crate::apps::editor::Editor;
use crate::config::Config;
use crate::request::proxy::CoordinatorProxy;
use crate::request::services::Services;

/// The addresses of the listeners, reserved before anything is written.
pub(super) struct Reserved {
    public: Vec<(ListenAddress, bool)>,
    engine: EngineKind,
    admin: ListenAddress,
}

impl Reserved {
    /// Reserves the addresses of a configuration. `inherited` is true of a successor.
    pub(super) fn reserve(config: &Config, inherited: bool) -> Result<Self, ConfigError> {
        let file = &config.file;
        let mut public = Vec::new();
        for listener in &config.listeners {
            let name = if listener.h2c { "public h2c" } else { "public" };
            let address = reserve(file, "listeners", &listener.address, name, inherited)?;
            public.push((address, listener.h2c));
        }
        let admin = reserve(file, "admin", &config.admin, "admin", inherited)?;
        Ok(Self {
            public,
            engine: config.engine,
            admin,
        })
    }

    /// The actual addresses.
    pub(super) fn addresses(&self) -> Addresses {
        Addresses {
            public: self.public.iter().map(|(at, _)| at.address()).collect(),
            admin: self.admin.address(),
        }
    }

    /// Adds the services that listen.
    pub(super) fn listen(
        self,
        server: &mut TierServer,
        services: &Arc<Services>,
        secrets: &Secrets,
        (editor, store): (&Editor, &Arc<dyn Store>),
    ) -> Vec<ServiceHandle> {
        let mut handles = Vec::new();
        for (address, h2c) in self.public {
            handles.push(listen_public(server, services, self.engine, address, h2c));
        }
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
        let service = AdminService::new(&self.admin, router);
        handles.push(server.add_listener(self.admin, service));
        handles
    }
}

/// Adds the service of a public listener.
fn listen_public(
    server: &mut TierServer,
    services: &Arc<Services>,
    engine: EngineKind,
    address: ListenAddress,
    h2c: bool,
) -> ServiceHandle {
    let (conf, hop) = (server.conf(), &services.hop);
    let phases = CoordinatorProxy::new(services);
    let protocols = Protocols {
        h2c,
        h2_idle: Some(hop.timeouts().keepalive.0),
    };
    match engine {
        EngineKind::Ours => {
            let engine = Engine::new(&conf, phases, protocols);
            let service = address.service(Supervised::new(engine, hop), Buffers::None);
            server.add_listener(address, service)
        }
        EngineKind::Pingora => {
            let proxy = app_proxy_engine::proxy(&conf, phases, protocols);
            let service = address.service(Downstream::new(proxy, hop), Buffers::Pingora);
            server.add_listener(address, service)
        }
    }
}
