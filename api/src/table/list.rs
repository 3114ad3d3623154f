//! Apps of the table as the API lists them and the store holds them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Epoch;
use crate::apps::App;

/// An app with its position in the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StoredApp {
    /// The app.
    #[serde(flatten)]
    pub app: App,
    /// The table's revision at the last change of the app.
    pub revision: u64,
    /// The owner of the app.
    pub source: AppSource,
    /// The time of the last change, RFC 3339; absent for apps of the configuration file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime)]
    pub updated_at: Option<String>,
}

/// The response of `PUT /api/v1/apps/{name}`: the stored app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AppliedApp {
    /// The app.
    #[serde(flatten)]
    #[schema(value_type = StoredApp)]
    pub app: Arc<StoredApp>,
    /// Absent if every live coordinator that shares the store serves the change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub served_by: Option<ServedBy>,
}

/// The coordinators that serve a change when its call returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ServedBy {
    /// Some of the live coordinators that share the store, the one that answers among them. The
    /// others follow within seconds, or have died.
    Some,
}

impl ServedBy {
    /// The header of the response of `DELETE /api/v1/apps/{name}`, which has no body. Its value is
    /// `some`.
    pub const HEADER: &str = "x-app-proxy-served-by";
}

/// The owner of an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AppSource {
    /// The configuration file; the API cannot change the app.
    File,
    /// The API.
    Api,
}

/// The response of `GET /api/v1/apps`: the app table, or its changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AppList {
    /// All apps, or the apps that changed after `since`.
    #[schema(value_type = Vec<StoredApp>)]
    pub items: Vec<Arc<StoredApp>>,
    /// The cursor of the next page; null on the last page.
    pub next_cursor: Option<String>,
    /// The revision of the table.
    pub revision: u64,
    /// The epoch of the table; the revision counts in it.
    #[schema(value_type = String)]
    pub epoch: Epoch,
    /// Names of apps that were deleted after `since`.
    #[serde(default)]
    pub deleted: Vec<String>,
    /// True if `items` is the whole table, as it is for a `since` of another epoch.
    pub complete: bool,
}

impl AppList {
    /// Returns whether the list changes a follower's table.
    #[must_use]
    pub fn has_changes(&self) -> bool {
        self.complete || !self.items.is_empty() || !self.deleted.is_empty()
    }
}

/// The content of a table, as a store holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableState {
    /// The epoch of the table; empty if there was never a table.
    pub epoch: Epoch,
    /// The number of changes in this epoch.
    pub revision: u64,
    /// The highest revision whose deletion is forgotten.
    pub horizon: u64,
    /// The apps.
    pub apps: Vec<StoredApp>,
    /// Names of deleted apps, each with the revision of its deletion.
    pub deleted: Vec<(String, u64)>,
}
