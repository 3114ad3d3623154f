//! A rule: one entry of an app's `match` list.

use std::fmt;

use app_proxy_api::apps::{App, AppError};

use super::host::{HostError, HostName};

/// Prefix of the coordinator's own paths on its public listeners. No app can match them.
const RESERVED_PREFIX: &str = "/.app-proxy";

/// The reasons to reject an entry of `match`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RuleError {
    /// Neither host nor path. A rule for all requests is `path: /`.
    #[error("a match needs a host, a path or both")]
    Empty,
    /// An invalid host.
    #[error("`{host}` is not a host: {error}")]
    Host {
        /// The host as given.
        host: String,
        /// The error.
        error: HostError,
    },
    /// A path that does not begin with `/`.
    #[error("the path `{0}` does not begin with '/'")]
    NoLeadingSlash(String),
    /// A path with a segment that is empty, `.` or `..`. No request matches it.
    #[error("the path `{0}` has a segment that is empty, '.' or '..'")]
    Segment(String),
    /// A path with an escape, or with a character that clients escape: prefixes are compared with
    /// the client's own bytes.
    #[error("the path `{path}` has the character {character:?}")]
    Character {
        /// The path as given.
        path: String,
        /// The first such character.
        character: char,
    },
    /// A path below the coordinator's own prefix.
    #[error("the path `{0}` is reserved")]
    Reserved(String),
}

/// A host, a path prefix or both, which route requests to an app.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Rule {
    host: Option<HostName>,
    /// Without a trailing `/`; empty if the rule matches every path.
    prefix: String,
}

impl Rule {
    /// Validates an entry of `match`. The `path` is a prefix of whole segments, with or without a
    /// trailing `/`. `/` or no path matches every path.
    ///
    /// # Errors
    /// [`RuleError`] if the entry is empty, reserved, or if no request could match it.
    pub(crate) fn new(host: Option<&str>, path: Option<&str>) -> Result<Self, RuleError> {
        if host.is_none() && path.is_none() {
            return Err(RuleError::Empty);
        }
        let host = host.map(parse_host).transpose()?;
        let prefix = path.map(parse_prefix).transpose()?.unwrap_or_default();
        Ok(Self {
            host,
            prefix: prefix.to_owned(),
        })
    }

    /// The default rule of an app: `/apps/<name>` on every host.
    pub(super) fn of_app(name: &str) -> Result<Self, RuleError> {
        Self::new(None, Some(&format!("/apps/{name}")))
    }

    /// The rule for all paths of a host.
    pub(super) fn of_host(host: HostName) -> Self {
        Self {
            host: Some(host),
            prefix: String::new(),
        }
    }

    /// The host, if the rule is limited to one.
    pub(crate) fn host(&self) -> Option<&HostName> {
        self.host.as_ref()
    }

    /// The path prefix without a trailing `/`; empty if the rule matches every path.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }
}

/// Validates the `match` list of an app.
///
/// # Errors
/// The invalid field and the reason.
pub(crate) fn rules(app: &App) -> Result<Vec<Rule>, AppError> {
    let rule = |(index, rule): (usize, &app_proxy_api::apps::MatchRule)| {
        Rule::new(rule.host.as_deref(), rule.path.as_deref()).map_err(|error| {
            let key = if matches!(error, RuleError::Host { .. }) {
                "host"
            } else {
                "path"
            };
            AppError::new(format!("match[{index}].{key}"), error.to_string())
        })
    };
    app.rules.iter().enumerate().map(rule).collect()
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(host) = &self.host {
            write!(f, "{host}")?;
        }
        f.write_str(if self.prefix.is_empty() {
            "/"
        } else {
            &self.prefix
        })
    }
}

fn parse_host(host: &str) -> Result<HostName, RuleError> {
    HostName::parse(host).map_err(|error| RuleError::Host {
        host: host.to_owned(),
        error,
    })
}

fn parse_prefix(path: &str) -> Result<&str, RuleError> {
    let segments = path
        .strip_prefix('/')
        .ok_or_else(|| RuleError::NoLeadingSlash(path.to_owned()))?;
    if segments.is_empty() {
        return Ok("");
    }
    let segments = segments.strip_suffix('/').unwrap_or(segments);
    if segments.split('/').any(|s| matches!(s, "" | "." | "..")) {
        return Err(RuleError::Segment(path.to_owned()));
    }
    if let Some(character) = segments.chars().find(|&c| !is_literal(c)) {
        return Err(RuleError::Character {
            path: path.to_owned(),
            character,
        });
    }
    let prefix = path.strip_suffix('/').unwrap_or(path);
    if is_reserved(prefix.as_bytes()) {
        return Err(RuleError::Reserved(path.to_owned()));
    }
    Ok(prefix)
}

/// Returns whether a path is one of the coordinator's own.
pub(super) fn is_reserved(path: &[u8]) -> bool {
    path.strip_prefix(RESERVED_PREFIX.as_bytes())
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// Returns whether clients send `c` unescaped in a path (`pchar` of RFC 3986 section 3.3, and `/`).
/// `;` is excluded, because some servers cut segments there.
fn is_literal(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~!$&'()*+,=:@/".contains(c)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn prefix(path: &str) -> Result<String, RuleError> {
        Rule::new(None, Some(path)).map(|rule| rule.prefix)
    }

    #[test]
    fn prefixes_are_whole_segments_without_a_trailing_slash() {
        for (path, expected) in [
            ("/", ""),
            ("/a", "/a"),
            ("/a/b.c/", "/a/b.c"),
            ("/...", "/..."),
            ("/.app-proxyx", "/.app-proxyx"),
            ("/a/.app-proxy", "/a/.app-proxy"),
        ] {
            assert_eq!(prefix(path).as_deref(), Ok(expected), "{path}");
        }
    }

    #[test]
    fn paths_that_no_request_can_match_are_rejected() {
        for path in ["/a//b", "//", "//a", "/a//", "/./a", "/a/.."] {
            assert_eq!(prefix(path), Err(RuleError::Segment(path.into())));
        }
        for path in ["", "a", "a/"] {
            assert_eq!(prefix(path), Err(RuleError::NoLeadingSlash(path.into())));
        }
        for path in ["/.app-proxy", "/.app-proxy/", "/.app-proxy/healthz"] {
            assert_eq!(prefix(path), Err(RuleError::Reserved(path.into())));
        }
        for character in ['%', '?', '#', ' ', '\\', ';', 'é', '\0'] {
            let path = format!("/a{character}");
            assert_eq!(prefix(&path), Err(RuleError::Character { path, character }));
        }
    }

    #[test]
    fn a_rule_needs_a_host_or_a_path() {
        assert_eq!(Rule::new(None, None), Err(RuleError::Empty));
        assert_eq!(
            Rule::new(Some("a:80"), None).unwrap_err().to_string(),
            "`a:80` is not a host: it has a port"
        );
    }

    #[test]
    fn a_rule_prints_as_host_and_path() {
        for (host, path, text) in [
            (Some("A.b."), Some("/c/"), "a.b/c"),
            (Some("a.b"), None, "a.b/"),
            (None, Some("/c"), "/c"),
            (None, Some("/"), "/"),
        ] {
            assert_eq!(Rule::new(host, path).unwrap().to_string(), text);
        }
    }
}
