//! The coordinator's address and token, from flags, the environment, a file, and defaults.

mod file;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use http::Uri;

use crate::cli::ConnectionArgs;
use file::SettingsFile;

/// The default address.
const DEFAULT_ADDRESS: &str = "http://127.0.0.1:8081";
/// The default token file: a coordinator that runs in the current folder creates it.
const DEFAULT_TOKEN_FILE: &str = "run/admin.token";

const ADDRESS: &str = "APP_PROXY_ADDRESS";
const TOKEN: &str = "APP_PROXY_TOKEN";
const TOKEN_FILE: &str = "APP_PROXY_TOKEN_FILE";
const CONFIG_HOME: &str = "XDG_CONFIG_HOME";
const HOME: &str = "HOME";

/// The environment of the process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment {
    /// Environment variables.
    pub(crate) variables: BTreeMap<String, String>,
    /// The current folder.
    pub(crate) folder: PathBuf,
}

impl Environment {
    /// Returns the environment of this process.
    pub(crate) fn of_process() -> Self {
        let known = [ADDRESS, TOKEN, TOKEN_FILE, CONFIG_HOME, HOME];
        let variables = known
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)));
        Self {
            variables: variables.collect(),
            folder: PathBuf::from("."),
        }
    }

    /// Returns a variable, or `None` if it is empty.
    fn variable(&self, name: &str) -> Option<&str> {
        self.variables
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// Returns the default path of the settings file.
    fn settings_file(&self) -> Option<PathBuf> {
        let base = match (self.variable(CONFIG_HOME), self.variable(HOME)) {
            (Some(folder), _) => PathBuf::from(folder),
            (None, Some(home)) => Path::new(home).join(".config"),
            (None, None) => return None,
        };
        Some(base.join("app-proxy").join("ctl.yaml"))
    }
}

/// The address of a coordinator and the token for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The address of the admin listener.
    pub(crate) address: Uri,
    /// The bearer token, if one was found.
    pub(crate) token: Option<FoundToken>,
    /// Warnings about the settings, for people.
    pub(crate) warnings: Vec<String>,
}

/// A token and its origin.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct FoundToken {
    /// The token.
    pub(crate) secret: String,
    /// The file or the variable of the token, for people.
    pub(crate) origin: String,
}

impl std::fmt::Debug for FoundToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Diagnostics must not contain the secret.
        write!(f, "FoundToken({})", self.origin)
    }
}

/// Invalid settings.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    /// The address is not a URL of an admin listener.
    #[error("address `{0}`: write http://host:port{1}")]
    Address(String, &'static str),
    /// A file cannot be read.
    #[error("{file}: cannot be read: {cause}", file = .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The error of the system.
        cause: std::io::Error,
    },
    /// The settings file is invalid.
    #[error("{file}: {problem}", file = .file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// The problem and its position.
        problem: String,
    },
    /// The token is empty, or has characters that are invalid in a header.
    #[error("{0}: the token is empty or has invalid characters")]
    Token(String),
}

impl Settings {
    /// Finds the settings. The first source with a value applies.
    ///
    /// # Errors
    /// If a file that the user named cannot be read, or a setting is invalid.
    pub(crate) fn find(
        flags: &ConnectionArgs,
        environment: &Environment,
    ) -> Result<Self, SettingsError> {
        let (file, warnings) = SettingsFile::find(flags.config.as_deref(), environment)?;
        let address = flags
            .address
            .as_deref()
            .or_else(|| environment.variable(ADDRESS))
            .or(file.address.as_deref());
        let address = parse_address(address.unwrap_or(DEFAULT_ADDRESS))?;
        let mut settings = Self {
            address,
            token: None,
            warnings,
        };
        settings.token = settings.find_token(flags, environment, &file)?;
        Ok(settings)
    }

    fn find_token(
        &mut self,
        flags: &ConnectionArgs,
        environment: &Environment,
        file: &SettingsFile,
    ) -> Result<Option<FoundToken>, SettingsError> {
        if let Some(path) = &flags.token_file {
            return read_token(path).map(Some);
        }
        if let Some(secret) = environment.variable(TOKEN) {
            return checked_token(secret, TOKEN.to_owned()).map(Some);
        }
        if let Some(path) = environment.variable(TOKEN_FILE) {
            return read_token(Path::new(path)).map(Some);
        }
        if let Some((secret, origin)) = &file.token {
            return checked_token(secret, origin.clone()).map(Some);
        }
        if let Some(path) = &file.token_file {
            return read_token(path).map(Some);
        }
        Ok(self.default_token(&environment.folder))
    }

    /// Returns the token of a coordinator that runs in the current folder. It is sent only to this
    /// host.
    fn default_token(&mut self, folder: &Path) -> Option<FoundToken> {
        let path = folder.join(DEFAULT_TOKEN_FILE);
        if !is_this_host(&self.address) || !path.exists() {
            return None;
        }
        // The user did not name this file, and the call may need no token: if the file cannot be
        // read, this is only a warning.
        read_token(&path)
            .map_err(|e| self.warnings.push(e.to_string()))
            .ok()
    }
}

fn is_this_host(address: &Uri) -> bool {
    let host = address.host().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

fn parse_address(text: &str) -> Result<Uri, SettingsError> {
    let invalid = |why| SettingsError::Address(text.to_owned(), why);
    if text.starts_with("https:") {
        return Err(invalid(
            " (the admin listener has no TLS; keep it on loopback and use ssh -L)",
        ));
    }
    if text.starts_with("unix:") {
        return Err(invalid(" (Unix sockets are not supported)"));
    }
    let url = if text.contains("://") {
        text.to_owned()
    } else {
        format!("http://{text}")
    };
    let uri: Uri = url.parse().map_err(|_| invalid(""))?;
    let host = uri.host().is_some_and(|host| !host.is_empty());
    let plain = uri
        .authority()
        .is_some_and(|authority| !authority.as_str().contains('@'))
        && uri.query().is_none();
    if uri.scheme_str() == Some("http") && host && plain {
        Ok(uri)
    } else {
        Err(invalid(""))
    }
}

fn read_token(path: &Path) -> Result<FoundToken, SettingsError> {
    let text = std::fs::read_to_string(path).map_err(|cause| SettingsError::Unreadable {
        file: path.to_owned(),
        cause,
    })?;
    checked_token(text.trim(), path.display().to_string())
}

fn checked_token(secret: &str, origin: String) -> Result<FoundToken, SettingsError> {
    if secret.is_empty() || !secret.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(SettingsError::Token(origin));
    }
    Ok(FoundToken {
        secret: secret.to_owned(),
        origin,
    })
}

#[cfg(test)]
mod tests;
