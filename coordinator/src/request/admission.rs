//! The admission of a request (phase `request_filter`): a method that is served, one valid host, a
//! body within the limit, and a path that an app answers on.

use std::net::Ipv6Addr;
use std::sync::Arc;

use app_proxy_hop::body;
use app_proxy_hop::enter::check_method;
use app_proxy_hop::error::ProxyError;
use axum::extract::Query;
use bytes::Bytes;
use http::{Uri, Version, header, uri::Authority};
use pingora_http::RequestHeader;

use crate::activation::activator::WAKING;
use crate::apps::{RoutedApp, Snapshot};
use crate::request::context::Route;
use crate::router::{Lookup, PathError};

/// The prefix of the coordinator's own paths.
const RESERVED: &str = "/.app-proxy/";

/// The decision about a request.
pub(super) enum Verdict {
    /// Forward it to an app.
    Forward(Route),
    /// Redirect it to the same path with a slash at the end; the value is the `Location`.
    Redirect(String),
    /// Answer the health probe of the public listeners.
    Health,
    /// Start the app, which has no endpoint.
    Activate(Arc<RoutedApp>),
    /// Tell a page that waits for an app that it runs.
    Running,
    /// Refuse it.
    Refuse(ProxyError),
}

/// Decides about a request for the host that [`host`] returned.
pub(super) fn judge(
    request: &RequestHeader,
    host: Result<&str, ProxyError>,
    snapshot: &Snapshot,
    largest_body: u64,
) -> Verdict {
    match check(request, host, largest_body) {
        Ok(host) => route(request, host, snapshot),
        Err(failure) => Verdict::Refuse(failure),
    }
}

/// Checks the method, the host and the announced length of the body, in this order.
fn check<'r>(
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

fn route(request: &RequestHeader, host: &str, snapshot: &Snapshot) -> Verdict {
    if !request.raw_path_is_utf8() {
        return Verdict::Refuse(ProxyError::BadRequest(
            "The path is not valid: its bytes are not UTF-8.",
        ));
    }
    let path = request.uri.path();
    if let Some(own) = path.strip_prefix(RESERVED) {
        return match own {
            "healthz" => Verdict::Health,
            WAKING => activation(request, host, snapshot),
            _ => Verdict::Refuse(ProxyError::AppNotFound),
        };
    }
    let query = request.uri.query();
    match snapshot.router.lookup(host, path) {
        Lookup::Found(found) if found.value.needs_activation() => {
            Verdict::Activate(Arc::clone(found.value))
        }
        Lookup::Found(found) => {
            let app: &Arc<_> = found.value;
            let forwarded = if app.strips_prefix() {
                found.remainder
            } else {
                path
            };
            match Uri::from_maybe_shared(target(&app.name, forwarded, query)) {
                Ok(target) => Verdict::Forward(Route {
                    app: Arc::clone(app),
                    prefix: found.prefix.into(),
                    target,
                }),
                // The client's target was parsed by the same rules, so this does not occur.
                Err(_) => Verdict::Refuse(ProxyError::BadRequest("The path is not valid.")),
            }
        }
        Lookup::RedirectToSlash(_) => Verdict::Redirect(with_query(format!("{path}/"), query)),
        Lookup::NotFound => Verdict::Refuse(ProxyError::AppNotFound),
        Lookup::Refused(error) => Verdict::Refuse(ProxyError::BadRequest(match error {
            PathError::NoLeadingSlash => "The path does not begin with a slash.",
            PathError::BadEscape => {
                "The path is not valid: a percent sign is not followed by two hexadecimal digits."
            }
            PathError::Nul => "The path is not valid: it has a NUL byte.",
            PathError::NotLiteral => {
                "The path spells the application's prefix in a way that cannot be forwarded."
            }
            PathError::Escapes => "The path leads out of the application.",
        })),
    }
}

/// Answers a page that waits for an app: returns whether the app of its path runs.
fn activation(request: &RequestHeader, host: &str, snapshot: &Snapshot) -> Verdict {
    #[derive(serde::Deserialize)]
    struct Question {
        path: String,
    }
    let Ok(Query(Question { path })) = Query::try_from_uri(&request.uri) else {
        return Verdict::Refuse(ProxyError::BadRequest("The query has no path."));
    };
    match snapshot.router.lookup(host, &path) {
        Lookup::Found(found) | Lookup::RedirectToSlash(found)
            if !found.value.stored.app.endpoints.is_empty() =>
        {
            Verdict::Running
        }
        _ => Verdict::Refuse(ProxyError::AppStarting),
    }
}

fn with_query(path: String, query: Option<&str>) -> String {
    match query {
        Some(query) => format!("{path}?{query}"),
        None => path,
    }
}

