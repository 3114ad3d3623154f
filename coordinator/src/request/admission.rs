//! What a request must be before anything is done for it (phase `request_filter`): a method that is
//! served, one valid host, a path that an app answers on, a body that is not too large.

use std::net::Ipv6Addr;
use std::sync::Arc;

use app_proxy_hop::error::ProxyError;
use app_proxy_hop::phase;
use axum::extract::Query;
use bytes::Bytes;
use http::{Method, Uri, Version, header, uri::Authority};
use pingora_http::RequestHeader;

use crate::activation::activator::WAKING;
use crate::apps::{RoutedApp, Snapshot};
use crate::request::context::Route;
use crate::router::{Lookup, PathError};

/// Where the coordinator's own paths begin.
const RESERVED: &str = "/.app-proxy/";

/// What to do with a request.
pub enum Verdict {
    /// Forward it to an app.
    Forward(Route),
    /// Redirect to the same path with a slash at its end; the value is the `Location`.
    Redirect(String),
    /// Answer the health probe of the public listener.
    Health,
    /// Ask the app's scheduler to start it.
    Wake(Arc<RoutedApp>),
    /// Tell a page that waited for an app that it runs.
    Awake,
    /// Refuse it.
    Refuse(ProxyError),
}

/// Decides what to do with a request for `host`, which [`host`] has found.
#[must_use]
pub fn judge(
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

fn check<'r>(
    request: &RequestHeader,
    host: Result<&'r str, ProxyError>,
    largest_body: u64,
) -> Result<&'r str, ProxyError> {
    if matches!(request.method, Method::CONNECT | Method::TRACE) {
        return Err(ProxyError::MethodNotAllowed);
    }
    let host = host?;
    phase::check_announced_body(request, largest_body)?;
    Ok(host)
}

/// The host that a request is for: of its target where that names one (RFC 9112, section 3.2.2), or
/// else of `Host`.
///
/// # Errors
/// When an HTTP/1.1 request has none, or it is no host (RFC 9110, section 7.2).
pub fn host(request: &RequestHeader) -> Result<&str, ProxyError> {
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

/// Whether a text is a host name or an address, with or without a port. Narrower than RFC 3986: no
/// host that is in use has its other characters, and applications put the text into pages and
/// links.
fn is_host(text: &str) -> bool {
    is_plain_host(text) || is_authority(text)
}

/// Whether a text is a name or an IPv4 address with a port or without: nearly all are, and nothing
/// has to be parsed for it.
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
            WAKING => waking(request, host, snapshot),
            _ => Verdict::Refuse(ProxyError::AppNotFound),
        };
    }
    let query = request.uri.query();
    match snapshot.router.lookup(host, path) {
        Lookup::Found(found) if found.value.is_asleep() => Verdict::Wake(Arc::clone(found.value)),
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
                // What the client's own target is read by refuses nothing that this one has.
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

/// Whether the app runs that answers on a path: what a page asks that waits for it.
fn waking(request: &RequestHeader, host: &str, snapshot: &Snapshot) -> Verdict {
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
            Verdict::Awake
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

/// The target for the worker: the client's own bytes behind `/proxy/<app>`.
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
            {"name": "strip"}, {"name": "keep", "upstream_path": "keep"}, {"name": "host", "match": [{"host": "h.example"}]},
            {"name": "asleep", "wake": {"notify": "http://s/"}}, {"name": "runs", "endpoints": [{"address": "a:1"}]}
        ]));
        let apps = Apps::from_file(apps.unwrap(), None).unwrap();
        match judge(request, host(request), &apps.load(), 10) {
            Verdict::Forward(route) => route.target.to_string(),
            Verdict::Redirect(location) => format!("308 {location}"),
            Verdict::Health => "health".to_owned(),
            Verdict::Wake(app) => format!("wake {}", app.name),
            Verdict::Awake => "awake".to_owned(),
            Verdict::Refuse(failure) => failure.code().to_owned(),
        }
    }

    #[test]
    fn the_clients_own_bytes_go_behind_the_apps_name() {
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
    fn what_is_no_request_is_refused() {
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
