//! Configuration files: reading and parsing, and errors that name the file, the line and the key.

mod path;
mod renamed_keys;

use std::fmt;
use std::path::PathBuf;

use app_proxy_api::address::Address;
use app_proxy_hop::config::TimeoutsSection;
use log::warn;
use pingora_core::server::configuration::ServerConf;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_yaml::{Mapping, Value};

use crate::pingora;

pub use path::ConfigPath;
pub use renamed_keys::RenamedKey;

/// A rejected configuration. The text is one line that names the file, the line and the key.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{file}: cannot read the file: {cause}", file = .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The system's error.
        cause: std::io::Error,
    },
    /// The file is not YAML, or has an unknown key or an invalid value.
    #[error("{file}:{line}: {problem}", file = .file.display())]
    Invalid {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key and what is wrong with it.
        problem: String,
    },
}

/// A configuration file in memory, so that errors found after parsing can name their line.
///
/// ```
/// use app_proxy_runtime::config::ConfigFile;
///
/// #[derive(serde::Deserialize)]
/// struct Document {
///     greeter: Greeter,
/// }
///
/// #[derive(serde::Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct Greeter {
///     greeting: String,
/// }
///
/// let text = "threads: 3\ngreeter:\n  greeting: hello\n";
/// let mut file = ConfigFile::from_text("greeter.yaml", text);
/// let (server, document) = file.parse::<Document>("greeter", &[])?;
/// assert_eq!((server.threads, document.greeter.greeting.as_str()), (3, "hello"));
///
/// let mut file = ConfigFile::from_text("greeter.yaml", "greeter:\n  greetin: hello\n");
/// let error = file.parse::<Document>("greeter", &[]).err().unwrap();
/// assert!(error.to_string().starts_with("greeter.yaml:2: greeter.greetin: unknown field"));
/// # Ok::<(), app_proxy_runtime::config::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ConfigFile {
    path: PathBuf,
    /// The path from the root.
    absolute: PathBuf,
    /// The text, with renamed keys under their new names once it is parsed.
    text: String,
    /// Warnings of the first parse.
    warnings: Vec<String>,
}

impl fmt::Display for ConfigFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)
    }
}

impl ConfigFile {
    /// Reads a file.
    ///
    /// # Errors
    /// [`ConfigError::Unreadable`].
    pub fn read(path: &ConfigPath) -> Result<Self, ConfigError> {
        let file = path.given().to_owned();
        match path.read() {
            Ok(text) => Ok(Self {
                path: file,
                absolute: path.absolute().to_owned(),
                text,
                warnings: Vec::new(),
            }),
            Err(cause) => Err(ConfigError::Unreadable { file, cause }),
        }
    }

    /// Returns a configuration from a text; `name` stands for the file in errors.
    #[must_use]
    pub fn from_text(name: &str, text: &str) -> Self {
        Self {
            path: PathBuf::from(name),
            absolute: PathBuf::from(name),
            text: text.to_owned(),
            warnings: Vec::new(),
        }
    }

    /// Parses Pingora's keys, and the section `section` as `D`, whose only field is that section.
    /// Keys of the section in `renamed` are accepted under their old name; see
    /// `ConfigFile::log_warnings`.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] for invalid YAML, keys that neither Pingora nor the daemon knows,
    /// and invalid values.
    pub fn parse<D: DeserializeOwned>(
        &mut self,
        section: &str,
        renamed: &[RenamedKey],
    ) -> Result<(ServerConf, D), ConfigError> {
        let mut document: Value =
            serde_yaml::from_str(&self.text).map_err(|e| self.yaml_fault(&e))?;
        for key in renamed {
            let result = key.apply(section, &self.text, &document);
            if let Some(renamed) = result.map_err(|e| self.fault(e.line, &e.problem))? {
                let fault = self.fault(renamed.line, &key.warning());
                self.warnings.push(fault.to_string());
                self.text = renamed.text;
                document = renamed.document;
            }
        }
        let Value::Mapping(top) = document else {
            return Err(self.fault(1, "the file is not a mapping of keys to values"));
        };
        self.check_top(&top, section)?;
        let server = self.parse_server(&top)?;
        let daemon =
            serde_path_to_error::deserialize(serde_yaml::Deserializer::from_str(&self.text))
                .map_err(|e| self.keyed_fault(&e.path().to_string(), e.inner()))?;
        Ok((server, daemon))
    }

