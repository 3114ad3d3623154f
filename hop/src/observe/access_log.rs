//! The access log: one JSON object a line, written by a thread of its own (phase `logging`, and the
//! tunnel's end).
//!
//! Logging never blocks a request: a line is handed over through a bounded queue, and when the disk
//! stalls, lines are dropped and counted.

mod fields;
mod line;
mod recent;
mod tail;
mod writer;

pub use line::{ClosedBy, Kind, LogEvent, LogLine, RequestFacts, RequestOutcome, timestamp};
pub use writer::{AccessLog, OpenError};

use serde_json::Value;

/// Joins lines of several places to those of one request, the oldest first; a line that is there
/// already is the same line. Of one millisecond those that were there come first.
pub fn join_lines(lines: &mut Vec<Value>, mut others: Vec<Value>) {
    others.retain(|line| !lines.contains(line));
    lines.append(&mut others);
    lines.sort_by(|one, other| one["ts"].as_str().cmp(&other["ts"].as_str()));
}
