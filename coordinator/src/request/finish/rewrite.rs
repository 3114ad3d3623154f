//! Restores the prefix, which was removed from the request's path, in the paths of a response, so
//! that an application works that does not know of the proxy.

use app_proxy_api::apps::Endpoint;
use http::{HeaderValue, header};
use pingora_http::ResponseHeader;

use crate::request::origin::Origin;

/// Rewrites `Location`: an absolute path, or a URL of the host that the client asked for or of an
/// endpoint of the app.
///
/// A path that has the prefix already stays: the application uses `X-Forwarded-Prefix`. So does a
/// relative path, which the client resolves against the prefixed one.
pub(super) fn location(
    response: &mut ResponseHeader,
    prefix: &str,
    origin: &Origin,
    endpoints: &[Endpoint],
) {
    let Some(value) = response.headers.get(header::LOCATION).and_then(text) else {
        return;
    };
    let Some((start, path)) =
        own_path(value, origin, endpoints).filter(|(_, path)| !has_prefix(path, prefix))
    else {
        return;
    };
    let rewritten = format!("{start}{prefix}{path}");
    if let Ok(value) = HeaderValue::try_from(rewritten) {
        let _ = response.insert_header(header::LOCATION, value);
    }
}

/// Splits a location within the application into the part before the prefix (scheme and host, if
/// they are those of the client), and the path with its query and fragment. Returns none for a
/// relative location, and one of another site.
fn own_path<'l>(
    location: &'l str,
    origin: &Origin,
    endpoints: &[Endpoint],
) -> Option<(&'l str, &'l str)> {
    let after_scheme = ["http://", "https://"]
        .iter()
        .find_map(|scheme| strip_ignoring_case(location, scheme));
    let Some(rest) = after_scheme.or_else(|| location.strip_prefix("//")) else {
        return location.starts_with('/').then_some(("", location));
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let is_client_host = origin
        .host()
        .is_some_and(|host| host.eq_ignore_ascii_case(authority));
    let is_endpoint = || {
        endpoints
            .iter()
            .any(|endpoint| endpoint.address.to_string().eq_ignore_ascii_case(authority))
    };
    let start = if is_client_host {
        location.strip_suffix(path)?
    } else if is_endpoint() {
        // The application named its own address, which clients cannot reach.
        ""
    } else {
        return None;
    };
    let path = if path.is_empty() { "/" } else { path };
    path.starts_with('/').then_some((start, path))
}

fn strip_ignoring_case<'t>(text: &'t str, start: &str) -> Option<&'t str> {
    let (head, rest) = text.split_at_checked(start.len())?;
    head.eq_ignore_ascii_case(start).then_some(rest)
}

/// Returns whether a path begins with the prefix as whole segments.
fn has_prefix(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?', '#']))
}

/// Rewrites the `Path` of each `Set-Cookie`. A `__Host-` cookie must have `Path=/` (RFC 6265bis,
/// section 4.1.3.2) and stays.
pub(super) fn cookie_paths(response: &mut ResponseHeader, prefix: &str) {
    each_cookie(response, |cookie| {
        if cookie.starts_with("__Host-") {
            return Some(cookie.to_owned());
        }
        let parts = cookie.split(';').map(|part| match path_attribute(part) {
            Some(path) if path.starts_with('/') && !has_prefix(path, prefix) => {
                format!(" Path={prefix}{path}")
            }
            _ => part.to_owned(),
        });
        Some(parts.collect::<Vec<_>>().join(";"))
    });
}

/// Removes the session's cookie from the `Set-Cookie` headers: an application must not set it.
pub(super) fn remove_cookie(response: &mut ResponseHeader, name: &str) {
    each_cookie(response, |cookie| {
        let own = cookie
            .split_once('=')
            .is_some_and(|(start, _)| start.trim() == name);
        (!own).then(|| cookie.to_owned())
    });
}

/// Returns a header value as text; applications send UTF-8, which `to_str` rejects.
fn text(value: &HeaderValue) -> Option<&str> {
    std::str::from_utf8(value.as_bytes()).ok()
}

