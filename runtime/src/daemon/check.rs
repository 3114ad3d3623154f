//! The check of the files that a start needs (`-t`).

use std::fs::OpenOptions;
use std::path::Path;

use app_proxy_hop::config::AccessLogSection;

use crate::config::{ConfigError, ConfigFile};
use crate::daemon::secrets::read_or_create;

/// Checks that a start could use its secrets and its access log, without creating any file (flag
/// `-t`).
///
/// # Errors
/// If an existing file cannot be used, or its folder does not exist.
pub fn check_files(
    file: &ConfigFile,
    secrets: &[&Path],
    access_log: &AccessLogSection,
) -> Result<(), ConfigError> {
    for secret in secrets.iter().filter(|secret| secret.exists()) {
        read_or_create(file, "secret", secret)?;
    }
    let Some(log) = access_log.file() else {
        return Ok(());
    };
    let usable = if log.exists() {
        OpenOptions::new().append(true).open(log).map(drop)
    } else {
        let folder = log
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        std::fs::metadata(folder).map(drop)
    };
    usable.map_err(|e| {
        let path = log.display().to_string();
        file.fault_of(&path, "access_log", format!("{path}: {e}"))
    })
}
