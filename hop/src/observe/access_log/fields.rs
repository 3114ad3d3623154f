//! A JSON writer for the fields of a line. Names and nearly all values need no escapes and are
//! copied; `serde_json` writes the others.

use std::net::IpAddr;
use std::time::Duration;

/// The name of a field as it stands before its value: `,"name":`.
macro_rules! key {
    ($name:literal) => {
        concat!(",\"", $name, "\":")
    };
}
pub(super) use key;

/// Appends a field with a text that needs no escapes.
#[inline]
pub(super) fn plain(buffer: &mut Vec<u8>, key: &'static str, value: &str) {
    debug_assert!(!needs_escape(value.as_bytes()), "{value}");
    buffer.extend_from_slice(key.as_bytes());
    quoted(buffer, value);
}

/// Appends a field with a text that needs no escapes, if it is known.
#[inline]
pub(super) fn plain_if(buffer: &mut Vec<u8>, key: &'static str, value: Option<&str>) {
    if let Some(value) = value {
        plain(buffer, key, value);
    }
}

/// Appends a field with any text.
#[inline]
pub(super) fn text(buffer: &mut Vec<u8>, key: &'static str, value: &str) {
    buffer.extend_from_slice(key.as_bytes());
    if needs_escape(value.as_bytes()) {
        // Writing to memory does not fail.
        let _ = serde_json::to_writer(buffer, value);
    } else {
        quoted(buffer, value);
    }
}

/// Appends a field with any text, if it is known.
#[inline]
pub(super) fn text_if(buffer: &mut Vec<u8>, key: &'static str, value: Option<&str>) {
    if let Some(value) = value {
        text(buffer, key, value);
    }
}

/// Appends a field with a whole number.
#[inline]
pub(super) fn number(buffer: &mut Vec<u8>, key: &'static str, value: u64) {
    buffer.extend_from_slice(key.as_bytes());
    digits(buffer, value);
}

/// Appends a field with a whole number, if it is known.
#[inline]
pub(super) fn number_if(buffer: &mut Vec<u8>, key: &'static str, value: Option<impl Into<u64>>) {
    if let Some(value) = value {
        number(buffer, key, value.into());
    }
}

/// Appends a Boolean field, if it is known.
#[inline]
pub(super) fn bool_if(buffer: &mut Vec<u8>, key: &'static str, value: Option<bool>) {
    if let Some(value) = value {
        buffer.extend_from_slice(key.as_bytes());
        buffer.extend_from_slice(if value { b"true" } else { b"false" });
    }
}

/// Appends a field with milliseconds and three decimals, if they are known.
#[inline]
pub(super) fn millis_if(buffer: &mut Vec<u8>, key: &'static str, value: Option<Duration>) {
    let Some(value) = value else { return };
    // In 64 bits, as 128 have no instruction for a division. They last for 584,000 years.
    let micros = value
        .as_secs()
        .saturating_mul(1_000_000)
        .saturating_add(u64::from(value.subsec_micros()));
    number(buffer, key, micros / 1000);
    buffer.push(b'.');
    three_digits(buffer, micros % 1000);
}

/// Appends a field with an address, if it is known.
#[inline]
pub(super) fn address_if(buffer: &mut Vec<u8>, key: &'static str, value: Option<IpAddr>) {
    match value {
        None => {}
        Some(IpAddr::V4(ip)) => {
            buffer.extend_from_slice(key.as_bytes());
            let mut before = b'"';
            for octet in ip.octets() {
                buffer.push(before);
                digits(buffer, u64::from(octet));
                before = b'.';
            }
            buffer.push(b'"');
        }
        Some(ip) => plain(buffer, key, &ip.to_string()),
    }
}

/// Appends the last three decimal digits of a number.
pub(super) fn three_digits(buffer: &mut Vec<u8>, number: u64) {
    let digit = |unit: u64| b'0' + u8::try_from(number / unit % 10).unwrap_or(0);
    buffer.extend_from_slice(&[digit(100), digit(10), digit(1)]);
}

fn digits(buffer: &mut Vec<u8>, number: u64) {
    buffer.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

#[inline]
fn quoted(buffer: &mut Vec<u8>, value: &str) {
    buffer.push(b'"');
    buffer.extend_from_slice(value.as_bytes());
    buffer.push(b'"');
}

/// Returns whether a text has a byte that JSON escapes (RFC 8259, section 7).
#[inline]
fn needs_escape(bytes: &[u8]) -> bool {
    // Eight at once; the last eight may overlap with those before.
    let (Some(last), mut rest) = (bytes.last_chunk(), bytes) else {
        return bytes.iter().any(|byte| escaped_in([*byte; 8]));
    };
    while let Some((first, behind)) = rest.split_first_chunk() {
        if escaped_in(*first) {
            return true;
        }
        rest = behind;
    }
    escaped_in(*last)
}

/// Returns whether one of eight bytes is escaped: a control character, `"` or `\`.
///
/// `n` is subtracted from all eight at once: the highest bit of a byte below `n` is set then, and
/// was not before. It borrows from the next byte, so only the first such byte is certain, which is
/// enough here.
#[inline]
fn escaped_in(bytes: [u8; 8]) -> bool {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES * 0x80;
    let word = u64::from_ne_bytes(bytes);
    let quote = word ^ (ONES * u64::from(b'"'));
    let backslash = word ^ (ONES * u64::from(b'\\'));
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word;
    (below(word, 0x20) | below(quote, 1) | below(backslash, 1)) & HIGH != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut buffer = Vec::new();
        write(&mut buffer);
        String::from_utf8(buffer).unwrap()
    }

    #[test]
    fn milliseconds_have_three_decimals() {
        for (micros, expected) in [
            (0, "0.000"),
            (5, "0.005"),
            (1_050, "1.050"),
            (123_456_789, "123456.789"),
        ] {
            let duration = Some(Duration::from_micros(micros));
            let field = written(|buffer| millis_if(buffer, key!("t"), duration));
            assert_eq!(field, format!(r#","t":{expected}"#));
        }
        let longest = written(|buffer| millis_if(buffer, key!("t"), Some(Duration::MAX)));
        assert_eq!(longest, r#","t":18446744073709551.615"#);
    }

    #[test]
    fn every_byte_that_json_escapes_is_found_wherever_it_stands() {
        for byte in 0..=u8::MAX {
            let escaped = byte < 0x20 || byte == b'"' || byte == b'\\';
            for length in 0..20 {
                for place in 0..length {
                    for others in [b'a', 0xFF, b'!'] {
                        let mut bytes = vec![others; length];
                        bytes[place] = byte;
                        assert_eq!(needs_escape(&bytes), escaped, "{bytes:?}");
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_back_as_it_was(value in any::<String>()) {
            let field = written(|buffer| text(buffer, key!("value"), &value));
            let object = format!("{{{}}}", field.strip_prefix(',').unwrap());
            let read: serde_json::Value = serde_json::from_str(&object).unwrap();
            prop_assert_eq!(read["value"].as_str(), Some(value.as_str()));
        }

        #[test]
        fn any_address_is_written_as_it_is_displayed(address in any::<IpAddr>()) {
            let field = written(|buffer| address_if(buffer, key!("a"), Some(address)));
            prop_assert_eq!(field, format!(r#","a":"{address}""#));
        }
    }
}
