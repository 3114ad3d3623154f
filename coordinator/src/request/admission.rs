//! The admission of a request (phase `request_filter`): a method that is served, one valid host,
//! and a body within the limit.

use std::net::Ipv6Addr;

use app_proxy_hop::body;
use app_proxy_hop::enter::check_method;
use app_proxy_hop::error::ProxyError;
use http::{Version, header, uri::Authority};
use pingora_http::RequestHeader;

/// Checks the method, the host and the announced length of the body, in this order.
pub(super) fn check<'r>(
    request: &RequestHeader,
    host: Result<&'r str, ProxyError>,
    largest_body: u64,
) -> Result<&'r str, ProxyError> {
    check_method(request)?;
    let host = host?;
    body::check_announced(request, largest_body)?;
    Ok(host)
}

/// Returns the host of a request: that of the target if it names one (RFC 9112, section 3.2.2),
/// otherwise that of `Host`.
///
/// # Errors
/// When an HTTP/1.1 request has none, or it is not valid (RFC 9110, section 7.2).
pub(super) fn host(request: &RequestHeader) -> Result<&str, ProxyError> {
    let text = match request.uri.authority() {
        Some(authority) => authority.as_str(),
        None => match request.headers.get(header::HOST) {
            Some(value) => value.to_str().map_err(|_| BAD_HOST)?,
            // HTTP/1.0 has no Host.
            None if request.version == Version::HTTP_10 => return Ok(""),
            None => return Err(ProxyError::BadRequest("The request has no Host.")),
        },
    };
    if is_host(text) {
        Ok(text)
    } else {
        Err(BAD_HOST)
    }
}

/// Returns whether a text is a host name or an address, with or without a port. Narrower than RFC
/// 3986: hosts in use have none of its other characters, and applications put the text into pages
/// and links.
fn is_host(text: &str) -> bool {
    is_plain_host(text) || is_authority(text)
}

/// Returns whether a text is a name or an IPv4 address, with or without a port. Nearly all hosts
/// are, and this check parses nothing.
fn is_plain_host(text: &str) -> bool {
    let (name, port) = text.split_once(':').unwrap_or((text, "80"));
    let is_port = (1..=4).contains(&port.len()) && port.bytes().all(|b| b.is_ascii_digit());
    is_port && is_name(name)
}

fn is_name(host: &str) -> bool {
    !host.is_empty()
        && host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
}

fn is_authority(text: &str) -> bool {
    let Ok(authority) = text.parse::<Authority>() else {
        return false;
    };
    let literal = |host: &str| {
        host.strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .map(str::parse::<Ipv6Addr>)
    };
    let port = text.len() == authority.host().len() || authority.port_u16().is_some();
    port && !text.contains('@')
        && (is_name(authority.host()) || literal(authority.host()).is_some_and(|ip| ip.is_ok()))
}

const BAD_HOST: ProxyError = ProxyError::BadRequest("The Host of the request is not valid.");
