//! An identifier for tables.

use http::HeaderValue;

use crate::identity::id::{MAX_BYTES, RequestId};

/// An identifier stored in place, for tables with many thousands of records: reading it needs no
/// pointer, which would miss the cache and the TLB.
#[derive(Clone, Copy)]
pub struct InlineId {
    length: u8,
    bytes: [u8; MAX_BYTES],
}

impl InlineId {
    /// Copies an identifier.
    #[must_use]
    pub fn new(id: &RequestId) -> Self {
        let mut bytes = [0; MAX_BYTES];
        let text = id.0.as_bytes();
        bytes
            .iter_mut()
            .zip(text)
            .for_each(|(to, from)| *to = *from);
        Self {
            length: u8::try_from(text.len().min(MAX_BYTES)).unwrap_or(0),
            bytes,
        }
    }

    /// Returns the identifier.
    #[must_use]
    pub fn get(&self) -> RequestId {
        let text = self
            .bytes
            .get(..usize::from(self.length))
            .unwrap_or_default();
        // The bytes come from an identifier.
        HeaderValue::from_bytes(text).map_or_else(|_| RequestId::unset(), RequestId)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inline_identifier_is_unchanged() {
        for text in ["a".to_owned(), "x".repeat(MAX_BYTES)] {
            let id = RequestId::accept(&text.parse().unwrap()).unwrap();
            assert_eq!(InlineId::new(&id).get(), id);
        }
        assert_eq!(InlineId::new(&RequestId::unset()).get(), RequestId::unset());
    }
}
