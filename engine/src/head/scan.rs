//! Searches in bytes, eight at a time.

/// One in each byte of a word.
const ONES: u64 = 0x0101_0101_0101_0101;
/// The highest bit of each byte of a word.
const HIGH_BITS: u64 = 0x80 * ONES;

/// A search for control characters (0x00 to 0x1f, and 0x7f) that notices other bytes than ASCII on
/// its way.
#[derive(Debug)]
pub(super) struct ControlSearch<'a> {
    bytes: &'a [u8],
    high_bits: u64,
}

impl<'a> ControlSearch<'a> {
    /// Creates a search in `bytes`.
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            high_bits: 0,
        }
    }

    /// Returns the position of the first control character at or behind `from`.
    pub(super) fn next(&mut self, from: usize) -> Option<usize> {
        let (chunks, rest) = self.bytes.get(from..)?.as_chunks::<16>();
        let mut at = from;
        for chunk in chunks {
            let (first, second) = halves(chunk);
            self.high_bits |= first | second;
            let found = (controls(first), controls(second));
            if found.0 | found.1 != 0 {
                let is_first = found.0 != 0;
                return Some(
                    at + if is_first {
                        first_byte(found.0)
                    } else {
                        8 + first_byte(found.1)
                    },
                );
            }
            at += 16;
        }
        for &byte in rest {
            self.high_bits |= u64::from(byte);
            if byte.is_ascii_control() {
                return Some(at);
            }
            at += 1;
        }
        None
    }

    /// Returns whether all bytes that were searched are ASCII. Up to 7 bytes behind the last result
    /// count too.
    pub(super) const fn is_ascii(&self) -> bool {
        self.high_bits & HIGH_BITS == 0
    }
}

/// Returns the position of the first `wanted` in `bytes`. It is meant for short distances.
pub(super) fn position(wanted: u8, bytes: &[u8]) -> Option<usize> {
    let (chunks, rest) = bytes.as_chunks();
    let mut at = 0;
    for chunk in chunks {
        let differences = u64::from_le_bytes(*chunk) ^ (u64::from(wanted) * ONES);
        // Exact up to the first zero byte.
        let found = differences.wrapping_sub(ONES) & !differences & HIGH_BITS;
        if found != 0 {
            return Some(at + first_byte(found));
        }
        at += 8;
    }
    Some(at + rest.iter().position(|&byte| byte == wanted)?)
}

/// Returns the two words of 16 bytes.
fn halves(bytes: &[u8; 16]) -> (u64, u64) {
    let both = u128::from_le_bytes(*bytes);
    (both as u64, (both >> 64) as u64)
}

/// Returns the high bits of the bytes of a word that are control characters.
const fn controls(word: u64) -> u64 {
    // Neither the subtraction nor the addition carries into the next byte.
    let from_space = (word | HIGH_BITS) - b' ' as u64 * ONES;
    let is_delete = (word & !HIGH_BITS) + ONES;
    (!from_space | is_delete) & !word & HIGH_BITS
}

/// Returns the index of the first byte whose high bit is set.
const fn first_byte(high_bits: u64) -> usize {
    (high_bits.trailing_zeros() / 8) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn searches_find_what_iterators_find(
            bytes in prop::collection::vec(prop_oneof![9 => b' '..=b'~', 1 => any::<u8>()], 0..80),
            from in 0..80_usize,
            wanted in any::<u8>(),
        ) {
            let from = from.min(bytes.len());
            let expected = bytes[from..].iter().position(u8::is_ascii_control);
            let mut search = ControlSearch::new(&bytes);
            prop_assert_eq!(search.next(from), expected.map(|at| from + at));
            if expected.is_none() {
                prop_assert_eq!(search.is_ascii(), bytes[from..].is_ascii());
            }
            for wanted in bytes.first().copied().into_iter().chain([wanted]) {
                prop_assert_eq!(position(wanted, &bytes), memchr::memchr(wanted, &bytes));
            }
        }

        #[test]
        fn each_byte_of_a_word_is_classified(bytes in any::<[u8; 8]>()) {
            let expected = bytes.map(|byte| if byte.is_ascii_control() { 0x80 } else { 0 });
            prop_assert_eq!(controls(u64::from_le_bytes(bytes)), u64::from_le_bytes(expected));
        }
    }
}