    /// Returns a key that tells the file from others, also from those of other hosts: the name of
    /// the host and the path from the root.
    #[must_use]
    pub fn key(&self) -> String {
        // Linux has the name there; elsewhere a key need not tell hosts apart.
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        format!("{}:{}", host.trim(), self.absolute.display())
    }

    /// Parses Pingora's keys once more: [`ServerConf`] cannot be cloned.
    pub(crate) fn server(&self) -> Result<ServerConf, ConfigError> {
        let top: Mapping = serde_yaml::from_str(&self.text).map_err(|e| self.yaml_fault(&e))?;
        self.parse_server(&top)
    }

    fn parse_server(&self, top: &Mapping) -> Result<ServerConf, ConfigError> {
        let mut conf: ServerConf =
            serde_yaml::from_str(&self.text).map_err(|e| self.yaml_fault(&e))?;
        pingora::set_defaults(&mut conf, |key| top.contains_key(key));
        Ok(conf)
    }

    /// Rejects unknown and unsupported keys at the top level, and a missing `section`.
    fn check_top(&self, top: &Mapping, section: &str) -> Result<(), ConfigError> {
        let known = pingora::keys(&ServerConf::default());
        for key in top.keys() {
            let name = key.as_str().unwrap_or_default();
            if let Some(reason) = pingora::rejection(name, section) {
                return Err(self.fault_at(name, &reason));
            }
            if name != section && !known.contains_key(name) {
                return Err(self.fault_at(name, &format!("unknown key `{name}` at the top level")));
            }
        }
        if !top.contains_key(section) {
            return Err(self.fault(1, &format!("missing key `{section}`")));
        }
        Ok(())
    }

    /// Logs a warning for each key under its old name. Parsing does not log: the log level is part
    /// of the configuration.
    pub(crate) fn log_warnings(&self) {
        for warning in &self.warnings {
            warn!("{warning}");
        }
    }

    /// Returns an error at the first line that contains `needle` (a key or a value), or at line 1.
    #[must_use]
    pub fn fault_at(&self, needle: &str, problem: &str) -> ConfigError {
        let holds = |line: &str| {
            let code = line.split(" #").next().unwrap_or_default();
            !code.trim_start().starts_with('#') && code.contains(needle)
        };
        let line = self
            .text
            .lines()
            .position(holds)
            .map_or(1, |index| index + 1);
        self.fault(line, problem)
    }

    /// Returns an error about the value of `key` whose cause is outside the file: an address in
    /// use, an unreadable file.
    #[must_use]
    pub fn fault_of(&self, value: &str, key: &str, cause: impl fmt::Display) -> ConfigError {
        self.fault_at(value, &format!("{key}: {cause}"))
    }

    /// Rejects a timeout of 0 where 0 would leave no time at all.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] for the first such timeout.
    pub fn check_timeouts(&self, timeouts: &TimeoutsSection) -> Result<(), ConfigError> {
        match timeouts.first_zero() {
            Some(name) => Err(self.fault_at(
                &format!("{name}:"),
                &format!("timeouts.{name}: longer than 0"),
            )),
            None => Ok(()),
        }
    }

    fn fault(&self, line: usize, problem: &str) -> ConfigError {
        ConfigError::Invalid {
            file: self.path.clone(),
            line,
            problem: problem.replace('\n', " "),
        }
    }

    /// Returns an error about the value at `path`. The parser's text names the mapping around the
    /// key, and often not the key.
    fn keyed_fault(&self, path: &str, error: &serde_yaml::Error) -> ConfigError {
        let first = error.location().map_or(1, |location| location.line());
        let text = error.to_string();
        let text = text.split(" at line ").next().unwrap_or(&text);
        let problem = match text.split_once(": ") {
            Some((within, problem)) if path.starts_with(within) => problem,
            _ => text,
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
        self.fault(line, &format!("{path}: {problem}"))
    }

    fn yaml_fault(&self, error: &serde_yaml::Error) -> ConfigError {
        let line = error.location().map_or(1, |location| location.line());
        let text = error.to_string();
        // The error begins with the location.
        self.fault(line, text.split(" at line ").next().unwrap_or(&text))
    }
}

/// `admin`: the admin listener.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminSection {
    /// Address of the listener; loopback in most installations.
    pub address: Address,
    /// File with the bearer token of the API.
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

