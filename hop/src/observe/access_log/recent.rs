//! The latest lines in memory, for lookups of one request.
//!
//! The writer's own buffers are kept once they are full, and reused beyond the limit. Lines are not
//! copied, and requests have no part in it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::identity::RequestId;

/// The end of the name of each member with a request identifier, and the begin of its value.
const MEMBER: &str = "request_id\":\"";
/// The text before [`MEMBER`] if the member identifies the request of the line:
/// `origin_request_id` does not.
const OWN: [&str; 2] = ["\"", "\"client_"];

/// Blocks of lines, the oldest first.
pub(super) struct RecentLines {
    /// Bytes to keep, including the writer's current block; 0 keeps nothing.
    limit: usize,
    /// Size at which a block is full, in bytes.
    block_bytes: usize,
    /// Capacity of a new block, in bytes.
    capacity: usize,
    blocks: Mutex<Blocks>,
}

#[derive(Default)]
struct Blocks {
    blocks: VecDeque<Arc<Vec<u8>>>,
    bytes: usize,
}

impl RecentLines {
    /// Keeps up to `limit` bytes, in blocks that are full at `largest` bytes or fewer, with `room`
    /// for the line that fills a block.
    pub(super) fn new(limit: u64, largest: usize, room: usize) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        // Several blocks, so that not all lines are dropped at once.
        let block = if limit == 0 {
            largest
        } else {
            largest.min(limit / 4).max(1)
        };
        Self {
            limit,
            block_bytes: block,
            capacity: block + room.min(block),
            blocks: Mutex::default(),
        }
    }

    /// Returns an empty block.
    pub(super) fn empty_block(&self) -> Vec<u8> {
        Vec::with_capacity(self.capacity)
    }

    /// Returns whether lines are kept.
    pub(super) const fn is_enabled(&self) -> bool {
        self.limit > 0
    }

    /// Size at which a block is full, in bytes.
    pub(super) const fn block_bytes(&self) -> usize {
        self.block_bytes
    }

    /// Keeps a block, and drops the oldest blocks beyond the limit. Returns an empty block.
    pub(super) fn push(&self, mut block: Vec<u8>) -> Vec<u8> {
        if !self.is_enabled() || block.is_empty() {
            block.clear();
            return block;
        }
        if block.len() < self.block_bytes {
            // Pushed before it is full, for a lookup. The limit is one of memory.
            block.shrink_to_fit();
        }
        let mut kept = self.lock();
        kept.bytes += block.capacity();
        kept.blocks.push_back(Arc::new(block));
        let mut freed = None;
        while kept.bytes + self.capacity > self.limit {
            let Some(oldest) = kept.blocks.pop_front() else {
                break;
            };
            kept.bytes -= oldest.capacity();
            freed = Some(oldest);
        }
        drop(kept);
        // A lookup may still read the block.
        let freed = freed
            .and_then(Arc::into_inner)
            .filter(|block| block.capacity() >= self.capacity);
        let mut empty = freed.unwrap_or_else(|| self.empty_block());
        empty.clear();
        empty
    }

    /// Returns the lines of a request, the oldest first: lines with its identifier, and lines of a
    /// request whose client sent this identifier but got another one.
    pub(super) fn find(&self, id: &RequestId) -> Vec<Value> {
        let blocks: Vec<_> = self.lock().blocks.iter().cloned().collect();
        blocks.iter().flat_map(|block| find_in(block, id)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Blocks> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the lines of a request within a block.
pub(super) fn find_in(block: &[u8], id: &RequestId) -> Vec<Value> {
    // Lines are JSON, which is UTF-8.
    let text = std::str::from_utf8(block).unwrap_or_default();
    let mut found = Vec::new();
    let mut searched = 0;
    // Every match is a member: an identifier needs no escapes, and a quote within a value has one.
    for (at, needle) in text.match_indices(&format!("{MEMBER}{id}\"")) {
        let (before, _) = text.split_at_checked(at).unwrap_or_default();
        if at < searched || !OWN.iter().any(|own| before.ends_with(own)) {
            continue;
        }
        let begin = before.rfind('\n').map_or(0, |end| end + 1);
        let end = text
            .get(at..)
            .and_then(|rest| rest.find('\n'))
            .map_or(text.len(), |length| at + length);
        searched = end.max(at + needle.len());
        found.extend(
            text.get(begin..end)
                .and_then(|line| serde_json::from_str::<Value>(line).ok()),
        );
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> RequestId {
        text.parse().unwrap()
    }

    fn line(id: &str, number: usize) -> String {
        format!("{{\"ts\":\"t\",\"request_id\":\"{id}\",\"attempts\":{number}}}\n")
    }

    #[test]
    fn a_request_s_own_lines_are_found_and_no_others() {
        let recent = RecentLines::new(1 << 20, 1 << 16, 1 << 12);
        let text = [
            line("a", 1),
            line("aa", 2),
            "\n".to_owned(),
            "{\"request_id\":\"b\",\"origin_request_id\":\"a\",\"attempts\":3}\n".to_owned(),
            "{\"request_id\":\"c\",\"client_request_id\":\"a\",\"attempts\":4}\n".to_owned(),
            "{\"request_id\":\"d\",\"path\":\"/\\\"request_id\\\":\\\"a\\\"\",\"attempts\":5}\n"
                .to_owned(),
            line("a", 6),
        ];
        recent.push(text.concat().into_bytes());
        recent.push(line("a", 7).into_bytes());
        let numbers: Vec<_> = recent
            .find(&id("a"))
            .iter()
            .map(|line| line["attempts"].as_u64().unwrap())
            .collect();
        assert_eq!(numbers, [1, 4, 6, 7]);
        assert!(recent.find(&id("nobody")).is_empty());
    }

    #[test]
    fn the_oldest_blocks_are_dropped_at_the_limit() {
        let recent = RecentLines::new(4096, 1 << 16, 1 << 12);
        let mut block = recent.empty_block();
        for number in 0..1000 {
            block.extend_from_slice(line(&format!("id-{number}"), number).as_bytes());
            if block.len() >= recent.block_bytes() || number % 7 == 0 {
                block = recent.push(block);
                assert!(block.is_empty() && block.capacity() >= recent.block_bytes());
                let kept = recent.lock();
                assert_eq!(
                    kept.bytes,
                    kept.blocks
                        .iter()
                        .map(|block| block.capacity())
                        .sum::<usize>()
                );
                assert!(kept.bytes <= 4096, "{}", kept.bytes);
            }
        }
        recent.push(block);
        assert!(recent.find(&id("id-0")).is_empty());
        assert_eq!(recent.find(&id("id-999")).len(), 1);
    }

    #[test]
    fn a_line_larger_than_the_limit_is_not_kept() {
        let recent = RecentLines::new(100, 1 << 16, 1 << 12);
        recent.push(vec![b'x'; 1000]);
        assert_eq!(recent.lock().bytes, 0);
    }
}
