//! Host names in rules and in requests.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;

/// The longest host name (RFC 1035 section 2.3.4).
const MAX_HOST_BYTES: usize = 253;

/// The reasons to reject the host of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HostError {
    /// The text or one of its labels is empty.
    #[error("it is empty or has an empty label")]
    Empty,
    /// It has a port; apps match on all ports.
    #[error("it has a port")]
    Port,
    /// It has a character that is invalid in host names. Other scripts need Punycode.
    #[error("it has the character {0:?}")]
    Character(char),
    /// More than 253 bytes.
    #[error("it is longer than 253 bytes")]
    TooLong,
    /// It begins with a bracket but is not an IPv6 address in brackets.
    #[error("it is not an IPv6 address in brackets")]
    Address,
}

/// A host name, an IPv4 address or an IPv6 address in brackets, in canonical form: lower case,
/// without port and trailing dot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct HostName(String);

impl HostName {
    /// Parses a host name in any case, with or without a trailing dot.
    ///
    /// # Errors
    /// [`HostError`] for any other text, including a name with a port.
    pub(crate) fn parse(text: &str) -> Result<Self, HostError> {
        if text.starts_with('[') {
            let address = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
            return match address.map(str::parse::<Ipv6Addr>) {
                Some(Ok(address)) => Ok(Self(format!("[{address}]"))),
                _ => Err(HostError::Address),
            };
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.split('.').any(str::is_empty) {
            return Err(HostError::Empty);
        }
        if name.len() > MAX_HOST_BYTES {
            return Err(HostError::TooLong);
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        match name.chars().find(|&c| !allowed(c)) {
            None => Ok(Self(name.to_ascii_lowercase())),
            Some(':') => Err(HostError::Port),
            Some(character) => Err(HostError::Character(character)),
        }
    }

    /// The name in canonical form.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Converts the host of a request to the canonical form of [`HostName`]. An invalid host stays a
/// text that no rule can have.
pub(super) fn canonical(host: &str) -> Cow<'_, str> {
    if let Some(rest) = host.strip_prefix('[') {
        let address = rest.split_once(']').map_or(rest, |(address, _)| address);
        return match address.parse::<Ipv6Addr>() {
            Ok(address) => Cow::Owned(format!("[{address}]")),
            Err(_) => Cow::Borrowed(host),
        };
    }
    let name = host.split_once(':').map_or(host, |(name, _)| name);
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_rules_are_canonical() {
        for (text, host) in [
            ("example.com", "example.com"),
            ("Example.COM.", "example.com"),
            ("my_host-1", "my_host-1"),
            ("127.0.0.1", "127.0.0.1"),
            ("[0:0::1]", "[::1]"),
        ] {
            assert_eq!(HostName::parse(text).unwrap().as_str(), host);
        }
    }

    #[test]
    fn invalid_hosts_are_rejected_with_the_reason() {
        let long = "a.".repeat(127) + "a";
        for (text, error) in [
            ("", HostError::Empty),
            (".", HostError::Empty),
            ("a..b", HostError::Empty),
            ("a..", HostError::Empty),
            ("a:80", HostError::Port),
            ("::1", HostError::Port),
            ("*.example.com", HostError::Character('*')),
            ("bücher.example", HostError::Character('ü')),
            ("a/b", HostError::Character('/')),
            ("[::1]:80", HostError::Address),
            ("[::1", HostError::Address),
            ("[a]", HostError::Address),
            (&long, HostError::TooLong),
        ] {
            assert_eq!(HostName::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn case_port_and_trailing_dot_of_a_request_are_ignored() {
        for (host, expected) in [
            ("example.com", "example.com"),
            ("EXAMPLE.com.:8080", "example.com"),
            ("example.com:", "example.com"),
            ("[::1]:80", "[::1]"),
            ("[0::1]", "[::1]"),
            ("[::FFFF:1.2.3.4]", "[::ffff:1.2.3.4]"),
            ("[x", "[x"),
            ("", ""),
        ] {
            assert_eq!(canonical(host), expected, "{host}");
        }
    }

    #[test]
    fn an_ordinary_host_is_not_copied() {
        assert!(matches!(canonical("example.com:80"), Cow::Borrowed(_)));
    }
}
