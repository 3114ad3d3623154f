//! The coordinator as a part of a program: built from a configuration, started, and stopped.

mod assembly;
mod listeners;
mod running;
mod secrets;

use std::path::Path;
use std::sync::Arc;

use app_proxy_hop::exchange::Policies;
use app_proxy_hop::identity::Identify;
use app_proxy_hop::observe::Observe;
use app_proxy_runtime::config::ConfigError;
use app_proxy_runtime::daemon::{Launch, StartError, TierServer, block_on, check_files};

use crate::access::Access;
use crate::config::Config;
use crate::placement::Placement;
use crate::request::services::CoordinatorPolicies;
use assembly::assemble;
use secrets::{Secrets, header_value};

pub use running::{Addresses, Running};

/// Builds a [`Coordinator`].
#[must_use = "a builder does nothing until it builds"]
pub struct Builder {
    config: Config,
    policies: Policies,
    own_policies: CoordinatorPolicies,
    /// The command line; `None` inside another program.
    launch: Option<Launch>,
}

impl Builder {
    /// Decides by `policy` which identifier a request has, in place of the built-in policy.
    ///
    /// ```
    /// use std::net::IpAddr;
    ///
    /// use app_proxy_coordinator::{Builder, EstablishedId, HeaderMap, Identify, RequestId};
    ///
    /// /// Names the site in every identifier.
    /// struct Site;
    ///
    /// impl Identify for Site {
    ///     fn identify(&self, _headers: &HeaderMap, _peer: Option<IpAddr>) -> EstablishedId {
    ///         let id = format!("lab:{}", RequestId::generate());
    ///         id.parse().map_or_else(|_| EstablishedId::generate(), EstablishedId::new)
    ///     }
    /// }
    ///
    /// fn customise(builder: Builder) -> Builder {
    ///     builder.identify(Site)
    /// }
    /// ```
    pub fn identify(mut self, policy: impl Identify) -> Self {
        self.policies.identify = Some(Arc::new(policy));
        self
    }

    /// Adds an observer of requests and streams, beside the metrics and the access log. Several are
    /// called in the order in which they were added.
    ///
    /// ```
    /// use app_proxy_coordinator::{Builder, Event, EventKind, Observe};
    ///
    /// /// Prints which streams open.
    /// struct Streams;
    ///
    /// impl Observe for Streams {
    ///     fn event(&self, event: &Event<'_>) {
    ///         if event.kind() == EventKind::StreamOpen {
    ///             println!("{} {}", event.request_id(), event.path());
    ///         }
    ///     }
    /// }
    ///
    /// fn customise(builder: Builder) -> Builder {
    ///     builder.observe(Streams)
    /// }
    /// ```
    pub fn observe(mut self, observer: impl Observe) -> Self {
        self.policies.observers.add(observer);
        self
    }

    /// Sets the policy that decides who may enter. Without one everybody may.
    pub fn access(mut self, policy: impl Access) -> Self {
        self.own_policies.access = Some(Box::new(policy));
        self
    }

    /// Sets the policy that selects workers. Without one [`Ketama`](crate::Ketama) selects.
    pub fn placement(mut self, policy: impl Placement) -> Self {
        self.own_policies.placement = Some(Box::new(policy));
        self
    }

    /// Sets the command line of a daemon.
    pub(crate) fn launched(mut self, launch: Launch) -> Self {
        self.launch = Some(launch);
        self
    }

    /// Reserves the addresses, reads or creates the secrets, and opens the log and the store.
    /// Nothing is served yet. Blocks while the state is read.
    ///
    /// # Errors
    /// One line that names the file, the line and the key.
    pub fn build(self) -> Result<Coordinator, StartError> {
        block_on(|| assemble(self))?
    }
}

/// A coordinator that has opened all that it needs, and does not serve yet.
///
/// Inside another program a coordinator handles no signals, writes no pid file and installs no
/// logger: diagnostics go to the program's own `log` logger. Several may run in one process. Idle
/// threads help busy ones, whatever `work_stealing` says.
///
/// ```
/// use app_proxy_coordinator::{Config, Coordinator};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let folder = tempfile::tempdir()?;
/// let config = Config::parse(
///     "version: 1\n\
///      coordinator:\n\
///      \x20 listeners: [{address: '127.0.0.1:0'}]\n\
///      \x20 admin: {address: '127.0.0.1:0'}\n\
///      \x20 store: {kind: memory}\n\
///      \x20 access_log: {path: access.log}\n",
///     folder.path(),
/// )?;
/// let running = Coordinator::builder(config).build()?.start()?;
/// let public = running.addresses.public.first().expect("a listener");
/// assert_ne!(public.port(), Some(0));
/// std::net::TcpStream::connect(public.to_string())?;
/// running.stop();
/// # Ok(())
/// # }
/// ```
pub struct Coordinator {
    server: TierServer,
    addresses: Addresses,
}

impl Coordinator {
    /// Returns the builder of a coordinator with a configuration.
    pub fn builder(config: Config) -> Builder {
        Builder {
            config,
            policies: Policies::default(),
            own_policies: CoordinatorPolicies::default(),
            launch: None,
        }
    }

    /// Serves on threads of its own. Returns when every listener listens.
    ///
    /// # Errors
    /// If a listener does not listen; nothing is left running then.
    pub fn start(self) -> Result<Running, StartError> {
        Ok(Running::new(self.addresses, self.server.start()?))
    }

    /// The server, for a daemon.
    pub(crate) fn into_server(self) -> TierServer {
        self.server
    }
}

/// Checks the secret files and the access log that a start needs, without creating any (`-t`).
pub(crate) fn check(config: &Config) -> Result<(), ConfigError> {
    let secrets: [(&str, &Path); 4] = [
        ("token_file", &config.admin_token_file),
        ("worker_token_file", &config.worker_token_file),
        ("secret_file", &config.sessions.secret_file),
        ("secret_file", &config.webhooks.secret_file),
    ];
    check_files(&config.file, &secrets, &config.access_log)?;
    if secrets.iter().all(|(_, file)| file.exists()) {
        header_value(config, &Secrets::load(config)?.worker_token)?;
    }
    Ok(())
}
