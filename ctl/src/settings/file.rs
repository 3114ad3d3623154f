//! The settings file: `~/.config/app-proxy/ctl.yaml`.

use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Environment, SettingsError};

/// The file as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawFile {
    address: Option<String>,
    token: Option<String>,
    token_file: Option<PathBuf>,
}

/// The content of the file.
#[derive(Debug, Default)]
pub(super) struct SettingsFile {
    /// The address of the admin listener.
    pub(super) address: Option<String>,
    /// The token and its origin.
    pub(super) token: Option<(String, String)>,
    /// The path of the token file.
    pub(super) token_file: Option<PathBuf>,
}

impl SettingsFile {
    /// Reads the named file, or the default file, which may be absent. Returns warnings as well.
    pub(super) fn find(
        named: Option<&Path>,
        environment: &Environment,
    ) -> Result<(Self, Vec<String>), SettingsError> {
        let Some(path) = named
            .map(Path::to_owned)
            .or_else(|| environment.settings_file())
        else {
            return Ok((Self::default(), Vec::new()));
        };
        match read(&path) {
            Ok((text, mode)) => Self::parse(&text, mode, &path, environment),
            Err(e) if named.is_none() && is_absent(&e) => Ok((Self::default(), Vec::new())),
            Err(cause) => Err(SettingsError::Unreadable { file: path, cause }),
        }
    }

    fn parse(
        text: &str,
        mode: u32,
        path: &Path,
        environment: &Environment,
    ) -> Result<(Self, Vec<String>), SettingsError> {
        let malformed = |problem: String| SettingsError::Malformed {
            file: path.to_owned(),
            problem,
        };
        let raw: Option<RawFile> =
            serde_yaml::from_str(text).map_err(|e| malformed(e.to_string()))?;
        let raw = raw.unwrap_or_default();
        if raw.token.is_some() && raw.token_file.is_some() {
            return Err(malformed(
                "token and token_file: set only one of them".to_owned(),
            ));
        }
        let mut warnings = Vec::new();
        if raw.token.is_some() && mode & 0o077 != 0 {
            warnings.push(format!(
                "{0} has a token and can be read by others: chmod 600 {0}",
                path.display()
            ));
        }
        let token = raw.token.map(|token| (token, path.display().to_string()));
        // Relative paths must not depend on the current folder.
        let token_file = raw
            .token_file
            .map(|file| beside(path, &expand(file, environment)));
        Ok((
            Self {
                address: raw.address,
                token,
                token_file,
            },
            warnings,
        ))
    }
}

fn read(path: &Path) -> io::Result<(String, u32)> {
    let mut file = std::fs::File::open(path)?;
    let mode = file.metadata()?.permissions().mode();
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok((text, mode))
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn beside(file: &Path, path: &Path) -> PathBuf {
    file.parent()
        .map_or_else(|| path.to_owned(), |folder| folder.join(path))
}

/// Replaces `~/` at the start of a path by the home folder.
fn expand(path: PathBuf, environment: &Environment) -> PathBuf {
    match (path.strip_prefix("~"), environment.variable(super::HOME)) {
        (Ok(rest), Some(home)) => Path::new(home).join(rest),
        _ => path,
    }
}
