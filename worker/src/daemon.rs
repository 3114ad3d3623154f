//! The worker as a daemon, with a command line.

use std::process::ExitCode;

use app_proxy_hop::config::AccessLogSection;
use app_proxy_hop::error::Tier;
use app_proxy_runtime::config::{ConfigError, ConfigFile, ConfigPath};
use app_proxy_runtime::daemon::{self, LogFilter, Program, StartError, TierConfig, check_files};

use crate::builder::{Builder, Worker};
use crate::config::Config;

/// Runs a worker as its command line says. `customise` adds policies to the builder.
///
/// ```no_run
/// use std::process::ExitCode;
///
/// fn main() -> ExitCode {
///     app_proxy_worker::daemon::main(|builder| builder)
/// }
/// ```
pub fn main(customise: impl FnOnce(Builder) -> Builder) -> ExitCode {
    let program = Program {
        name: "app-proxy-worker",
        tier: Tier::Worker,
        about: "Proxies to the applications next to it, for coordinators.",
        check,
    };
    daemon::main(&program, |config, launch| {
        let builder = customise(Worker::builder(config));
        Ok(builder.launched(launch).build()?.into_server())
    })
}

/// Checks the files that a start needs, without creating any (`-t`).
fn check(config: &Config) -> Result<(), StartError> {
    let files = [("token_file", config.token_file.as_path())];
    Ok(check_files(&config.file, &files, &config.access_log)?)
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
