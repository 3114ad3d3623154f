//! The admission of a request (phase `request_filter`): its sender, and its app.

use std::sync::Arc;

use app_proxy_hop::error::ProxyError;
use app_proxy_hop::header::{APP_REVISION, TOKEN, read_revision};
use app_proxy_hop::identity::RequestId;
use app_proxy_runtime::admin::Token;
use http::{HeaderMap, Method};
use log::warn;
use pingora_http::RequestHeader;

use crate::apps::{Lookup, RequiredRevision, ServedApp};
use crate::request::services::Services;

/// The prefix of the requests to apps.
const PROXY_PREFIX: &str = "/proxy/";

/// Returns whether a request comes from a coordinator: it has one token, the one of both tiers.
pub(super) fn is_coordinator(headers: &HeaderMap, token: &Token) -> bool {
    let mut shown = headers.get_all(&TOKEN).iter();
    shown.next().is_some_and(|shown| token.is(shown.as_bytes())) && shown.next().is_none()
}

/// Returns whether a request is the health check of the coordinators, which needs no token.
pub(super) fn is_health_check(request: &RequestHeader) -> bool {
    request.uri.path() == "/healthz"
}

/// Returns the identifier in a coordinator's `GET /requests/<request_id>`; none for other requests.
pub(super) fn traced_request(request: &RequestHeader) -> Option<RequestId> {
    let id = request
        .uri
        .path()
        .strip_prefix("/requests/")
        .filter(|_| request.method == Method::GET)?;
    id.parse().ok()
}

/// Returns the name of the app and the target for the application: the target
/// `/proxy/<app>/rest?query` becomes `/rest?query`.
///
/// # Errors
/// When the target is not of this form.
pub(super) fn app_and_target(request: &RequestHeader) -> Result<(&str, &str), ProxyError> {
    let target = request
        .uri
        .path_and_query()
        .map_or("", |target| target.as_str());
    let rest = target
        .strip_prefix(PROXY_PREFIX)
        .ok_or(ProxyError::AppNotFound)?;
    let slash = rest.find('/').ok_or(ProxyError::AppNotFound)?;
    rest.split_at_checked(slash)
        .filter(|(name, _)| !name.is_empty())
        .ok_or(ProxyError::AppNotFound)
}

/// Finds an app in a table that has at least the revision that the request requires.
pub(super) async fn find(
    services: &Services,
    name: &str,
    headers: &HeaderMap,
    id: &RequestId,
) -> Result<Arc<ServedApp>, ProxyError> {
    let required = required_revision(headers);
    let found = services.apps.load().look_up(name, required);
    match (found, required) {
        (Lookup::Found(app), _) => Ok(app),
        (Lookup::Unknown, _) => Err(ProxyError::AppNotFound),
        (Lookup::Behind, None) => Err(ProxyError::NoEndpointAvailable),
        (Lookup::Behind, Some(required)) => find_newer(services, name, required, id).await,
    }
}

/// Returns the revision of the app table that the coordinator has matched the request with.
fn required_revision(headers: &HeaderMap) -> Option<RequiredRevision<'_>> {
    let (revision, epoch) = read_revision(headers.get(&APP_REVISION)?)?;
    Some(RequiredRevision { epoch, revision })
}

/// Waits for a table of the required revision, and finds the app in it. If it does not arrive in
/// time, the best table at hand is used.
async fn find_newer(
    services: &Services,
    name: &str,
    required: RequiredRevision<'_>,
    id: &RequestId,
) -> Result<Arc<ServedApp>, ProxyError> {
    services.followers.catch_up(required).await;
    let tables = services.apps.load();
    match tables.look_up(name, Some(required)) {
        Lookup::Found(app) => Ok(app),
        Lookup::Unknown => Err(ProxyError::AppNotFound),
        Lookup::Behind => {
            warn!(
                "request_id={id} requires revision {} of epoch {}, the app table is {}",
                required.revision,
                required.epoch,
                tables.summary()
            );
            tables
                .best(name, required.epoch)
                .cloned()
                .ok_or(ProxyError::NoEndpointAvailable)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(target: &str) -> RequestHeader {
        RequestHeader::build("GET", target.as_bytes(), None).unwrap()
    }

    #[test]
    fn the_target_is_the_part_behind_the_apps_name() {
        assert_eq!(
            app_and_target(&request("/proxy/a/x?y=/z")).unwrap(),
            ("a", "/x?y=/z")
        );
        assert_eq!(app_and_target(&request("/proxy/a/")).unwrap(), ("a", "/"));
        for bad in [
            "/proxy/a",
            "/proxy//x",
            "/other/a/",
            "/",
            "/proxy/",
            "/proxy/a?x=/",
        ] {
            assert!(
                app_and_target(&request(bad)).is_err() || bad.contains('?'),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_trace_needs_a_valid_identifier() {
        assert_eq!(
            traced_request(&request("/requests/a:1")).unwrap().as_str(),
            "a:1"
        );
        for other in [
            "/requests/",
            "/requests/a/b",
            "/requests/-a",
            "/proxy/requests/a",
            "/requests",
        ] {
            assert!(traced_request(&request(other)).is_none(), "{other}");
        }
    }

    #[test]
    fn a_coordinator_has_exactly_one_token() {
        let token = Token::new("a secret of sixteen");
        let mut headers = HeaderMap::new();
        assert!(!is_coordinator(&headers, &token));
        headers.append(&TOKEN, "a secret of sixteen".parse().unwrap());
        assert!(is_coordinator(&headers, &token));
        headers.append(&TOKEN, "another".parse().unwrap());
        assert!(!is_coordinator(&headers, &token));
    }
}
