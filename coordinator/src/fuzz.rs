//! Properties that hold for any bytes a client can send; the targets in `fuzz/` call them.
//!
//! They are part of the crate because the parsers are private to it. Only tests and builds with the
//! feature `fuzzing` contain this module. Each function panics if its property does not hold.

use std::sync::LazyLock;

use crate::router::{HostName, Lookup, NormalisedPath, Router, Rule};
use crate::sessions::cookie::{
    Removed, SessionId, SessionKey, session_value, session_values, without_cookie,
};

static ROUTER: LazyLock<Router<usize>> = LazyLock::new(|| {
    let rule = |host, path| Rule::new(host, path).expect("a valid rule");
    let mut router = Router::new(HostName::parse("d.test").ok());
    let apps = [
        ("a", vec![]),
        (
            "b",
            vec![rule(None, Some("/b")), rule(None, Some("/b/c/d"))],
        ),
        ("c", vec![rule(Some("h.test"), None)]),
        (
            "d",
            vec![
                rule(Some("h.test"), Some("/b/c")),
                rule(Some("[::1]"), Some("/x")),
            ],
        ),
    ];
    for (value, (name, rules)) in apps.into_iter().enumerate() {
        router.add_app(name, &rules, value).expect("no conflict");
    }
    router
});

const COOKIE: &str = "sid";

static KEY: LazyLock<SessionKey> =
    LazyLock::new(|| SessionKey::new(b"a secret of more than thirty-two bytes").expect("a key"));

/// An accepted path has no dot segment, and its remainder is the client's own bytes below the
/// prefix.
pub fn path(raw: &str) {
    let Ok(path) = NormalisedPath::parse(raw) else {
        return;
    };
    let mut segments = path.as_bytes().split(|&byte| byte == b'/');
    assert_eq!(segments.next(), Some(&b""[..]));
    assert!(!segments.any(|segment| segment == b"." || segment == b".."));

    // Every literal beginning without dot segments could be a prefix.
    for (end, _) in raw.match_indices('/').chain([(raw.len(), "")]) {
        let prefix = &raw[..end];
        let has_dots = || prefix.split('/').skip(1).any(|s| matches!(s, "." | ".."));
        if prefix.contains('%') || has_dots() {
            break;
        }
        if let Ok(remainder) = path.remainder(prefix) {
            assert_eq!(remainder, &raw[end..]);
            let below = path.as_bytes().strip_prefix(prefix.as_bytes());
            assert!(below.is_some_and(|rest| rest.is_empty() || rest[0] == b'/'));
            // A second parse, as in the next tier, leads to the same place.
            let again = NormalisedPath::parse(remainder);
            assert!(remainder.is_empty() || again.is_ok_and(|again| again.remainder("").is_ok()));
        }
    }
}

/// A lookup returns parts of the requested path, and a rule parses as it prints. The host and the
/// path are two lines.
pub fn router(input: &str) {
    let Some((host, path)) = input.split_once('\n') else {
        return;
    };
    match ROUTER.lookup(host, path) {
        Lookup::Found(found) => {
            assert!(found.remainder.starts_with('/'));
            assert_eq!(format!("{}{}", found.prefix, found.remainder), path);
            assert!(!path.starts_with("/.app-proxy/"));
        }
        Lookup::RedirectToSlash(found) => {
            assert_eq!(found.prefix, path);
            assert!(!path.is_empty());
        }
        Lookup::NotFound | Lookup::Refused(_) => {}
    }
    if let Ok(rule) = Rule::new(Some(host), Some(path)) {
        let printed = rule.to_string();
        let (host, path) = printed.split_at(printed.find('/').expect("a path"));
        assert_eq!(Rule::new(Some(host), Some(path)).as_ref(), Ok(&rule));
    }
}

/// Only signed session values verify, and removing the session cookie keeps the other cookies.
pub fn session_cookie(header: &[u8]) {
    let _ = KEY.verify("app", header);
    for value in session_values(header, COOKIE) {
        if let Some(id) = KEY.verify("app", value) {
            assert_eq!(session_value(&id, &KEY.sign("app", &id)).as_bytes(), value);
        }
    }
    if let Ok(id) = SessionId::parse(header) {
        assert_eq!(id.as_str().as_bytes(), header);
        let value = session_value(&id, &KEY.sign("app", &id));
        assert_eq!(KEY.verify("app", value.as_bytes()), Some(id));
        assert_eq!(KEY.verify("other", value.as_bytes()), None);
    }
    match without_cookie(header, COOKIE) {
        Removed::Unchanged => assert_eq!(session_values(header, COOKIE).count(), 0),
        Removed::Rest(rest) => {
            assert_eq!(session_values(&rest, COOKIE).count(), 0);
            assert_eq!(other_cookies(&rest), other_cookies(header));
            assert!(rest.len() < header.len());
        }
        Removed::Nothing => assert!(other_cookies(header).is_empty()),
    }
}

fn other_cookies(header: &[u8]) -> Vec<&[u8]> {
    header
        .split(|&byte| byte == b';')
        .filter(|pair| session_values(pair, COOKIE).next().is_none())
        .map(|pair| {
            let start = pair.iter().position(|b| !matches!(b, b' ' | b'\t'));
            start.map_or(&[][..], |start| &pair[start..])
        })
        .filter(|pair| !pair.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_properties_hold_for_ordinary_input() {
        super::path("/b/c/../%64/e");
        super::router("h.test\n/b/c/d");
        super::router("any\n/b");
        super::session_cookie(b"a=1; sid=x; b=2");
        super::session_cookie(b"AAECAwQFBgcICQoLDA0ODw");
    }
}
