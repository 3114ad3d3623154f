//! The parser of response heads.

use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode, Version};
use pingora_http::ResponseHeader;

use super::fault::BadResponse;
use super::fields::{Fields, LineScan};
use super::framing::{Codings, ConnectionOptions, is_canonical_length, parse_length};
use super::spelling::Spelling;
use super::status_line::StatusLine;
use crate::body::Framing;
use crate::limits::HeadLimits;

/// Room in the map for the headers that phases add.
const ADDED_HEADERS: usize = 8;

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

/// Parses the head at the front of `input`, and returns its length too; `None` if it is not whole.
///
/// Values are slices of one copy of the head. `request_method` decides whether there is a body
/// (RFC 9112, section 6.3).
///
/// # Errors
///
/// The first fault: in the status line, then in the ends and the number of lines, then in the
/// header lines.
pub(crate) fn parse_response(
    input: &[u8],
    request_method: &Method,
    limits: &HeadLimits,
) -> Result<Option<(ResponseHead, usize)>, BadResponse> {
    let Some(outline) = Outline::find(input, limits)? else {
        return Ok(None);
    };
    let Outline {
        line,
        start,
        fields,
    } = outline;
    let head = fields.head().clone();
    let length = head.len();
    let mut headers = HeaderMap::with_capacity(fields.count() + ADDED_HEADERS);
    let mut seen = Seen::default();
    fields.append_to(&mut headers, |name, value| {
        seen.add(name, value).map(|()| true)
    })?;
    let is_http_10 = line.version == Version::HTTP_10;
    let framing = seen.framing(request_method, line.status)?;
    seen.mend_length(line.status, &mut headers);

    let (mut parts, ()) = http::Response::new(()).into_parts();
    parts.status = line.status;
    parts.version = line.version;
    let spelling = Spelling::new(head, start, &headers);
    parts.headers = headers;
    let mut header = ResponseHeader::from(parts);
    // Without effect if the phrase is the usual one; `set_reason_phrase` accepts any text.
    let _ = header.set_reason_phrase(line.reason);
    // RFC 9112, section 6.1: HTTP/1.0 has no transfer codings, so this framing is doubtful.
    let is_doubtful = is_http_10 && framing == Framing::Chunked;
    Ok(Some((
        ResponseHead {
            header,
            spelling,
            framing,
            keep_alive: seen.connection.persists(is_http_10)
                && framing != Framing::UntilClose
                && !is_doubtful,
        },
        length,
    )))
}

/// A whole head in the received bytes.
#[derive(Debug)]
struct Outline<'a> {
    line: StatusLine<'a>,
    start: usize,
    fields: Fields,
}

impl<'a> Outline<'a> {
    /// Parses the status line, and scans the header lines.
    fn find(received: &'a [u8], limits: &HeadLimits) -> Result<Option<Self>, BadResponse> {
        let bytes = received.get(..limits.bytes).unwrap_or(received);
        let mut scan = LineScan::new(bytes, 0);
        let Some(line) = scan.next_line()? else {
            return incomplete(bytes, limits);
        };
        let line = StatusLine::parse(line)?;
        let start = scan.position();
        let Some(fields) = Fields::scan(bytes, start, limits.lines)? else {
            return incomplete(bytes, limits);
        };
        Ok(Some(Self {
            line,
            start,
            fields,
        }))
    }
}

/// Rejects a head whose end is not within the limit; otherwise more bytes are needed.
fn incomplete<T>(bytes: &[u8], limits: &HeadLimits) -> Result<Option<T>, BadResponse> {
    if bytes.len() < limits.bytes {
        return Ok(None);
    }
    Err(BadResponse("the response head is too long"))
}

/// The headers that concern the engine itself.
#[derive(Debug, Default)]
struct Seen {
    length: Option<u64>,
    /// One line with the shortest spelling of the number.
    length_is_canonical: bool,
    codings: Codings,
    connection: ConnectionOptions,
}

impl Seen {
    /// Adds a header.
    fn add(&mut self, name: &HeaderName, value: &[u8]) -> Result<(), BadResponse> {
        match *name {
            header::CONTENT_LENGTH => self.add_length(value)?,
            header::TRANSFER_ENCODING => self.codings.add(value),
            header::CONNECTION => self.connection.add(value),
            _ => {}
        }
        Ok(())
    }

    /// Adds a `Content-Length` line; equal numbers are one (RFC 9110, section 8.6).
    fn add_length(&mut self, value: &[u8]) -> Result<(), BadResponse> {
        self.length_is_canonical = self.length.is_none() && is_canonical_length(value);
        for number in value.split(|&byte| byte == b',') {
            let number = parse_length(super::fields::trim_blanks(number))
                .ok_or(BadResponse("the Content-Length is not a number"))?;
            if self.length.is_some_and(|length| length != number) {
                return Err(BadResponse("the Content-Length values differ"));
            }
            self.length_is_canonical &= self.length.is_none();
            self.length = Some(number);
        }
        Ok(())
    }

    /// Returns the framing of the body (RFC 9112, section 6.3).
    fn framing(&self, request: &Method, status: StatusCode) -> Result<Framing, BadResponse> {
        let framing = match (self.codings, self.length) {
            (Codings::None | Codings::Identity, Some(length)) => Framing::Length(length),
            (Codings::None | Codings::Identity, None) => Framing::UntilClose,
            (_, Some(_)) => {
                return Err(BadResponse("both Transfer-Encoding and Content-Length"));
            }
            (Codings::Chunked, None) => Framing::Chunked,
            (Codings::Other { .. } | Codings::Malformed, None) => {
                return Err(BadResponse(
                    "the Transfer-Encoding is invalid or not supported",
                ));
            }
        };
        let has_none = request == Method::HEAD
            || status.is_informational()
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        Ok(if has_none { Framing::None } else { framing })
    }

    /// Makes the `Content-Length` of the map one canonical number, or removes it from a response
    /// that must not have it (RFC 9110, section 8.6: 1xx and 204).
    fn mend_length(&self, status: StatusCode, headers: &mut HeaderMap) {
        let Some(length) = self.length else {
            return;
        };
        if status.is_informational() || status == StatusCode::NO_CONTENT {
            headers.remove(header::CONTENT_LENGTH);
        } else if !self.length_is_canonical {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
    }
}

#[cfg(test)]
mod tests;