    fn error(text: &str) -> String {
        ConfigFile::from_text("c.yaml", text)
            .parse::<Document>("daemon_section", &[])
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn defaults_fill_what_is_absent() {
        let text = "version: 1\nthreads: 3\ndaemon_section:\n  timeouts: {connect: 5s}\n";
        let (pingora, ours) = ConfigFile::from_text("c.yaml", text)
            .parse::<Document>("daemon_section", &[])
            .unwrap();
        assert_eq!((pingora.threads, pingora.work_stealing), (3, false));
        assert_eq!(ours.daemon_section.timeouts.connect.0.as_secs(), 5);
        assert_eq!(ours.daemon_section.timeouts.keepalive.0.as_secs(), 75);
    }

    #[test]
    fn a_misspelt_key_is_named_with_its_line() {
        let text = error("version: 1\ndaemon_section:\n  timeouts:\n    conect: 5s\n");
        assert!(text.starts_with("c.yaml:4: "), "{text}");
        assert!(text.contains("conect"), "{text}");
        let text = error("version: 1\nthreds: 2\ndaemon_section: {}\n");
        assert_eq!(text, "c.yaml:2: unknown key `threds` at the top level");
    }

    #[test]
    fn a_bad_value_is_named_with_its_line() {
        let text = error("version: 1\ndaemon_section:\n  timeouts:\n    connect: soon\n");
        assert!(text.starts_with("c.yaml:4: "), "{text}");
        assert!(text.contains("connect") && text.contains("soon"), "{text}");
    }

    #[test]
    fn broken_yaml_and_a_missing_section_are_rejected() {
        assert!(error("version: [1\n").starts_with("c.yaml:"));
        assert_eq!(
            error("version: 1\n"),
            "c.yaml:1: missing key `daemon_section`"
        );
        assert_eq!(
            error("- a\n"),
            "c.yaml:1: the file is not a mapping of keys to values"
        );
    }

    #[test]
    fn keys_that_pingora_would_ignore_are_rejected() {
        let text = error("version: 1\ngrace_period_seconds: 5\ndaemon_section: {}\n");
        assert_eq!(
            text,
            "c.yaml:2: `grace_period_seconds` is not supported: set `drain` in `daemon_section`"
        );
    }

    #[test]
    fn a_renamed_key_is_accepted_with_a_warning_and_later_errors_keep_their_line() {
        let renamed = [RenamedKey {
            within: "timeouts",
            old: "dial",
            new: "connect",
        }];
        let parse = |text: &str| {
            let mut file = ConfigFile::from_text("c.yaml", text);
            let result = file.parse::<Document>("daemon_section", &renamed);
            (result.map_err(|e| e.to_string()), file)
        };
        let (parsed, mut file) = parse("daemon_section:\n  timeouts:\n    dial: 7s\n");
        assert_eq!(
            parsed
                .unwrap()
                .1
                .daemon_section
                .timeouts
                .connect
                .0
                .as_secs(),
            7
        );
        let warning = "c.yaml:3: `timeouts.dial` is now `timeouts.connect`; \
                       the old name works until the next release";
        assert_eq!(file.warnings, [warning]);
        // The second parse of a start does not warn again.
        file.parse::<Document>("daemon_section", &renamed).unwrap();
        assert_eq!(file.warnings.len(), 1);
        let fault = file.fault_at("connect:", "too short").to_string();
        assert_eq!(fault, "c.yaml:3: too short");
        let (parsed, _) = parse("daemon_section:\n  timeouts: {dial: 7s}\n  drian: {}\n");
        assert!(parsed.unwrap_err().starts_with("c.yaml:3: "));
        let (parsed, _) = parse("daemon_section:\n  timeouts:\n    connect: 1s\n    dial: 7s\n");
        assert!(parsed.unwrap_err().starts_with("c.yaml:4: `timeouts.dial`"));
    }
}
