//! Which coordinator is called, and with what token: from flags, the environment, a file, and
//! defaults.

mod file;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use http::Uri;

use crate::cli::ConnectionArgs;
use file::SettingsFile;

/// The address without any setting.
const DEFAULT_ADDRESS: &str = "http://127.0.0.1:8081";
/// The token's file without any setting: where a coordinator that runs in the same folder makes it.
const DEFAULT_TOKEN_FILE: &str = "run/admin.token";

const ADDRESS: &str = "APP_PROXY_ADDRESS";
const TOKEN: &str = "APP_PROXY_TOKEN";
const TOKEN_FILE: &str = "APP_PROXY_TOKEN_FILE";
const CONFIG_HOME: &str = "XDG_CONFIG_HOME";
const HOME: &str = "HOME";

/// What the process finds around it.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Variables of the environment.
    pub variables: BTreeMap<String, String>,
    /// The current folder.
    pub folder: PathBuf,
}

impl Surroundings {
    /// Those of this process.
    #[must_use]
    pub fn of_the_process() -> Self {
        let known = [ADDRESS, TOKEN, TOKEN_FILE, CONFIG_HOME, HOME];
        let variables = known
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)));
        Self {
            variables: variables.collect(),
            folder: PathBuf::from("."),
        }
    }

    /// A variable; an empty one counts as none.
    fn variable(&self, name: &str) -> Option<&str> {
        self.variables
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// The file of settings that is read when none is named.
    fn settings_file(&self) -> Option<PathBuf> {
        let base = match (self.variable(CONFIG_HOME), self.variable(HOME)) {
            (Some(folder), _) => PathBuf::from(folder),
            (None, Some(home)) => Path::new(home).join(".config"),
            (None, None) => return None,
        };
        Some(base.join("app-proxy").join("ctl.yaml"))
    }
}

/// A coordinator, and who asks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Its admin listener.
    pub address: Uri,
    /// The bearer token; none was found otherwise.
    pub token: Option<FoundToken>,
    /// What people should know about these settings.
    pub warnings: Vec<String>,
}

/// A token, and where it was found.
#[derive(Clone, PartialEq, Eq)]
pub struct FoundToken {
    /// The token.
    pub secret: String,
    /// Where it was found, for people.
    pub origin: String,
}

impl std::fmt::Debug for FoundToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The secret itself has no place in diagnostics.
        write!(f, "FoundToken({})", self.origin)
    }
}

/// Why settings make no sense.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The address is no URL that can be called.
    #[error("address `{0}`: write http://host:port{1}")]
    Address(String, &'static str),
    /// A file cannot be read.
    #[error("{file}: cannot be read: {cause}", file = .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
    /// The file of settings has a mistake.
    #[error("{file}: {problem}", file = .file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// What is wrong, and where.
        problem: String,
    },
    /// A token that no header can carry.
    #[error("{0}: there is no token in it, or it has characters that no token has")]
    Token(String),
}

impl Settings {
    /// Finds the settings, the first source that has one winning.
    ///
    /// # Errors
    /// When a source that is named cannot be read, or says what makes no sense.
    pub fn find(flags: &ConnectionArgs, around: &Surroundings) -> Result<Self, SettingsError> {
        let (file, warnings) = SettingsFile::find(flags.config.as_deref(), around)?;
        let address = flags
            .address
            .as_deref()
            .or_else(|| around.variable(ADDRESS))
            .or(file.address.as_deref());
        let address = parse_address(address.unwrap_or(DEFAULT_ADDRESS))?;
        let mut settings = Self {
            address,
            token: None,
            warnings,
        };
        settings.token = settings.find_token(flags, around, &file)?;
        Ok(settings)
    }

    fn find_token(
        &mut self,
        flags: &ConnectionArgs,
        around: &Surroundings,
        file: &SettingsFile,
    ) -> Result<Option<FoundToken>, SettingsError> {
        if let Some(path) = &flags.token_file {
            return read_token(path).map(Some);
        }
        if let Some(secret) = around.variable(TOKEN) {
            return found(secret, TOKEN.to_owned()).map(Some);
        }
        if let Some(path) = around.variable(TOKEN_FILE) {
            return read_token(Path::new(path)).map(Some);
        }
        if let Some((secret, origin)) = &file.token {
            return found(secret, origin.clone()).map(Some);
        }
        if let Some(path) = &file.token_file {
            return read_token(path).map(Some);
        }
        Ok(self.default_token(&around.folder))
    }

    /// The token of a coordinator that runs in the current folder. It is nobody else's, so it goes
    /// to this host alone.
    fn default_token(&mut self, folder: &Path) -> Option<FoundToken> {
        let path = folder.join(DEFAULT_TOKEN_FILE);
        if !is_this_host(&self.address) || !path.exists() {
            return None;
        }
        // Nobody has named this file: where it is of no use, the call may still need no token.
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
    let wrong = |why| SettingsError::Address(text.to_owned(), why);
    if text.starts_with("https:") {
        return Err(wrong(
            " (the admin listener has no TLS: keep it on loopback, and go through ssh -L)",
        ));
    }
    if text.starts_with("unix:") {
        return Err(wrong(" (sockets of the file system cannot be called)"));
    }
    let url = if text.contains("://") {
        text.to_owned()
    } else {
        format!("http://{text}")
    };
    let uri: Uri = url.parse().map_err(|_| wrong(""))?;
    let host = uri.host().is_some_and(|host| !host.is_empty());
    let plain = uri
        .authority()
        .is_some_and(|authority| !authority.as_str().contains('@'))
        && uri.query().is_none();
    if uri.scheme_str() == Some("http") && host && plain {
        Ok(uri)
    } else {
        Err(wrong(""))
    }
}

fn read_token(path: &Path) -> Result<FoundToken, SettingsError> {
    let text = std::fs::read_to_string(path).map_err(|cause| SettingsError::Unreadable {
        file: path.to_owned(),
        cause,
    })?;
    found(text.trim(), path.display().to_string())
}

fn found(secret: &str, origin: String) -> Result<FoundToken, SettingsError> {
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
