//! Host names, as rules have them and as requests bring them.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;

/// The longest host name (RFC 1035 section 2.3.4).
const MAX_HOST_BYTES: usize = 253;

/// Why a text is not the host of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HostError {
    /// Nothing, or an empty label.
    #[error("it is empty or has an empty label")]
    Empty,
    /// A port; an app answers on every port.
    #[error("it has a port")]
    Port,
    /// A character that host names do not have; other scripts are written in Punycode.
    #[error("it has the character {0:?}")]
    Character(char),
    /// More than 253 bytes.
    #[error("it is longer than 253 bytes")]
    TooLong,
    /// Brackets without an IPv6 address in them.
    #[error("it is not an IPv6 address in brackets")]
    Address,
}

/// A host name, an IPv4 address or an IPv6 address in brackets, in the one spelling that is
/// compared: lower case, without a port and a trailing dot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct HostName(String);

impl HostName {
    /// Reads a host name in any case, with or without a trailing dot.
    ///
    /// # Errors
    /// [`HostError`] when it is anything else, a name with a port included.
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

    /// The name in the spelling that is compared.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The host of a request in the spelling of [`HostName`]; whatever is not a host stays something
/// that no rule has.
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
    fn a_host_of_a_rule_has_one_spelling() {
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
    fn what_is_not_a_host_is_refused_with_the_reason() {
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
    fn case_port_and_trailing_dot_of_a_request_do_not_matter() {
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
