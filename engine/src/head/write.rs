//! The writer of heads.

use pingora_http::{RequestHeader, ResponseHeader};

use crate::body::Framing;
use crate::head::{SpelledNames, Spelling};

/// The `Connection` header of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Persistence {
    /// `close`.
    Close,
    /// `keep-alive`, for a client of HTTP/1.0.
    KeepAlive,
    /// None: the connection of an HTTP/1.1 client stays open.
    Implied,
}

/// Appends the head of a request for the next hop.
pub(crate) fn write_request(out: &mut Vec<u8>, _request: &RequestHeader, _framing: Framing) {
    out.clear();
}

/// Appends the head of a response for the client.
pub(crate) fn write_response(
    out: &mut Vec<u8>,
    _response: &ResponseHeader,
    _spelling: Option<&Spelling>,
    _spelled: &SpelledNames,
    _framing: Framing,
    _persistence: Persistence,
) {
    out.clear();
}
