//! The report: a table for people, JSON, and a chart.

mod chart;
mod summary;
mod table;

use std::fs;
use std::io::{Write, stdout};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::batch::Batch;
use crate::cli::RunArgs;
use crate::machine::Machine;
use crate::run::Plan;
use crate::validity::Limits;
use summary::Summary;

/// Everything that a run has found.
#[derive(Debug, Serialize)]
pub struct Report {
    machine: Machine,
    quick: bool,
    limits: Limits,
    seconds: u64,
    skipped: Vec<(String, String)>,
    workloads: Vec<Summary>,
    batches: Vec<Batch>,
}

impl Report {
    /// Of these batches.
    #[must_use]
    pub fn new(
        plan: &Plan,
        machine: Machine,
        limits: Limits,
        batches: Vec<Batch>,
        took: Duration,
    ) -> Self {
        let workloads = plan
            .workloads
            .iter()
            .map(|workload| Summary::of(workload.as_ref(), &batches))
            .collect();
        Self {
            machine,
            quick: plan.pace.quick,
            limits,
            seconds: took.as_secs(),
            skipped: plan.skipped.clone(),
            workloads,
            batches,
        }
    }
}

/// Prints the table, writes `result.json` and `chart.svg`, and copies them to the documents if the
/// arguments request it.
///
/// # Errors
/// A file cannot be written.
pub fn publish(report: &Report, args: &RunArgs) -> Result<()> {
    let json = serde_json::to_string_pretty(report)?;
    let chart = chart::svg(report)?;
    let mut out = stdout().lock();
    out.write_all(table::text(report).as_bytes())?;
    let documents = args.publish.then_some(Path::new("docs/performance"));
    for folder in [args.out.as_path()].into_iter().chain(documents) {
        write(folder, "result.json", &json)?;
        write(folder, "chart.svg", &chart)?;
        writeln!(
            out,
            "written: {0}/result.json, {0}/chart.svg",
            folder.display()
        )?;
    }
    Ok(())
}

fn write(folder: &Path, name: &str, text: &str) -> Result<()> {
    let file = folder.join(name);
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(&file, text))
        .with_context(|| file.display().to_string())
}