fn path_attribute(part: &str) -> Option<&str> {
    let (name, value) = part.split_once('=')?;
    name.trim()
        .eq_ignore_ascii_case("path")
        .then_some(value.trim())
}

/// Replaces each `Set-Cookie` by the result of `change`; one that is not text stays.
fn each_cookie(response: &mut ResponseHeader, change: impl Fn(&str) -> Option<String>) {
    let mut changed = false;
    let cookies: Vec<HeaderValue> = response
        .headers
        .get_all(header::SET_COOKIE)
        .iter()
        .filter_map(|value| {
            let Some(text) = text(value) else {
                return Some(value.clone());
            };
            let new = change(text);
            changed |= new.as_deref() != Some(text);
            HeaderValue::try_from(new?).ok()
        })
        .collect();
    if !changed {
        return;
    }
    response.remove_header(&header::SET_COOKIE);
    for cookie in cookies {
        let _ = response.append_header(header::SET_COOKIE, cookie);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Networks;

    const PREFIX: &str = "/apps/a";

    fn relocated(value: &str) -> String {
        let request = pingora_http::RequestHeader::build("GET", b"/", None).unwrap();
        let origin = Origin::of(
            &request,
            "proxy.example:8080",
            None,
            None,
            false,
            &Networks::new(&[]),
        );
        let endpoints = [Endpoint {
            address: "127.0.0.1:8888".parse().unwrap(),
            weight: 1,
        }];
        let mut response = ResponseHeader::build(302, None).unwrap();
        response.insert_header("Location", value).unwrap();
        location(&mut response, PREFIX, &origin, &endpoints);
        text(&response.headers["location"]).unwrap().to_owned()
    }

    #[test]
    fn locations_within_the_application_get_the_prefix() {
        for (value, expected) in [
            ("/", "/apps/a/"),
            ("/x?y#z", "/apps/a/x?y#z"),
            ("/caf\u{e9}", "/apps/a/caf\u{e9}"),
            (
                "http://proxy.example:8080/x",
                "http://proxy.example:8080/apps/a/x",
            ),
            (
                "HTTP://Proxy.Example:8080",
                "HTTP://Proxy.Example:8080/apps/a/",
            ),
            ("http://127.0.0.1:8888/x", "/apps/a/x"),
            ("//proxy.example:8080/x", "//proxy.example:8080/apps/a/x"),
            ("/apps/ab", "/apps/a/apps/ab"),
        ] {
            assert_eq!(relocated(value), expected, "{value}");
        }
    }

    #[test]
    fn other_locations_stay() {
        for value in [
            "x",
            "../x",
            "?x",
            "http://other.example/x",
            "//other.example/x",
            "/apps/a/x",
            "/apps/a",
            "mailto:a@b",
        ] {
            assert_eq!(relocated(value), value);
        }
    }

    fn cookies(values: &[&str]) -> Vec<String> {
        let mut response = ResponseHeader::build(200, None).unwrap();
        for value in values {
            response.append_header("Set-Cookie", *value).unwrap();
        }
        remove_cookie(&mut response, "app_proxy_session");
        cookie_paths(&mut response, PREFIX);
        response
            .headers
            .get_all("set-cookie")
            .iter()
            .map(|v| v.to_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn cookie_paths_get_the_prefix() {
        let rewritten = cookies(&[
            "a=1; Path=/; HttpOnly",
            "b=2;path=/x",
            "c=3",
            "d=4; Path=/apps/a/x",
            "__Host-e=5; Path=/; Secure",
            "f=Path=/; Secure",
            "app_proxy_session=forged; Path=/",
        ]);
        assert_eq!(
            rewritten,
            [
                "a=1; Path=/apps/a/; HttpOnly",
                "b=2; Path=/apps/a/x",
                "c=3",
                "d=4; Path=/apps/a/x",
                "__Host-e=5; Path=/; Secure",
                "f=Path=/; Secure",
            ]
        );
    }
}
