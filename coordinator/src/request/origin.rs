//! The origin of a request: the client's address, scheme, host and port, as far as the peer is
//! trusted, and the headers that forward them to the application (`X-Forwarded-*`, and `Forwarded`
//! of RFC 7239).

mod address;
mod claims;
mod forwarded;

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use app_proxy_hop::header::{
    FORWARDED, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PORT, X_FORWARDED_PREFIX,
    X_FORWARDED_PROTO, ip_value, set,
};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use pingora_http::RequestHeader;

use crate::config::Networks;
use crate::request::authority::default_port;
use claims::Claims;
use forwarded::{Element, from_addresses, push_node};

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
        let claims = if trusted {
            Claims::of(headers, trusted_proxies)
        } else {
            Claims::default()
        };
        let secure = claims.secure.unwrap_or(tls);
        let host = claims.host.or_else(|| host_value(request, host));
        let port = claims
            .port
            .or_else(|| host.as_ref().and_then(|host| port_of(host.to_str().ok()?)))
            .unwrap_or(default_port(secure));
        let client = claims.client.or(peer);
        let outer_prefix = claims.prefix.trim_end_matches('/').into();
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

    /// Appends the peer to the `X-Forwarded-For` and `Forwarded` of a trusted proxy. If it sent one
    /// of them alone, the other one gets the same addresses; a `Forwarded` that does not parse is
    /// dropped.
    fn chains(&self, headers: &HeaderMap) -> (Option<HeaderValue>, Option<HeaderValue>) {
        let elements = forwarded::elements(headers);
        let element = self.element();
        let for_chain = match &elements {
            Some(elements) if forwarded::is_alone(headers) => {
                let addresses = elements.iter().filter_map(Element::address);
                let addresses = addresses.map(|ip| ip.to_string());
                let own = self.peer_text().map(str::to_owned);
                let all: Vec<String> = addresses.chain(own).collect();
                HeaderValue::try_from(all.join(", ")).ok()
            }
            _ => chain(headers, &X_FORWARDED_FOR, self.peer_text()),
        };
        let forwarded = if elements.is_some() {
            chain(headers, &FORWARDED, Some(&element))
        } else {
            HeaderValue::try_from(from_addresses(headers) + &element).ok()
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

fn port_of(host: &str) -> Option<u16> {
    let (_, port) = host.rsplit_once(':')?;
    port.parse().ok()
}

#[cfg(test)]
mod tests;
