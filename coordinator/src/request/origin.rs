//! The origin of a request: the client's address, scheme, host and port, as far as the peer is
//! trusted, and the headers that forward them to the application (`X-Forwarded-*`, and `Forwarded`
//! of RFC 7239).

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use app_proxy_hop::header::ip_value;
use app_proxy_hop::header::{
    FORWARDED, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PORT, X_FORWARDED_PREFIX,
    X_FORWARDED_PROTO, set,
};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use pingora_http::RequestHeader;

use crate::config::Networks;

/// The origin of a request.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    /// The peer of the connection as a header value; none on a Unix socket.
    peer_value: Option<HeaderValue>,
    /// The client: the peer, or the address that trusted proxies forward.
    pub(super) client: Option<IpAddr>,
    /// The client's address as a header value.
    pub(super) client_value: Option<HeaderValue>,
    /// `true` if the client's own connection is encrypted.
    pub(super) secure: bool,
    host: Option<HeaderValue>,
    port: u16,
    local: Option<SocketAddr>,
    /// `true` if the peer is a trusted proxy, whose forwarded headers are kept.
    trusted: bool,
    /// The prefix that trusted proxies removed from the path before; empty for none.
    outer_prefix: Box<str>,
}

impl Default for Origin {
    /// The origin of a request that has not been read.
    fn default() -> Self {
        Self {
            peer_value: None,
            client: None,
            client_value: None,
            secure: false,
            host: None,
            port: 80,
            local: None,
            trusted: false,
            outer_prefix: "".into(),
        }
    }
}

impl Origin {
    /// Returns the origin of a request for `host` that came from `peer` to `local`.
    #[must_use]
    pub(super) fn of(
        request: &RequestHeader,
        host: &str,
        peer: Option<IpAddr>,
        local: Option<SocketAddr>,
        tls: bool,
        trusted_proxies: &Networks,
    ) -> Self {
        let headers = &request.headers;
        let trusted = peer.is_some_and(|peer| trusted_proxies.contains(peer));
        let said = |name: &HeaderName| if trusted { first(headers, name) } else { None };
        let secure = match said(&X_FORWARDED_PROTO) {
            Some(proto) => proto.eq_ignore_ascii_case("https"),
            None => tls,
        };
        let forwarded_host =
            said(&X_FORWARDED_HOST).and_then(|text| HeaderValue::from_str(text).ok());
        let host = forwarded_host.or_else(|| host_value(request, host));
        let port = said(&X_FORWARDED_PORT)
            .and_then(|text| text.parse().ok())
            .or_else(|| host.as_ref().and_then(|host| port_of(host.to_str().ok()?)))
            .unwrap_or(if secure { 443 } else { 80 });
        let client = if trusted {
            client(headers, trusted_proxies).or(peer)
        } else {
            peer
        };
        let outer_prefix = said(&X_FORWARDED_PREFIX)
            .unwrap_or_default()
            .trim_end_matches('/')
            .into();
        let peer_value = peer.map(ip_value);
        let client_value = if client == peer {
            peer_value.clone()
        } else {
            client.map(ip_value)
        };
        Self {
            peer_value,
            client,
            client_value,
            secure,
            host,
            port,
            local,
            trusted,
            outer_prefix,
        }
    }

    /// Returns the host that the client asked for.
    #[must_use]
    pub(super) fn host(&self) -> Option<&str> {
        self.host.as_ref().and_then(|host| host.to_str().ok())
    }

    /// Returns the host that the client asked for, or the address that it reached.
    #[must_use]
    pub(super) fn host_or_local(&self) -> HeaderValue {
        let local = || {
            self.local
                .and_then(|local| HeaderValue::try_from(local.to_string()).ok())
        };
        self.host
            .clone()
            .or_else(local)
            .unwrap_or_else(|| HeaderValue::from_static("localhost"))
    }

