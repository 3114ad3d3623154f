//! Differences between the running configuration and a reloaded one.

use std::fmt::Debug;

use log::{Level, error, info, log_enabled, warn};
use pingora_core::server::configuration::ServerConf;

use crate::config::{ConfigError, ConfigFile};
use crate::daemon::logging::{LogFilter, Logging};
use crate::pingora;

/// The key of the log level.
const LOG_LEVEL: &str = "log_level";

/// The differences that a reload finds. A reload compares everything, applies what it can, then
/// calls [`ConfigDiff::conclude`].
///
/// Values are compared by their debug text, which shows all of a section.
#[derive(Debug, Default)]
pub struct ConfigDiff {
    applied: Vec<String>,
    waiting: Vec<String>,
}

impl ConfigDiff {
    /// Compares a value that the reload applies. Returns whether it differs.
    pub fn applies<T: Debug>(&mut self, key: &str, running: &T, read: &T) -> bool {
        let differ = differ(running, read);
        if differ {
            self.applied.push(key.to_owned());
        }
        differ
    }

    /// Compares a value that only a restart applies.
    pub fn needs_restart<T: Debug>(&mut self, key: &str, running: &T, read: &T) {
        if differ(running, read) {
            self.waiting.push(key.to_owned());
        }
    }

    /// Compares Pingora's keys, all of which need a restart.
    pub fn compare_servers(&mut self, running: &ServerConf, read: &ServerConf) {
        let (running, read) = (pingora::keys(running), pingora::keys(read));
        let changed = read
            .iter()
            .filter(|(key, value)| running.get(key) != Some(value));
        self.waiting
            .extend(changed.filter_map(|(key, _)| key.as_str().map(str::to_owned)));
    }

    /// Sets the log level, and logs the warnings about `file` and the differences.
    ///
    /// The level changes before the lines are written, or after them if it would hide them.
    pub fn conclude(
        mut self,
        file: &ConfigFile,
        logging: &Logging,
        running: &LogFilter,
        read: &LogFilter,
    ) {
        let differs = running != read;
        if differs && !logging.is_from_environment() {
            self.applied.push(LOG_LEVEL.to_owned());
        }
        let hides = differs && logging.set_level(read) && !log_enabled!(Level::Info);
        if hides {
            logging.set_level(running);
        }
        file.log_warnings();
        self.log(file);
        if differs && logging.is_from_environment() {
            warn!("{file}: {LOG_LEVEL} has no effect: RUST_LOG is set, and takes precedence");
        }
        if hides {
            logging.set_level(read);
        }
    }

    fn log(&self, file: &ConfigFile) {
        match self.applied.as_slice() {
            [] => info!("{file}: reloaded; nothing changed"),
            keys => info!("{file}: reloaded; changed: {}", keys.join(", ")),
        }
        if !self.waiting.is_empty() {
            warn!(
                "{file}: changed, but applied only by a restart: {}",
                self.waiting.join(", ")
            );
        }
    }
}

/// Logs that a reload was rejected: the running configuration stays.
pub fn reject_reload(error: &ConfigError) {
    error!("cannot reload: {error}");
}

fn differ<T: Debug>(running: &T, read: &T) -> bool {
    format!("{running:?}") != format!("{read:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_grouped_by_what_applies_them() {
        let mut diff = ConfigDiff::default();
        assert!(diff.applies("timeouts", &1, &2));
        assert!(!diff.applies("apps", &1, &1));
        diff.needs_restart("listener", &"a", &"b");
        diff.needs_restart("admin", &"a", &"a");
        let read = ServerConf {
            threads: 7,
            ..ServerConf::default()
        };
        diff.compare_servers(&ServerConf::default(), &read);
        assert_eq!(diff.applied, ["timeouts"]);
        assert_eq!(diff.waiting, ["listener", "threads"]);
    }
}
