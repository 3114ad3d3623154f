//! The epoch of an app table: the history that a revision counts in.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::apps::App;

/// Identifies the history of an app table. Revisions are comparable within one epoch only.
///
/// The default is empty: the epoch of a store in which no table was ever written.
///
/// ```
/// use app_proxy_api::table::Epoch;
///
/// let epoch: Epoch = serde_json::from_str(r#""943837a3ea5b5388""#)?;
/// assert_eq!(epoch, Epoch::from("943837a3ea5b5388"));
/// assert_ne!(Epoch::unique(), Epoch::unique());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(Arc<str>);

impl Epoch {
    /// Returns the epoch of a table that holds exactly the apps of a configuration file. The same
    /// apps in the same order have the same epoch in every process.
    #[must_use]
    pub fn of_file(apps: &[App]) -> Self {
        let mut hash = Sha256::new();
        for app in apps {
            // An app is made of strings and numbers, which always are JSON.
            hash.update(serde_json::to_vec(app).unwrap_or_default());
        }
        let digest = hash.finalize();
        let bytes = digest.iter().take(8);
        Self(
            bytes
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
                .into(),
        )
    }

    /// Returns an epoch that no other table has.
    #[must_use]
    pub fn unique() -> Self {
        Self(Uuid::now_v7().to_string().into())
    }

    /// Returns whether [`Epoch::unique`] created the epoch: the table has changes that no file
    /// has.
    #[must_use]
    pub fn is_unique(&self) -> bool {
        Uuid::try_parse(&self.0).is_ok()
    }

    /// Returns the text of the epoch, as the API and the store hold it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for Epoch {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<&str> for Epoch {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
