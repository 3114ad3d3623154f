//! What is accepted of a path is the client's own bytes, below the prefix.
#![no_main]

use app_proxy_coordinator::router::NormalisedPath;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|raw: &str| {
    let Ok(path) = NormalisedPath::parse(raw) else {
        return;
    };
    let mut segments = path.as_bytes().split(|&byte| byte == b'/');
    assert_eq!(segments.next(), Some(&b""[..]));
    assert!(!segments.any(|segment| segment == b"." || segment == b".."));

    // Every literal beginning without dot segments could be a prefix.
    for (end, _) in raw.match_indices('/').chain([(raw.len(), "")]) {
        let prefix = &raw[..end];
        if prefix.contains('%') || prefix.split('/').skip(1).any(|s| matches!(s, "." | "..")) {
            break;
        }
        if let Ok(remainder) = path.remainder(prefix) {
            assert_eq!(remainder, &raw[end..]);
            let below = path.as_bytes().strip_prefix(prefix.as_bytes());
            assert!(below.is_some_and(|rest| rest.is_empty() || rest[0] == b'/'));
            // Reading it once more, as a second tier does, leads to the same place.
            let again = NormalisedPath::parse(remainder);
            assert!(remainder.is_empty() || again.is_ok_and(|again| again.remainder("").is_ok()));
        }
    }
});
