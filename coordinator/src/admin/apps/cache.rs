//! Answers to followers of the app table, rendered once for all that ask for the same: two hundred
//! workers do, after each change.

use std::sync::{Arc, Mutex, PoisonError};

use app_proxy_api::table::{AppTable, Epoch};
use axum::body::Bytes;

/// As many different answers are kept: the whole table, and what changed last for those who are one
/// or some changes behind.
const KEPT: usize = 8;

/// Rendered answers; clones share them.
#[derive(Clone, Default)]
pub(crate) struct ListCache(Arc<Mutex<Vec<(Key, Answer)>>>);

/// What an answer is to.
#[derive(Clone, PartialEq, Eq)]
struct Key {
    since: Option<u64>,
    asked_epoch: Option<Epoch>,
    epoch: Epoch,
    revision: u64,
}

/// A rendered list.
#[derive(Clone)]
pub(super) struct Answer {
    pub(super) body: Bytes,
    pub(super) has_news: bool,
}

impl ListCache {
    /// What changed in `table` after `since`, or all of it.
    pub(super) fn answer(
        &self,
        table: &AppTable,
        since: Option<u64>,
        epoch: Option<&Epoch>,
    ) -> Answer {
        let key = Key {
            since,
            asked_epoch: epoch.cloned(),
            epoch: table.epoch().clone(),
            revision: table.revision(),
        };
        let kept = |answers: &Vec<(Key, Answer)>| {
            answers
                .iter()
                .find(|(k, _)| *k == key)
                .map(|(_, a)| a.clone())
        };
        // Held while the answer is rendered, so that followers who ask at once wait for one
        // rendering.
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(answer) = kept(&answers) {
            return answer;
        }
        let list = since.map_or_else(
            || table.changes(0, None),
            |since| table.changes(since, epoch),
        );
        // A list is made of strings and numbers, which always are JSON.
        let body = serde_json::to_vec(&list).unwrap_or_default().into();
        let answer = Answer {
            body,
            has_news: list.has_news(),
        };
        // Of a state that is over nobody asks again.
        answers.retain(|(k, _)| k.revision == key.revision && k.epoch == key.epoch);
        answers.truncate(KEPT - 1);
        answers.push((key, answer.clone()));
        answer
    }
}
