//! The trailer section of a chunked body (RFC 9112, section 7.1.2).

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http::header::HeaderName;

use super::FramingError;
use crate::head::fault::LineFault;
use crate::head::fields::Fields;

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
        let Some(fields) = Fields::scan(&self.0, 0, MAX_LINES).map_err(as_error)? else {
            input.advance(taken);
            if self.0.len() >= MAX_BYTES {
                return Err(FramingError("The trailers are too long."));
            }
            return Ok(None);
        };
        input.advance(fields.head().len() - before);
        parse(&fields).map(Some)
    }
}

/// Parses a whole section.
fn parse(fields: &Fields) -> Result<Option<Box<HeaderMap>>, FramingError> {
    let mut trailers = HeaderMap::with_capacity(fields.count());
    let keep = |name: &HeaderName, _: &[u8]| Ok::<_, LineFault>(is_trailer(name));
    fields.append_to(&mut trailers, keep).map_err(as_error)?;
    Ok((!trailers.is_empty()).then(|| Box::new(trailers)))
}

/// Returns the error of a trailer line.
const fn as_error(fault: LineFault) -> FramingError {
    FramingError(match fault {
        LineFault::BareLf => "A trailer line does not end with CRLF.",
        LineFault::TooMany => "The body has too many trailers.",
        _ => "A trailer line is invalid.",
    })
}

/// Returns the fields of a trailer section of HTTP/2 that may be trailers, if there are any.
///
/// # Errors
///
/// When the section is longer than that of HTTP/1.1 may be.
pub(crate) fn check_trailers(mut trailers: HeaderMap) -> Result<Option<HeaderMap>, FramingError> {
    let bytes: usize = trailers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    if trailers.len() > MAX_LINES || bytes > MAX_BYTES {
        return Err(FramingError("the trailers are too long"));
    }
    let others: Vec<HeaderName> = trailers
        .keys()
        .filter(|name| !is_trailer(name))
        .cloned()
        .collect();
    for name in &others {
        trailers.remove(name);
    }
    Ok((!trailers.is_empty()).then_some(trailers))
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
