//! The end of the log's file, where a request is looked up that this process does not remember: one
//! of a process before it, or of one that has handed over to it and drains.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde_json::Value;

use crate::identity::RequestId;
use crate::observe::access_log::recent::lines_in;

/// Bytes that are read at once.
const PIECE: usize = 1 << 20;

/// The last `limit` bytes of a file, whatever they are at the moment.
pub(super) struct Tail {
    file: File,
    limit: u64,
}

impl Tail {
    /// The end of the file at `path`; none where that is no file, or one that may only be written
    /// to. It is opened here, because a path may mean something else once the daemon is in the
    /// background.
    pub(super) fn of(path: &Path, limit: u64) -> Option<Self> {
        let is_file = path.metadata().is_ok_and(|metadata| metadata.is_file());
        let file = is_file.then(|| File::open(path).ok()).flatten()?;
        Some(Self { file, limit })
    }

    /// The lines of a request, the oldest first.
    pub(super) fn lines_of(&self, id: &RequestId) -> io::Result<Vec<Value>> {
        let end = self.file.metadata()?.len();
        let mut at = end.saturating_sub(self.limit);
        // The first line is cut, unless the file begins there.
        let mut is_cut = at > 0;
        let (mut found, mut text, mut piece) = (Vec::new(), Vec::new(), vec![0; PIECE]);
        while at < end {
            let wanted = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
            let read = self
                .file
                .read_at(piece.get_mut(..wanted).unwrap_or_default(), at)?;
            if read == 0 {
                // Somebody has cut the file meanwhile.
                break;
            }
            at += read as u64;
            text.extend_from_slice(piece.get(..read).unwrap_or_default());
            let Some(last) = text.iter().rposition(|byte| *byte == b'\n') else {
                continue;
            };
            let rest = text.split_off(last + 1);
            let begin = if std::mem::take(&mut is_cut) {
                after_first_line(&text)
            } else {
                0
            };
            found.extend(lines_in(text.get(begin..).unwrap_or_default(), id));
            text = rest;
        }
        Ok(found)
    }
}

fn after_first_line(text: &[u8]) -> usize {
    text.iter()
        .position(|byte| *byte == b'\n')
        .map_or(text.len(), |end| end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn numbers(lines: io::Result<Vec<Value>>) -> Vec<u64> {
        lines
            .unwrap()
            .iter()
            .map(|line| line["attempts"].as_u64().unwrap())
            .collect()
    }

    #[test]
    fn lines_are_found_wherever_the_pieces_end() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let filler = format!(
            "{{\"request_id\":\"other\",\"path\":\"/\u{e4}{}\"}}\n",
            "x".repeat(4000)
        );
        let mut number = 0;
        let mut bytes = 0;
        while bytes < 3 * PIECE {
            number += 1;
            let line = format!("{{\"request_id\":\"a\",\"attempts\":{number}}}\n{filler}");
            file.write_all(line.as_bytes()).unwrap();
            bytes += line.len();
        }
        // Somebody is writing this one.
        file.write_all(b"{\"request_id\":\"a\",\"att").unwrap();
        let id: RequestId = "a".parse().unwrap();
        let whole = Tail::of(file.path(), u64::MAX).unwrap();
        assert_eq!(
            numbers(whole.lines_of(&id)),
            (1..=number).collect::<Vec<_>>()
        );
        for limit in [0, 1, 10, 4040, 5000, 1_500_000] {
            let found = numbers(Tail::of(file.path(), limit).unwrap().lines_of(&id));
            let expected = number + 1 - found.len() as u64..=number;
            assert_eq!(found, expected.collect::<Vec<_>>(), "{limit}");
            assert_eq!(found.is_empty(), limit <= 4040, "{limit}");
        }
        file.as_file().set_len(0).unwrap();
        assert!(whole.lines_of(&id).unwrap().is_empty());
        assert!(Tail::of(Path::new("/dev/null"), 10).is_none());
    }
}
