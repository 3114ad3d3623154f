//! Restores the prefix, which was removed from the request's path, in the paths of a response, so
//! that an application works that does not know of the proxy.
//!
//! Values are bytes: a path in Latin-1 is rewritten like one in ASCII.

mod cookie;
mod refresh;

use app_proxy_api::address::Address;
use app_proxy_api::apps::Endpoint;
use http::{HeaderName, HeaderValue, header};
use pingora_http::ResponseHeader;

use crate::request::authority::{Authority, default_port};
use crate::request::origin::Origin;

pub(super) use cookie::{cookie_paths, remove_cookie};

/// Rewrites the URLs of `Location`, `Content-Location` and `Refresh`.
///
/// That is an absolute path, or a URL of the host that the client asked for or of an endpoint of
/// the app. A path that has the prefix already stays: the application uses `X-Forwarded-Prefix`. So
/// does a relative path, which the client resolves against the prefixed one.
pub(super) fn urls(
    response: &mut ResponseHeader,
    prefix: &str,
    origin: &Origin,
    endpoints: &[Endpoint],
) {
    let prefix = prefix.as_bytes();
    let rewritten = |url: &[u8]| rewritten(url, prefix, origin, endpoints);
    change(response, &header::LOCATION, rewritten);
    change(response, &header::CONTENT_LOCATION, rewritten);
    change(response, &header::REFRESH, |value| {
        let (before, url, after) = refresh::split(value)?;
        Some([before, &rewritten(url)?, after].concat())
    });
}

/// Replaces a header if `change` returns another value.
fn change(
    response: &mut ResponseHeader,
    name: &HeaderName,
    change: impl Fn(&[u8]) -> Option<Vec<u8>>,
) {
    let Some(value) = response.headers.get(name) else {
        return;
    };
    if let Some(changed) = change(value.as_bytes())
        && let Ok(changed) = HeaderValue::from_bytes(&changed)
    {
        let _ = response.insert_header(name, changed);
    }
}

/// Returns a URL with the prefix, or none if it stays as it is.
fn rewritten(
    url: &[u8],
    prefix: &[u8],
    origin: &Origin,
    endpoints: &[Endpoint],
) -> Option<Vec<u8>> {
    let (start, path) = own_path(url, origin, endpoints)?;
    if has_prefix(path, prefix) {
        return None;
    }
    // The path of a URL without one is `/` (RFC 9110, section 4.2.3).
    let slash: &[u8] = if path.starts_with(b"/") { b"" } else { b"/" };
    Some([start, prefix, slash, path].concat())
}

/// Splits a URL within the application into the part before the prefix (scheme and host, if they
/// are those of the client), and the path with its query and fragment. Returns none for a relative
/// path, and a URL of another site.
fn own_path<'u>(
    url: &'u [u8],
    origin: &Origin,
    endpoints: &[Endpoint],
) -> Option<(&'u [u8], &'u [u8])> {
    let (is_secure, rest) = if let Some(rest) = strip_ignoring_case(url, b"https://") {
        (true, rest)
    } else if let Some(rest) = strip_ignoring_case(url, b"http://") {
        (false, rest)
    } else if let Some(rest) = url.strip_prefix(b"//") {
        (origin.secure, rest)
    } else {
        return url.starts_with(b"/").then_some((b"", url));
    };
    let ends_authority = |byte: &u8| matches!(byte, b'/' | b'?' | b'#');
    let end = rest.iter().position(ends_authority).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end)?;
    if is_client_host(authority, is_secure, origin) {
        return Some((url.strip_suffix(path)?, path));
    }
    // The application may name its own address, which clients cannot reach.
    is_endpoint(authority, is_secure, endpoints).then_some((b"", path))
}

/// Returns whether an authority is the host that the client asked for. The scheme may be another
/// one: a proxy in front may end TLS without a word about it.
fn is_client_host(authority: &[u8], is_secure: bool, origin: &Origin) -> bool {
    let Some(host) = origin.host().map(str::as_bytes) else {
        return false;
    };
    if host.eq_ignore_ascii_case(authority) {
        return true;
    }
    let (Some(named), Some(client)) = (Authority::parse(authority), Authority::parse(host)) else {
        return false;
    };
    let default = default_port(is_secure);
    let client = client.without(default).without(default_port(origin.secure));
    named.without(default).is(client)
}

/// Returns whether an authority is the address of an endpoint.
fn is_endpoint(authority: &[u8], is_secure: bool, endpoints: &[Endpoint]) -> bool {
    let Some(named) = Authority::parse(authority) else {
        return false;
    };
    let default = default_port(is_secure);
    endpoints.iter().any(|endpoint| match &endpoint.address {
        Address::Inet { host, port } => {
            let endpoint = Authority::new(host.as_bytes(), *port);
            named.without(default).is(endpoint.without(default))
        }
        Address::Unix(_) => false,
    })
}

fn strip_ignoring_case<'t>(text: &'t [u8], start: &[u8]) -> Option<&'t [u8]> {
    let (head, rest) = text.split_at_checked(start.len())?;
    head.eq_ignore_ascii_case(start).then_some(rest)
}

/// Returns whether a path begins with the prefix as whole segments.
fn has_prefix(path: &[u8], prefix: &[u8]) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| matches!(rest, [] | [b'/' | b'?' | b'#', ..]))
}

#[cfg(test)]
mod tests;
