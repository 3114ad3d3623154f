//! The machine and the versions of a measurement.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde::Serialize;

use crate::chain::{Chain, Site};

/// The machine and the programs.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// The number of cores.
    pub cores: usize,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// The kernel's version.
    pub kernel: String,
    /// The commit that was built; with `-dirty` where files differ from it.
    pub commit: String,
    /// The date of the measurement.
    pub date: String,
    /// The version of each chain's program.
    pub versions: BTreeMap<String, String>,
}

impl Machine {
    /// Finds out.
    #[must_use]
    pub fn describe(site: &Site, chains: &[Box<dyn Chain>]) -> Self {
        let versions = chains
            .iter()
            .filter_map(|chain| Some((chain.name().to_owned(), chain.version(site)?)));
        Self {
            cpu: field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned()),
            cores: std::thread::available_parallelism()
                .map_or(1, usize::from)
                .max(cores_online()),
            memory_mib: field("/proc/meminfo", "MemTotal")
                .and_then(|text| text.split_ascii_whitespace().next()?.parse::<u64>().ok())
                .map_or(0, |kib| kib / 1024),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .unwrap_or_default()
                .trim()
                .to_owned(),
            commit: commit().unwrap_or_else(|| "unknown".to_owned()),
            date: chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
            versions: versions.collect(),
        }
    }
}

/// The first value of a `name : value` file under this name.
fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let (_, value) = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == name)?;
    Some(value.trim().to_owned())
}

fn cores_online() -> usize {
    fs::read_to_string("/proc/cpuinfo")
        .unwrap_or_default()
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count()
}

fn commit() -> Option<String> {
    let output = Command::new("git")
        .args([
            "describe",
            "--always",
            "--abbrev=12",
            "--exclude=*",
            "--dirty",
        ])
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
