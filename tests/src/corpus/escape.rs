//! Bytes as text: the escapes of the corpus.

/// Decodes a text of the corpus. `\r`, `\n`, `\t`, `\0`, `\\` and `\xHH` are bytes, and
/// `\{TEXT*N}` is `TEXT`, itself escaped, N times. `TEXT` cannot contain `}`.
///
/// # Errors
/// The escape that is invalid.
pub(super) fn decode(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        bytes.extend_from_slice(before.as_bytes());
        rest = escape(after, &mut bytes)?;
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(bytes)
}

/// Decodes the escape behind a backslash, and returns the text behind the escape.
fn escape<'t>(text: &'t str, bytes: &mut Vec<u8>) -> Result<&'t str, String> {
    let invalid = || format!("invalid escape: \\{text}");
    let mut characters = text.chars();
    let kind = characters.next().ok_or_else(invalid)?;
    let rest = characters.as_str();
    match kind {
        'r' => bytes.push(b'\r'),
        'n' => bytes.push(b'\n'),
        't' => bytes.push(b'\t'),
        '0' => bytes.push(0),
        '\\' => bytes.push(b'\\'),
        'x' => {
            let digits = rest.get(..2).ok_or_else(invalid)?;
            bytes.push(u8::from_str_radix(digits, 16).map_err(|_| invalid())?);
            return Ok(&rest[2..]);
        }
        '{' => {
            let (repetition, after) = rest.split_once('}').ok_or_else(invalid)?;
            let (text, times) = repetition.rsplit_once('*').ok_or_else(invalid)?;
            let times = times.parse().map_err(|_| invalid())?;
            bytes.extend_from_slice(&decode(text)?.repeat(times));
            return Ok(after);
        }
        _ => return Err(invalid()),
    }
    Ok(rest)
}

/// Shows bytes for a message: escaped, and at most some hundred characters.
#[must_use]
pub fn show(bytes: &[u8]) -> String {
    const SHOWN: usize = 400;
    let cut = bytes.get(..SHOWN).unwrap_or(bytes);
    let more = bytes.len() - cut.len();
    let text = cut.escape_ascii();
    if more == 0 {
        format!("\"{text}\"")
    } else {
        format!("\"{text}\" and {more} bytes more")
    }
}

#[test]
fn escapes_are_decoded() {
    assert_eq!(decode(r"a\r\n\t\0\\\xe9b").unwrap(), b"a\r\n\t\0\\\xe9b");
    assert_eq!(decode(r"<\{x\r*3}>").unwrap(), b"<x\rx\rx\r>");
    for invalid in [r"\q", r"\x4", r"\xzz", r"\{a*x}", r"\{a", "\\"] {
        decode(invalid).unwrap_err();
    }
}
