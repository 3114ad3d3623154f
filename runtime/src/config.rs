//! Reads a configuration file, and says where a fault is.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use app_proxy_api::address::Address;
use app_proxy_hop::config::TimeoutsSection;
use pingora_core::server::configuration::ServerConf;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_yaml::Value;

/// Why a configuration is refused. Its text is one line that names the file, the line and the key.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{file}: cannot be read: {cause}", file = .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
    /// The file is no YAML, has a key that does not exist, or a value that does not fit.
    #[error("{file}:{line}: {complaint}", file = .file.display())]
    Invalid {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key and what is wrong with it.
        complaint: String,
    },
}

/// Where a configuration file is: shown as somebody wrote it, and found from where the daemon was
/// started. With `-d` the working directory becomes `/`, and a reload has to find the file still.
#[derive(Clone, Debug)]
pub struct ConfigPath {
    written: PathBuf,
    absolute: PathBuf,
}

impl From<PathBuf> for ConfigPath {
    fn from(written: PathBuf) -> Self {
        Self {
            absolute: std::path::absolute(&written).unwrap_or_else(|_| written.clone()),
            written,
        }
    }
}

impl From<OsString> for ConfigPath {
    fn from(written: OsString) -> Self {
        PathBuf::from(written).into()
    }
}

impl fmt::Display for ConfigPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.written.display().fmt(f)
    }
}

/// The text of a configuration file, so that faults found later can still name their line.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    path: PathBuf,
    text: String,
}

impl ConfigFile {
    /// Reads the file.
    ///
    /// # Errors
    /// [`ConfigError::Unreadable`].
    pub fn read(path: &ConfigPath) -> Result<Self, ConfigError> {
        let file = path.written.clone();
        match std::fs::read_to_string(&path.absolute) {
            Ok(text) => Ok(Self { path: file, text }),
            Err(cause) => Err(ConfigError::Unreadable { file, cause }),
        }
    }

    /// A configuration that is in memory; `name` stands for the file in complaints.
    #[must_use]
    pub fn from_text(name: &str, text: &str) -> Self {
        Self {
            path: PathBuf::from(name),
            text: text.to_owned(),
        }
    }

    /// Reads Pingora's part and the section `section` as `D`, whose only field is that section.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] for bad YAML, keys that neither Pingora nor this daemon knows, and
    /// bad values.
    pub fn parse<D: DeserializeOwned>(
        &self,
        section: &str,
    ) -> Result<(ServerConf, D), ConfigError> {
        let document: Value = serde_yaml::from_str(&self.text).map_err(|e| self.yaml_fault(&e))?;
        let Value::Mapping(top) = document else {
            return Err(self.fault(1, "the file is not a mapping of keys to values"));
        };
        let known = pingora_keys();
        for key in top.keys() {
            let name = key.as_str().unwrap_or_default();
            if matches!(
                name,
                "grace_period_seconds" | "graceful_shutdown_timeout_seconds"
            ) {
                return Err(self.fault_at(
                    name,
                    &format!("`{name}` is not used: say `drain` in `{section}`"),
                ));
            }
            if name == "daemon_wait_for_ready" {
                return Err(self.fault_at(
                    name,
                    "`daemon_wait_for_ready` does not work here: ask `/readyz` instead",
                ));
            }
            if name != section && !known.iter().any(|k| k == name) {
                return Err(self.fault_at(name, &format!("unknown key `{name}` at the top level")));
            }
        }
        if !top.contains_key(section) {
            return Err(self.fault(1, &format!("missing key `{section}`")));
        }
        let mut pingora: ServerConf =
            serde_yaml::from_str(&self.text).map_err(|e| self.yaml_fault(&e))?;
        set_defaults(&mut pingora, |key| top.contains_key(key));
        let ours = serde_path_to_error::deserialize(serde_yaml::Deserializer::from_str(&self.text))
            .map_err(|e| self.keyed_fault(&e.path().to_string(), e.inner()))?;
        Ok((pingora, ours))
    }

    /// A complaint about the first line that holds `needle` (a key or a value); line 1 where none
    /// does.
    #[must_use]
    pub fn fault_at(&self, needle: &str, complaint: &str) -> ConfigError {
        let holds = |line: &str| {
            let code = line.split(" #").next().unwrap_or_default();
            !code.trim_start().starts_with('#') && code.contains(needle)
        };
        let line = self
            .text
            .lines()
            .position(holds)
            .map_or(1, |index| index + 1);
        self.fault(line, complaint)
    }

    /// A complaint about the value of a key that something outside the file has to do with: an
    /// address in use, a file that cannot be read.
    #[must_use]
    pub fn fault_of(&self, value: &str, key: &str, cause: impl std::fmt::Display) -> ConfigError {
        self.fault_at(value, &format!("{key}: {cause}"))
    }

    /// Rejects timeouts of 0 where a timeout must leave some time.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] for the first of them.
    pub fn check_timeouts(&self, timeouts: &TimeoutsSection) -> Result<(), ConfigError> {
        match timeouts.zero() {
            Some(name) => Err(self.fault_at(
                &format!("{name}:"),
                &format!("timeouts.{name}: longer than 0"),
            )),
            None => Ok(()),
        }
    }

    fn fault(&self, line: usize, complaint: &str) -> ConfigError {
        ConfigError::Invalid {
            file: self.path.clone(),
            line,
            complaint: complaint.replace('\n', " "),
        }
    }

