//! Start lines and header lines.

use super::Message;

/// Fields in their order; names in lower case.
pub type Fields = Vec<(String, Vec<u8>)>;

/// The values of the fields `name`.
pub(super) fn all<'f>(fields: &'f Fields, name: &str) -> Vec<&'f [u8]> {
    let named = fields.iter().filter(|(key, _)| key == name);
    named.map(|(_, value)| value.as_slice()).collect()
}

/// Parses a head, and returns its length too; `None` if it is not whole.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Message, usize)>, String> {
    let Some((line, mut at)) = take_line(bytes, 0)? else {
        return Ok(None);
    };
    let Some(fields) = take_fields(bytes, &mut at)? else {
        return Ok(None);
    };
    let message = Message {
        line: line.to_vec(),
        fields,
        ..Message::default()
    };
    Ok(Some((message, at)))
}

/// Takes fields up to and with the empty line; `None` if they are not whole.
pub(super) fn take_fields(bytes: &[u8], at: &mut usize) -> Result<Option<Fields>, String> {
    let mut fields = Fields::new();
    while let Some((line, next)) = take_line(bytes, *at)? {
        *at = next;
        if line.is_empty() {
            return Ok(Some(fields));
        }
        fields.push(field(line)?);
    }
    Ok(None)
}

/// Takes a line that ends with CRLF; `None` if it is not whole.
pub(super) fn take_line(bytes: &[u8], at: usize) -> Result<Option<(&[u8], usize)>, String> {
    let rest = bytes.get(at..).unwrap_or_default();
    let Some(end) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
        return Ok(None);
    };
    match (rest[end], rest.get(end + 1)) {
        (b'\r', None) => Ok(None),
        (b'\r', Some(b'\n')) => Ok(Some((&rest[..end], at + end + 2))),
        _ => Err(format!("a bare CR or LF: \"{}\"", rest.escape_ascii())),
    }
}

fn field(line: &[u8]) -> Result<(String, Vec<u8>), String> {
    let fault = || format!("an invalid field: \"{}\"", line.escape_ascii());
    let colon = line.iter().position(|byte| *byte == b':');
    let (name, value) = line.split_at(colon.ok_or_else(fault)?);
    let value = value[1..].trim_ascii();
    let is_text = |byte: &u8| !byte.is_ascii_control() || *byte == b'\t';
    if !is_token(name) || !value.iter().all(is_text) {
        return Err(fault());
    }
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    Ok((name, value.to_vec()))
}

/// Returns whether `bytes` are a token (RFC 9110, section 5.6.2).
#[must_use]
pub(super) fn is_token(bytes: &[u8]) -> bool {
    let is_char = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(is_char)
}

/// Checks the request line and `Host`.
pub(super) fn check_request(message: &Message) -> Result<(), String> {
    let fault = || {
        format!(
            "an invalid request line: \"{}\"",
            message.line.escape_ascii()
        )
    };
    let target = message.word(1);
    let is_valid = |byte: &u8| !byte.is_ascii_control() && !matches!(byte, b' ' | b'#');
    if !is_token(message.word(0))
        || target.is_empty()
        || !target.iter().all(is_valid)
        || message.word(2) != b"HTTP/1.1"
    {
        return Err(fault());
    }
    match message.all("host").len() {
        1 => Ok(()),
        count => Err(format!("{count} Host lines")),
    }
}

/// Checks the status line.
pub(super) fn check_response(message: &Message) -> Result<(), String> {
    let (version, status) = (message.word(0), message.word(1));
    let spaces = message.line.iter().filter(|byte| **byte == b' ').count();
    if version != b"HTTP/1.1"
        || status.len() != 3
        || !status.iter().all(u8::is_ascii_digit)
        || !(100..600).contains(&message.status())
        || spaces < 2
    {
        return Err(format!(
            "an invalid status line: \"{}\"",
            message.line.escape_ascii()
        ));
    }
    Ok(())
}
