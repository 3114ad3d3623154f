//! The memory of a contestant while connections are open, and when they are closed.

use std::cell::RefCell;
use std::collections::HashMap;

use crate::chain::Target;
use crate::metric::{Metric, Sample};
use crate::procfs::memory_kib;

/// The memory of each contestant before its first round, in KiB, by its processes.
#[derive(Debug, Default)]
pub(super) struct Footprint(RefCell<HashMap<Vec<u32>, f64>>);

impl Footprint {
    /// Returns the memory of a contestant before its first round.
    pub(super) fn before(&self, target: &Target) -> f64 {
        let mut known = self.0.borrow_mut();
        *known
            .entry(target.pids.clone())
            .or_insert_with(|| memory(target))
    }
}

/// Returns the sample of so many connections.
#[allow(clippy::cast_precision_loss)]
pub(super) fn sample(count: usize, before: f64, open: f64, left: f64) -> Sample {
    let for_each = |memory: f64| (memory - before) / count as f64;
    Sample {
        count: count as u64,
        values: [
            (Metric::Open, for_each(open)),
            (Metric::Left, for_each(left)),
        ]
        .into(),
        ..Sample::default()
    }
}

/// Anonymous memory in KiB: what the processes have allocated. Their programs' pages, which are
/// files, are not in it.
#[allow(clippy::cast_precision_loss)]
pub(super) fn memory(target: &Target) -> f64 {
    memory_kib(&target.pids, "RssAnon") as f64
}
