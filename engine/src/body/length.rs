//! Content of known length: a body, or a chunk.

use bytes::Bytes;

/// The bytes that are left of some content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Left(pub(super) u64);

impl Left {
    /// Takes as much of the content as the front of `input` has; `None` for none.
    pub(super) fn take(&mut self, input: &mut Bytes) -> Option<Bytes> {
        if input.is_empty() {
            return None;
        }
        let length = usize::try_from(self.0).unwrap_or(usize::MAX);
        let data = if length < input.len() {
            input.split_to(length)
        } else {
            std::mem::take(input)
        };
        self.0 -= data.len() as u64;
        Some(data)
    }
}
