//! The access log: one JSON object a line (phase `logging`, and the end of a tunnel).
//!
//! Logging never blocks a request: a thread of its own writes lines from a bounded queue. When the
//! disk stalls, lines are dropped and counted.

mod fields;
mod line;
mod recent;
mod tail;
mod timestamp;
mod writer;

pub use timestamp::timestamp;
pub use writer::{AccessLog, AccessLogError};

use serde_json::Value;

/// Merges lines about one request from two sources, the oldest first, without duplicates. Lines of
/// the same millisecond keep their order, those of `lines` first.
pub fn merge_lines(lines: &mut Vec<Value>, mut others: Vec<Value>) {
    others.retain(|line| !lines.contains(line));
    lines.append(&mut others);
    lines.sort_by(|one, other| one["ts"].as_str().cmp(&other["ts"].as_str()));
}
