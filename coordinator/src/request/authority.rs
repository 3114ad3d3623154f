//! Comparison of authorities: a host in any case, with or without the default port (RFC 3986,
//! sections 3.2.2, 3.2.3 and 6.2.3; RFC 9110, section 4.2.3).

use std::net::Ipv6Addr;

/// A host with its port.
#[derive(Clone, Copy, Debug)]
pub(super) struct Authority<'a> {
    /// A name or an address, IPv6 without its brackets.
    host: &'a [u8],
    /// `true` if the host was in brackets.
    is_literal: bool,
    /// The port; none if it is missing or empty.
    port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Splits an authority without user information; `None` if its port is no number.
    pub(super) fn parse(text: &'a [u8]) -> Option<Self> {
        if let Some(rest) = text.strip_prefix(b"[") {
            let end = rest.iter().position(|byte| *byte == b']')?;
            let (host, after) = rest.split_at_checked(end)?;
            let port = match after.strip_prefix(b"]")? {
                [] => None,
                [b':', digits @ ..] => port(digits)?,
                _ => return None,
            };
            return Some(Self {
                host,
                is_literal: true,
                port,
            });
        }
        let Some(colon) = text.iter().rposition(|byte| *byte == b':') else {
            return Some(Self {
                host: text,
                is_literal: false,
                port: None,
            });
        };
        let (host, after) = text.split_at_checked(colon)?;
        Some(Self {
            host,
            is_literal: false,
            port: port(after.strip_prefix(b":")?)?,
        })
    }

    /// Returns the authority of a host, IPv6 without its brackets, and a port.
    pub(super) const fn new(host: &'a [u8], port: u16) -> Self {
        Self {
            host,
            is_literal: false,
            port: Some(port),
        }
    }

    /// Returns whether the host is a name or an address.
    pub(super) fn is_valid(self) -> bool {
        let is_of_name =
            |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        let is_ipv6 =
            || str::from_utf8(self.host).is_ok_and(|host| host.parse::<Ipv6Addr>().is_ok());
        if self.is_literal {
            is_ipv6()
        } else {
            !self.host.is_empty() && self.host.iter().all(is_of_name)
        }
    }

    /// Returns the same authority without its port if that is `default`.
    pub(super) fn without(self, default: u16) -> Self {
        Self {
            port: self.port.filter(|port| *port != default),
            ..self
        }
    }

    /// Returns whether both name the same host and the same port.
    pub(super) fn is(self, other: Self) -> bool {
        self.port == other.port
            && (self.host.eq_ignore_ascii_case(other.host) || is_same_ipv6(self.host, other.host))
    }
}

/// Returns the default port of a scheme.
pub(super) const fn default_port(is_secure: bool) -> u16 {
    if is_secure { 443 } else { 80 }
}

/// Parses the digits of a port; an empty one is the default. The outer `None` is an invalid port.
#[allow(clippy::option_option)] // No port and an invalid one are different.
fn port(digits: &[u8]) -> Option<Option<u16>> {
    if digits.is_empty() {
        return Some(None);
    }
    let is_number = digits.iter().all(u8::is_ascii_digit);
    let text = str::from_utf8(digits).ok().filter(|_| is_number)?;
    text.parse().ok().map(Some)
}

/// Returns whether two texts are the same IPv6 address.
fn is_same_ipv6(one: &[u8], other: &[u8]) -> bool {
    let parse = |text: &[u8]| {
        let text = text.contains(&b':').then(|| str::from_utf8(text).ok())??;
        text.parse::<Ipv6Addr>().ok()
    };
    parse(one).is_some_and(|address| parse(other) == Some(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(one: &str, other: &str) -> bool {
        let parse = |text: &'static [u8]| Authority::parse(text).map(|found| found.without(80));
        let (one, other) = (one.to_owned().leak(), other.to_owned().leak());
        match (parse(one.as_bytes()), parse(other.as_bytes())) {
            (Some(one), Some(other)) => one.is(other),
            _ => false,
        }
    }

    #[test]
    fn case_and_the_default_port_make_no_difference() {
        for other in ["A.Example", "a.example:", "a.example:80", "a.example:0080"] {
            assert!(same("a.example", other), "{other}");
        }
        for other in ["[::1]:80", "[0::1]", "[0:0:0:0:0:0:0:1]:"] {
            assert!(same("[::1]", other), "{other}");
        }
        for other in [
            "b.example",
            "a.example:81",
            "a.example:443",
            "a.example.",
            "a.example:x",
            "a.example:+80",
            "a.example:99999",
            "u@a.example",
            "",
        ] {
            assert!(!same("a.example", other), "{other}");
        }
        assert!(!same("[::1]", "[::2]") && !same("[::1", "[::1") && !same("[::1]x", "[::1]x"));
    }
}
