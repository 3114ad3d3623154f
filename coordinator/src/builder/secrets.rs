//! The tokens and keys in the secret files.

use std::path::Path;

use app_proxy_runtime::config::ConfigError;
use app_proxy_runtime::daemon::read_or_create;
use http::HeaderValue;

use crate::config::Config;
use crate::sessions::cookie::SessionKey;
use crate::webhooks::SigningKey;

/// The contents of the secret files.
pub(super) struct Secrets {
    pub(super) admin_token: String,
    pub(super) worker_token: String,
    pub(super) session_key: SessionKey,
    pub(super) webhook_key: SigningKey,
}

impl Secrets {
    /// Reads the secret files, and creates those that do not exist.
    pub(super) fn load(config: &Config) -> Result<Self, ConfigError> {
        let secret = |key: &str, path: &Path| read_or_create(&config.file, key, path);
        let session_secret = secret("secret_file", &config.sessions.secret_file)?;
        let webhook_secret = secret("secret_file", &config.webhooks.secret_file)?;
        Ok(Self {
            admin_token: secret("token_file", &config.admin_token_file)?,
            worker_token: secret("worker_token_file", &config.worker_token_file)?,
            session_key: SessionKey::new(session_secret.as_bytes())
                .map_err(|e| config.file.fault_of("secret_file", "secret_file", e))?,
            webhook_key: SigningKey::new(&webhook_secret)
                .map_err(|e| config.file.fault_of("secret_file", "secret_file", e))?,
        })
    }
}

/// Returns the token between the tiers as a header value, marked as sensitive.
pub(super) fn header_value(
    config: &Config,
    worker_token: &str,
) -> Result<HeaderValue, ConfigError> {
    let mut value = HeaderValue::from_str(worker_token).map_err(|e| {
        config
            .file
            .fault_of("worker_token_file", "worker_token_file", e)
    })?;
    value.set_sensitive(true);
    Ok(value)
}
