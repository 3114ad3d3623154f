//! The end of the log's file, for lookups of requests of other processes: earlier ones, and a
//! predecessor that drains.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde_json::Value;

use crate::identity::RequestId;
use crate::observe::access_log::recent::find_in;

/// Size of a read, in bytes.
const PIECE: usize = 1 << 20;

/// The last `limit` bytes of a file that grows.
pub(super) struct Tail {
    file: File,
    limit: u64,
}

impl Tail {
    /// Opens the file at `path`; `None` if it is not a regular file, or not readable. The file
    /// stays open, because with `-d` the working directory changes.
    pub(super) fn open(path: &Path, limit: u64) -> Option<Self> {
        let is_file = path.metadata().is_ok_and(|metadata| metadata.is_file());
        let file = is_file.then(|| File::open(path).ok()).flatten()?;
        Some(Self { file, limit })
    }

    /// Returns the lines of a request, the oldest first.
    pub(super) fn find(&self, id: &RequestId) -> io::Result<Vec<Value>> {
        let end = self.file.metadata()?.len();
        let mut at = end.saturating_sub(self.limit);
        // The first line is partial, unless the file begins there.
        let mut is_partial = at > 0;
        let (mut found, mut text, mut piece) = (Vec::new(), Vec::new(), vec![0; PIECE]);
        while at < end {
            let wanted = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
            let read = self
                .file
                .read_at(piece.get_mut(..wanted).unwrap_or_default(), at)?;
            if read == 0 {
                // The file was truncated meanwhile.
                break;
            }
            at += read as u64;
            text.extend_from_slice(piece.get(..read).unwrap_or_default());
            let Some(last) = text.iter().rposition(|byte| *byte == b'\n') else {
                continue;
            };
            let rest = text.split_off(last + 1);
            let begin = if std::mem::take(&mut is_partial) {
                after_first_line(&text)
            } else {
                0
            };
            found.extend(find_in(text.get(begin..).unwrap_or_default(), id));
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
    fn lines_across_reads_are_found() {
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
        // A partial line, as a concurrent write leaves it.
        file.write_all(b"{\"request_id\":\"a\",\"att").unwrap();
        let id: RequestId = "a".parse().unwrap();
        let whole = Tail::open(file.path(), u64::MAX).unwrap();
        assert_eq!(numbers(whole.find(&id)), (1..=number).collect::<Vec<_>>());
        for limit in [0, 1, 10, 4040, 5000, 1_500_000] {
            let found = numbers(Tail::open(file.path(), limit).unwrap().find(&id));
            let expected = number + 1 - found.len() as u64..=number;
            assert_eq!(found, expected.collect::<Vec<_>>(), "{limit}");
            assert_eq!(found.is_empty(), limit <= 4040, "{limit}");
        }
        file.as_file().set_len(0).unwrap();
        assert!(whole.find(&id).unwrap().is_empty());
        assert!(Tail::open(Path::new("/dev/null"), 10).is_none());
    }
}
