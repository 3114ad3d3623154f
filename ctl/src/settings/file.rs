//! The file of settings: `~/.config/app-proxy/ctl.yaml`.

use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{SettingsError, Surroundings};

/// The file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawFile {
    address: Option<String>,
    token: Option<String>,
    token_file: Option<PathBuf>,
}

/// What the file says.
#[derive(Debug, Default)]
pub(super) struct SettingsFile {
    /// The admin listener.
    pub(super) address: Option<String>,
    /// The token, and where it stands.
    pub(super) token: Option<(String, String)>,
    /// The token's file.
    pub(super) token_file: Option<PathBuf>,
}

impl SettingsFile {
    /// Reads the file that is named, which has to be there, or else the usual one, which may be
    /// absent; with warnings.
    pub(super) fn find(
        named: Option<&Path>,
        around: &Surroundings,
    ) -> Result<(Self, Vec<String>), SettingsError> {
        let Some(path) = named.map(Path::to_owned).or_else(|| around.settings_file()) else {
            return Ok((Self::default(), Vec::new()));
        };
        match read(&path) {
            Ok((text, mode)) => Self::parse(&text, mode, &path, around),
            Err(e) if named.is_none() && is_absent(&e) => Ok((Self::default(), Vec::new())),
            Err(cause) => Err(SettingsError::Unreadable { file: path, cause }),
        }
    }

    fn parse(
        text: &str,
        mode: u32,
        path: &Path,
        around: &Surroundings,
    ) -> Result<(Self, Vec<String>), SettingsError> {
        let malformed = |problem: String| SettingsError::Malformed {
            file: path.to_owned(),
            problem,
        };
        let raw: Option<RawFile> =
            serde_yaml::from_str(text).map_err(|e| malformed(e.to_string()))?;
        let raw = raw.unwrap_or_default();
        if raw.token.is_some() && raw.token_file.is_some() {
            return Err(malformed("token and token_file: one of them".to_owned()));
        }
        let mut warnings = Vec::new();
        if raw.token.is_some() && mode & 0o077 != 0 {
            warnings.push(format!(
                "{0} has a token and can be read by others: chmod 600 {0}",
                path.display()
            ));
        }
        let token = raw.token.map(|token| (token, path.display().to_string()));
        // The file means the same wherever the command is run.
        let token_file = raw
            .token_file
            .map(|file| beside(path, &expand(file, around)));
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

/// A path with `~/` for the home folder.
fn expand(path: PathBuf, around: &Surroundings) -> PathBuf {
    match (path.strip_prefix("~"), around.variable(super::HOME)) {
        (Ok(rest), Some(home)) => Path::new(home).join(rest),
        _ => path,
    }
}
