//! A batch: the rounds of one workload between two restarts. In a round each contestant has one
//! slice; the next round has the reverse order.

use serde::Serialize;

use crate::chain::{Running, Target};
use crate::metric::{Metric, Sample};
use crate::procfs::{CpuReading, MachineCpu, Pid};
use crate::stats::Spread;
use crate::validity::{Conditions, Limits};
use crate::workload::{Pace, Saturated, Workload};

/// The chain that the others are compared with.
pub const BASELINE: &str = "nginx";

/// The chain that the baseline is compared with, as a check of the comparison.
const CONTROL: &str = "haproxy";

/// The chain whose failures do not void a batch: only its own samples are left out.
const ASIDE: &str = "chp";

/// One round: a sample of each contestant.
pub type Round = Vec<(String, Sample)>;

/// The result of a batch.
#[derive(Clone, Debug, Serialize)]
pub struct Batch {
    /// The workload's name.
    pub workload: String,
    /// The number of the start of all processes, from 1.
    pub restart: usize,
    /// The number of the attempt, from 1.
    pub attempt: usize,
    /// The reasons for which the batch is void; empty if it counts.
    pub void: Vec<String>,
    /// The criteria for the batch.
    pub conditions: Conditions,
    /// The samples.
    pub rounds: Vec<Round>,
}

/// The surroundings of a batch.
#[derive(Debug)]
pub struct Surroundings<'a> {
    /// The chains, for the control.
    pub chains: &'a [Running],
    /// The process of the application.
    pub app: Pid,
    /// The amount of work.
    pub pace: Pace,
    /// The limits within which the batch counts.
    pub limits: Limits,
}

impl Surroundings<'_> {
    /// Measures a batch of a workload with these contestants.
    pub async fn batch(
        &self,
        workload: &dyn Workload,
        contestants: &[&Target],
    ) -> (Conditions, Vec<Round>) {
        let ours: Vec<Pid> = self.ours(contestants);
        let (machine, cpu) = (MachineCpu::take(), CpuReading::take(&ours));
        let mut rounds = Vec::new();
        for round in 0..workload.rounds(self.pace) {
            rounds.push(self.round(workload, contestants, round % 2 == 1).await);
        }
        // Behind the rounds, so that it does not touch memory that a workload is about to measure.
        let control = if workload.name() == "keepalive" {
            own_control(&rounds)
        } else {
            self.control().await
        };
        let (now, cpu) = (
            MachineCpu::take(),
            CpuReading::take(&ours).since(&cpu).as_secs_f64(),
        );
        let total = (now.total - machine.total).as_secs_f64().max(0.01);
        let busy = (now.busy.saturating_sub(machine.busy)).as_secs_f64();
        let stolen = (now.stolen.saturating_sub(machine.stolen)).as_secs_f64();
        let conditions = Conditions {
            control,
            foreign_percent: 100.0 * (busy - cpu).max(0.0) / total,
            stolen_percent: 100.0 * stolen / total,
            failed: rounds
                .iter()
                .flatten()
                .filter(|(name, _)| name != ASIDE)
                .map(|(_, sample)| sample.failed)
                .sum(),
            failures: failures(contestants, &rounds),
        };
        (conditions, rounds)
    }

    async fn round(
        &self,
        workload: &dyn Workload,
        contestants: &[&Target],
        reversed: bool,
    ) -> Round {
        let mut order = contestants.to_vec();
        if reversed {
            order.reverse();
        }
        let mut round = Round::new();
        for target in order {
            round.push((target.name.clone(), workload.slice(target, self.pace).await));
        }
        round
    }

    /// Everything that runs for the benchmark.
    fn ours(&self, contestants: &[&Target]) -> Vec<Pid> {
        let chains = self
            .chains
            .iter()
            .map(|running| &running.target)
            .chain(contestants.iter().copied());
        let mut pids: Vec<Pid> = chains
            .flat_map(|target| target.pids.iter().copied())
            .collect();
        pids.extend([self.app, std::process::id()]);
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// The ratio of haproxy to nginx right now, from four short slices; no number when they fail.
    async fn control(&self) -> Option<f64> {
        let find = |name| {
            self.chains
                .iter()
                .map(|running| &running.target)
                .find(|target| target.name == name)
        };
        let (baseline, control) = (find(BASELINE)?, find(CONTROL)?);
        let workload = Saturated::keepalive();
        let mut cpu = Vec::new();
        for target in [baseline, control, control, baseline] {
            let sample = workload.slice_of(target, self.pace.timing(250)).await;
            cpu.push(
                sample
                    .get(Metric::Cpu)
                    .filter(|_| sample.failed == 0)
                    .unwrap_or(f64::NAN),
            );
        }
        let &[first, second, third, fourth] = cpu.as_slice() else {
            return None;
        };
        Some((second + third) / (first + fourth))
    }
}

