//! Header names: the frequent ones, found without an allocation, and their usual spelling.

mod table;

use http::header::HeaderName;

use table::{CASE_BITS, KNOWN, Known, SLOTS, slot, words};

/// Returns the entry of the name that `bytes` are, in any case.
fn entry(bytes: &[u8]) -> Option<&'static Known> {
    let words = words(bytes)?;
    let index = SLOTS
        .get(slot(words, bytes.len()))
        .copied()?
        .checked_sub(1)?;
    let known = KNOWN.get(usize::from(index))?;
    let first = (words.first ^ known.words.first) & !known.letters.first;
    let last = (words.last ^ known.words.last) & !known.letters.last;
    let name = known.name.as_str().as_bytes();
    // The words are the name, if it has up to 16 bytes.
    let is_same = first | last == 0
        && bytes.len() == name.len()
        && (bytes.len() <= 16 || bytes.eq_ignore_ascii_case(name));
    is_same.then_some(known)
}

/// Returns the name that `bytes` are, in any case, if it is frequent.
pub(super) fn find(bytes: &[u8]) -> Option<HeaderName> {
    entry(bytes).map(|known| known.name.clone())
}

/// Appends a name in lower case in its usual spelling: title case, with some exceptions.
pub(super) fn write_title_case(out: &mut Vec<u8>, name: &str) {
    let name = name.as_bytes();
    if let Some(title) = entry(name).and_then(|known| known.title.get(..name.len())) {
        out.extend_from_slice(title);
        return;
    }
    let mut begins = true;
    out.extend(name.iter().map(|&byte| {
        let shown = if begins {
            byte.to_ascii_uppercase()
        } else {
            byte
        };
        begins = byte == b'-';
        shown
    }));
}

/// Returns whether `bytes` are the name `lower_case`, compared without case. Both are valid names.
///
/// `^` and `~` are the same here.
pub(super) fn is_spelling(bytes: &[u8], lower_case: &[u8]) -> bool {
    if bytes.len() != lower_case.len() {
        return false;
    }
    let (Some(last), Some(expected)) = (bytes.last_chunk(), lower_case.last_chunk()) else {
        return bytes.eq_ignore_ascii_case(lower_case);
    };
    // No other two bytes of a token differ in their case bit alone.
    let differs =
        |a: &[u8; 8], b: &[u8; 8]| (u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b)) & !CASE_BITS;
    let chunks = bytes.as_chunks().0.iter().zip(lower_case.as_chunks().0);
    chunks.fold(differs(last, expected), |all, (a, b)| all | differs(a, b)) == 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::table::NAMES;
    use super::*;

    #[test]
    fn each_name_has_words() {
        for known in &KNOWN {
            assert_eq!(words(known.name.as_str().as_bytes()), Some(known.words));
        }
    }

    #[test]
    fn frequent_names_are_found_in_any_case() {
        for known in &KNOWN {
            let name = known.name.as_str();
            assert_eq!(find(name.as_bytes()), Some(known.name.clone()));
            assert_eq!(
                find(name.to_ascii_uppercase().as_bytes()),
                Some(known.name.clone())
            );
        }
        assert_eq!(find(b"user\ragent"), None);
        assert_eq!(find(b""), None);
    }

    proptest! {
        #[test]
        fn a_name_that_is_found_is_the_parsed_one(
            index in 0..KNOWN.len(), flips in any::<u32>(),
            at in any::<prop::sample::Index>(), byte in prop::option::of(any::<u8>()),
        ) {
            let mut name = NAMES[index].as_bytes().to_vec();
            for (n, letter) in name.iter_mut().enumerate() {
                if flips >> n & 1 == 1 { letter.make_ascii_uppercase(); }
            }
            if let Some(byte) = byte { *at.get_mut(&mut name) = byte; }
            if let Some(found) = find(&name) {
                prop_assert_eq!(HeaderName::from_bytes(&name).ok(), Some(found));
            }
        }

        #[test]
        fn spellings_are_compared_without_case(
            a in "[a-zA-Z0-9_.|-]{0,34}",
            other in "[a-zA-Z0-9_.|-]{0,34}",
            flips in any::<u64>(),
        ) {
            let flip = |(n, c): (usize, char)| {
                if flips >> n & 1 == 1 { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() }
            };
            let flipped: String = a.chars().enumerate().map(flip).collect();
            let lower = a.to_ascii_lowercase();
            prop_assert!(is_spelling(flipped.as_bytes(), lower.as_bytes()));
            let same = other.eq_ignore_ascii_case(&a);
            prop_assert_eq!(is_spelling(other.as_bytes(), lower.as_bytes()), same);
        }
    }
}
