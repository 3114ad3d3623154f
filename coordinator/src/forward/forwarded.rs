//! Where a request comes from: the client's address, scheme, host and port, as far as they are believed; and the headers that tell the
//! application (`X-Forwarded-*`, and `Forwarded` of RFC 7239).

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use app_proxy_hop::header::{
    FORWARDED, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PORT, X_FORWARDED_PREFIX, X_FORWARDED_PROTO, set,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use pingora_http::RequestHeader;

use crate::config::Networks;

/// Where a request comes from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The peer of the connection; none on a Unix socket.
    peer: Option<IpAddr>,
    /// The client: the peer, or whom trusted proxies name.
    pub client: Option<IpAddr>,
    /// Whether the client's own connection is private.
    pub secure: bool,
    host: Option<HeaderValue>,
    port: u16,
    local: Option<SocketAddr>,
    /// Whether what the peer says of others is kept.
    trusted: bool,
    /// The prefix that trusted proxies before this one have removed; empty for none.
    outer_prefix: Box<str>,
}

impl Origin {
    /// Where a request comes from that has not been looked at.
    #[must_use]
    pub fn unknown() -> Self {
        Self {
            peer: None,
            client: None,
            secure: false,
            host: None,
            port: 80,
            local: None,
            trusted: false,
            outer_prefix: "".into(),
        }
    }

    /// Where a request from `peer` to `local` comes from. `host` is the host that it is for.
    #[must_use]
    pub fn of(
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
        let forwarded_host = said(&X_FORWARDED_HOST).and_then(|text| HeaderValue::from_str(text).ok());
        let host = forwarded_host.or_else(|| HeaderValue::from_str(host).ok()).filter(|host| !host.is_empty());
        let port = said(&X_FORWARDED_PORT)
            .and_then(|text| text.parse().ok())
            .or_else(|| host.as_ref().and_then(|host| port_of(host.to_str().ok()?)))
            .unwrap_or(if secure { 443 } else { 80 });
        let client = if trusted { client(headers, trusted_proxies).or(peer) } else { peer };
        let outer_prefix = said(&X_FORWARDED_PREFIX).unwrap_or_default().trim_end_matches('/').into();
        Self { peer, client, secure, host, port, local, trusted, outer_prefix }
    }

    /// The host that the client asked for.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        self.host.as_ref().and_then(|host| host.to_str().ok())
    }

    /// The host that the client asked for, or else the address that it reached.
    #[must_use]
    pub fn host_or_local(&self) -> HeaderValue {
        let local = || self.local.and_then(|local| HeaderValue::try_from(local.to_string()).ok());
        self.host.clone().or_else(local).unwrap_or_else(|| HeaderValue::from_static("localhost"))
    }

    /// The client's address as a header value.
    #[must_use]
    pub fn client_value(&self) -> Option<HeaderValue> {
        self.client.and_then(|client| HeaderValue::try_from(client.to_string()).ok())
    }

    /// A path as the client knows it: behind whatever prefix the proxies before this one have removed.
    #[must_use]
    pub fn public<'p>(&self, path: &'p str) -> Cow<'p, str> {
        if self.outer_prefix.is_empty() { path.into() } else { format!("{}{path}", self.outer_prefix).into() }
    }

    const fn scheme(&self) -> &'static str {
        if self.secure { "https" } else { "http" }
    }

    /// Rebuilds the forwarded headers; `prefix` is the one that was removed from the path, if any was.
    pub fn write(&self, request: &mut RequestHeader, prefix: &str) {
        let prefix = Some(format!("{}{prefix}", self.outer_prefix)).filter(|whole| !whole.is_empty());
        let for_chain = self.chain(&request.headers, &X_FORWARDED_FOR, self.peer.map(|peer| peer.to_string()));
        let forwarded = if self.trusted && !request.headers.contains_key(&FORWARDED) {
            Some(format!("{}{}", named_by_trusted(&request.headers), self.element()))
        } else {
            self.chain(&request.headers, &FORWARDED, Some(self.element()))
        };
        for name in [&X_FORWARDED_FOR, &FORWARDED, &X_FORWARDED_HOST, &X_FORWARDED_PREFIX] {
            request.remove_header(name);
        }
        for (name, value) in [(&X_FORWARDED_FOR, for_chain), (&FORWARDED, forwarded), (&X_FORWARDED_PREFIX, prefix)] {
            if let Some(value) = value.and_then(|text| HeaderValue::try_from(text).ok()) {
                set(request, name, value);
            }
        }
        set(request, &X_FORWARDED_PROTO, HeaderValue::from_static(self.scheme()));
        set(request, &X_FORWARDED_PORT, HeaderValue::from(self.port));
        if let Some(host) = &self.host {
            set(request, &X_FORWARDED_HOST, host.clone());
        }
    }

    /// What a trusted peer says, with our own part behind it; without trust our part alone.
    fn chain(&self, headers: &HeaderMap, name: &HeaderName, own: Option<String>) -> Option<String> {
        let said = headers.get_all(name).iter().filter(|_| self.trusted).filter_map(|value| value.to_str().ok());
        let parts: Vec<&str> = said.filter(|part| !part.is_empty()).chain(own.as_deref()).collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }

    /// Our element of `Forwarded`.
    fn element(&self) -> String {
        let node = self.peer.map_or_else(|| "for=unknown".to_owned(), node);
        let host = self.host().map(|host| format!(";host=\"{host}\"")).unwrap_or_default();
        format!("{node}{host};proto={}", self.scheme())
    }
}

