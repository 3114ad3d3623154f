//! What differs between the running configuration and the one that was read again, and how that is
//! said.

use std::fmt::Debug;

use log::{Level, error, info, log_enabled, warn};
use pingora_core::server::configuration::ServerConf;
use serde_yaml::{Mapping, Value};

use crate::config::{ConfigError, ConfigPath};
use crate::daemon::logging::{LogFilter, Logging};

/// The key of the log level.
const LOG_LEVEL: &str = "log_level";

/// Gathers what a reload finds different: first everything is compared, then what can be is
/// applied, then [`ConfigDiff::conclude`] says it.
#[derive(Debug, Default)]
pub struct ConfigDiff {
    applied: Vec<String>,
    waiting: Vec<String>,
}

impl ConfigDiff {
    /// Compares what the reload applies. Says whether it differs.
    pub fn applies<T: Debug>(&mut self, key: &str, running: &T, read: &T) -> bool {
        let differ = differ(running, read);
        if differ {
            self.applied.push(key.to_owned());
        }
        differ
    }

    /// Compares what only a restart applies.
    pub fn needs_restart<T: Debug>(&mut self, key: &str, running: &T, read: &T) {
        if differ(running, read) {
            self.waiting.push(key.to_owned());
        }
    }

    /// Compares Pingora's keys, all of which need a restart.
    pub fn compare_servers(&mut self, running: &ServerConf, read: &ServerConf) {
        let (running, read) = (keys(running), keys(read));
        let changed = read
            .iter()
            .filter(|(key, value)| running.get(key) != Some(value));
        self.waiting
            .extend(changed.filter_map(|(key, _)| key.as_str().map(str::to_owned)));
    }

    /// Says what has changed, and sets the log level; the file's is `read`.
    ///
    /// The level changes before the lines are written, so that what they say is so; after them when
    /// it would not let them pass.
    pub fn conclude(
        mut self,
        file: &ConfigPath,
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
        self.say(file);
        if differs && logging.is_from_environment() {
            warn!("{file}: {LOG_LEVEL} has no effect: RUST_LOG is set, and wins");
        }
        if hides {
            logging.set_level(read);
        }
    }

    fn say(&self, file: &ConfigPath) {
        match self.applied.as_slice() {
            [] => info!("{file} is reloaded, nothing changes"),
            keys => info!("{file} is reloaded, changed: {}", keys.join(", ")),
        }
        if !self.waiting.is_empty() {
            warn!(
                "{file}: changed, but only a restart applies it: {}",
                self.waiting.join(", ")
            );
        }
    }
}

/// Says that a file is not good: the daemon goes on as it is.
pub fn refuse_reload(error: &ConfigError) {
    error!("nothing is reloaded: {error}");
}

/// Sections are compared by all that they say; their debug text is that.
fn differ<T: Debug>(running: &T, read: &T) -> bool {
    format!("{running:?}") != format!("{read:?}")
}

fn keys(conf: &ServerConf) -> Mapping {
    match serde_yaml::to_value(conf) {
        Ok(Value::Mapping(keys)) => keys,
        _ => Mapping::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_told_apart_by_what_applies_it() {
        let mut changes = ConfigDiff::default();
        assert!(changes.applies("timeouts", &1, &2));
        assert!(!changes.applies("apps", &1, &1));
        changes.needs_restart("listener", &"a", &"b");
        changes.needs_restart("admin", &"a", &"a");
        let read = ServerConf {
            threads: 7,
            ..ServerConf::default()
        };
        changes.compare_servers(&ServerConf::default(), &read);
        assert_eq!(changes.applied, ["timeouts"]);
        assert_eq!(changes.waiting, ["listener", "threads"]);
    }
}
