//! The parser of request heads.

use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Version};
use pingora_http::RequestHeader;

use super::fault::LineFault;
use super::fields::{Fields, LineScan};
use super::framing::{Codings, ConnectionOptions, has_token, is_canonical_length, parse_length};
use super::request_line::{RequestLine, check_prefix};
use super::target::Target;
use crate::body::Framing;
use crate::limits::{HeadLimits, MAX_HOST_BYTES};
use crate::rejection::Rejection;

/// Room in the map for the headers that phases add. More room would double the map of a common
/// request, which is kept until its response has ended.
const ADDED_HEADERS: usize = 8;

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
    let length = skipped + outline.fields.head().len();
    Ok(Some((parse_whole(outline)?, length)))
}

/// A whole head in the received bytes.
#[derive(Debug)]
struct Outline<'a> {
    line: RequestLine<'a>,
    fields: Fields,
}

impl<'a> Outline<'a> {
    /// Parses the request line, and scans the header lines.
    fn find(received: &'a [u8], limits: &HeadLimits) -> Result<Option<Self>, Rejection> {
        let bytes = received.get(..limits.bytes).unwrap_or(received);
        let mut scan = LineScan::new(bytes, 0);
        let Some(line) = scan.next_line().map_err(|_| bare_lf(bytes, limits))? else {
            // This CR may be that of the line end.
            check_prefix(bytes.strip_suffix(b"\r").unwrap_or(bytes), limits.target)?;
            return incomplete(bytes, limits);
        };
        let line = RequestLine::parse(line, limits.target)?;
        let Some(fields) = Fields::scan(bytes, scan.position(), limits.lines)? else {
            return incomplete(bytes, limits);
        };
        Ok(Some(Self { line, fields }))
    }
}

/// Returns the rejection of a request line that ends with LF alone.
#[cold]
fn bare_lf(bytes: &[u8], limits: &HeadLimits) -> Rejection {
    let line = bytes
        .split(|&byte| byte == b'\n')
        .next()
        .unwrap_or_default();
    check_prefix(line, limits.target)
        .err()
        .unwrap_or(LineFault::BareLf.into())
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
fn parse_whole(outline: Outline<'_>) -> Result<RequestHead, Rejection> {
    let Outline { line, fields } = outline;
    let head = fields.head();
    let target_start = line.method.as_str().len() + 1;
    let target = head.slice(target_start..target_start + line.target.len());
    let target = Target::parse(&line.method, target)?;
    let mut headers = HeaderMap::with_capacity(fields.count() + ADDED_HEADERS);
    let mut seen = Seen::default();
    fields.append_to(&mut headers, |name, value| {
        seen.add(name, value).map(|()| true)
    })?;
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

#[cfg(test)]
mod tests;
