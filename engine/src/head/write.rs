//! The writer of heads.

use http::StatusCode;
use http::header::{self, HeaderName, HeaderValue};
use pingora_core::protocols::http::date::get_cached_date;
use pingora_http::{RequestHeader, ResponseHeader};

use super::names::write_title_case;
use super::target::wire_target;
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

/// Appends the head of a request for the next hop: names in lower case, and the headers of
/// `framing` instead of those of the map.
pub(crate) fn write_request(out: &mut Vec<u8>, request: &RequestHeader, framing: Framing) {
    out.extend_from_slice(request.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(&wire_target(request));
    out.extend_from_slice(b" HTTP/1.1\r\n");
    for (name, value) in &request.headers {
        if !matches!(
            *name,
            header::CONNECTION | header::CONTENT_LENGTH | header::TRANSFER_ENCODING
        ) {
            write_field(out, name.as_str().as_bytes(), value.as_bytes());
        }
    }
    match framing {
        Framing::None | Framing::UntilClose => {}
        Framing::Length(length) => write_length(out, b"content-length", length),
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends the head of a response for the client.
///
/// Names are those of `spelled`, else those of the application, else in title case. `framing` and
/// `persistence` decide the headers of the connection; a response without body by rule (HEAD, 304)
/// keeps its `Content-Length`. Final responses get a `Date` where it is missing.
pub(crate) fn write_response(
    out: &mut Vec<u8>,
    response: &ResponseHeader,
    spelling: Option<&Spelling>,
    spelled: &SpelledNames,
    framing: Framing,
    persistence: Persistence,
) {
    let status = response.status;
    let names = Names { spelling, spelled };
    write_status_line(out, response);
    let mut length = framing_length(framing);
    let mut has_date = status.is_informational();
    for (name, value) in &response.headers {
        match *name {
            header::TRANSFER_ENCODING => continue,
            header::CONNECTION if status != StatusCode::SWITCHING_PROTOCOLS => continue,
            header::CONTENT_LENGTH if framing == Framing::None && keeps_length(status) => {}
            header::CONTENT_LENGTH => {
                if let Some(length) = length.take() {
                    write_length(
                        out,
                        names.get(name, value).unwrap_or(b"Content-Length"),
                        length,
                    );
                }
                continue;
            }
            header::DATE => has_date = true,
            _ => {}
        }
        names.write(out, name, value);
    }
    if let Some(length) = length {
        write_length(out, b"Content-Length", length);
    }
    if framing == Framing::Chunked {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    if !has_date {
        write_field(out, b"Date", get_cached_date().as_bytes());
    }
    out.extend_from_slice(match persistence {
        _ if status.is_informational() => b"\r\n",
        Persistence::Close => b"Connection: close\r\n\r\n",
        Persistence::KeepAlive => b"Connection: keep-alive\r\n\r\n",
        Persistence::Implied => b"\r\n",
    });
}

/// The sources of spellings, in order.
#[derive(Clone, Copy)]
struct Names<'a> {
    spelling: Option<&'a Spelling>,
    spelled: &'a SpelledNames,
}

impl<'a> Names<'a> {
    /// Appends a header line.
    fn write(self, out: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
        let spelled = self.spelled.get(name.as_str()).map(str::as_bytes);
        if spelled.is_none()
            && let Some(line) = self.spelling.and_then(|it| it.line(name, value))
        {
            out.extend_from_slice(line);
            return;
        }
        match spelled.or_else(|| self.spelling?.get(name, value)) {
            Some(spelled) => out.extend_from_slice(spelled),
            None => write_title_case(out, name.as_str()),
        }
        write_value(out, value.as_bytes());
    }

    /// Returns the spelling of the name of a header.
    fn get(self, name: &HeaderName, value: &HeaderValue) -> Option<&'a [u8]> {
        self.spelled
            .get(name.as_str())
            .map(str::as_bytes)
            .or_else(|| self.spelling.and_then(|spelling| spelling.get(name, value)))
    }
}

/// Returns the number of the `Content-Length` that frames the body.
const fn framing_length(framing: Framing) -> Option<u64> {
    match framing {
        Framing::Length(length) => Some(length),
        Framing::None | Framing::Chunked | Framing::UntilClose => None,
    }
}

/// Returns whether a response without body may have a `Content-Length`, that of the body it would
/// have had (RFC 9110, section 8.6).
fn keeps_length(status: StatusCode) -> bool {
    !status.is_informational() && status != StatusCode::NO_CONTENT
}

/// Appends the status line.
fn write_status_line(out: &mut Vec<u8>, response: &ResponseHeader) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(response.status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(response.get_reason_phrase().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Appends a header line with a number.
fn write_length(out: &mut Vec<u8>, name: &[u8], length: u64) {
    write_field(out, name, itoa::Buffer::new().format(length).as_bytes());
}

/// Appends a header line.
fn write_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    write_value(out, value);
}

/// Appends what follows the name in a header line.
fn write_value(out: &mut Vec<u8>, value: &[u8]) {
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests;
