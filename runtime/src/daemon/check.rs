//! The check of the files that a start needs (`-t`).

use std::fs::OpenOptions;
use std::path::Path;

use app_proxy_hop::config::AccessLogSection;

use crate::config::{ConfigError, ConfigFile};
use crate::daemon::secrets::read_or_create;

/// Checks that a start could use its secrets, each with its key, and its access log, without
/// creating any file (flag `-t`).
///
/// # Errors
/// If an existing file cannot be used, or its folder does not exist.
pub fn check_files(
    file: &ConfigFile,
    secrets: &[(&str, &Path)],
    access_log: &AccessLogSection,
) -> Result<(), ConfigError> {
    for (key, secret) in secrets.iter().filter(|(_, secret)| secret.exists()) {
        read_or_create(file, key, secret)?;
    }
    match access_log.file() {
        Some(log) => check_log(file, "access_log", log, OpenOptions::new().append(true)),
        None => Ok(()),
    }
}

/// Checks that the log that the configuration names under `key` could be opened as `options` say.
///
/// # Errors
/// If it cannot be written, or its folder does not exist.
pub(super) fn check_log(
    file: &ConfigFile,
    key: &str,
    log: &Path,
    options: &OpenOptions,
) -> Result<(), ConfigError> {
    let usable = if log.exists() {
        options.open(log).map(drop)
    } else {
        std::fs::metadata(folder_of(log)).map(drop)
    };
    usable.map_err(|e| {
        let path = log.display().to_string();
        file.fault_of(&path, key, format!("{path}: {e}"))
    })
}

/// Returns the folder that a file is in.
pub(super) fn folder_of(file: &Path) -> &Path {
    file.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_cannot_be_used_is_named_by_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("session.key");
        std::fs::write(&secret, "short\n").unwrap();
        let text = format!("version: 1\nsecret_file: {}\n", secret.display());
        let file = ConfigFile::from_text("c.yaml", &text);
        let secrets = [("secret_file", secret.as_path())];
        let error = check_files(&file, &secrets, &AccessLogSection::default())
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("c.yaml:2: secret_file: "), "{error}");
    }
}
