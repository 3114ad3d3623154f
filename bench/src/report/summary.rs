//! A workload's figures over all batches that count.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::batch::{BASELINE, Batch, Round, figures, ratios};
use crate::chain::PREVIOUS;
use crate::goals::{Figure, GOALS, Goal};
use crate::metric::Metric;
use crate::stats::Spread;
use crate::workload::Workload;

/// One workload.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    pub(super) name: String,
    pub(super) title: String,
    pub(super) unit: String,
    pub(super) metrics: Vec<Metric>,
    pub(super) baseline: String,
    /// The number of batches that count, and the number of restarts.
    pub(super) valid: usize,
    pub(super) restarts: usize,
    /// The reasons for which the other batches are void, each once.
    pub(super) void: Vec<String>,
    /// Failures of contestants whose samples are left out.
    pub(super) failures: Vec<String>,
    pub(super) rows: Vec<Row>,
    /// App-Proxy's main figure to that of its previous build, each within one round.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) to_previous: Option<Spread>,
    pub(super) verdicts: Vec<Verdict>,
    /// True if the clients should saturate the proxies' core.
    pub(super) saturates: bool,
}

/// One contestant.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) values: BTreeMap<Metric, Spread>,
    /// To the baseline, each within one round.
    pub(super) ratios: BTreeMap<Metric, Spread>,
}

/// The result of a goal.
#[derive(Debug, Serialize)]
pub(super) struct Verdict {
    pub(super) contestant: String,
    pub(super) metric: Metric,
    /// `ratio`, or the figure itself.
    pub(super) ratio: bool,
    pub(super) figure: f64,
    pub(super) at_least: f64,
    pub(super) at_least_met: bool,
    pub(super) goal: f64,
    pub(super) goal_met: bool,
}

impl Summary {
    pub(super) fn of(workload: &dyn Workload, batches: &[Batch]) -> Self {
        let own: Vec<&Batch> = batches
            .iter()
            .filter(|batch| batch.workload == workload.name())
            .collect();
        let valid: Vec<&Batch> = own
            .iter()
            .copied()
            .filter(|batch| batch.void.is_empty())
            .collect();
        // If no batch counts, the last attempts are shown, and marked.
        let counted = if valid.is_empty() { &own } else { &valid };
        let rounds: Vec<Round> = counted
            .iter()
            .flat_map(|batch| batch.rounds.iter().cloned())
            .collect();
        let names: Vec<String> = rounds
            .first()
            .map(|round| round.iter().map(|(name, _)| name.clone()).collect())
            .unwrap_or_default();
        let first = names.first().cloned().unwrap_or_default();
        let baseline = if workload.has_variants() {
            first
        } else {
            BASELINE.to_owned()
        };
        let rows: Vec<Row> = names
            .iter()
            .map(|name| Row::of(name, &baseline, workload.metrics(), &rounds))
            .collect();
        let main = main_metric(workload.metrics());
        let to_previous = ratios(&rounds, "app-proxy", PREVIOUS, main);
        let mut void: Vec<String> = own
            .iter()
            .flat_map(|batch| batch.void.iter().cloned())
            .collect();
        void.dedup();
        let mut failures: Vec<String> = own
            .iter()
            .flat_map(|batch| batch.conditions.failures.iter().cloned())
            .collect();
        failures.sort();
        failures.dedup();
        Self {
            name: workload.name().to_owned(),
            title: workload.title().to_owned(),
            unit: workload.unit().to_owned(),
            metrics: workload.metrics().to_vec(),
            valid: valid.len(),
            restarts: own.iter().map(|batch| batch.restart).max().unwrap_or(0),
            void,
            failures,
            verdicts: if valid.is_empty() {
                Vec::new()
            } else {
                verdicts(workload, &rows)
            },
            baseline,
            rows,
            to_previous,
            saturates: workload.saturates(),
        }
    }

    /// The metric that the contestants are compared by.
    pub(super) fn main_metric(&self) -> Metric {
        main_metric(&self.metrics)
    }
}

fn main_metric(metrics: &[Metric]) -> Metric {
    metrics.first().copied().unwrap_or(Metric::Cpu)
}

impl Row {
    fn of(name: &str, baseline: &str, metrics: &[Metric], rounds: &[Round]) -> Self {
        let all = |of: &dyn Fn(Metric) -> Option<Spread>| {
            metrics
                .iter()
                .filter_map(|&metric| Some((metric, of(metric)?)))
                .collect()
        };
        Self {
            name: name.to_owned(),
            values: all(&|metric| figures(rounds, name, metric)),
            ratios: all(&|metric| ratios(rounds, name, baseline, metric)),
        }
    }
}

fn verdicts(workload: &dyn Workload, rows: &[Row]) -> Vec<Verdict> {
    let ours = if workload.has_variants() {
        rows.last()
    } else {
        rows.iter().find(|row| row.name == "app-proxy")
    };
    let Some(row) = ours else { return Vec::new() };
    let verdict = |goal: &Goal| {
        let figure = goal.figure_of(row.values.get(&goal.metric), row.ratios.get(&goal.metric))?;
        Some(Verdict {
            contestant: row.name.clone(),
            metric: goal.metric,
            ratio: goal.figure == Figure::Ratio,
            figure,
            at_least: goal.at_least,
            at_least_met: figure <= goal.at_least,
            goal: goal.goal,
            goal_met: figure <= goal.goal,
        })
    };
    GOALS
        .iter()
        .filter(|goal| goal.workload == workload.name())
        .filter_map(verdict)
        .collect()
}
