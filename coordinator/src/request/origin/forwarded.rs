//! The header `Forwarded` (RFC 7239): its elements, and elements from addresses.

use std::net::IpAddr;

use app_proxy_hop::header::{
    FORWARDED, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PORT, X_FORWARDED_PROTO,
};
use http::HeaderMap;

use super::address::address;

/// An element: the request as one proxy received it.
#[derive(Debug, Default)]
pub(super) struct Element {
    node: Option<String>,
    host: Option<String>,
    proto: Option<String>,
}

impl Element {
    /// Returns the address of the proxy's client; none if it is hidden or unknown.
    pub(super) fn address(&self) -> Option<IpAddr> {
        let node = self.node.as_deref()?;
        // A port may be hidden too (RFC 7239, section 6.3).
        let bare = node.rsplit_once(":_").map_or(node, |(address, _)| address);
        address(bare)
    }

    /// Returns the host of the request.
    pub(super) fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// Returns the scheme of the request.
    pub(super) fn proto(&self) -> Option<&str> {
        self.proto.as_deref()
    }

    /// Sets a parameter; `None` if it is there already.
    fn set(&mut self, name: &[u8], value: String) -> Option<()> {
        let field = match name.to_ascii_lowercase().as_slice() {
            b"for" => &mut self.node,
            b"host" => &mut self.host,
            b"proto" => &mut self.proto,
            _ => return Some(()),
        };
        field.replace(value).is_none().then_some(())
    }
}

/// Returns whether a request has `Forwarded`, and no `X-Forwarded-*` beside it that says the same.
pub(super) fn is_alone(headers: &HeaderMap) -> bool {
    let others = [
        X_FORWARDED_FOR,
        X_FORWARDED_HOST,
        X_FORWARDED_PORT,
        X_FORWARDED_PROTO,
    ];
    headers.contains_key(&FORWARDED) && !others.iter().any(|name| headers.contains_key(name))
}

/// Returns the elements of all lines, the client's first; `None` if there is no line, or one does
/// not parse.
pub(super) fn elements(headers: &HeaderMap) -> Option<Vec<Element>> {
    let mut lines = headers.get_all(&FORWARDED).iter().peekable();
    lines.peek()?;
    let mut elements = Vec::new();
    for line in lines {
        Parser(line.as_bytes()).elements(&mut elements)?;
    }
    Some(elements)
}

/// The rest of a line.
struct Parser<'l>(&'l [u8]);

impl Parser<'_> {
    /// Parses a list of elements, which may be empty (RFC 9110, section 5.6.1.2).
    fn elements(&mut self, elements: &mut Vec<Element>) -> Option<()> {
        let mut element = None::<Element>;
        loop {
            self.skip_space();
            match self.0.first() {
                None | Some(b',') => elements.extend(element.take()),
                Some(b';') => {}
                Some(_) => {
                    let (name, value) = self.pair()?;
                    element.get_or_insert_default().set(name, value)?;
                    self.skip_space();
                    if !matches!(self.0.first(), None | Some(b',' | b';')) {
                        return None;
                    }
                    continue;
                }
            }
            match self.0.split_first() {
                None => return Some(()),
                Some((_, rest)) => self.0 = rest,
            }
        }
    }

    /// Parses `name=value` or `name="value"`.
    fn pair(&mut self) -> Option<(&[u8], String)> {
        let name = self.take(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        self.0 = self.0.strip_prefix(b"=").filter(|_| !name.is_empty())?;
        let value = if let Some(rest) = self.0.strip_prefix(b"\"") {
            self.0 = rest;
            self.quoted()?
        } else {
            // Some proxies do not quote the colons and brackets of an address.
            let is_bare = |byte| !matches!(byte, b',' | b';' | b'"' | b' ' | b'\t');
            self.take(is_bare).to_vec()
        };
        Some((name, String::from_utf8(value).ok()?))
    }

    /// Parses the rest of a quoted string (RFC 9110, section 5.6.4).
    fn quoted(&mut self) -> Option<Vec<u8>> {
        let mut value = Vec::new();
        loop {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            match byte {
                b'"' => return Some(value),
                b'\\' => {
                    let (&escaped, rest) = self.0.split_first()?;
                    self.0 = rest;
                    value.push(escaped);
                }
                byte => value.push(byte),
            }
        }
    }

    fn skip_space(&mut self) {
        self.take(|byte| matches!(byte, b' ' | b'\t'));
    }
}

