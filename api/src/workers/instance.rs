//! The identifier of a worker's process.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Identifies one process of a worker.
///
/// Processes of App-Proxy identify themselves by a version-7 UUID, which grows with time. Other
/// texts are valid, and have no order.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InstanceId(String);

impl InstanceId {
    /// Creates the identifier of a process that starts now.
    #[must_use]
    pub fn unique() -> Self {
        Self(Uuid::now_v7().to_string())
    }

    /// Compares the start times of two processes, or returns `None` where an identifier does not
    /// have one.
    ///
    /// ```
    /// use std::cmp::Ordering;
    /// use app_proxy_api::workers::InstanceId;
    ///
    /// let (old, new) = (InstanceId::unique(), InstanceId::unique());
    /// assert_eq!(old.compare_start(&new), Some(Ordering::Less));
    /// assert_eq!(old.compare_start(&InstanceId::from("blue")), None);
    /// ```
    #[must_use]
    pub fn compare_start(&self, other: &Self) -> Option<Ordering> {
        Some(self.uuid()?.cmp(&other.uuid()?))
    }

    fn uuid(&self) -> Option<Uuid> {
        Uuid::parse_str(&self.0).ok()
    }
}

impl From<&str> for InstanceId {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
