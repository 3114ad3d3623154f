//! The `Cookie` header of a request (RFC 6265 section 5.4), read and rewritten as bytes.
//!
//! Names are compared with case. Pairs end at `;` whatever quotes they have, as they do for
//! browsers (section 5.2), and what is not understood is passed on.

/// A `Cookie` header line without one of its cookies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Removed {
    /// The cookie was not in it; the line stays as it is.
    Unchanged,
    /// The other cookies, byte for byte and in order.
    Rest(Vec<u8>),
    /// No other cookie was in it; the line goes.
    Nothing,
}

/// The values of the cookie `name` in one `Cookie` header line, in order, without quotes.
///
/// There may be several, because a client sends one for each `Path` that fits (section 5.4), and
/// which of them is meant only their MAC can tell.
pub(crate) fn session_values<'h>(
    cookie_header: &'h [u8],
    name: &str,
) -> impl Iterator<Item = &'h [u8]> {
    pairs(cookie_header)
        .filter_map(move |pair| value_of(pair, name))
        .map(unquoted)
}

/// One `Cookie` header line without the cookie `name`, wherever and however often it is in it.
///
/// Allocates only when the cookie is there beside others.
pub(crate) fn without_cookie(cookie_header: &[u8], name: &str) -> Removed {
    if !cookie_header.contains(&b';') {
        return if value_of(cookie_header, name).is_some() {
            Removed::Nothing
        } else {
            Removed::Unchanged
        };
    }
    let is_other = |pair: &&[u8]| value_of(pair, name).is_none();
    if pairs(cookie_header).all(|pair| is_other(&pair)) {
        return Removed::Unchanged;
    }
    let mut rest = Vec::with_capacity(cookie_header.len());
    for pair in pairs(cookie_header).filter(is_other) {
        if rest.is_empty() {
            // What stood between the removed cookie and this one.
            rest.extend_from_slice(trimmed_start(pair));
        } else {
            rest.push(b';');
            rest.extend_from_slice(pair);
        }
    }
    if rest.iter().all(|byte| is_space(*byte) || *byte == b';') {
        return Removed::Nothing;
    }
    Removed::Rest(rest)
}

fn pairs(cookie_header: &[u8]) -> impl Iterator<Item = &[u8]> {
    cookie_header.split(|&byte| byte == b';')
}

/// The value in `pair`, if it is a cookie called `name`.
fn value_of<'h>(pair: &'h [u8], name: &str) -> Option<&'h [u8]> {
    let rest = trimmed_start(pair).strip_prefix(name.as_bytes())?;
    let value = trimmed_start(rest).strip_prefix(b"=")?;
    Some(trimmed_end(trimmed_start(value)))
}

fn unquoted(value: &[u8]) -> &[u8] {
    match value {
        [b'"', inner @ .., b'"'] => inner,
        _ => value,
    }
}

fn trimmed_start(mut bytes: &[u8]) -> &[u8] {
    while let [byte, rest @ ..] = bytes
        && is_space(*byte)
    {
        bytes = rest;
    }
    bytes
}

fn trimmed_end(mut bytes: &[u8]) -> &[u8] {
    while let [rest @ .., byte] = bytes
        && is_space(*byte)
    {
        bytes = rest;
    }
    bytes
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}
