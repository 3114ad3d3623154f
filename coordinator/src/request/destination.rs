//! The destination of a request (phase `request_filter`): the app that answers on its host and
//! path, and what is done about it.

use std::sync::Arc;

use app_proxy_hop::error::ProxyError;
use axum::extract::Query;
use bytes::Bytes;
use http::{Method, Uri};
use pingora_http::RequestHeader;

use crate::activation::activator::WAKING;
use crate::apps::{RoutedApp, Snapshot};
use crate::request::context::Route;
use crate::request::max_forwards::is_used_up;
use crate::request::via::Pseudonym;
use crate::router::{Lookup, PathError};

/// The prefix of the coordinator's own paths.
const RESERVED: &str = "/.app-proxy/";

/// The destination of a valid request, before anything is decided about it.
pub(super) enum Destination<'r> {
    /// The health probe of the public listeners.
    Health,
    /// The proxy itself, whose methods the client asks for.
    Server,
    /// An app.
    App {
        /// The app.
        app: Arc<RoutedApp>,
        /// The path prefix that matched, without a trailing `/`.
        prefix: Box<str>,
        /// The path after it.
        remainder: &'r str,
    },
    /// The prefix of an app, without the slash at its end.
    Prefix(Arc<RoutedApp>),
    /// The question of a waiting page about the app of a path, if an app has it.
    Waking {
        /// The app.
        app: Option<Arc<RoutedApp>>,
        /// The path.
        path: String,
    },
    /// No app: this error.
    Nowhere(ProxyError),
}

impl Destination<'_> {
    /// Returns the app.
    pub(super) const fn app(&self) -> Option<&Arc<RoutedApp>> {
        match self {
            Self::App { app, .. } | Self::Prefix(app) => Some(app),
            Self::Waking { app, .. } => app.as_ref(),
            Self::Health | Self::Server | Self::Nowhere(_) => None,
        }
    }
}

/// The decision about a request.
pub(super) enum Verdict {
    /// Forward it to an app.
    Forward(Route),
    /// Redirect it to the same path with a slash at the end; the value is the `Location`.
    Redirect(String),
    /// Answer the health probe of the public listeners.
    Health,
    /// Answer with the methods of the proxy.
    Methods,
    /// Start the app, which has no endpoint.
    Activate(Arc<RoutedApp>),
    /// Tell a page that waits for an app that it runs.
    Running,
    /// Refuse it.
    Refuse(ProxyError),
}

/// Finds the destination of a request for `host`.
///
/// # Errors
/// When the request is not valid, whatever apps there are.
pub(super) fn route<'r>(
    request: &'r RequestHeader,
    host: &str,
    snapshot: &Snapshot,
) -> Result<Destination<'r>, ProxyError> {
    // Pingora's own loop keeps such bytes aside, and would forward others.
    if !request.raw_path_is_utf8() {
        return Err(ProxyError::BadRequest(
            "The path is not valid: its bytes are not UTF-8.",
        ));
    }
    let path = request.uri.path();
    if request.method == Method::OPTIONS && (path == "*" || is_used_up(&request.headers)) {
        return Ok(Destination::Server);
    }
    if let Some(own) = path.strip_prefix(RESERVED) {
        return match own {
            "healthz" => Ok(Destination::Health),
            WAKING => waking(request, host, snapshot),
            _ => Ok(Destination::Nowhere(ProxyError::AppNotFound)),
        };
    }
    match snapshot.router.lookup(host, path) {
        Lookup::Found(found) => Ok(Destination::App {
            app: Arc::clone(found.value),
            prefix: found.prefix.into(),
            remainder: found.remainder,
        }),
        Lookup::RedirectToSlash(found) => Ok(Destination::Prefix(Arc::clone(found.value))),
        Lookup::NotFound => Ok(Destination::Nowhere(ProxyError::AppNotFound)),
        Lookup::Refused(error) => {
            let failure = ProxyError::BadRequest(fault(error));
            match error {
                // Only paths of apps have these faults: a stranger must not learn of them.
                PathError::NotLiteral | PathError::Escapes => Ok(Destination::Nowhere(failure)),
                PathError::NoLeadingSlash | PathError::BadEscape | PathError::Nul => Err(failure),
            }
        }
    }
}

/// Returns the text for the client about a path.
const fn fault(error: PathError) -> &'static str {
    match error {
        PathError::NoLeadingSlash => "The path does not begin with a slash.",
        PathError::BadEscape => {
            "The path is not valid: a percent sign is not followed by two hexadecimal digits."
        }
        PathError::Nul => "The path is not valid: it has a NUL byte.",
        PathError::NotLiteral => {
            "The path spells the application's prefix in a way that cannot be forwarded."
        }
        PathError::Escapes => "The path leads out of the application.",
    }
}

/// Finds the app of the path that a waiting page asks about.
fn waking<'r>(
    request: &RequestHeader,
    host: &str,
    snapshot: &Snapshot,
) -> Result<Destination<'r>, ProxyError> {
    #[derive(serde::Deserialize)]
    struct Question {
        path: String,
    }
    let Ok(Query(Question { path })) = Query::try_from_uri(&request.uri) else {
        return Err(ProxyError::BadRequest("The query has no path."));
    };
    let app = match snapshot.router.lookup(host, &path) {
        Lookup::Found(found) | Lookup::RedirectToSlash(found) => Some(Arc::clone(found.value)),
        Lookup::NotFound | Lookup::Refused(_) => None,
    };
    Ok(Destination::Waking { app, path })
}