    /// Returns a path as the client knows it: behind the prefix that earlier proxies removed.
    #[must_use]
    pub(super) fn public<'p>(&self, path: &'p str) -> Cow<'p, str> {
        if self.outer_prefix.is_empty() {
            path.into()
        } else {
            format!("{}{path}", self.outer_prefix).into()
        }
    }

    const fn scheme(&self) -> &'static str {
        if self.secure { "https" } else { "http" }
    }

    /// Replaces the forwarded headers; `prefix` was removed from the path, and may be empty.
    pub(super) fn write(&self, headers: &mut HeaderMap, prefix: &str) {
        let prefix = self.public(prefix);
        let prefix = if prefix.is_empty() {
            None
        } else {
            HeaderValue::from_str(&prefix).ok()
        };
        let (for_chain, forwarded) = if self.trusted {
            self.chains(headers)
        } else {
            // Forwarded headers of a peer that is not trusted are dropped unread.
            (
                self.peer_value.clone(),
                HeaderValue::try_from(self.element()).ok(),
            )
        };
        put(headers, &X_FORWARDED_FOR, for_chain);
        put(headers, &FORWARDED, forwarded);
        put(headers, &X_FORWARDED_PREFIX, prefix);
        put(headers, &X_FORWARDED_HOST, self.host.clone());
        set(
            headers,
            &X_FORWARDED_PROTO,
            HeaderValue::from_static(self.scheme()),
        );
        set(headers, &X_FORWARDED_PORT, HeaderValue::from(self.port));
    }

    /// Appends the peer to the `X-Forwarded-For` and `Forwarded` of a trusted proxy.
    fn chains(&self, headers: &HeaderMap) -> (Option<HeaderValue>, Option<HeaderValue>) {
        let for_chain = chain(headers, &X_FORWARDED_FOR, self.peer_text());
        let element = self.element();
        let forwarded = if headers.contains_key(&FORWARDED) {
            chain(headers, &FORWARDED, Some(&element))
        } else {
            HeaderValue::try_from(as_forwarded(headers) + &element).ok()
        };
        (for_chain, forwarded)
    }

    /// Returns the element of `Forwarded` for this hop.
    fn element(&self) -> String {
        let mut element = String::with_capacity(128);
        match self.peer_text() {
            Some(peer) => push_node(&mut element, peer),
            None => element.push_str("for=unknown"),
        }
        if let Some(host) = self.host() {
            element.push_str(";host=\"");
            element.push_str(host);
            element.push('"');
        }
        element.push_str(";proto=");
        element.push_str(self.scheme());
        element
    }

    fn peer_text(&self) -> Option<&str> {
        self.peer_value.as_ref().and_then(|peer| peer.to_str().ok())
    }
}

/// Sets a header, or removes it if there is no value.
fn put(headers: &mut HeaderMap, name: &HeaderName, value: Option<HeaderValue>) {
    match value {
        Some(value) => set(headers, name, value),
        None => drop(headers.remove(name)),
    }
}

/// Joins the lines of a list header, and appends `own`.
fn chain(headers: &HeaderMap, name: &HeaderName, own: Option<&str>) -> Option<HeaderValue> {
    let said = headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let parts: Vec<&str> = said.filter(|part| !part.is_empty()).chain(own).collect();
    if parts.is_empty() {
        None
    } else {
        HeaderValue::try_from(parts.join(", ")).ok()
    }
}

/// Returns the addresses of `X-Forwarded-For` as elements of `Forwarded`, each with its comma.
fn as_forwarded(headers: &HeaderMap) -> String {
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

/// Appends an address as a node of `Forwarded` (RFC 7239, section 6): IPv6 in brackets and quotes.
fn push_node(text: &mut String, ip: &str) {
    let (start, end) = if ip.contains(':') {
        ("for=\"[", "]\"")
    } else {
        ("for=", "")
    };
    text.push_str(start);
    text.push_str(ip);
    text.push_str(end);
}

/// Returns the host as a header value: that of the request itself if it is the same.
fn host_value(request: &RequestHeader, host: &str) -> Option<HeaderValue> {
    let said = request
        .headers
        .get(header::HOST)
        .filter(|said| said.as_bytes() == host.as_bytes());
    said.cloned()
        .or_else(|| HeaderValue::from_str(host).ok())
        .filter(|host| !host.is_empty())
}

/// Returns the first element of a list header.
fn first<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let text = headers.get(name)?.to_str().ok()?;
    text.split(',')
        .next()
        .map(str::trim)
        .filter(|text| !text.is_empty())
}

/// Returns the client that trusted proxies forward: the last address that is not a trusted proxy,
/// because addresses before it can be forged.
fn client(headers: &HeaderMap, trusted_proxies: &Networks) -> Option<IpAddr> {
    let lines: Vec<&str> = headers
        .get_all(&X_FORWARDED_FOR)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    let mut farthest = None;
    for text in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        let Some(ip) = address(text.trim()) else {
            break;
        };
        farthest = Some(ip);
        if !trusted_proxies.contains(ip) {
            break;
        }
    }
    farthest
}