    /// A fault in the value at `path`. YAML's own text names the mapping that the key is in, and
    /// often not the key.
    fn keyed_fault(&self, path: &str, error: &serde_yaml::Error) -> ConfigError {
        let first = error.location().map_or(1, |location| location.line());
        let text = error.to_string();
        let complaint = text.split(" at line ").next().unwrap_or(&text);
        let what = match complaint.split_once(": ") {
            Some((within, what)) if path.starts_with(within) => what,
            _ => complaint,
        };
        let key = path
            .rsplit('.')
            .find(|part| !part.starts_with('['))
            .unwrap_or(path);
        let key = key.split('[').next().unwrap_or(key);
        // The location is where the mapping begins; the key may be some lines below.
        let lines = self.text.lines().enumerate().skip(first.saturating_sub(1));
        let line = lines
            .filter(|(_, line)| line.contains(key))
            .map(|(index, _)| index + 1)
            .next()
            .unwrap_or(first);
        self.fault(line, &format!("{path}: {what}"))
    }

    fn yaml_fault(&self, error: &serde_yaml::Error) -> ConfigError {
        let line = error.location().map_or(1, |location| location.line());
        let text = error.to_string();
        // The location is said at the front already.
        let complaint = text.split(" at line ").next().unwrap_or(&text);
        self.fault(line, complaint)
    }
}

/// The keys that Pingora's own configuration knows.
fn pingora_keys() -> Vec<String> {
    match serde_yaml::to_value(ServerConf::default()) {
        Ok(Value::Mapping(keys)) => keys
            .keys()
            .filter_map(|key| key.as_str().map(str::to_owned))
            .collect(),
        _ => Vec::new(),
    }
}

/// Sets what the file does not, where another default than Pingora's makes requests cheaper
/// (docs/explanation/performance.md).
fn set_defaults(conf: &mut ServerConf, is_set: impl Fn(&str) -> bool) {
    if !is_set("work_stealing") {
        // A connection stays with its thread: nothing is handed over between threads on the way of
        // a request.
        conf.work_stealing = false;
    }
    if !is_set("fast_timeout_to_tokio_threshold_seconds") {
        // Tokio's timers for every limit of a second or more: Pingora's own are kept until they
        // would have ended, used or not.
        conf.fast_timeout_to_tokio_threshold_seconds = Some(0);
    }
    if !is_set("upstream_keepalive_pool_size") {
        // With more requests at once than connections are kept, each request would connect anew.
        conf.upstream_keepalive_pool_size = KEPT_CONNECTIONS;
    }
}

/// How many unused connections to next hops are kept.
const KEPT_CONNECTIONS: usize = 1024;

/// `admin`: the admin listener.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminSection {
    /// Where it listens; keep it on loopback.
    pub address: Address,
    /// Holds the bearer token of the API.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use app_proxy_hop::config::{DrainSection, TimeoutsSection};

    #[derive(Debug, serde::Deserialize)]
    struct Document {
        daemon_section: Ours,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Ours {
        #[serde(default)]
        timeouts: TimeoutsSection,
        #[serde(default)]
        #[allow(dead_code)]
        drain: DrainSection,
    }

    fn complaint(text: &str) -> String {
        ConfigFile::from_text("c.yaml", text)
            .parse::<Document>("daemon_section")
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn defaults_fill_what_is_absent() {
        let text = "version: 1\nthreads: 3\ndaemon_section:\n  timeouts: {connect: 5s}\n";
        let (pingora, ours) = ConfigFile::from_text("c.yaml", text)
            .parse::<Document>("daemon_section")
            .unwrap();
        assert_eq!(pingora.threads, 3);
        assert_eq!(ours.daemon_section.timeouts.connect.0.as_secs(), 5);
        assert_eq!(ours.daemon_section.timeouts.keepalive.0.as_secs(), 75);
    }

    #[test]
    fn what_the_file_says_of_pingora_wins_over_our_defaults() {
        let parse = |text: &str| {
            ConfigFile::from_text("c.yaml", text)
                .parse::<Document>("daemon_section")
                .unwrap()
                .0
        };
        let conf = parse("version: 1\ndaemon_section: {}\n");
        assert_eq!(
            (conf.work_stealing, conf.upstream_keepalive_pool_size),
            (false, KEPT_CONNECTIONS)
        );
        let conf = parse(
            "version: 1\nwork_stealing: true\nupstream_keepalive_pool_size: 5\ndaemon_section: {}\n",
        );
        assert_eq!(
            (conf.work_stealing, conf.upstream_keepalive_pool_size),
            (true, 5)
        );
    }

    #[test]
    fn a_misspelt_key_is_named_with_its_line() {
        let text = complaint("version: 1\ndaemon_section:\n  timeouts:\n    conect: 5s\n");
        assert!(text.starts_with("c.yaml:4: "), "{text}");
        assert!(text.contains("conect"), "{text}");
        let text = complaint("version: 1\nthreds: 2\ndaemon_section: {}\n");
        assert_eq!(text, "c.yaml:2: unknown key `threds` at the top level");
    }

    #[test]
    fn a_bad_value_is_named_with_its_line() {
        let text = complaint("version: 1\ndaemon_section:\n  timeouts:\n    connect: soon\n");
        assert!(text.starts_with("c.yaml:4: "), "{text}");
        assert!(text.contains("connect") && text.contains("soon"), "{text}");
    }

    #[test]
    fn broken_yaml_and_a_missing_section_are_complained_of() {
        assert!(complaint("version: [1\n").starts_with("c.yaml:"));
        assert_eq!(
            complaint("version: 1\n"),
            "c.yaml:1: missing key `daemon_section`"
        );
        assert_eq!(
            complaint("- a\n"),
            "c.yaml:1: the file is not a mapping of keys to values"
        );
    }
}
