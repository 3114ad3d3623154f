//! Response heads as HTTP/2 has them.

use http::header::{self, HeaderMap, HeaderName};
use http::{Response, StatusCode};
use pingora_core::protocols::http::date::get_cached_date;
use pingora_http::ResponseHeader;

/// The headers of HTTP/1.1 that a message of HTTP/2 must not have (RFC 9113, section 8.2.2).
const CONNECTION_HEADERS: [HeaderName; 6] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::TE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Returns the head of an interim response.
pub(super) fn interim(head: &ResponseHeader) -> Response<()> {
    let mut response = convert(head);
    response.headers_mut().remove(header::CONTENT_LENGTH);
    response
}

/// Returns the head of a final response, with a `Date`.
pub(super) fn last(head: &ResponseHeader) -> Response<()> {
    let mut response = convert(head);
    let headers = response.headers_mut();
    if head.status == StatusCode::NO_CONTENT {
        headers.remove(header::CONTENT_LENGTH);
    }
    headers.entry(header::DATE).or_insert_with(get_cached_date);
    response
}

/// Removes the headers that trailers of HTTP/2 must not have.
pub(super) fn remove_connection_headers(headers: &mut HeaderMap) {
    for name in &CONNECTION_HEADERS {
        headers.remove(name);
    }
}

fn convert(head: &ResponseHeader) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = head.status;
    let headers = response.headers_mut();
    headers.clone_from(&head.headers);
    remove_connection_headers(headers);
    response
}