/// Parses an address as proxies write it: bare, or with a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text
        .trim_start_matches('[')
        .split(']')
        .next()
        .unwrap_or(text);
    let ip = bare
        .parse::<IpAddr>()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()))?;
    Some(ip.to_canonical())
}

fn port_of(host: &str) -> Option<u16> {
    let (_, port) = host.rsplit_once(':')?;
    port.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(nets: &[&str]) -> Networks {
        Networks::new(
            &nets
                .iter()
                .map(|net| net.parse().unwrap())
                .collect::<Vec<_>>(),
        )
    }

    fn request(lines: &[(&'static str, &str)]) -> RequestHeader {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        for (name, value) in lines {
            request.append_header(*name, *value).unwrap();
        }
        request
    }

    fn written(
        peer: &str,
        trusted: &[&str],
        lines: &[(&'static str, &str)],
    ) -> (Origin, HeaderMap) {
        let request = request(lines);
        let peer = Some(peer.parse().unwrap());
        let origin = Origin::of(
            &request,
            "h.example:8080",
            peer,
            None,
            false,
            &networks(trusted),
        );
        let mut headers = request.headers.clone();
        origin.write(&mut headers, "/apps/a");
        (origin, headers)
    }

    fn get<'h>(headers: &'h HeaderMap, name: &str) -> Vec<&'h str> {
        headers
            .get_all(name)
            .iter()
            .map(|value| value.to_str().unwrap())
            .collect()
    }

    const CLAIMS: [(&str, &str); 6] = [
        ("X-Forwarded-For", "198.51.100.7, 10.0.0.9"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "outer.example"),
        ("X-Forwarded-Port", "8443"),
        ("X-Forwarded-Prefix", "/outer"),
        ("Forwarded", "for=198.51.100.7"),
    ];

    #[test]
    fn headers_of_an_untrusted_peer_are_replaced() {
        let (origin, headers) = written("192.0.2.1", &["10.0.0.0/8"], &CLAIMS);
        assert_eq!(origin.client, Some("192.0.2.1".parse().unwrap()));
        assert_eq!(get(&headers, "x-forwarded-for"), ["192.0.2.1"]);
        assert_eq!(get(&headers, "x-forwarded-proto"), ["http"]);
        assert_eq!(get(&headers, "x-forwarded-host"), ["h.example:8080"]);
        assert_eq!(get(&headers, "x-forwarded-port"), ["8080"]);
        assert_eq!(get(&headers, "x-forwarded-prefix"), ["/apps/a"]);
        assert_eq!(
            get(&headers, "forwarded"),
            [r#"for=192.0.2.1;host="h.example:8080";proto=http"#]
        );
    }

    #[test]
    fn headers_of_a_trusted_proxy_are_extended() {
        let (origin, headers) = written("10.0.0.1", &["10.0.0.0/8"], &CLAIMS);
        assert_eq!(origin.client, Some("198.51.100.7".parse().unwrap()));
        assert!(origin.secure);
        assert_eq!(
            get(&headers, "x-forwarded-for"),
            ["198.51.100.7, 10.0.0.9, 10.0.0.1"]
        );
        assert_eq!(get(&headers, "x-forwarded-proto"), ["https"]);
        assert_eq!(get(&headers, "x-forwarded-host"), ["outer.example"]);
        assert_eq!(get(&headers, "x-forwarded-port"), ["8443"]);
        assert_eq!(get(&headers, "x-forwarded-prefix"), ["/outer/apps/a"]);
        let forwarded = r#"for=198.51.100.7, for=10.0.0.1;host="outer.example";proto=https"#;
        assert_eq!(get(&headers, "forwarded"), [forwarded]);
    }

    #[test]
    fn addresses_before_an_untrusted_one_are_ignored() {
        let claims = [
            ("X-Forwarded-For", "203.0.113.1, 198.51.100.7"),
            ("X-Forwarded-For", "10.0.0.2"),
        ];
        let (origin, _) = written("10.0.0.1", &["10.0.0.0/8"], &claims);
        assert_eq!(origin.client, Some("198.51.100.7".parse().unwrap()));
    }

    #[test]
    fn addresses_are_parsed_with_and_without_a_port() {
        for (text, ip) in [
            ("192.0.2.1:80", "192.0.2.1"),
            ("[2001:db8::1]:80", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
        ] {
            assert_eq!(address(text), Some(ip.parse().unwrap()), "{text}");
        }
        assert_eq!(address("unknown"), None);
    }
}
