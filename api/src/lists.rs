//! Paginated lists of the API: `{"items": […], "next_cursor": …}`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// The items of this page.
    pub items: Vec<T>,
    /// The cursor of the next page; null on the last page.
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// Returns the page of at most `limit` items after `cursor`, sorted by `key`.
    ///
    /// ```
    /// use app_proxy_api::lists::Page;
    ///
    /// let first = Page::of(vec!["c", "a", "b"], None, 2, ToString::to_string);
    /// assert_eq!((first.items, first.next_cursor.as_deref()), (vec!["a", "b"], Some("b")));
    /// let last = Page::of(vec!["c", "a", "b"], Some("b"), 2, ToString::to_string);
    /// assert_eq!((last.items, last.next_cursor), (vec!["c"], None));
    /// ```
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
