//! One entry of an app's `match` list.

use std::fmt;

use app_proxy_api::apps::{App, AppError};

use super::{HostError, HostName, is_reserved};

/// Why an entry of `match` is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RuleError {
    /// Neither host nor path; everything is spelt `path: /`.
    #[error("a match needs a host, a path or both")]
    Nothing,
    /// A bad host.
    #[error("`{host}` is not a host: {error}")]
    Host {
        /// The host as given.
        host: String,
        /// What is wrong with it.
        error: HostError,
    },
    /// A path that does not begin with `/`.
    #[error("the path `{0}` does not begin with '/'")]
    NoLeadingSlash(String),
    /// A path with a segment that is empty, `.` or `..`; no request ever has it.
    #[error("the path `{0}` has a segment that is empty, '.' or '..'")]
    Segment(String),
    /// A path with a character that requests have only as an escape, or an escape: a prefix is
    /// compared with the client's own bytes.
    #[error("the path `{path}` has the character {character:?}")]
    Character {
        /// The path as given.
        path: String,
        /// The first such character.
        character: char,
    },
    /// A path that the coordinator keeps for itself.
    #[error("the path `{0}` is reserved")]
    Reserved(String),
}

/// A host, a path prefix, or both, that an app answers on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Rule {
    host: Option<HostName>,
    /// Without a trailing `/`; empty for every path.
    prefix: String,
}

impl Rule {
    /// Reads an entry of `match`. The `path` is a prefix of whole segments, with or without a
    /// trailing `/`; `/`, and none, are every path.
    ///
    /// # Errors
    /// [`RuleError`] when the entry is empty, or no request could match it, or none should.
    pub(crate) fn new(host: Option<&str>, path: Option<&str>) -> Result<Self, RuleError> {
        if host.is_none() && path.is_none() {
            return Err(RuleError::Nothing);
        }
        let host = host.map(parse_host).transpose()?;
        let prefix = path.map(parse_prefix).transpose()?.unwrap_or_default();
        Ok(Self {
            host,
            prefix: prefix.to_owned(),
        })
    }

    /// The rule of an app that has none: `/apps/<name>` on every host.
    pub(super) fn of_app(name: &str) -> Result<Self, RuleError> {
        Self::new(None, Some(&format!("/apps/{name}")))
    }

    /// The rule that is all of a host.
    pub(super) fn of_host(host: HostName) -> Self {
        Self {
            host: Some(host),
            prefix: String::new(),
        }
    }

    /// The host, where it matters.
    pub(crate) fn host(&self) -> Option<&HostName> {
        self.host.as_ref()
    }

    /// The path prefix without a trailing `/`; empty for every path.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }
}

/// An app's rules as the router takes them.
///
/// # Errors
/// Which of them is none, and why.
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

/// Whether clients send `c` in a path as it is (`pchar` of RFC 3986 section 3.3, and `/`). `;` is
/// not taken for it, because servers cut segments there.
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
    fn a_prefix_is_whole_segments_without_a_trailing_slash() {
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
    fn a_path_that_no_request_should_match_is_refused() {
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
        assert_eq!(Rule::new(None, None), Err(RuleError::Nothing));
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
