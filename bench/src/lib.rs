//! The benchmark of App-Proxy: chains of two proxies side by side, each in front of the same
//! application, measured by the same client in the same run. docs/benchmark.md describes the method
//! and the figures.

pub mod app;
pub mod batch;
pub mod chain;
pub mod cli;
pub mod client;
pub mod goals;
pub mod machine;
pub mod meter;
pub mod metric;
pub mod ports;
pub mod process;
pub mod procfs;
pub mod report;
pub mod run;
pub mod scale;
pub mod stats;
pub mod validity;
pub mod workload;

/// The header of the request ID: App-Proxy's default; the other chains are configured to use
/// it too.
pub const REQUEST_ID: &str = "X-Backend-Request-ID";

/// Nanoseconds on the machine's monotonic clock, which all its processes share.
#[must_use]
pub fn monotonic_ns() -> u64 {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).map_or(0, |time| {
        u64::try_from(std::time::Duration::from(time).as_nanos()).unwrap_or(u64::MAX)
    })
}
