//! The response header for the client (phase `response_filter`).

mod rewrite;

use http::header;
use pingora_http::ResponseHeader;

use crate::request::context::RequestState;
use crate::sessions::Sessions;

/// Makes an application's response fit for the client: paths get the prefix back that was removed
/// from the request, and a new session is issued.
pub(super) fn finish(sessions: &Sessions, response: &mut ResponseHeader, state: &RequestState) {
    if let Some(route) = &state.route {
        response.remove_header(sessions.header());
        rewrite::remove_cookie(response, sessions.cookie_name());
        let stripped = route.stripped_prefix();
        if !stripped.is_empty() {
            let prefix = state.origin.public(stripped);
            let endpoints = &route.app.stored.app.endpoints;
            rewrite::urls(response, &prefix, &state.origin, endpoints);
            rewrite::cookie_paths(response, &prefix);
        }
    }
    if let Some(issued) = state.session.as_ref().and_then(|used| used.issued.as_ref()) {
        let _ = response.append_header(header::SET_COOKIE, issued.cookie.clone());
        let _ = response.insert_header(sessions.header().clone(), issued.value.clone());
    }
}
