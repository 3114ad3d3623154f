//! The access log: one JSON object a line, written by a thread of its own (phase `logging`, and the tunnel's end).
//!
//! Logging never blocks a request: a line is handed over through a bounded queue, and when the disk stalls, lines are dropped
//! and counted.

mod fields;
mod line;
mod recent;
mod tail;
mod writer;

pub use line::{Event, Facts, Kind, Line, Outcome, timestamp};
pub use writer::{AccessLog, OpenError};
