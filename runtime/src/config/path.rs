//! The path of a configuration file.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{fmt, io};

/// The path of a configuration file, displayed as it was given. It is opened from the working
/// directory of the start: with `-d` that becomes `/`, and a reload opens the file again.
#[derive(Clone, Debug)]
pub struct ConfigPath {
    given: PathBuf,
    absolute: PathBuf,
}

impl From<PathBuf> for ConfigPath {
    fn from(given: PathBuf) -> Self {
        Self {
            absolute: std::path::absolute(&given).unwrap_or_else(|_| given.clone()),
            given,
        }
    }
}

impl From<OsString> for ConfigPath {
    fn from(given: OsString) -> Self {
        PathBuf::from(given).into()
    }
}

impl From<&Path> for ConfigPath {
    fn from(given: &Path) -> Self {
        given.to_owned().into()
    }
}

impl From<&str> for ConfigPath {
    fn from(given: &str) -> Self {
        PathBuf::from(given).into()
    }
}

impl ConfigPath {
    /// The path as it was given.
    pub(super) fn given(&self) -> &Path {
        &self.given
    }

    /// The path from the root.
    pub(super) fn absolute(&self) -> &Path {
        &self.absolute
    }

    /// Reads the file.
    pub(super) fn read(&self) -> io::Result<String> {
        std::fs::read_to_string(&self.absolute)
    }
}

impl fmt::Display for ConfigPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.given.display().fmt(f)
    }
}
