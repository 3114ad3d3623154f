//! A JSON writer for the fields of a line. Names and nearly all values need no escapes and are
//! copied; `serde_json` writes the others.

use std::net::IpAddr;
use std::time::Duration;

use crate::header::ip_value;

/// A JSON object under construction.
pub(super) struct Fields<'b> {
    buffer: &'b mut Vec<u8>,
    has_fields: bool,
}

impl<'b> Fields<'b> {
    /// Begins an object.
    pub(super) fn new(buffer: &'b mut Vec<u8>) -> Self {
        buffer.push(b'{');
        Self {
            buffer,
            has_fields: false,
        }
    }

    /// Ends the object.
    pub(super) fn end(self) {
        self.buffer.push(b'}');
    }

    /// Writes a text.
    pub(super) fn text(&mut self, name: &'static str, value: &str) {
        self.name(name);
        // Without an early exit, so that the loop is vectorized.
        let needs_escape = value.bytes().fold(false, |any, byte| {
            any | (byte < 0x20) | (byte == b'"') | (byte == b'\\')
        });
        if needs_escape {
            // Writing to memory does not fail.
            let _ = serde_json::to_writer(&mut *self.buffer, value);
        } else {
            self.quoted(value.as_bytes());
        }
    }

    /// Writes a text, if it is known.
    pub(super) fn text_if(&mut self, name: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    /// Writes a whole number.
    pub(super) fn number(&mut self, name: &'static str, value: impl itoa::Integer) {
        self.name(name);
        self.buffer
            .extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }

    /// Writes a whole number, if it is known.
    pub(super) fn number_if(&mut self, name: &'static str, value: Option<impl itoa::Integer>) {
        if let Some(value) = value {
            self.number(name, value);
        }
    }

    /// Writes a Boolean, if it is known.
    pub(super) fn bool_if(&mut self, name: &'static str, value: Option<bool>) {
        if let Some(value) = value {
            self.name(name);
            self.buffer
                .extend_from_slice(if value { b"true" } else { b"false" });
        }
    }

    /// Writes milliseconds with three decimals, if they are known.
    pub(super) fn millis_if(&mut self, name: &'static str, value: Option<Duration>) {
        let Some(value) = value else { return };
        let micros = value.as_micros();
        self.number(name, micros / 1000);
        let [_, decimals @ ..] = digits(u32::try_from(micros % 1000).unwrap_or(0) + 1000);
        self.buffer.push(b'.');
        self.buffer.extend_from_slice(&decimals);
    }

    /// Writes an address, if it is known.
    pub(super) fn address_if(&mut self, name: &'static str, value: Option<IpAddr>) {
        self.text_if(
            name,
            value
                .map(ip_value)
                .as_ref()
                .and_then(|value| value.to_str().ok()),
        );
    }

    fn name(&mut self, name: &'static str) {
        if std::mem::replace(&mut self.has_fields, true) {
            self.buffer.push(b',');
        }
        self.quoted(name.as_bytes());
        self.buffer.push(b':');
    }

    fn quoted(&mut self, bytes: &[u8]) {
        self.buffer.reserve(bytes.len() + 3);
        self.buffer.push(b'"');
        self.buffer.extend_from_slice(bytes);
        self.buffer.push(b'"');
    }
}

/// Returns the last four decimal digits of a number.
fn digits(number: u32) -> [u8; 4] {
    [1000, 100, 10, 1].map(|unit| b'0' + u8::try_from(number / unit % 10).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn milliseconds_have_three_decimals() {
        let mut buffer = Vec::new();
        let mut fields = Fields::new(&mut buffer);
        for micros in [0, 5, 1_050, 123_456_789] {
            fields.millis_if("t", Some(Duration::from_micros(micros)));
        }
        fields.end();
        assert_eq!(
            String::from_utf8(buffer).unwrap(),
            r#"{"t":0.000,"t":0.005,"t":1.050,"t":123456.789}"#
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_back_as_it_was(value in any::<String>()) {
            let mut buffer = Vec::new();
            let mut fields = Fields::new(&mut buffer);
            fields.text("value", &value);
            fields.end();
            let read: serde_json::Value = serde_json::from_slice(&buffer).unwrap();
            prop_assert_eq!(read["value"].as_str(), Some(value.as_str()));
        }
    }
}
