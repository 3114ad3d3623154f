//! The observation of a request.

use app_proxy_hop::streams::Streams;

use crate::request::context::RequestState;

/// The open streams of the request's app.
pub(super) fn streams(state: &RequestState) -> Option<&Streams> {
    state.route.as_ref().map(|route| &route.app.streams)
}
