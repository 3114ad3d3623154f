//! The metrics.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

/// A figure of a sample. The smaller the better, but for `Rate` and `Busy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Metric {
    /// CPU time of all processes of the chain for one unit of the workload, in µs.
    Cpu,
    /// CPU time of the chain for 1 GiB, in s.
    CpuGib,
    /// Half of the units took no longer, in ms.
    P50,
    /// 99 of 100 units took no longer, in ms.
    P99,
    /// Units a second.
    Rate,
    /// The share of its core that the chain used, in %.
    Busy,
    /// The most memory that the chain's processes ever had at the same time, at most, in MiB.
    Peak,
    /// Memory of the chain's processes for each open connection, in KiB.
    Open,
    /// Memory that they kept when all connections were closed, for each of them, in KiB.
    Left,
}

impl Metric {
    /// Its name in the JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu_us",
            Self::CpuGib => "cpu_s_per_gib",
            Self::P50 => "p50_ms",
            Self::P99 => "p99_ms",
            Self::Rate => "per_second",
            Self::Busy => "busy_percent",
            Self::Peak => "peak_mib",
            Self::Open => "open_kib",
            Self::Left => "left_kib",
        }
    }

    /// The head of its column.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Cpu => "CPU µs",
            Self::CpuGib => "CPU s/GiB",
            Self::P50 => "p50 ms",
            Self::P99 => "p99 ms",
            Self::Rate => "per s",
            Self::Busy => "core %",
            Self::Peak => "peak MiB",
            Self::Open => "KiB open",
            Self::Left => "KiB left",
        }
    }
}

impl Serialize for Metric {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// One slice of one contestant.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Sample {
    /// The number of completed units.
    pub count: u64,
    /// The number of failed units.
    pub failed: u64,
    /// The failure of the first of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// The figures.
    pub values: BTreeMap<Metric, f64>,
}

impl Sample {
    /// A sample that failed as a whole.
    #[must_use]
    pub fn failed(why: &dyn std::fmt::Display) -> Self {
        Self {
            failed: 1,
            failure: Some(why.to_string()),
            ..Self::default()
        }
    }

    /// A figure.
    #[must_use]
    pub fn get(&self, metric: Metric) -> Option<f64> {
        self.values.get(&metric).copied()
    }
}
