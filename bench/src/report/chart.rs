//! The chart: for each workload the ratio to nginx of App-Proxy, haproxy and bare Pingora.

use anyhow::Result;

use super::Report;

pub(super) fn svg(_report: &Report) -> Result<String> {
    Ok(String::new())
}