impl<'l> Parser<'l> {
    /// Takes the bytes at the front for which `matches`.
    fn take(&mut self, matches: impl Fn(u8) -> bool) -> &'l [u8] {
        let end = self.0.iter().position(|byte| !matches(*byte));
        let (taken, rest) = self
            .0
            .split_at_checked(end.unwrap_or(self.0.len()))
            .unwrap_or_default();
        self.0 = rest;
        taken
    }
}

/// Returns the addresses of `X-Forwarded-For` as elements, each with its comma.
pub(super) fn from_addresses(headers: &HeaderMap) -> String {
    let lines = headers
        .get_all(&X_FORWARDED_FOR)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let mut elements = String::new();
    for ip in lines
        .flat_map(|line| line.split(','))
        .filter_map(|text| address(text.trim()))
    {
        push_node(&mut elements, &ip.to_string());
        elements.push_str(", ");
    }
    elements
}

/// Appends an address as a node (RFC 7239, section 6): IPv6 in brackets and quotes.
pub(super) fn push_node(text: &mut String, ip: &str) {
    let (start, end) = if ip.contains(':') {
        ("for=\"[", "]\"")
    } else {
        ("for=", "")
    };
    text.push_str(start);
    text.push_str(ip);
    text.push_str(end);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(lines: &[&str]) -> Option<Vec<String>> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED, line.parse().unwrap());
        }
        let shown = |text: Option<&str>| text.unwrap_or("-").to_owned();
        let show = |element: &Element| {
            let address = element.address().map(|ip| ip.to_string());
            [
                shown(address.as_deref()),
                shown(element.host()),
                shown(element.proto()),
            ]
            .join(" ")
        };
        elements(&headers).map(|elements| elements.iter().map(show).collect())
    }

    #[test]
    fn elements_have_an_address_a_host_and_a_scheme() {
        for (lines, expected) in [
            (
                &["for=192.0.2.60;proto=http;by=203.0.113.43"][..],
                &["192.0.2.60 - http"][..],
            ),
            (
                &[r#"For="[2001:db8:cafe::17]:4711";Proto=https;Host=pub.example"#],
                &["2001:db8:cafe::17 pub.example https"],
            ),
            (
                &[
                    "for=192.0.2.43, for=198.51.100.17;host=\"h:80\"",
                    "for=10.0.0.1:99",
                ],
                &["192.0.2.43 - -", "198.51.100.17 h:80 -", "10.0.0.1 - -"],
            ),
            (&[r#"for="_gazonk", for=unknown"#], &["- - -", "- - -"]),
            (
                &[r#"for="192.0.2.1:_port";host="a\.b""#],
                &["192.0.2.1 a.b -"],
            ),
            (&[r#"for=192.0.2.1;secret="a,b;c=\"d""#], &["192.0.2.1 - -"]),
            (&["for=[2001:db8::1]:80"], &["2001:db8::1 - -"]),
            (
                &[" , for=192.0.2.1 ; proto=https ,, "],
                &["192.0.2.1 - https"],
            ),
            (&[""], &[]),
        ] {
            let found = parsed(lines);
            assert_eq!(
                found.as_deref(),
                Some(
                    &expected
                        .iter()
                        .map(|text| (*text).to_owned())
                        .collect::<Vec<_>>()[..]
                ),
                "{lines:?}"
            );
        }
    }

    #[test]
    fn what_does_not_parse_says_nothing() {
        assert_eq!(parsed(&[]), None);
        for line in [
            "for=\"192.0.2.1",
            "for=\"192.0.2.1\\",
            "for",
            "=192.0.2.1",
            "for=a for=b",
            "for=192.0.2.1;for=192.0.2.2",
            "for=\"a\"b",
            "192.0.2.1",
        ] {
            assert_eq!(parsed(&[line]), None, "{line}");
            assert_eq!(parsed(&["for=192.0.2.1", line]), None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_line_ends(line in "[ -~\\t]{0,64}") {
            let _ = parsed(&[&line]);
        }

        #[test]
        fn own_elements_are_read_back(ip in any::<IpAddr>()) {
            let mut text = String::new();
            push_node(&mut text, &ip.to_string());
            prop_assert_eq!(parsed(&[&text]), Some(vec![format!("{} - -", ip.to_canonical())]));
        }
    }
}
