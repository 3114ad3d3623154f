//! The lines that were written last, kept in memory so that one request can be looked up without
//! reading files.
//!
//! What is kept is the writer's own buffers: handed over when they are full, and taken back when
//! there are too many. Lines are not copied, and requests have nothing to do with it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::identity::RequestId;

/// What every member that holds an identifier of a request ends with, and begins its value with.
const MEMBER: &str = "request_id\":\"";
/// What stands before that where the request itself is meant; before `origin_request_id` stands
/// something else.
const OWN: [&str; 2] = ["\"", "\"client_"];

/// Blocks of lines, the oldest first.
pub(super) struct Recent {
    /// Bytes that may be kept, those in the writer's hand included; 0 keeps nothing.
    limit: usize,
    /// Bytes after which a block is full.
    block: usize,
    /// Room of a new block.
    capacity: usize,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    blocks: VecDeque<Arc<Vec<u8>>>,
    bytes: usize,
}

impl Recent {
    /// Keeps up to `limit` bytes, in blocks that are full at `largest` bytes or less, with `room`
    /// for the line that fills one.
    pub(super) fn new(limit: u64, largest: usize, room: usize) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        // Some blocks at least, so that not all is forgotten at once.
        let block = if limit == 0 {
            largest
        } else {
            largest.min(limit / 4).max(1)
        };
        Self {
            limit,
            block,
            capacity: block + room.min(block),
            held: Mutex::default(),
        }
    }

    /// A block to begin with.
    pub(super) fn empty_block(&self) -> Vec<u8> {
        Vec::with_capacity(self.capacity)
    }

    /// Whether anything is kept at all.
    pub(super) const fn is_on(&self) -> bool {
        self.limit > 0
    }

    /// Bytes after which a block is to be handed over.
    pub(super) const fn block(&self) -> usize {
        self.block
    }

    /// Takes a block over, and forgets the oldest ones that it leaves no room for. Gives back an
    /// empty one.
    pub(super) fn hand_over(&self, mut block: Vec<u8>) -> Vec<u8> {
        if !self.is_on() || block.is_empty() {
            block.clear();
            return block;
        }
        if block.len() < self.block {
            // One that is handed over before it is full, for a lookup: memory is what is bounded.
            block.shrink_to_fit();
        }
        let mut held = self.lock();
        held.bytes += block.capacity();
        held.blocks.push_back(Arc::new(block));
        let mut freed = None;
        while held.bytes + self.capacity > self.limit {
            let Some(oldest) = held.blocks.pop_front() else {
                break;
            };
            held.bytes -= oldest.capacity();
            freed = Some(oldest);
        }
        drop(held);
        // A lookup may be reading it still.
        let freed = freed
            .and_then(Arc::into_inner)
            .filter(|block| block.capacity() >= self.capacity);
        let mut empty = freed.unwrap_or_else(|| self.empty_block());
        empty.clear();
        empty
    }

    /// The lines of a request, the oldest first: those under its identifier, and those of a client
    /// that asked for this identifier and was given another one.
    pub(super) fn lines_of(&self, id: &RequestId) -> Vec<Value> {
        let blocks: Vec<_> = self.lock().blocks.iter().cloned().collect();
        blocks
            .iter()
            .flat_map(|block| lines_in(block, id))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The lines of a request within a block.
pub(super) fn lines_in(block: &[u8], id: &RequestId) -> Vec<Value> {
    // Lines are JSON, and so UTF-8.
    let text = std::str::from_utf8(block).unwrap_or_default();
    let mut found = Vec::new();
    let mut looked_at = 0;
    // An identifier needs no escape, and a quote within a value has one: what is found is a member.
    for (at, needle) in text.match_indices(&format!("{MEMBER}{id}\"")) {
        let (before, _) = text.split_at_checked(at).unwrap_or_default();
        if at < looked_at || !OWN.iter().any(|own| before.ends_with(own)) {
            continue;
        }
        let begin = before.rfind('\n').map_or(0, |end| end + 1);
        let end = text
            .get(at..)
            .and_then(|rest| rest.find('\n'))
            .map_or(text.len(), |length| at + length);
        looked_at = end.max(at + needle.len());
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
        let recent = Recent::new(1 << 20, 1 << 16, 1 << 12);
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
        recent.hand_over(text.concat().into_bytes());
        recent.hand_over(line("a", 7).into_bytes());
        let numbers: Vec<_> = recent
            .lines_of(&id("a"))
            .iter()
            .map(|line| line["attempts"].as_u64().unwrap())
            .collect();
        assert_eq!(numbers, [1, 4, 6, 7]);
        assert!(recent.lines_of(&id("nobody")).is_empty());
    }

    #[test]
    fn the_oldest_go_first_and_the_bound_holds() {
        let recent = Recent::new(4096, 1 << 16, 1 << 12);
        let mut block = recent.empty_block();
        for number in 0..1000 {
            block.extend_from_slice(line(&format!("id-{number}"), number).as_bytes());
            if block.len() >= recent.block() || number % 7 == 0 {
                block = recent.hand_over(block);
                assert!(block.is_empty() && block.capacity() >= recent.block());
                let held = recent.lock();
                assert_eq!(
                    held.bytes,
                    held.blocks
                        .iter()
                        .map(|block| block.capacity())
                        .sum::<usize>()
                );
                assert!(held.bytes <= 4096, "{}", held.bytes);
            }
        }
        recent.hand_over(block);
        assert!(recent.lines_of(&id("id-0")).is_empty());
        assert_eq!(recent.lines_of(&id("id-999")).len(), 1);
    }

    #[test]
    fn a_line_larger_than_the_bound_is_not_kept() {
        let recent = Recent::new(100, 1 << 16, 1 << 12);
        recent.hand_over(vec![b'x'; 1000]);
        assert_eq!(recent.lock().bytes, 0);
    }
}
