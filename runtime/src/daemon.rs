//! From a configuration to a running process: flags, logging, listeners, secrets, signals and the
//! end.

mod changes;
mod listen;
mod logging;
mod reload;
mod secret;
mod shutdown;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{CommandFactory, FromArgMatches, Parser};
use pingora_core::server::Server;
use pingora_core::server::configuration::{Opt, ServerConf};

use crate::config::ConfigPath;
use app_proxy_hop::config::{AccessLogSection, DrainSection};
use app_proxy_hop::drain::Drain;
use app_proxy_hop::observe::access_log::AccessLog;

pub use changes::{ConfigDiff, refuse_reload};
pub use listen::{BindError, Bound, bind};
pub use logging::{BadFilter, LogFilter, Logging};
pub use reload::Reload;
pub use secret::{SecretError, read_or_create};

/// The command line: Pingora's flags.
#[derive(Clone, Debug, Parser)]
#[command(version)]
pub struct Flags {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE")]
    pub conf: ConfigPath,
    /// Run in the background, and write the pid file.
    #[arg(short, long)]
    pub daemon: bool,
    /// Take over the listening sockets of a running daemon, which is then told to end with SIGQUIT.
    #[arg(short, long)]
    pub upgrade: bool,
    /// Check the configuration and all that it needs, then exit.
    #[arg(short, long)]
    pub test: bool,
}

impl Flags {
    /// Reads a command line of the program `name`. A wrong one, `--help` and `--version` end the
    /// process.
    pub fn from_args(
        name: &'static str,
        about: &'static str,
        args: impl IntoIterator<Item = OsString>,
    ) -> Self {
        let command = Self::command().name(name).about(about);
        Self::from_arg_matches(&command.get_matches_from(args)).unwrap_or_else(|e| e.exit())
    }
}

/// Why a daemon does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The folder of a file that the daemon makes cannot be made.
    #[error("{folder}: cannot be made: {cause}", folder = .folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
}

/// A Pingora server that is about to run.
pub struct Daemon {
    /// The server: services are added to it.
    pub server: Server,
    drain: Drain,
    limits: DrainSection,
    log: AccessLog,
    bound: Vec<Bound>,
    reload: Option<Arc<dyn Reload>>,
}

impl Daemon {
    /// Makes the server of a configuration; `name` is the tier's, for files that the configuration
    /// does not name.
    ///
    /// # Errors
    /// When a folder for its files cannot be made.
    pub fn new(
        name: &str,
        mut conf: ServerConf,
        flags: &Flags,
        drain: Drain,
        limits: DrainSection,
        log: AccessLog,
    ) -> Result<Self, StartError> {
        // Pingora's own defaults are in /tmp, where anybody could stand in for the successor and be
        // handed the listeners.
        let theirs = ServerConf::default();
        if conf.pid_file == theirs.pid_file {
            conf.pid_file = format!("run/{name}.pid");
        }
        if conf.upgrade_sock == theirs.upgrade_sock {
            conf.upgrade_sock = format!("run/{name}.upgrade.sock");
        }
        conf.pid_file = absolute(&conf.pid_file);
        conf.upgrade_sock = absolute(&conf.upgrade_sock);
        conf.error_log = conf.error_log.map(|path| absolute(&path));
        for file in [&conf.pid_file, &conf.upgrade_sock] {
            make_private_folder(Path::new(file))?;
        }
        // Pingora sleeps through its grace period whatever happens; ours ends with the last
        // request, and always before it.
        conf.grace_period_seconds = Some(limits.longest().as_secs().saturating_add(60));
        conf.graceful_shutdown_timeout_seconds = Some(0);
        let opt = Opt {
            upgrade: flags.upgrade,
            daemon: flags.daemon,
            nocapture: false,
            test: flags.test,
            conf: None,
        };
        let server = Server::new_with_opt_and_conf(opt, conf);
        Ok(Self {
            server,
            drain,
            limits,
            log,
            bound: Vec::new(),
            reload: None,
        })
    }

    /// Pingora's configuration, with all paths absolute.
    #[must_use]
    pub fn conf(&self) -> Arc<ServerConf> {
        Arc::clone(&self.server.configuration)
    }

    /// Keeps sockets that hold ports open until Pingora listens on them.
    pub fn hold(&mut self, bound: Bound) {
        self.bound.push(bound);
    }

    /// Says what SIGHUP does; nothing, unless this is called.
    pub fn on_reload(&mut self, reload: Arc<dyn Reload>) {
        self.reload = Some(reload);
    }

    /// Serves until a signal ends it. Never returns.
    pub fn run(mut self) -> ! {
        reload::keep_alive();
        self.server.bootstrap();
        let pid_file = self.conf_pid_file();
        let ending = shutdown::Ending::new(self.drain, self.limits, self.log, pid_file);
        self.server
            .add_service(ending.service(std::mem::take(&mut self.bound), self.reload.take()));
        self.server.run(ending.run_args());
        ending.finish()
    }

    fn conf_pid_file(&self) -> Option<PathBuf> {
        let conf = &self.server.configuration;
        conf.daemon.then(|| PathBuf::from(&conf.pid_file))
    }
}

/// Checks, without making anything, that a start would find its secrets and its access log (flag
/// `-t`).
///
/// # Errors
/// When a file exists and cannot be used, or its folder cannot be made.
pub fn check_files(secrets: &[&Path], access_log: &AccessLogSection) -> Result<(), FileError> {
    let fault = |path: &Path, key, cause| FileError {
        path: path.display().to_string(),
        key,
        cause,
    };
    for secret in secrets.iter().filter(|secret| secret.exists()) {
        read_or_create(secret).map_err(|e| fault(secret, "secret", e.to_string()))?;
    }
    let Some(file) = access_log.file() else {
        return Ok(());
    };
    let usable = if file.exists() {
        std::fs::OpenOptions::new()
            .append(true)
            .open(file)
            .map(drop)
    } else {
        let folder = file
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        std::fs::metadata(folder).map(drop)
    };
    usable.map_err(|e| fault(file, "access_log", format!("{}: {e}", file.display())))
}

/// A file that a start needs cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub struct FileError {
    /// The file as the configuration names it.
    pub path: String,
    /// What it is for.
    pub key: &'static str,
    cause: String,
}

/// The path seen from where the daemon is started: with `-d` the working directory becomes `/`.
fn absolute(path: &str) -> String {
    std::path::absolute(path).map_or_else(|_| path.to_owned(), |path| path.display().to_string())
}

/// Makes the folder of `file`, for this user alone: the upgrade socket is open to everybody who can
/// reach it.
fn make_private_folder(file: &Path) -> Result<(), StartError> {
    use std::os::unix::fs::DirBuilderExt;
    let Some(folder) = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    else {
        return Ok(());
    };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|cause| StartError::Folder {
            folder: folder.to_owned(),
            cause,
        })
}
