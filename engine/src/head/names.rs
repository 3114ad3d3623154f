//! Frequent header names, found without a hash and without an allocation.

use http::header::HeaderName;

/// A name and its words, as [`words`] returns them.
struct Known {
    words: (u64, u64),
    name: HeaderName,
}

/// Creates the entry of a name in lower case.
const fn known(name: &'static str) -> Known {
    let words = match words(name.as_bytes()) {
        Some(words) => words,
        None => (0, 0),
    };
    let name = HeaderName::from_static(name);
    Known { words, name }
}

/// Declares the table.
macro_rules! known_names {
    ($($name:literal),* $(,)?) => {
        /// The names of [`KNOWN`].
        const NAMES: &[&str] = &[$($name),*];
        /// Frequent names of 4 bytes or more: sorted by length.
        static KNOWN: [Known; NAMES.len()] = [$(known($name)),*];
    };
}

known_names![
    "host",
    "date",
    "etag",
    "vary",
    "from",
    "link",
    "range",
    "allow",
    "accept",
    "cookie",
    "server",
    "origin",
    "expect",
    "pragma",
    "referer",
    "expires",
    "upgrade",
    "trailer",
    "alt-svc",
    "location",
    "if-match",
    "if-range",
    "priority",
    "x-real-ip",
    "forwarded",
    "user-agent",
    "connection",
    "set-cookie",
    "keep-alive",
    "tracestate",
    "traceparent",
    "retry-after",
    "content-type",
    "x-request-id",
    "max-forwards",
    "cache-control",
    "last-modified",
    "if-none-match",
    "authorization",
    "accept-ranges",
    "content-range",
    "last-event-id",
    "server-timing",
    "content-length",
    "sec-fetch-dest",
    "sec-fetch-mode",
    "sec-fetch-site",
    "sec-fetch-user",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "x-forwarded-for",
    "referrer-policy",
    "x-frame-options",
    "content-encoding",
    "x-forwarded-host",
    "sec-ch-ua-mobile",
    "content-language",
    "content-location",
    "proxy-connection",
    "www-authenticate",
    "x-requested-with",
    "x-xss-protection",
    "x-forwarded-proto",
    "transfer-encoding",
    "if-modified-since",
    "sec-websocket-key",
    "x-app-proxy-token",
    "sec-ch-ua-platform",
    "x-forwarded-prefix",
    "x-app-proxy-client",
    "permissions-policy",
    "content-disposition",
    "if-unmodified-since",
    "x-app-proxy-attempt",
    "x-backend-request-id",
    "x-backend-session-id",
    "sec-websocket-accept",
    "sec-websocket-version",
    "x-content-type-options",
    "sec-websocket-protocol",
    "content-security-policy",
    "sec-websocket-extensions",
    "x-app-proxy-app-revision",
    "upgrade-insecure-requests",
    "strict-transport-security",
    "cross-origin-opener-policy",
    "access-control-allow-origin",
];

/// The index of the name in each slot of a hash table without collisions, and one more; 0 for none.
const SLOTS: [u8; 512] = {
    let mut slots = [0; 512];
    let mut index = 0;
    while index < NAMES.len() {
        let name = NAMES[index].as_bytes();
        if let Some(words) = words(name) {
            let slot = slot(words, name.len());
            assert!(
                slots[slot] == 0,
                "two names in one slot: another factor is needed"
            );
            slots[slot] = index as u8 + 1;
        }
        index += 1;
    }
    slots
};

/// Returns the slot of a name in lower case.
const fn slot(words: (u64, u64), length: usize) -> usize {
    // Found by trying random factors.
    const FACTOR: u64 = 0x3343_b7a5_8735_5807;
    let mixed = words.0 ^ words.1.rotate_left(29) ^ length as u64;
    (mixed.wrapping_mul(FACTOR) >> 55) as usize
}

/// Returns the name that `bytes` are, in any case, if it is frequent.
pub(super) fn find(bytes: &[u8]) -> Option<HeaderName> {
    let (first, last) = words(bytes)?;
    let words = (lower(first), lower(last));
    let index = SLOTS
        .get(slot(words, bytes.len()))
        .copied()?
        .checked_sub(1)?;
    let known = KNOWN.get(usize::from(index))?;
    let name = known.name.as_str().as_bytes();
    // Words cover 16 bytes.
    let is_same = known.words == words
        && bytes.len() == name.len()
        && (bytes.len() <= 16 || bytes.eq_ignore_ascii_case(name));
    is_same.then(|| known.name.clone())
}

/// Returns whether `bytes` are the name `lower_case`, compared without case.
pub(super) fn is_spelling(bytes: &[u8], lower_case: &[u8]) -> bool {
    if bytes.len() != lower_case.len() {
        return false;
    }
    match (words(bytes), words(lower_case)) {
        (Some(words), Some(expected)) => {
            (lower(words.0), lower(words.1)) == expected
                && (bytes.len() <= 16 || bytes.eq_ignore_ascii_case(lower_case))
        }
        _ => bytes.eq_ignore_ascii_case(lower_case),
    }
}

/// Returns the first 8 and the last 8 bytes; the two halves overlap in short names. `None` for less
/// than 4 bytes. With the length they stand for up to 16 bytes.
const fn words(bytes: &[u8]) -> Option<(u64, u64)> {
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        return Some((u64::from_le_bytes(*first), u64::from_le_bytes(*last)));
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        return Some((
            u32::from_le_bytes(*first) as u64,
            u32::from_le_bytes(*last) as u64,
        ));
    }
    None
}

/// Returns a word of 8 ASCII bytes in lower case; other bytes stay.
const fn lower(word: u64) -> u64 {
    const ALL: u64 = 0x0101_0101_0101_0101;
    let low_bits = word & (0x7f * ALL);
    let beyond_z = low_bits + (0x7f - b'Z' as u64) * ALL;
    let from_a = low_bits + (0x80 - b'A' as u64) * ALL;
    let is_upper = (from_a ^ beyond_z) & !word & (0x80 * ALL);
    word | (is_upper >> 2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
            if let Some(byte) = byte { *at.get_mut(&mut *name) = byte; }
            if let Some(found) = find(&name) {
                prop_assert_eq!(HeaderName::from_bytes(&name).ok(), Some(found));
            }
        }

        #[test]
        fn spellings_are_compared_without_case(a in "[ -~]{0,24}", b in "[ -~]{0,24}") {
            let lower = b.to_ascii_lowercase();
            prop_assert_eq!(
                is_spelling(a.as_bytes(), lower.as_bytes()),
                a.eq_ignore_ascii_case(&b)
            );
            prop_assert!(is_spelling(b.as_bytes(), lower.as_bytes()));
        }

        #[test]
        fn a_word_becomes_lower_case(bytes in any::<[u8; 8]>()) {
            let expected = bytes.map(|byte| byte.to_ascii_lowercase());
            prop_assert_eq!(lower(u64::from_le_bytes(bytes)), u64::from_le_bytes(expected));
        }
    }
}