/// What a trusted proxy says in `X-Forwarded-For` alone, as elements of `Forwarded`, each with its comma.
fn named_by_trusted(headers: &HeaderMap) -> String {
    let lines = headers.get_all(&X_FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
    lines
        .flat_map(|line| line.split(','))
        .filter_map(|text| address(text.trim()))
        .map(|ip| format!("{}, ", node(ip)))
        .collect()
}

/// An address as a node of `Forwarded` (RFC 7239, section 6).
fn node(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => format!("for={ip}"),
        IpAddr::V6(ip) => format!("for=\"[{ip}]\""),
    }
}

/// The first element of a list header.
fn first<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let text = headers.get(name)?.to_str().ok()?;
    text.split(',').next().map(str::trim).filter(|text| !text.is_empty())
}

/// The client that trusted proxies name: the last address that is not a trusted proxy's, since whatever stands before it could be made up.
fn client(headers: &HeaderMap, trusted_proxies: &Networks) -> Option<IpAddr> {
    let lines: Vec<&str> = headers.get_all(&X_FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok()).collect();
    let mut farthest = None;
    for text in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        let Some(ip) = address(text.trim()) else { break };
        farthest = Some(ip);
        if !trusted_proxies.contains(ip) {
            break;
        }
    }
    farthest
}

/// An address as proxies write it: bare, or with a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.trim_start_matches('[').split(']').next().unwrap_or(text);
    let ip = bare.parse::<IpAddr>().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()))?;
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
        Networks::new(&nets.iter().map(|net| net.parse().unwrap()).collect::<Vec<_>>())
    }

    fn request(lines: &[(&'static str, &str)]) -> RequestHeader {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        for (name, value) in lines {
            request.append_header(*name, *value).unwrap();
        }
        request
    }

    fn written(peer: &str, trusted: &[&str], lines: &[(&'static str, &str)]) -> (Origin, RequestHeader) {
        let mut request = request(lines);
        let peer = Some(peer.parse().unwrap());
        let origin = Origin::of(&request, "h.example:8080", peer, None, false, &networks(trusted));
        origin.write(&mut request, "/apps/a");
        (origin, request)
    }

    fn get<'r>(request: &'r RequestHeader, name: &str) -> Vec<&'r str> {
        request.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
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
    fn a_stranger_is_not_believed() {
        let (origin, request) = written("192.0.2.1", &["10.0.0.0/8"], &CLAIMS);
        assert_eq!(origin.client, Some("192.0.2.1".parse().unwrap()));
        assert_eq!(get(&request, "x-forwarded-for"), ["192.0.2.1"]);
        assert_eq!(get(&request, "x-forwarded-proto"), ["http"]);
        assert_eq!(get(&request, "x-forwarded-host"), ["h.example:8080"]);
        assert_eq!(get(&request, "x-forwarded-port"), ["8080"]);
        assert_eq!(get(&request, "x-forwarded-prefix"), ["/apps/a"]);
        assert_eq!(get(&request, "forwarded"), [r#"for=192.0.2.1;host="h.example:8080";proto=http"#]);
    }

    #[test]
    fn a_trusted_proxy_is_believed_and_added_to() {
        let (origin, request) = written("10.0.0.1", &["10.0.0.0/8"], &CLAIMS);
        assert_eq!(origin.client, Some("198.51.100.7".parse().unwrap()));
        assert!(origin.secure);
        assert_eq!(get(&request, "x-forwarded-for"), ["198.51.100.7, 10.0.0.9, 10.0.0.1"]);
        assert_eq!(get(&request, "x-forwarded-proto"), ["https"]);
        assert_eq!(get(&request, "x-forwarded-host"), ["outer.example"]);
        assert_eq!(get(&request, "x-forwarded-port"), ["8443"]);
        assert_eq!(get(&request, "x-forwarded-prefix"), ["/outer/apps/a"]);
        let forwarded = r#"for=198.51.100.7, for=10.0.0.1;host="outer.example";proto=https"#;
        assert_eq!(get(&request, "forwarded"), [forwarded]);
    }

    #[test]
    fn what_a_client_puts_before_a_strangers_address_is_not_believed() {
        let claims = [("X-Forwarded-For", "203.0.113.1, 198.51.100.7"), ("X-Forwarded-For", "10.0.0.2")];
        let (origin, _) = written("10.0.0.1", &["10.0.0.0/8"], &claims);
        assert_eq!(origin.client, Some("198.51.100.7".parse().unwrap()));
    }

    #[test]
    fn addresses_are_read_as_proxies_write_them() {
        for (text, ip) in
            [("192.0.2.1:80", "192.0.2.1"), ("[2001:db8::1]:80", "2001:db8::1"), ("2001:db8::1", "2001:db8::1")]
        {
            assert_eq!(address(text), Some(ip.parse().unwrap()), "{text}");
        }
        assert_eq!(address("unknown"), None);
    }
}
