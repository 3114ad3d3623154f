//! The framing of chunks that are sent (RFC 9112, section 7.1).

/// Appends the size line of a chunk of `length` bytes.
pub(crate) fn write_chunk_size(out: &mut Vec<u8>, length: u64) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = (64 - length.leading_zeros()).div_ceil(4).max(1);
    for digit in (0..digits).rev() {
        let value = usize::from(((length >> (digit * 4)) & 15) as u8);
        out.extend(DIGITS.get(value));
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_hexadecimal() {
        for length in [0, 1, 15, 16, 255, 256, 48 * 1024, u64::MAX] {
            let mut out = Vec::new();
            write_chunk_size(&mut out, length);
            assert_eq!(out, format!("{length:x}\r\n").as_bytes());
        }
    }
}
