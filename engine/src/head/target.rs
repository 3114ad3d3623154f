//! Request targets (RFC 9112, section 3.2): the `Uri` that phases see, and the bytes that the next
//! hop gets.

use std::borrow::Cow;

use bytes::{BufMut, Bytes, BytesMut};
use http::uri::PathAndQuery;
use http::{Method, Uri};
use pingora_http::RequestHeader;

use super::authority::{Authority, is_host_and_port};
use crate::rejection::Rejection;

/// The longest target that a `Uri` holds, in bytes.
const MAX_URI_BYTES: usize = 65_534;

const FORM: Rejection = Rejection::BadRequest("The request target has an invalid form.");

/// A parsed target.
#[derive(Debug)]
pub(super) struct Target {
    /// The path and the query, `*`, or the authority of CONNECT.
    pub(super) uri: Uri,
    /// The client's bytes, if `uri` cannot hold them.
    pub(super) raw: Option<RawTarget>,
    /// The authority of the absolute form.
    pub(super) authority: Option<Authority>,
}

/// A target with bytes that `Uri` does not accept: an extension of the request. [`wire_target`]
/// reads it.
#[derive(Clone, Debug)]
pub(crate) struct RawTarget {
    bytes: Bytes,
    /// The text of the `Uri` that stands for it.
    encoded: PathAndQuery,
    /// The bytes from 0x80 on are no UTF-8, so they are encoded too.
    encodes_high_bytes: bool,
}

impl Target {
    /// Parses the target of a request with `method`. The caller has checked its bytes.
    ///
    /// # Errors
    ///
    /// 400 if `method` does not take this form, or the form is incomplete; 414 if the encoded
    /// target exceeds 65,534 bytes.
    pub(super) fn parse(method: &Method, target: Bytes) -> Result<Self, Rejection> {
        if method == Method::CONNECT {
            return Self::parse_authority_form(target);
        }
        match target.first() {
            Some(b'/') => Self::from_origin_form(target, None),
            Some(b'*') if target.len() == 1 && method == Method::OPTIONS => Ok(Self {
                uri: Uri::from_static("*"),
                raw: None,
                authority: None,
            }),
            _ => Self::parse_absolute_form(method, &target),
        }
    }

    /// Parses `host:port`, of CONNECT alone (section 3.2.3).
    fn parse_authority_form(target: Bytes) -> Result<Self, Rejection> {
        if !is_host_and_port(&target) {
            return Err(FORM);
        }
        let uri = Uri::from_maybe_shared(target).map_err(|_| FORM)?;
        if uri.path_and_query().is_some() || uri.scheme().is_some() {
            return Err(FORM);
        }
        Ok(Self {
            uri,
            raw: None,
            authority: None,
        })
    }

    /// Parses `http://host/path?query` (section 3.2.2).
    fn parse_absolute_form(method: &Method, target: &Bytes) -> Result<Self, Rejection> {
        let (authority, end) = Authority::of_absolute_form(target).ok_or(FORM)?;
        let rest = target.slice(end..);
        let rest = match rest.first() {
            // Section 3.2.4: the last proxy sends the asterisk form.
            None if method == Method::OPTIONS => {
                let uri = Uri::from_static("*");
                return Ok(Self {
                    uri,
                    raw: None,
                    authority: Some(authority),
                });
            }
            None => Bytes::from_static(b"/"),
            Some(b'/') => rest,
            Some(_) => [b"/", rest.as_ref()].concat().into(),
        };
        Self::from_origin_form(rest, Some(authority))
    }

    /// Creates the target with this path and query (section 3.2.1).
    fn from_origin_form(target: Bytes, authority: Option<Authority>) -> Result<Self, Rejection> {
        if let Ok(uri) = Uri::from_maybe_shared(target.clone()) {
            return Ok(Self {
                uri,
                raw: None,
                authority,
            });
        }
        let encodes_high_bytes = std::str::from_utf8(&target).is_err();
        let encoded = encode(&target, encodes_high_bytes);
        if encoded.len() > MAX_URI_BYTES {
            return Err(Rejection::TargetTooLong);
        }
        let encoded = PathAndQuery::from_maybe_shared(encoded).map_err(|_| FORM)?;
        let uri = Uri::from(encoded.clone());
        let raw = RawTarget {
            bytes: target,
            encoded,
            encodes_high_bytes,
        };
        Ok(Self {
            uri,
            raw: Some(raw),
            authority,
        })
    }
}

/// Returns the target bytes for the next hop: those of the client, as far as the phases kept the
/// `Uri`.
///
/// Phases remove a prefix of the path or add one, so the longest common suffix of the old and the
/// new `Uri` text goes back to the client's bytes.
pub(crate) fn wire_target(request: &RequestHeader) -> Cow<'_, [u8]> {
    let uri = match (request.uri.path_and_query(), request.uri.authority()) {
        (Some(path), _) => path.as_str(),
        (None, Some(authority)) => authority.as_str(),
        (None, None) => "/",
    };
    match request.extensions.get::<RawTarget>() {
        None => Cow::Borrowed(uri.as_bytes()),
        Some(raw) => raw.apply(uri.as_bytes()),
    }
}

impl RawTarget {
    /// Returns `uri` with its common suffix with the old `Uri` replaced by the client's bytes.
    fn apply<'a>(&'a self, uri: &'a [u8]) -> Cow<'a, [u8]> {
        let encoded = self.encoded.as_str().as_bytes();
        if encoded == uri {
            return Cow::Borrowed(&self.bytes);
        }
        let pairs = encoded.iter().rev().zip(uri.iter().rev());
        let common = pairs.take_while(|(old, new)| old == new).count();
        let (raw_at, encoded_at) = self.boundary(encoded.len() - common);
        let common = encoded.len() - encoded_at;
        let mut wire = Vec::with_capacity(uri.len());
        wire.extend_from_slice(uri.get(..uri.len() - common).unwrap_or_default());
        wire.extend_from_slice(self.bytes.get(raw_at..).unwrap_or_default());
        Cow::Owned(wire)
    }

    /// Returns the first position at or behind `encoded_at` that is between two bytes of the
    /// client, as a position in the client's bytes and in the `Uri`.
    fn boundary(&self, encoded_at: usize) -> (usize, usize) {
        let mut position = 0;
        let mut in_query = false;
        for (index, &byte) in self.bytes.iter().enumerate() {
            if position >= encoded_at {
                return (index, position);
            }
            position += if needs_encoding(byte, in_query, self.encodes_high_bytes) {
                3
            } else {
                1
            };
            in_query |= byte == b'?';
        }
        (self.bytes.len(), position)
    }
}

/// Percent-encodes the bytes of a target that `Uri` does not accept.
fn encode(target: &[u8], encodes_high_bytes: bool) -> Bytes {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut encoded = BytesMut::with_capacity(target.len() + 16);
    let mut in_query = false;
    for &byte in target {
        if needs_encoding(byte, in_query, encodes_high_bytes) {
            let digit = |value: u8| DIGITS.get(usize::from(value)).copied().unwrap_or(b'0');
            encoded.put_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
        } else {
            encoded.put_u8(byte);
        }
        in_query |= byte == b'?';
    }
    encoded.freeze()
}

/// Returns whether `Uri` rejects a byte of a target, within the path or within the query.
const fn needs_encoding(byte: u8, in_query: bool, encodes_high_bytes: bool) -> bool {
    match byte {
        b'<' | b'>' => true,
        b'`' => !in_query,
        b'"' => in_query,
        0x80.. => encodes_high_bytes,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
