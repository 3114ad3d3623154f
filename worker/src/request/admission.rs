//! Who may send requests, and for which app one is (phase `request_filter`).

use app_proxy_hop::error::ProxyError;
use app_proxy_hop::header::{APP_REVISION, TOKEN, read_revision};
use app_proxy_hop::identity::RequestId;
use app_proxy_runtime::admin::Token;
use http::{HeaderMap, Method};
use pingora_http::RequestHeader;

use crate::apps::RequiredRevision;

/// Where an app's requests come in.
const PROXY_PREFIX: &str = "/proxy/";

/// Whether a request comes from a coordinator: it carries the token that both tiers share.
#[must_use]
pub fn is_coordinator(headers: &HeaderMap, token: &Token) -> bool {
    let mut shown = headers.get_all(&TOKEN).iter();
    shown.next().is_some_and(|shown| token.is(shown.as_bytes())) && shown.next().is_none()
}

/// Whether a request is the coordinators' health check, which needs no token.
#[must_use]
pub fn is_health_check(request: &RequestHeader) -> bool {
    request.uri.path() == "/healthz"
}

/// The request that a coordinator asks about, if it does: `GET /requests/<request_id>`.
#[must_use]
pub fn asked_about(request: &RequestHeader) -> Option<RequestId> {
    let id = request
        .uri
        .path()
        .strip_prefix("/requests/")
        .filter(|_| request.method == Method::GET)?;
    id.parse().ok()
}

/// The app's name and the target for the application: `/proxy/<app>/rest?query` asks the
/// application for `/rest?query`.
///
/// # Errors
/// When the target is not of this form.
pub fn app_and_target(request: &RequestHeader) -> Result<(&str, &str), ProxyError> {
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

/// The table that the request's coordinator has acted on, if it says so.
#[must_use]
pub fn fence(headers: &HeaderMap) -> Option<RequiredRevision<'_>> {
    let (revision, epoch) = read_revision(headers.get(&APP_REVISION)?)?;
    Some(RequiredRevision { epoch, revision })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(target: &str) -> RequestHeader {
        RequestHeader::build("GET", target.as_bytes(), None).unwrap()
    }

    #[test]
    fn the_target_is_what_stands_behind_the_apps_name() {
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
    fn a_coordinator_asks_about_a_request_by_a_valid_identifier() {
        assert_eq!(
            asked_about(&request("/requests/a:1")).unwrap().as_str(),
            "a:1"
        );
        for other in [
            "/requests/",
            "/requests/a/b",
            "/requests/-a",
            "/proxy/requests/a",
            "/requests",
        ] {
            assert!(asked_about(&request(other)).is_none(), "{other}");
        }
    }

    #[test]
    fn only_the_token_alone_shows_a_coordinator() {
        let token = Token::new("a secret of sixteen");
        let mut headers = HeaderMap::new();
        assert!(!is_coordinator(&headers, &token));
        headers.append(&TOKEN, "a secret of sixteen".parse().unwrap());
        assert!(is_coordinator(&headers, &token));
        headers.append(&TOKEN, "another".parse().unwrap());
        assert!(!is_coordinator(&headers, &token));
    }
}
