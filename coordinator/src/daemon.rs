//! The coordinator as a daemon, with a command line.

use std::process::ExitCode;

use app_proxy_hop::config::AccessLogSection;
use app_proxy_hop::error::Tier;
use app_proxy_runtime::config::{ConfigError, ConfigFile, ConfigPath};
use app_proxy_runtime::daemon::{self, LogFilter, Program, StartError, TierConfig, block_on};

use crate::builder::{self, Builder, Coordinator};
use crate::config::Config;
use crate::pool::ResolvedWorkers;
use crate::state::startup::check_state;

/// Runs a coordinator as its command line says. `customise` adds policies to the builder.
///
/// ```no_run
/// use std::process::ExitCode;
///
/// fn main() -> ExitCode {
///     app_proxy_coordinator::daemon::main(|builder| builder)
/// }
/// ```
pub fn main(customise: impl FnOnce(Builder) -> Builder) -> ExitCode {
    let program = Program {
        name: "app-proxy-coordinator",
        tier: Tier::Coordinator,
        about: "Routes requests to workers and keeps sessions.",
        check,
    };
    daemon::main(&program, |config, launch| {
        let builder = customise(Coordinator::builder(config));
        Ok(builder.launched(launch).build()?.into_server())
    })
}

/// Checks all that a start needs, without creating or changing anything (`-t`).
fn check(config: &Config) -> Result<(), StartError> {
    let resolved = block_on(|| ResolvedWorkers::resolve(&config.workers))?;
    resolved.map_err(|e| config.file.fault_of("workers", "workers", e))?;
    builder::check(config)?;
    Ok(check_state(config)?)
}

impl TierConfig for Config {
    fn load(path: &ConfigPath) -> Result<Self, ConfigError> {
        Self::load(path.clone())
    }

    fn file(&self) -> &ConfigFile {
        &self.file
    }

    fn access_log(&self) -> &AccessLogSection {
        &self.access_log
    }

    fn log_level(&self) -> &LogFilter {
        &self.log_level
    }
}
