//! Texts of clients in lines, cut to a length that no client can exceed.

use std::borrow::Cow;

/// The longest method in a line, in bytes.
pub(crate) const MAX_METHOD_BYTES: usize = 64;
/// The longest host in a line, in bytes.
pub(crate) const MAX_HOST_BYTES: usize = 300;
/// The longest path in a line, in bytes.
pub(crate) const MAX_PATH_BYTES: usize = 4096;

/// The mark of a text that was cut.
const MARK: char = '\u{2026}';

/// Returns the first `limit` bytes of a text at most, and a mark behind them if there are more.
pub(crate) fn excerpt(text: &str, limit: usize) -> Cow<'_, str> {
    if text.len() <= limit {
        return text.into();
    }
    let end = (0..=limit).rev().find(|end| text.is_char_boundary(*end));
    let start = text.get(..end.unwrap_or(0)).unwrap_or_default();
    format!("{start}{MARK}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters_and_marked() {
        assert_eq!(excerpt("abc", 3), "abc");
        assert!(matches!(excerpt("abc", 3), Cow::Borrowed(_)));
        assert_eq!(excerpt("abcd", 3), "abc\u{2026}");
        assert_eq!(excerpt("ab\u{e9}d", 3), "ab\u{2026}");
        assert_eq!(excerpt("\u{1f600}", 1), "\u{2026}");
        assert_eq!(excerpt("", 0), "");
    }
}
