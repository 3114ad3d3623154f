//! The parser of request heads.

use pingora_http::RequestHeader;

use crate::body::Framing;
use crate::limits::HeadLimits;
use crate::rejection::Rejection;

/// A parsed request head.
#[derive(Debug)]
pub(crate) struct RequestHead {
    /// The request line and the headers.
    pub(crate) header: RequestHeader,
    /// The framing of the body.
    pub(crate) framing: Framing,
    /// The client keeps the connection open after the response.
    pub(crate) keep_alive: bool,
    /// The client waits for a 100 before it sends the body.
    pub(crate) expects_continue: bool,
    /// The client accepts trailers.
    pub(crate) accepts_trailers: bool,
    /// The head has a hop-by-hop header.
    pub(crate) hop_by_hop: bool,
}

/// Parses the head at the front of `input`, and returns its length too; `None` if it is not whole.
pub(crate) fn parse_request(
    _input: &[u8],
    _limits: &HeadLimits,
) -> Result<Option<(RequestHead, usize)>, Rejection> {
    Err(Rejection::BadRequest("not written"))
}

/// Returns the parts of a rejected head that can be read.
pub(crate) fn salvage_request(_input: &[u8], _limits: &HeadLimits) -> RequestHeader {
    RequestHeader::from(http::Request::new(()).into_parts().0)
}
