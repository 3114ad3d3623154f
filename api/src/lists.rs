//! Lists of the API: `{"items": […], "next_cursor": …}`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// What is on this page.
    pub items: Vec<T>,
    /// Where the next page begins; none on the last one.
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// A list that fits on one page.
    #[must_use]
    pub fn whole(items: Vec<T>) -> Self {
        Self {
            items,
            next_cursor: None,
        }
    }

    /// The page of at most `limit` items behind `cursor`, of `items` in the order of their `key`.
    pub fn of(
        mut items: Vec<T>,
        cursor: Option<&str>,
        limit: usize,
        key: impl Fn(&T) -> String,
    ) -> Self {
        if let Some(cursor) = cursor {
            items.retain(|item| key(item).as_str() > cursor);
        }
        items.sort_by_cached_key(&key);
        let more = items.len() > limit;
        items.truncate(limit);
        let next_cursor = if more { items.last().map(&key) } else { None };
        Self { items, next_cursor }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_without_gap_or_overlap() {
        let items: Vec<String> = (0..25).map(|i| format!("{i:02}")).rev().collect();
        let mut seen = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let page = Page::of(items.clone(), cursor.as_deref(), 10, String::clone);
            seen.extend(page.items);
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        let mut sorted = items;
        sorted.sort();
        assert_eq!(seen, sorted);
    }
}