/// Returns the target for the worker: the client's own bytes behind `/proxy/<app>`.
fn target(app: &str, path: &str, query: Option<&str>) -> Bytes {
    let mut target =
        Vec::with_capacity(8 + app.len() + path.len() + query.map_or(0, |q| q.len() + 1));
    target.extend_from_slice(b"/proxy/");
    target.extend_from_slice(app.as_bytes());
    if !path.starts_with('/') {
        target.push(b'/');
    }
    target.extend_from_slice(path.as_bytes());
    if let Some(query) = query {
        target.push(b'?');
        target.extend_from_slice(query.as_bytes());
    }
    target.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apps::Apps;

    fn request(method: &str, target: &str, host: &[&str]) -> RequestHeader {
        let mut request = RequestHeader::build(method, target.as_bytes(), None).unwrap();
        request.set_version(Version::HTTP_11);
        for host in host {
            request.append_header("Host", *host).unwrap();
        }
        request
    }

    fn verdict(request: &RequestHeader) -> String {
        let apps = serde_json::from_value(serde_json::json!([
            {"name": "strip"},
            {"name": "keep", "upstream_path": "keep"},
            {"name": "host", "match": [{"host": "h.example"}]},
            {"name": "asleep", "wake": {"notify": "http://s/"}},
            {"name": "runs", "endpoints": [{"address": "a:1"}]}
        ]));
        let apps = Apps::from_file(apps.unwrap(), None).unwrap();
        match judge(request, host(request), &apps.load(), 10) {
            Verdict::Forward(route) => route.target.to_string(),
            Verdict::Redirect(location) => format!("308 {location}"),
            Verdict::Health => "health".to_owned(),
            Verdict::Activate(app) => format!("wake {}", app.name),
            Verdict::Running => "awake".to_owned(),
            Verdict::Refuse(failure) => failure.code().to_string(),
        }
    }

    #[test]
    fn the_target_is_the_apps_name_and_the_clients_own_bytes() {
        for (target, expected) in [
            (
                "/apps/strip/a%20b/?x=1&y=%zz",
                "/proxy/strip/a%20b/?x=1&y=%zz",
            ),
            ("/apps/strip/", "/proxy/strip/"),
            ("/apps/strip/?", "/proxy/strip/?"),
            ("/apps/keep/a", "/proxy/keep/apps/keep/a"),
            ("/apps/strip?x", "308 /apps/strip/?x"),
            ("/apps/strip/../keep/", "bad_request"),
            ("/apps/%zz", "bad_request"),
            ("/apps/none/", "app_not_found"),
            ("/.app-proxy/healthz", "health"),
            ("/.app-proxy/other", "app_not_found"),
            ("/apps/asleep/a", "wake asleep"),
            ("/apps/asleep", "308 /apps/asleep/"),
            (
                "/.app-proxy/waking?path=%2Fapps%2Fasleep%2Fa",
                "app_starting",
            ),
            ("/.app-proxy/waking?path=%2Fapps%2Fruns%2Fa%2520b", "awake"),
            ("/.app-proxy/waking?path=%2Fapps%2Fruns", "awake"),
            ("/.app-proxy/waking?path=%2Fapps%2Fnobody", "app_starting"),
            ("/.app-proxy/waking", "bad_request"),
            ("*", "bad_request"),
        ] {
            assert_eq!(
                verdict(&request("GET", target, &["x"])),
                expected,
                "{target}"
            );
        }
        assert_eq!(
            verdict(&request("GET", "/any", &["h.example:80"])),
            "/proxy/host/any"
        );
        assert_eq!(
            verdict(&request("GET", "/apps/strip/", &["[::1]:80"])),
            "/proxy/strip/"
        );
    }

    #[test]
    fn invalid_requests_are_refused() {
        assert_eq!(
            verdict(&request("TRACE", "/apps/strip/", &["x"])),
            "method_not_allowed"
        );
        assert_eq!(
            verdict(&request("CONNECT", "x:443", &["x"])),
            "method_not_allowed"
        );
        for host in [
            &[][..],
            &["a b"],
            &["u@h"],
            &[""],
            &["h:port"],
            &["a/b"],
            &["a,b"],
            &["[::g]"],
            &["h:"],
        ] {
            assert_eq!(
                verdict(&request("GET", "/apps/strip/", host)),
                "bad_request",
                "{host:?}"
            );
        }
        let mut large = request("POST", "/apps/strip/", &["x"]);
        large.insert_header("Content-Length", "11").unwrap();
        assert_eq!(verdict(&large), "body_too_large");
    }
}
