//! Rendered app lists. Followers of the table that send the same parameters share one rendering:
//! two hundred workers do so after each change.

use std::sync::{Arc, Mutex, PoisonError};

use app_proxy_api::table::{AppTable, Epoch};
use axum::body::Bytes;

/// The number of lists in the cache: the whole table, and the changes since some recent revisions.
const CAPACITY: usize = 8;

/// A cache of rendered lists; clones share it.
#[derive(Clone, Default)]
pub(crate) struct ListCache(Arc<Mutex<Vec<(Key, RenderedList)>>>);

/// The parameters and the state of the table that make a list.
#[derive(Clone, PartialEq, Eq)]
struct Key {
    since: Option<u64>,
    client_epoch: Option<Epoch>,
    epoch: Epoch,
    revision: u64,
}

/// A list as JSON.
#[derive(Clone)]
pub(super) struct RenderedList {
    pub(super) body: Bytes,
    pub(super) has_news: bool,
}

impl ListCache {
    /// Returns the changes of `table` after `since`, or the whole table.
    pub(super) fn get(
        &self,
        table: &AppTable,
        since: Option<u64>,
        epoch: Option<&Epoch>,
    ) -> RenderedList {
        let key = Key {
            since,
            client_epoch: epoch.cloned(),
            epoch: table.epoch().clone(),
            revision: table.revision(),
        };
        let cached = |lists: &Vec<(Key, RenderedList)>| {
            lists
                .iter()
                .find(|(k, _)| *k == key)
                .map(|(_, a)| a.clone())
        };
        // Locked during the rendering, so that simultaneous calls wait for one rendering.
        let mut lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rendered) = cached(&lists) {
            return rendered;
        }
        let list = since.map_or_else(
            || table.changes(0, None),
            |since| table.changes(since, epoch),
        );
        // A list of strings and numbers always serialises.
        let body = serde_json::to_vec(&list).unwrap_or_default().into();
        let rendered = RenderedList {
            body,
            has_news: list.has_changes(),
        };
        // Lists of earlier states are not needed again.
        lists.retain(|(k, _)| k.revision == key.revision && k.epoch == key.epoch);
        lists.truncate(CAPACITY - 1);
        lists.push((key, rendered.clone()));
        rendered
    }
}
