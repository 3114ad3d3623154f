//! The goals of App-Proxy.

use crate::metric::Metric;
use crate::stats::Spread;

/// The figure that a goal limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// The median of the ratios to the baseline.
    Ratio,
    /// The median.
    Median,
    /// The largest.
    Largest,
}

/// One goal.
#[derive(Clone, Copy, Debug)]
pub struct Goal {
    /// The workload.
    pub workload: &'static str,
    /// The measured metric.
    pub metric: Metric,
    /// The limited figure.
    pub figure: Figure,
    /// The value that it must not exceed.
    pub at_least: f64,
    /// The value that it should not exceed.
    pub goal: f64,
}

const fn ratio(workload: &'static str, metric: Metric, at_least: f64, goal: f64) -> Goal {
    Goal {
        workload,
        metric,
        figure: Figure::Ratio,
        at_least,
        goal,
    }
}

/// The memory of a connection that is open, in KiB.
const fn open(workload: &'static str, at_least: f64, goal: f64) -> Goal {
    Goal {
        workload,
        metric: Metric::Open,
        figure: Figure::Median,
        at_least,
        goal,
    }
}

/// All goals. Ratios are to nginx → nginx, those of the last two to the same with 10. The goals of
/// held connections are what HAProxy needs for them.
pub const GOALS: [Goal; 18] = [
    ratio("keepalive", Metric::Cpu, 1.15, 1.0),
    ratio("rate-2500", Metric::Cpu, 1.25, 1.0),
    ratio("new-connection", Metric::Cpu, 1.25, 1.0),
    ratio("body-64k", Metric::Cpu, 0.75, 0.6),
    ratio("post-1k", Metric::Cpu, 1.2, 1.0),
    ratio("post-64k", Metric::Cpu, 0.8, 0.7),
    ratio("download", Metric::CpuGib, 0.75, 0.6),
    ratio("upload", Metric::CpuGib, 0.6, 0.5),
    ratio("websocket", Metric::Cpu, 1.0, 0.9),
    ratio("websocket", Metric::P99, 1.0, 0.9),
    open("idle-websockets", 12.0, 8.0),
    // All of it is to be returned, which no allocator does to the last page.
    Goal {
        workload: "idle-websockets",
        metric: Metric::Left,
        figure: Figure::Largest,
        at_least: 2.0,
        goal: 0.0,
    },
    open("silent", 6.0, 1.5),
    open("waiting", 32.0, 20.0),
    open("stalled", 128.0, 110.0),
    ratio("events", Metric::Cpu, 1.05, 0.9),
    ratio("many-apps", Metric::Cpu, 1.03, 1.0),
    ratio("many-sessions", Metric::Cpu, 1.03, 1.0),
];

impl Goal {
    /// The figure that it is about.
    #[must_use]
    pub fn figure_of(&self, value: Option<&Spread>, ratio: Option<&Spread>) -> Option<f64> {
        match self.figure {
            Figure::Ratio => ratio.map(|spread| spread.median),
            Figure::Median => value.map(|spread| spread.median),
            Figure::Largest => value.map(|spread| spread.max),
        }
    }
}