/// Decides about a request that may enter.
pub(super) fn judge(
    request: &RequestHeader,
    destination: Destination<'_>,
    pseudonym: &Pseudonym,
) -> Verdict {
    let (path, query) = (request.uri.path(), request.uri.query());
    match destination {
        Destination::Health => Verdict::Health,
        Destination::Server => Verdict::Methods,
        Destination::App { app, .. } if pseudonym.has_passed(&request.headers, &app.name) => {
            Verdict::Refuse(ProxyError::LoopDetected)
        }
        Destination::App { app, .. } if app.needs_activation() => Verdict::Activate(app),
        Destination::App {
            app,
            prefix,
            remainder,
        } => {
            let forwarded = if app.strips_prefix() { remainder } else { path };
            match Uri::from_maybe_shared(target(&app.name, forwarded, query)) {
                Ok(target) => Verdict::Forward(Route {
                    app,
                    prefix,
                    target,
                }),
                // The client's target was parsed by the same rules, so only its length can be wrong
                // with the name of the app in front.
                Err(_) => Verdict::Refuse(ProxyError::TargetTooLong),
            }
        }
        Destination::Prefix(_) => Verdict::Redirect(with_query(format!("{path}/"), query)),
        Destination::Waking { app: Some(app), .. } if !app.stored.app.endpoints.is_empty() => {
            Verdict::Running
        }
        Destination::Waking { .. } => Verdict::Refuse(ProxyError::AppStarting),
        Destination::Nowhere(failure) => Verdict::Refuse(failure),
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
    use crate::request::admission::{check, host};
    use crate::request::via::ViaValues;
    use crate::sessions::cookie::SessionKey;
    use http::Version;

    fn request(method: &str, target: &str, host: &[&str]) -> RequestHeader {
        let mut request = RequestHeader::build(method, target.as_bytes(), None).unwrap();
        request.set_version(Version::HTTP_11);
        for host in host {
            request.append_header("Host", *host).unwrap();
        }
        request
    }

    fn pseudonym() -> Pseudonym {
        Pseudonym::new(&SessionKey::new(&[7; 32]).unwrap())
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
        let verdict = check(request, host(request), 10)
            .and_then(|host| route(request, host, &apps.load()))
            .map_or_else(Verdict::Refuse, |destination| {
                judge(request, destination, &pseudonym())
            });
        match verdict {
            Verdict::Forward(route) => route.target.to_string(),
            Verdict::Redirect(location) => format!("308 {location}"),
            Verdict::Health => "health".to_owned(),
            Verdict::Methods => "methods".to_owned(),
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

    /// Regression: the proxy refused the question for its methods, and forwarded one that may make
    /// no further hop.
    #[test]
    fn the_proxy_answers_for_itself_where_the_question_ends() {
        assert_eq!(verdict(&request("OPTIONS", "*", &["x"])), "methods");
        let hops = |method, target, hops| {
            let mut request = request(method, target, &["x"]);
            request.insert_header("Max-Forwards", hops).unwrap();
            verdict(&request)
        };
        assert_eq!(hops("OPTIONS", "/apps/strip/", "0"), "methods");
        assert_eq!(hops("OPTIONS", "/apps/none/", "0"), "methods");
        assert_eq!(hops("OPTIONS", "/apps/strip/", "1"), "/proxy/strip/");
        assert_eq!(hops("GET", "/apps/strip/", "0"), "/proxy/strip/");
        assert_eq!(hops("TRACE", "/apps/strip/", "0"), "method_not_allowed");
    }

    /// Regression: an app whose endpoint is the proxy itself took 9,973 hops for one request.
    #[test]
    fn a_request_that_comes_back_to_its_app_is_refused() {
        let via = pseudonym().value("strip", &ViaValues::default(), Version::HTTP_11);
        let with_via = |target| {
            let mut request = request("GET", target, &["x"]);
            request.insert_header("Via", via.clone()).unwrap();
            verdict(&request)
        };
        assert_eq!(with_via("/apps/strip/"), "loop_detected");
        assert_eq!(with_via("/apps/keep/"), "/proxy/keep/apps/keep/");
        assert_eq!(with_via("/apps/strip"), "308 /apps/strip/");
    }

    /// Bytes that are no ASCII pass, and a target that has no room for the name of the app is too
    /// long.
    #[test]
    fn a_target_is_forwarded_whatever_its_bytes_and_refused_for_its_length_alone() {
        let target = "/apps/strip/caf\u{e9}%E9%3C?q=\u{e9}%3E0";
        assert_eq!(
            verdict(&request("GET", target, &["x"])),
            "/proxy/strip/caf\u{e9}%E9%3C?q=\u{e9}%3E0"
        );
        let longest = format!("/apps/keep/{}", "a".repeat(65_534 - "/apps/keep/".len()));
        assert_eq!(
            verdict(&request("GET", &longest, &["x"])),
            "target_too_long"
        );
        assert_eq!(
            verdict(&request("GET", "/apps/strip?x=caf\u{e9}", &["x"])),
            "308 /apps/strip/?x=caf\u{e9}"
        );
    }

    /// A stranger must not learn names by faults that only paths of apps have.
    #[test]
    fn a_fault_that_depends_on_an_app_is_found_before_access_is_checked_but_answered_after_it() {
        let apps = serde_json::from_value(serde_json::json!([{"name": "strip"}]));
        let apps = Apps::from_file(apps.unwrap(), None).unwrap();
        let found = |target: &str| {
            let request = request("GET", target, &["x"]);
            route(&request, "x", &apps.load()).map(|found| matches!(found, Destination::Nowhere(_)))
        };
        for target in ["/apps/strip/../..", "/apps/x/../strip/", "/apps/none/.."] {
            assert_eq!(found(target), Ok(true), "{target}");
        }
        for target in ["/apps/strip/%zz", "/apps/none/%zz", "/apps/none/%00"] {
            assert!(found(target).is_err(), "{target}");
        }
        assert_eq!(found("/apps/strip/"), Ok(false));
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
