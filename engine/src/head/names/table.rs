//! The table of frequent header names: a hash table without collisions, computed by the compiler.
#![allow(clippy::indexing_slicing, clippy::panic)] // A panic is an error of the compilation.

use http::header::HeaderName;

/// The longest name of [`KNOWN`], in bytes.
const MAX_BYTES: usize = 32;

/// The bit of each byte of a word that differs between a small letter and a capital.
pub(super) const CASE_BITS: u64 = 0x2020_2020_2020_2020;

/// A frequent name.
pub(super) struct Known {
    /// The words of the name.
    pub(super) words: Words,
    /// The case bits of the letters of the words.
    pub(super) letters: Words,
    /// The name.
    pub(super) name: HeaderName,
    /// The usual spelling, and bytes that do not belong to it.
    pub(super) title: [u8; MAX_BYTES],
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
        pub(super) const NAMES: &[&str] = &[$($name),*];
        /// Frequent names of 4 bytes or more, sorted by length.
        pub(super) static KNOWN: [Known; NAMES.len()] = [$(known($name)),*];
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
pub(super) const SLOTS: [u8; 512] = {
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
pub(super) const fn slot(words: Words, length: usize) -> usize {
    // Found by trying random factors.
    const FACTOR: u64 = 0x1ab1_65a1_072c_f16f;
    let (first, last) = (words.first | CASE_BITS, words.last | CASE_BITS);
    let mixed = first ^ last.rotate_left(29) ^ length as u64;
    (mixed.wrapping_mul(FACTOR) >> 55) as usize
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

/// The first 8 and the last 8 bytes of a name, which overlap; 4 of a name that is shorter than 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) first: u64,
    pub(super) last: u64,
}

/// Returns the words of a name of 4 bytes or more.
pub(super) const fn words(name: &[u8]) -> Option<Words> {
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
