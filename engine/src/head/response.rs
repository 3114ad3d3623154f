//! The parser of response heads.

use http::Method;
use pingora_http::ResponseHeader;

use crate::body::Framing;
use crate::limits::HeadLimits;

/// The header names of a response in the application's spelling.
#[derive(Debug, Default)]
pub(crate) struct Spelling;

/// A parsed response head.
#[derive(Debug)]
pub(crate) struct ResponseHead {
    /// The status line and the headers.
    pub(crate) header: ResponseHeader,
    /// The header names as the application spells them.
    pub(crate) spelling: Spelling,
    /// The framing of the body.
    pub(crate) framing: Framing,
    /// The application keeps the connection open after the response.
    pub(crate) keep_alive: bool,
}

/// A response head that is invalid or exceeds a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BadResponse(pub(crate) &'static str);

/// Parses the head at the front of `input`, and returns its length too; `None` if it is not whole.
pub(crate) fn parse_response(
    _input: &[u8],
    _request_method: &Method,
    _limits: &HeadLimits,
) -> Result<Option<(ResponseHead, usize)>, BadResponse> {
    Err(BadResponse("not written"))
}
