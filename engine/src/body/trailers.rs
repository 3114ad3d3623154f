//! The trailer section of a chunked body (RFC 9112, section 7.1.2).

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http::header::HeaderName;

use super::FramingError;
use crate::head::fields::{LineFault, LineScan, append_lines};

/// The longest trailer section, in bytes.
const MAX_BYTES: usize = 8192;
/// The most lines of a trailer section.
const MAX_LINES: usize = 64;

/// A partial trailer section.
#[derive(Debug, Default)]
pub(super) struct TrailerBlock(Vec<u8>);

impl TrailerBlock {
    /// Takes bytes of the section from the front of `input`; returns the trailers at its end, if
    /// there are any.
    pub(super) fn read(
        &mut self,
        input: &mut Bytes,
    ) -> Result<Option<Option<Box<HeaderMap>>>, FramingError> {
        let before = self.0.len();
        let taken = input.len().min(MAX_BYTES.saturating_sub(before));
        self.0
            .extend_from_slice(input.get(..taken).unwrap_or_default());
        let mut scan = LineScan::new(&self.0, 0);
        loop {
            match scan.next_line() {
                Ok(Some(line)) if line.is_empty() => {
                    input.advance(scan.position() - before);
                    return self.parse(scan.position(), scan.lines()).map(Some);
                }
                Ok(Some(_)) if scan.lines() > MAX_LINES => {
                    return Err(FramingError("The body has too many trailers."));
                }
                Ok(Some(_)) => {}
                Ok(None) if self.0.len() >= MAX_BYTES => {
                    return Err(FramingError("The trailers are too long."));
                }
                Ok(None) => break,
                Err(_) => return Err(FramingError("A trailer line does not end with CRLF.")),
            }
        }
        input.advance(taken);
        Ok(None)
    }

    /// Parses the whole section, which has `lines` lines with the empty one.
    fn parse(
        &mut self,
        length: usize,
        lines: usize,
    ) -> Result<Option<Box<HeaderMap>>, FramingError> {
        self.0.truncate(length);
        let block = Bytes::from(std::mem::take(&mut self.0));
        let mut trailers = HeaderMap::with_capacity(lines);
        append_lines(&block, 0, lines, &mut trailers, |name, _| {
            Ok::<_, LineFault>(is_trailer(name))
        })
        .map_err(|_| FramingError("A trailer line is invalid."))?;
        Ok((!trailers.is_empty()).then(|| Box::new(trailers)))
    }
}

/// Returns whether a field may be a trailer (RFC 9110, section 6.5.1). Fields for framing, routing,
/// authentication, request modifiers, response control and content format may not, and neither may
/// those that this proxy sets.
fn is_trailer(name: &HeaderName) -> bool {
    const PREFIXES: [&str; 6] = [
        "content-",
        "x-backend-",
        "x-app-proxy-",
        "x-forwarded-",
        "proxy-",
        "if-",
    ];
    // Gateway interfaces such as CGI and WSGI fold these bytes.
    let folded: String = name
        .as_str()
        .chars()
        .map(|c| if matches!(c, '_' | '.') { '-' } else { c })
        .collect();
    !PREFIXES.iter().any(|prefix| folded.starts_with(prefix))
        && !matches!(
            &*folded,
            "age"
                | "authorization"
                | "cache-control"
                | "connection"
                | "cookie"
                | "date"
                | "expect"
                | "expires"
                | "forwarded"
                | "host"
                | "http2-settings"
                | "keep-alive"
                | "location"
                | "max-forwards"
                | "pragma"
                | "range"
                | "retry-after"
                | "set-cookie"
                | "te"
                | "trailer"
                | "transfer-encoding"
                | "upgrade"
                | "vary"
                | "via"
                | "warning"
                | "www-authenticate"
                | "x-real-ip"
        )
}
