//! Loops: a request that comes back to an app of this fleet (RFC 9110, section 7.6.3).
//!
//! Each request to an app has the pseudonym of the fleet and the app in its `Via`. A request that
//! arrives with the pseudonym of its own app has been there before. A chain from one app to another
//! is no loop.

use std::sync::OnceLock;

use http::{HeaderMap, HeaderValue, Version, header::VIA};

use crate::sessions::cookie::SessionKey;

/// The name of a fleet in `Via`: of all coordinators with one session key.
#[derive(Debug)]
pub(crate) struct Pseudonym(String);

/// The values of `Via` of one app; formatted for its first request.
#[derive(Debug, Default)]
pub(crate) struct ViaValues(OnceLock<Box<ByVersion>>);

/// The values, by the version of the request.
#[derive(Debug)]
struct ByVersion {
    http_1_0: HeaderValue,
    http_1_1: HeaderValue,
    http_2: HeaderValue,
}

impl Pseudonym {
    /// Returns the pseudonym of the fleet with this key.
    #[must_use]
    pub(crate) fn new(key: &SessionKey) -> Self {
        Self(format!("app-proxy-{:08x}", key.fleet_number()))
    }

    /// Returns whether the client's `Via` says that a request was at the app named `app` before.
    pub(super) fn has_passed(&self, headers: &HeaderMap, app: &str) -> bool {
        let mut lines = headers.get_all(VIA).iter();
        lines.any(|line| {
            let entries = line.as_bytes().split(|byte| *byte == b',');
            entries.filter_map(received_by).any(|name| {
                let rest = name.strip_prefix(self.0.as_bytes());
                rest.and_then(|rest| rest.strip_prefix(b".")) == Some(app.as_bytes())
            })
        })
    }

    /// Returns the value of `Via` for a request that arrived with `version`, of the app named `app`
    /// to which `values` belongs.
    pub(super) fn value(&self, app: &str, values: &ViaValues, version: Version) -> HeaderValue {
        let values = values.0.get_or_init(|| Box::new(self.values(app)));
        let value = match version {
            Version::HTTP_10 => &values.http_1_0,
            Version::HTTP_2 => &values.http_2,
            _ => &values.http_1_1,
        };
        value.clone()
    }

    fn values(&self, app: &str) -> ByVersion {
        let value = |version: &str| {
            let text = format!("{version} {}.{app}", self.0);
            // The name of an app is always valid in a header.
            HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("1.1 app-proxy"))
        };
        ByVersion {
            http_1_0: value("1.0"),
            http_1_1: value("1.1"),
            http_2: value("2.0"),
        }
    }
}

/// Returns the name in an entry of `Via`, which follows the protocol.
fn received_by(entry: &[u8]) -> Option<&[u8]> {
    let mut words = entry
        .split(|byte| matches!(byte, b' ' | b'\t'))
        .filter(|word| !word.is_empty());
    words.nth(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pseudonym(secret: &[u8]) -> Pseudonym {
        Pseudonym::new(&SessionKey::new(secret).unwrap())
    }

    fn passed(pseudonym: &Pseudonym, lines: &[&[u8]], app: &str) -> bool {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(VIA, HeaderValue::from_bytes(line).unwrap());
        }
        pseudonym.has_passed(&headers, app)
    }

    #[test]
    fn a_request_is_known_by_the_value_that_it_got() {
        let values = ViaValues::default();
        let (ours, theirs) = (pseudonym(&[1; 32]), pseudonym(&[2; 32]));
        for (version, protocol) in [
            (Version::HTTP_10, "1.0 "),
            (Version::HTTP_11, "1.1 "),
            (Version::HTTP_2, "2.0 "),
        ] {
            let value = ours.value("a", &values, version);
            assert!(value.to_str().unwrap().starts_with(protocol));
            assert!(value.to_str().unwrap().ends_with(".a"));
            let line = value.as_bytes();
            assert!(passed(&ours, &[line], "a"));
            assert!(!passed(&ours, &[line], "b") && !passed(&theirs, &[line], "a"));
            assert_eq!(value, ours.value("a", &values, version));
        }
    }

    #[test]
    fn every_entry_of_every_line_counts() {
        let ours = pseudonym(&[1; 32]);
        let own = format!("1.1 {}.a", ours.0);
        for lines in [
            &[&own[..]][..],
            &["1.0 fred", &own],
            &[&format!("1.0 fred, {own} (a comment), 1.1 other")],
            &[&format!("1.1 x,{own}")],
            &[&format!("HTTP/{}", own.replace(' ', "\t  "))],
            &["", ",,", &format!(",{own}")],
        ] {
            let bytes: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
            assert!(passed(&ours, &bytes, "a"), "{lines:?}");
        }
        for line in [
            String::new(),
            "1.1 varnish".to_owned(),
            ours.0.clone() + ".a",
            own.clone() + "b",
            own.replace("app", "the-app"),
            own.replace(".a", ""),
        ] {
            assert!(!passed(&ours, &[line.as_bytes()], "a"), "{line}");
        }
        assert!(!passed(&ours, &[b"1.1 caf\xe9"], "a") && !passed(&ours, &[], "a"));
    }
}
