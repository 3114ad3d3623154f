//! The parser of request heads.

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Version};
use pingora_http::RequestHeader;

use super::fields::{LineFault, LineScan, append_lines};
use super::framing::{Codings, ConnectionOptions, has_token, is_canonical_length, parse_length};
use super::request_line::{RequestLine, check_prefix};
use super::target::Target;
use crate::body::Framing;
use crate::limits::{HeadLimits, MAX_HOST_BYTES};
use crate::rejection::Rejection;

/// Room in the map for the headers that phases add.
const ADDED_HEADERS: usize = 14;

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
///
/// Values are slices of one copy of the head. Any split of a head into reads gives the same result.
///
/// # Errors
///
/// The [`Rejection`] of the first fault: in the request line, then in the ends and the number of
/// lines, then in the header lines.
pub(crate) fn parse_request(
    input: &[u8],
    limits: &HeadLimits,
) -> Result<Option<(RequestHead, usize)>, Rejection> {
    // RFC 9112, section 2.2: old clients send CRLF behind a body.
    let skipped = if input.starts_with(b"\r\n") { 2 } else { 0 };
    let Some(outline) = Outline::find(input.get(skipped..).unwrap_or_default(), limits)? else {
        return Ok(None);
    };
    let head = parse_whole(&outline, limits)?;
    Ok(Some((head, skipped + outline.head.len())))
}

/// The lines of a whole head.
#[derive(Debug)]
struct Outline<'a> {
    head: &'a [u8],
    request_line: &'a [u8],
    fields: usize,
}

impl<'a> Outline<'a> {
    /// Finds the end of the head, and checks the ends and the number of its lines.
    fn find(received: &'a [u8], limits: &HeadLimits) -> Result<Option<Self>, Rejection> {
        let bytes = received.get(..limits.bytes).unwrap_or(received);
        let mut scan = LineScan::new(bytes, 0);
        let request_line = match scan.next_line() {
            Ok(Some(line)) => line,
            Ok(None) => {
                check_prefix(bytes, limits.target)?;
                return incomplete(bytes, limits);
            }
            Err(_) => {
                let end = memchr::memchr(b'\n', bytes).unwrap_or_default();
                check_prefix(bytes.get(..end).unwrap_or_default(), limits.target)?;
                return Err(BARE_LF);
            }
        };
        if request_line.is_empty() {
            return Err(Rejection::BadRequest("The request line is empty."));
        }
        let end = find_end(&mut scan, limits).and_then(|end| match end {
            Some(end) => Ok(Some(end)),
            None => incomplete(bytes, limits),
        });
        match end {
            Ok(Some(end)) => {
                let head = bytes.get(..end).unwrap_or_default();
                Ok(Some(Self {
                    head,
                    request_line,
                    fields: scan.lines() - 2,
                }))
            }
            Ok(None) => Ok(None),
            // A fault of the request line comes first.
            Err(fault) => RequestLine::parse(request_line, limits.target).and(Err(fault)),
        }
    }
}

const BARE_LF: Rejection = Rejection::BadRequest("A line ends with LF alone.");

/// Returns the end of the header lines, behind the empty line.
fn find_end(scan: &mut LineScan<'_>, limits: &HeadLimits) -> Result<Option<usize>, Rejection> {
    while let Some(line) = scan.next_line().map_err(|_| BARE_LF)? {
        if line.is_empty() {
            return Ok(Some(scan.position()));
        }
        if scan.lines() > limits.lines + 1 {
            return Err(Rejection::HeadersTooLarge(
                "The request has too many header lines.",
            ));
        }
    }
    Ok(None)
}

/// Rejects a head whose end is not within the limit; otherwise more bytes are needed.
fn incomplete<T>(bytes: &[u8], limits: &HeadLimits) -> Result<Option<T>, Rejection> {
    if bytes.len() < limits.bytes {
        return Ok(None);
    }
    Err(Rejection::HeadersTooLarge(
        "The request head is longer than this proxy accepts.",
    ))
}

