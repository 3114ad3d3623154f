//! The admission of a request (phase `request_filter`): a method that is served, one valid host,
//! and a body within the limit.

use app_proxy_hop::body;
use app_proxy_hop::enter::check_method;
use app_proxy_hop::error::ProxyError;
use http::uri::Scheme;
use http::{Uri, Version, header};
use pingora_http::RequestHeader;

use crate::request::authority::{Authority, default_port};

/// The longest host with its port, in bytes. Names have 253 at most (RFC 1035, section 2.3.4).
const MAX_HOST_BYTES: usize = 300;

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

/// Returns the host of a request: that of the target if it names one (RFC 9112, section 3.2.2; RFC
/// 9113, section 8.3.1), otherwise that of `Host`.
///
/// # Errors
/// When an HTTP/1.1 request has none, it is not valid (RFC 9110, section 7.2), there are several,
/// or target and `Host` name different ones.
pub(super) fn host(request: &RequestHeader) -> Result<&str, ProxyError> {
    let mut lines = request.headers.get_all(header::HOST).iter();
    let line = lines.next();
    if lines.next().is_some() {
        return Err(ProxyError::BadRequest("The request has several Hosts."));
    }
    let line = line
        .map(|value| value.to_str().map_err(|_| BAD_HOST))
        .transpose()?;
    let text = match (request.uri.authority(), line) {
        (Some(authority), Some(line)) if !is_same_host(&request.uri, line) => {
            return Err(if is_host(authority.as_str()) {
                ProxyError::BadRequest("The Host of the request is not that of its target.")
            } else {
                BAD_HOST
            });
        }
        (Some(authority), _) => authority.as_str(),
        (None, Some(line)) => line,
        // HTTP/1.0 has no Host.
        (None, None) if request.version == Version::HTTP_10 => return Ok(""),
        (None, None) => return Err(ProxyError::BadRequest("The request has no Host.")),
    };
    if is_host(text) {
        Ok(text)
    } else {
        Err(BAD_HOST)
    }
}

/// Returns whether a `Host` is that of the target, in any case, with or without the default port.
fn is_same_host(target: &Uri, host: &str) -> bool {
    let default = default_port(target.scheme() == Some(&Scheme::HTTPS));
    let Some(named) = target.authority() else {
        return true;
    };
    let authorities = (
        Authority::parse(named.as_str().as_bytes()),
        Authority::parse(host.as_bytes()),
    );
    named.as_str() == host
        || matches!(authorities, (Some(one), Some(other))
            if one.without(default).is(other.without(default)))
}

/// Returns whether a text is a host name or an address, with or without a port, which may be empty
/// (RFC 3986, section 3.2.3). Narrower than RFC 3986: hosts in use have none of its other
/// characters, and applications put the text into pages and links.
pub(super) fn is_host(text: &str) -> bool {
    text.len() <= MAX_HOST_BYTES
        && Authority::parse(text.as_bytes()).is_some_and(|authority| authority.is_valid())
}

const BAD_HOST: ProxyError = ProxyError::BadRequest("The Host of the request is not valid.");

#[cfg(test)]
mod tests {
    use super::*;

    fn request(target: &str, hosts: &[&str]) -> RequestHeader {
        let mut parts = http::Request::new(()).into_parts().0;
        parts.uri = target.parse().unwrap();
        for host in hosts {
            parts.headers.append(header::HOST, host.parse().unwrap());
        }
        RequestHeader::from(parts)
    }

    #[test]
    fn a_host_may_have_a_port_that_may_be_empty() {
        for valid in [
            "a.example",
            "A_b-c.example.",
            "a.example:80",
            "a.example:65535",
            "127.0.0.1:1",
            "[::1]",
            "[::1]:8080",
            // Regression: an empty port was refused.
            "a.example:",
            "[::1]:",
        ] {
            assert_eq!(host(&request("/", &[valid])), Ok(valid), "{valid}");
        }
        let long = "a".repeat(301);
        for bad in [
            "", ":", ":80", "a b", "u@h", "a/b", "a,b", "a:b", "a:b:80", "h:65536", "h:-1",
            "[::g]", "[::1", "[]", "[::1]x", "::1", "a[b]", &long,
        ] {
            assert!(host(&request("/", &[bad])).is_err(), "{bad}");
        }
    }

    /// Regression: a target and a `Host` that differ in case or the default port were refused.
    #[test]
    fn a_target_and_a_host_are_equal_in_any_case_and_with_the_default_port() {
        for (target, line) in [
            ("http://a.example/", "A.Example"),
            ("http://A.example:80/", "a.example"),
            ("http://a.example/", "a.example:80"),
            ("http://a.example/", "a.example:"),
            ("https://a.example/", "a.example:443"),
            ("http://[::1]/", "[0::1]:80"),
        ] {
            let request = request(target, &[line]);
            let authority = request.uri.authority().unwrap().as_str();
            assert_eq!(host(&request), Ok(authority), "{target} {line}");
        }
        for (target, line) in [
            ("http://a.example/", "b.example"),
            ("http://a.example/", "a.example:443"),
            ("https://a.example/", "a.example:80"),
            ("http://a.example/", ""),
            ("http://u@a.example/", "u@a.example"),
        ] {
            assert!(host(&request(target, &[line])).is_err(), "{target} {line}");
        }
        assert_eq!(host(&request("http://a.example/", &[])), Ok("a.example"));
    }

    #[test]
    fn several_hosts_are_refused() {
        assert!(host(&request("/", &["a.example", "a.example"])).is_err());
        assert!(host(&request("http://a.example/", &["a.example", "b.example"])).is_err());
    }
}
