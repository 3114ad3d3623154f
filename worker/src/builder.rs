//! The worker as a part of a program: built from a configuration, started, and stopped.

mod assembly;
mod running;

use std::sync::Arc;

use app_proxy_hop::exchange::Policies;
use app_proxy_hop::identity::Identify;
use app_proxy_hop::observe::Observe;
use app_proxy_runtime::daemon::{Launch, StartError, TierServer};

use crate::config::Config;
use assembly::assemble;

pub use running::{Addresses, Running};

/// Builds a [`Worker`].
#[must_use = "a builder does nothing until it builds"]
pub struct Builder {
    config: Config,
    policies: Policies,
    /// The command line; `None` inside another program.
    launch: Option<Launch>,
}

impl Builder {
    /// Makes identifiers of the worker's own by `policy`, in place of the built-in one: for
    /// requests of strangers, and for those without one. That of an authenticated coordinator
    /// always counts.
    ///
    /// ```
    /// use std::net::IpAddr;
    ///
    /// use app_proxy_worker::{Builder, EstablishedId, HeaderMap, Identify, RequestId};
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
    /// use app_proxy_worker::{Builder, Event, EventKind, Observe};
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

    /// Sets the command line of a daemon.
    pub(crate) fn launched(mut self, launch: Launch) -> Self {
        self.launch = Some(launch);
        self
    }

    /// Reserves the addresses, reads or creates the token, and opens the log. Nothing is served
    /// yet.
    ///
    /// # Errors
    /// One line that names the file, the line and the key.
    pub fn build(self) -> Result<Worker, StartError> {
        assemble(self)
    }
}

/// A worker that has opened all that it needs, and does not serve yet.
///
/// Inside another program a worker handles no signals, writes no pid file and installs no logger:
/// diagnostics go to the program's own `log` logger. Several may run in one process. Idle threads
/// help busy ones, whatever `work_stealing` says.
///
/// ```
/// use app_proxy_worker::{Config, Worker};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let folder = tempfile::tempdir()?;
/// let config = Config::parse(
///     "version: 1\n\
///      worker:\n\
///      \x20 id: w1\n\
///      \x20 listener: {address: '127.0.0.1:0'}\n\
///      \x20 admin: {address: '127.0.0.1:0'}\n\
///      \x20 coordinators: ['http://127.0.0.1:8081']\n\
///      \x20 access_log: {path: access.log}\n",
///     folder.path(),
/// )?;
/// let running = Worker::builder(config).build()?.start()?;
/// std::net::TcpStream::connect(running.addresses.admin.to_string())?;
/// running.stop();
/// # Ok(())
/// # }
/// ```
pub struct Worker {
    server: TierServer,
    addresses: Addresses,
}

impl Worker {
    /// Returns the builder of a worker with a configuration.
    pub fn builder(config: Config) -> Builder {
        Builder {
            config,
            policies: Policies::default(),
            launch: None,
        }
    }

    /// Serves on threads of its own. Returns when every listener listens. The worker registers with
    /// its coordinators afterwards.
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