/// The control of a batch that has it among its own contestants.
fn own_control(rounds: &[Round]) -> Option<f64> {
    ratios(rounds, CONTROL, BASELINE, Metric::Cpu).map(|spread| spread.median)
}

fn failures(contestants: &[&Target], rounds: &[Round]) -> Vec<String> {
    let first = |target: &&Target| {
        let samples = rounds
            .iter()
            .flatten()
            .filter(|(name, _)| *name == target.name);
        let failure = samples
            .filter_map(|(_, sample)| sample.failure.as_deref())
            .next()?;
        Some(format!("{}: {failure}", target.name))
    };
    contestants.iter().filter_map(first).collect()
}

/// A contestant's figures over the rounds.
#[must_use]
pub fn figures(rounds: &[Round], name: &str, metric: Metric) -> Option<Spread> {
    Spread::of(
        rounds
            .iter()
            .filter_map(|round| figure(round, name, metric))
            .collect(),
    )
}

/// The ratios of a contestant to the baseline, each within one round.
#[must_use]
pub fn ratios(rounds: &[Round], name: &str, baseline: &str, metric: Metric) -> Option<Spread> {
    let ratio = |round: &Round| {
        let base = figure(round, baseline, metric).filter(|base| *base > 0.0)?;
        Some(figure(round, name, metric)? / base)
    };
    Spread::of(rounds.iter().filter_map(ratio).collect())
}

fn figure(round: &Round, name: &str, metric: Metric) -> Option<f64> {
    let (_, sample) = round
        .iter()
        .find(|(contestant, sample)| contestant == name && sample.failed == 0)?;
    sample.get(metric)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(figures: &[(&str, f64)]) -> Round {
        let sample = |cpu| Sample {
            count: 1,
            values: [(Metric::Cpu, cpu)].into(),
            ..Sample::default()
        };
        figures
            .iter()
            .map(|(name, cpu)| ((*name).to_owned(), sample(*cpu)))
            .collect()
    }

    #[test]
    fn a_ratio_is_within_its_round_and_the_median_over_the_rounds() {
        let rounds = [
            round(&[("nginx", 10.0), ("app-proxy", 20.0)]),
            round(&[("app-proxy", 90.0), ("nginx", 30.0)]),
            round(&[("nginx", 20.0), ("app-proxy", 44.0)]),
        ];
        let spread = ratios(&rounds, "app-proxy", "nginx", Metric::Cpu).unwrap();
        assert_eq!((spread.median, spread.min, spread.max), (2.2, 2.0, 3.0));
    }

    #[test]
    fn a_sample_with_failures_is_left_out() {
        let mut rounds = [round(&[("chp", 5.0)]), round(&[("chp", 7.0)])];
        rounds[0][0].1.failed = 1;
        assert_eq!(figures(&rounds, "chp", Metric::Cpu).unwrap().median, 7.0);
    }

    #[test]
    fn a_round_without_the_baseline_has_no_ratio() {
        let rounds = [
            round(&[("app-proxy", 1.0)]),
            round(&[("nginx", 0.0), ("app-proxy", 1.0)]),
        ];
        assert_eq!(ratios(&rounds, "app-proxy", "nginx", Metric::Cpu), None);
        assert_eq!(figures(&rounds, "app-proxy", Metric::Cpu).unwrap().count, 2);
    }
}
