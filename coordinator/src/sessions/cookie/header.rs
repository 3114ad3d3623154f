//! The `Cookie` header of a request (RFC 6265 section 5.4), parsed and rewritten as bytes.
//!
//! Names are case-sensitive. Pairs end at `;` even within quotes, as in browsers (section 5.2).
//! Malformed pairs are forwarded unchanged.

/// The result of removing a cookie from a `Cookie` header line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Removed {
    /// The line does not have the cookie and stays unchanged.
    Unchanged,
    /// The other cookies, byte for byte and in order.
    Rest(Vec<u8>),
    /// The line has no other cookie and is removed.
    Nothing,
}

/// Returns the values of the cookie `name` in one `Cookie` header line, in order, without quotes.
///
/// There may be several, because a client sends one for each matching `Path` (section 5.4); only
/// the MAC tells which is the right one.
pub(crate) fn session_values<'h>(
    cookie_header: &'h [u8],
    name: &str,
) -> impl Iterator<Item = &'h [u8]> {
    pairs(cookie_header)
        .filter_map(move |pair| value_of(pair, name))
        .map(unquoted)
}

/// Removes all occurrences of the cookie `name` from one `Cookie` header line.
///
/// Allocates only if the line has the cookie and others.
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
            // Drop the space after the removed cookie.
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

/// Returns the value of `pair`, if it is the cookie `name`.
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