/// Parses a whole head.
fn parse_whole(outline: &Outline<'_>, limits: &HeadLimits) -> Result<RequestHead, Rejection> {
    let line = RequestLine::parse(outline.request_line, limits.target)?;
    let head = Bytes::copy_from_slice(outline.head);
    let start = line.method.as_str().len() + 1;
    let target = Target::parse(&line.method, head.slice(start..start + line.target.len()))?;

    let mut headers = HeaderMap::with_capacity(outline.fields + ADDED_HEADERS);
    let mut seen = Seen::default();
    let fields = outline.request_line.len() + 2;
    append_lines(
        &head,
        fields,
        outline.fields,
        &mut headers,
        |name, value| seen.add(name, value).map(|()| true),
    )?;
    let is_http_10 = line.version == Version::HTTP_10;
    let framing = seen.framing(is_http_10)?;
    let host = seen.host(is_http_10)?;
    if let (Framing::Length(length), false) = (framing, seen.length_is_canonical) {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }

    let (mut parts, ()) = http::Request::new(()).into_parts();
    if let Some(authority) = target.authority {
        if host.is_some_and(|host| !authority.matches(host)) {
            return Err(Rejection::BadRequest(
                "The request target and Host name different hosts.",
            ));
        }
        if authority.len() > MAX_HOST_BYTES {
            return Err(HOST_TOO_LONG);
        }
        headers.insert(header::HOST, authority.into_host().ok_or(HOST_TOO_LONG)?);
    }
    if let Some(raw) = target.raw {
        parts.extensions.insert(raw);
    }
    parts.method = line.method;
    parts.uri = target.uri;
    parts.version = line.version;
    parts.headers = headers;
    Ok(RequestHead {
        header: RequestHeader::from(parts),
        framing,
        keep_alive: seen.connection.persists(is_http_10),
        expects_continue: seen.expects_continue
            && !is_http_10
            && !matches!(framing, Framing::None | Framing::Length(0)),
        accepts_trailers: seen.accepts_trailers,
        hop_by_hop: seen.hop_by_hop,
    })
}

const HOST_TOO_LONG: Rejection = Rejection::BadRequest("The host is too long.");

/// The headers that concern the engine itself.
#[derive(Debug, Default)]
struct Seen<'a> {
    host: Option<&'a [u8]>,
    length: Option<u64>,
    length_is_canonical: bool,
    codings: Codings,
    connection: ConnectionOptions,
    expects_continue: bool,
    accepts_trailers: bool,
    hop_by_hop: bool,
}

impl<'a> Seen<'a> {
    /// Adds a header.
    fn add(&mut self, name: &HeaderName, value: &'a [u8]) -> Result<(), Rejection> {
        match *name {
            header::HOST => {
                if self.host.replace(value).is_some() {
                    return Err(Rejection::BadRequest(
                        "The request has several Host headers.",
                    ));
                }
            }
            header::CONTENT_LENGTH => self.add_length(value)?,
            header::TRANSFER_ENCODING => {
                self.hop_by_hop = true;
                self.codings.add(value);
            }
            header::CONNECTION => {
                self.hop_by_hop = true;
                self.connection.add(value);
            }
            header::EXPECT => {
                self.expects_continue |= value.eq_ignore_ascii_case(b"100-continue");
            }
            header::TE => {
                self.hop_by_hop = true;
                self.accepts_trailers |= has_token(value, b"trailers");
            }
            header::TRAILER | header::UPGRADE => self.hop_by_hop = true,
            _ => {
                let name = name.as_str();
                // Names of other lengths need no comparison.
                self.hop_by_hop |= matches!(name.len(), 10 | 14 | 16)
                    && matches!(name, "keep-alive" | "http2-settings" | "proxy-connection");
            }
        }
        Ok(())
    }

    /// Adds a `Content-Length` (RFC 9110, section 8.6): one line with one number.
    fn add_length(&mut self, value: &[u8]) -> Result<(), Rejection> {
        let length = parse_length(value).ok_or(Rejection::BadRequest(
            "The Content-Length is not one number.",
        ))?;
        if self.length.replace(length).is_some() {
            return Err(Rejection::BadRequest(
                "The request has several Content-Length headers.",
            ));
        }
        self.length_is_canonical = is_canonical_length(value);
        Ok(())
    }

    /// Returns the framing of the body (RFC 9112, section 6.3).
    fn framing(&self, is_http_10: bool) -> Result<Framing, Rejection> {
        if self.codings == Codings::None {
            return Ok(self.length.map_or(Framing::None, Framing::Length));
        }
        if is_http_10 {
            return Err(Rejection::BadRequest("HTTP/1.0 has no Transfer-Encoding."));
        }
        if self.length.is_some() {
            return Err(Rejection::BadRequest(
                "The request has both Transfer-Encoding and Content-Length.",
            ));
        }
        match self.codings {
            Codings::Chunked => Ok(Framing::Chunked),
            Codings::Identity | Codings::Other { .. } => Err(Rejection::NotImplemented(
                "This proxy implements no transfer coding other than chunked.",
            )),
            Codings::None | Codings::Malformed => {
                Err(Rejection::BadRequest("The Transfer-Encoding is invalid."))
            }
        }
    }

    /// Returns the `Host` (RFC 9112, section 3.2), which HTTP/1.1 requires.
    fn host(&self, is_http_10: bool) -> Result<Option<&'a [u8]>, Rejection> {
        match self.host {
            None if !is_http_10 => Err(Rejection::BadRequest("The request has no Host header.")),
            Some(host) if host.len() > MAX_HOST_BYTES => Err(HOST_TOO_LONG),
            host => Ok(host),
        }
    }
}

impl From<LineFault> for Rejection {
    fn from(fault: LineFault) -> Self {
        match fault {
            LineFault::NameTooLong => Self::HeadersTooLarge(fault.sentence()),
            _ => Self::BadRequest(fault.sentence()),
        }
    }
}

#[cfg(test)]
mod tests;
