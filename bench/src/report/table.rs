//! The table for people.

use std::fmt::Write;

use super::Report;
use super::summary::{Row, Summary};
use crate::goals::GOALS;
use crate::metric::Metric;
use crate::stats::Spread;

/// Below this a chain was not the bottleneck, in % of its core.
const SATURATED: f64 = 90.0;

/// The whole table.
pub(super) fn text(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = head(&mut out, report);
    for summary in &report.workloads {
        let _ = block(&mut out, summary);
    }
    let _ = to_previous(&mut out, report);
    let _ = goals(&mut out, report);
    out
}

fn head(out: &mut String, report: &Report) -> std::fmt::Result {
    let machine = &report.machine;
    writeln!(
        out,
        "\n{}, {} cores, {} MiB, Linux {}",
        machine.cpu, machine.cores, machine.memory_mib, machine.kernel
    )?;
    writeln!(
        out,
        "commit {}, {}, measured for {} min",
        machine.commit,
        machine.date,
        report.seconds / 60
    )?;
    for (chain, version) in &machine.versions {
        writeln!(out, "  {chain:<10} {version}")?;
    }
    for (chain, why) in &report.skipped {
        writeln!(out, "  {chain:<10} left out: {why}")?;
    }
    writeln!(
        out,
        "chp has neither a request ID nor an access log. Figures are medians over the rounds."
    )?;
    if report.quick {
        writeln!(
            out,
            "A QUICK RUN: it shows that everything works; the figures mean little."
        )?;
    }
    Ok(())
}

fn block(out: &mut String, summary: &Summary) -> std::fmt::Result {
    let main = summary.main_metric();
    writeln!(out, "\n{} (a unit: {})", summary.title, summary.unit)?;
    if summary.valid < summary.restarts {
        let none = if summary.valid == 0 {
            "VOID, the figures prove nothing"
        } else {
            "some are void"
        };
        writeln!(
            out,
            "  {} of {} batches count: {none}",
            summary.valid, summary.restarts
        )?;
    }
    for why in &summary.void {
        writeln!(out, "  void: {why}")?;
    }
    for failure in &summary.failures {
        writeln!(out, "  failed, and left out: {failure}")?;
    }
    write!(out, "  {:<16}", "")?;
    for metric in &summary.metrics {
        write!(out, "{:>11}", metric.title())?;
    }
    writeln!(
        out,
        "{:>22} {:>13} {:>13}",
        format!("{} ÷ {}", main.title(), summary.baseline),
        "quartiles",
        "from, to"
    )?;
    for row in &summary.rows {
        line(out, summary, row, main)?;
    }
    Ok(())
}

fn line(out: &mut String, summary: &Summary, row: &Row, main: Metric) -> std::fmt::Result {
    write!(out, "  {:<16}", row.name)?;
    for &metric in &summary.metrics {
        let value = row.values.get(&metric).map_or_else(
            || "-".to_owned(),
            |s| number(metric, s.median, &summary.unit),
        );
        write!(out, "{value:>11}")?;
    }
    if let Some(Spread {
        median,
        q1,
        q3,
        min,
        max,
        ..
    }) = row.ratios.get(&main).filter(|_| row.name != "direct")
    {
        write!(
            out,
            "{median:>22.2} {:>13} {:>13}",
            format!("{q1:.2}-{q3:.2}"),
            format!("{min:.2}-{max:.2}")
        )?;
    }
    let busy = row.values.get(&Metric::Busy).map(|spread| spread.median);
    if summary.saturates && row.name != "direct" && busy.is_some_and(|busy| busy < SATURATED) {
        write!(out, "  (not saturated)")?;
    }
    writeln!(out)
}

/// Formats a figure with its significant digits.
fn number(metric: Metric, value: f64, unit: &str) -> String {
    match metric {
        Metric::Cpu | Metric::Peak | Metric::Open | Metric::Left => format!("{value:.1}"),
        Metric::CpuGib | Metric::P50 | Metric::P99 => format!("{value:.3}"),
        Metric::Rate if unit == "GiB" => format!("{value:.2}"),
        Metric::Rate | Metric::Busy => format!("{value:.0}"),
    }
}

/// App-Proxy beside its previous build.
fn to_previous(out: &mut String, report: &Report) -> std::fmt::Result {
    let compared = |summary: &&Summary| summary.to_previous.is_some();
    if !report.workloads.iter().any(|summary| compared(&summary)) {
        return Ok(());
    }
    writeln!(
        out,
        "\n{:<35} {:>20} {:>13} {:>13}",
        "app-proxy beside its previous build", "÷ previous", "quartiles", "from, to"
    )?;
    for summary in report.workloads.iter().filter(compared) {
        let Some(spread) = &summary.to_previous else {
            continue;
        };
        writeln!(
            out,
            "{:<18} {:<16} {:>20.2} {:>13} {:>13}",
            summary.name,
            summary.main_metric().title(),
            spread.median,
            format!("{:.2}-{:.2}", spread.q1, spread.q3),
            format!("{:.2}-{:.2}", spread.min, spread.max)
        )?;
    }
    Ok(())
}

fn goals(out: &mut String, report: &Report) -> std::fmt::Result {
    writeln!(
        out,
        "\n{:<18} {:<16} {:>9} {:>15} {:>15}",
        "goals", "", "app-proxy", "at least", "goal"
    )?;
    for summary in &report.workloads {
        if summary.valid == 0 && GOALS.iter().any(|goal| goal.workload == summary.name) {
            writeln!(out, "{:<18} void", summary.name)?;
        }
        for verdict in &summary.verdicts {
            let what = format!(
                "{}{}",
                verdict.metric.title(),
                if verdict.ratio { " ratio" } else { "" }
            );
            let said =
                |limit: f64, met| format!("{limit:.2} {}", if met { "met" } else { "not met" });
            writeln!(
                out,
                "{:<18} {what:<16} {:>9.2} {:>15} {:>15}",
                summary.name,
                verdict.figure,
                said(verdict.at_least, verdict.at_least_met),
                said(verdict.goal, verdict.goal_met)
            )?;
        }
    }
    writeln!(out)
}
