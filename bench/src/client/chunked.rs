//! The chunked transfer coding (RFC 9112, section 7.1), however a proxy has cut it.

use super::failure::Failure;

/// The next element of the chunked coding.
#[derive(Clone, Copy, Debug)]
enum State {
    /// A chunk's size, so far.
    Size(u64),
    /// The rest of the line of the size.
    Line(u64),
    /// So many bytes of a chunk.
    Data(u64),
    /// The line end behind a chunk.
    Gap,
}

/// Decodes chunk by chunk, from any pieces.
#[derive(Debug)]
pub struct Chunked {
    state: State,
}

impl Default for Chunked {
    fn default() -> Self {
        Self {
            state: State::Size(0),
        }
    }
}

impl Chunked {
    /// Appends the decoded bytes to `out`. Returns false after the last chunk.
    ///
    /// # Errors
    /// The bytes are not chunked.
    pub fn decode(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<bool, Failure> {
        while let Some((&byte, rest)) = bytes.split_first() {
            if let State::Data(left) = self.state {
                let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                let (data, rest) = bytes.split_at(here);
                out.extend_from_slice(data);
                bytes = rest;
                let left = left - here as u64;
                self.state = if left == 0 {
                    State::Gap
                } else {
                    State::Data(left)
                };
                continue;
            }
            bytes = rest;
            self.state = match (self.state, byte) {
                (State::Size(size) | State::Line(size), b'\n') if size > 0 => State::Data(size),
                (State::Size(_) | State::Line(_), b'\n') => return Ok(false),
                (State::Size(size), _) => match char::from(byte).to_digit(16) {
                    Some(digit) => State::Size(size << 4 | u64::from(digit)),
                    None if matches!(byte, b'\r' | b';' | b' ') => State::Line(size),
                    None => return Err(Failure::Malformed("no size of a chunk")),
                },
                (State::Gap, b'\n') => State::Size(0),
                (state, _) => state,
            };
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODED: &[u8] = b"5\r\nhello\r\nA;x=y\r\n, world 42\r\n0\r\n\r\n";

    #[test]
    fn any_pieces_give_the_same() {
        for size in 1..CODED.len() {
            let (mut decoder, mut out, mut more) = (Chunked::default(), Vec::new(), true);
            for piece in CODED.chunks(size) {
                more = more && decoder.decode(piece, &mut out).unwrap();
            }
            assert_eq!(out, b"hello, world 42");
            assert!(!more);
        }
    }

    #[test]
    fn invalid_chunks_are_rejected() {
        assert!(
            Chunked::default()
                .decode(b"data: 1\n\n", &mut Vec::new())
                .is_err()
        );
    }
}
