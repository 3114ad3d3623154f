//! Header names: the frequent ones, found without an allocation, and their usual spelling.

use http::header::HeaderName;

/// The longest name of [`KNOWN`], in bytes.
const MAX_BYTES: usize = 32;

/// The bit of each byte of a word that differs between a small letter and a capital.
const CASE_BITS: u64 = 0x2020_2020_2020_2020;

/// A frequent name.
struct Known {
    words: Words,
    /// The case bits of the letters of the words.
    letters: Words,
    name: HeaderName,
    /// The usual spelling, and bytes that do not belong to it.
    title: [u8; MAX_BYTES],
}

/// Creates the entry of a name in lower case.
const fn known(name: &'static str) -> Known {
    let Some(words) = words(name.as_bytes()) else {
        panic!("a name is too short");
    };
    Known {
        words,
        letters: Words {
            first: letters(words.first),
            last: letters(words.last),
        },
        title: title_case(name.as_bytes()),
        name: HeaderName::from_static(name),
    }
}

/// Declares the table.
macro_rules! known_names {
    ($($name:literal),* $(,)?) => {
        /// The names of [`KNOWN`].
        const NAMES: &[&str] = &[$($name),*];
        /// Frequent names of 4 bytes or more, sorted by length.
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

/// Returns the slot of a name, which does not depend on its case.
const fn slot(words: Words, length: usize) -> usize {
    // Found by trying random factors.
    const FACTOR: u64 = 0x1ab1_65a1_072c_f16f;
    let (first, last) = (words.first | CASE_BITS, words.last | CASE_BITS);
    let mixed = first ^ last.rotate_left(29) ^ length as u64;
    (mixed.wrapping_mul(FACTOR) >> 55) as usize
}

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

/// Returns the usual spelling of a name, and bytes that do not belong to it.
const fn title_case(name: &[u8]) -> [u8; MAX_BYTES] {
    const IRREGULAR: [&[u8]; 8] = [
        b"ETag",
        b"WWW-Authenticate",
        b"Sec-WebSocket-Accept",
        b"Sec-WebSocket-Extensions",
        b"Sec-WebSocket-Key",
        b"Sec-WebSocket-Protocol",
        b"Sec-WebSocket-Version",
        b"X-XSS-Protection",
    ];
    let mut title = [0; MAX_BYTES];
    let mut begins = true;
    let mut at = 0;
    while at < name.len() {
        title[at] = if begins {
            name[at].to_ascii_uppercase()
        } else {
            name[at]
        };
        begins = name[at] == b'-';
        at += 1;
    }
    let mut index = 0;
    while index < IRREGULAR.len() {
        if IRREGULAR[index].eq_ignore_ascii_case(name) {
            let (start, _) = title.split_at_mut(name.len());
            start.copy_from_slice(IRREGULAR[index]);
        }
        index += 1;
    }
    title
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

/// The first 8 and the last 8 bytes of a name, which overlap; 4 of a name that is shorter than 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Words {
    first: u64,
    last: u64,
}

/// Returns the words of a name of 4 bytes or more.
const fn words(name: &[u8]) -> Option<Words> {
    if let (Some(first), Some(last)) = (name.first_chunk(), name.last_chunk()) {
        return Some(Words {
            first: u64::from_le_bytes(*first),
            last: u64::from_le_bytes(*last),
        });
    }
    if let (Some(first), Some(last)) = (name.first_chunk(), name.last_chunk()) {
        let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
        return Some(Words {
            first: first as u64,
            last: last as u64,
        });
    }
    None
}

/// Returns the case bits of the letters of a word in lower case.
const fn letters(word: u64) -> u64 {
    let mut bytes = word.to_le_bytes();
    let mut index = 0;
    while index < bytes.len() {
        bytes[index] = if bytes[index].is_ascii_lowercase() {
            0x20
        } else {
            0
        };
        index += 1;
    }
    u64::from_le_bytes(bytes)
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
