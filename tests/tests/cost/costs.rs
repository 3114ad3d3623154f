//! The numbers in the repository, `costs.txt`, and how they are compared.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use app_proxy_tests::daemon::Program;

use crate::scenario::Scenario;

/// The accepted relative difference of a number.
const TOLERANCE: f64 = 0.03;

/// The cost of one request, message or event at one tier.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Cost {
    pub(crate) instructions: f64,
    pub(crate) allocations: f64,
    pub(crate) syscalls: f64,
}

impl Cost {
    /// Each number with its name, and how far it may be off where [`TOLERANCE`] is less than that:
    /// one more of a few is seen, one now and then is not.
    fn numbers(self) -> [(&'static str, f64, f64); 3] {
        [
            ("instructions", self.instructions, 50.0),
            ("allocations", self.allocations, 0.4),
            // A body in several reads: their number depends on what its sender has written.
            (
                "syscalls",
                self.syscalls,
                if self.syscalls > 7.0 { 2.5 } else { 0.4 },
            ),
        ]
    }
}

/// A scenario at a tier.
pub(crate) type Row = (Scenario, Tier);

/// A tier, in the order of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tier {
    Coordinator,
    Worker,
}

impl Tier {
    pub(crate) const ALL: [Self; 2] = [Self::Coordinator, Self::Worker];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Coordinator => "coordinator",
            Self::Worker => "worker",
        }
    }

    pub(crate) fn program(self) -> Program {
        match self {
            Self::Coordinator => Program::Coordinator,
            Self::Worker => Program::Worker,
        }
    }

    /// The tier of this name.
    pub(crate) fn called(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tier| tier.name() == name)
    }
}

/// All numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Costs {
    /// The numbers.
    pub(crate) rows: BTreeMap<Row, Cost>,
    /// The environment of the measurement: compiler, C library, processor.
    pub(crate) measured_with: String,
}

/// Changes that `make costs` does not record, relative: two measurements of the same programs
/// differ more.
const NOISE: f64 = 0.01;

const HEAD: &str = "\
# What one request (or WebSocket message there and back, or server-sent event) costs each tier. \
`make costs` writes this
# file anew; docs/testing.md says how it is measured and when that is right.
";

/// The prefix of the environment in the file of numbers.
const WITH: &str = "# Measured with ";

impl Costs {
    /// Returns these numbers, with those of `before` wherever the difference is noise.
    pub(crate) fn settled(mut self, before: &Self) -> Self {
        for (row, is) in &mut self.rows {
            let Some(was) = before.rows.get(row) else {
                continue;
            };
            for (is, was) in [
                (&mut is.instructions, was.instructions),
                (&mut is.allocations, was.allocations),
                (&mut is.syscalls, was.syscalls),
            ] {
                if (*is - was).abs() <= was * NOISE {
                    *is = was;
                }
            }
        }
        self
    }

    /// Returns the path of the file.
    pub(crate) fn path() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cost/costs.txt")
    }

    /// Reads the text of the file.
    pub(crate) fn parse(text: &str) -> Self {
        let lines = text
            .lines()
            .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
            .skip(1);
        let row = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [scenario, tier, instructions, allocations, syscalls] = words[..] else {
                return None;
            };
            let cost = Cost {
                instructions: instructions.parse().ok()?,
                allocations: allocations.parse().ok()?,
                syscalls: syscalls.parse().ok()?,
            };
            Some(((Scenario::called(scenario)?, Tier::called(tier)?), cost))
        };
        Self {
            rows: lines
                .map(|line| row(line).unwrap_or_else(|| panic!("costs.txt: not a row: {line}")))
                .collect(),
            measured_with: text
                .lines()
                .find_map(|line| line.strip_prefix(WITH))
                .unwrap_or_default()
                .to_owned(),
        }
    }

    /// The text of the file.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{HEAD}{WITH}{}\n\n", self.measured_with);
        let _ = writeln!(
            text,
            "{:<16}{:<13}{:>12}{:>13}{:>10}",
            "scenario", "tier", "instructions", "allocations", "syscalls"
        );
        for ((scenario, tier), cost) in &self.rows {
            let Cost {
                instructions,
                allocations,
                syscalls,
            } = cost;
            let (scenario, tier) = (scenario.name(), tier.name());
            let _ = writeln!(
                text,
                "{scenario:<16}{tier:<13}{instructions:>12.0}{allocations:>13.1}{syscalls:>10.1}"
            );
        }
        text
    }

    /// The numbers that have changed, as a table; `None` when none has.
    pub(crate) fn differences(&self, now: &Self) -> Option<String> {
        let mut table = String::new();
        for (row, is) in &now.rows {
            let (scenario, tier) = (row.0.name(), row.1.name());
            let Some(was) = self.rows.get(row) else {
                let _ = writeln!(table, "{scenario:<16}{tier:<13}is not in the file");
                continue;
            };
            for ((name, is, slack), (_, was, _)) in is.numbers().into_iter().zip(was.numbers()) {
                if (is - was).abs() > (was * TOLERANCE).max(slack) {
                    let percent = (is / was - 1.0) * 100.0;
                    let _ = writeln!(
                        table,
                        "{scenario:<16}{tier:<13}{name:<14}{was:>10.1}{is:>10.1}{percent:>+8.1} %"
                    );
                }
            }
        }
        for row in self.rows.keys().filter(|row| !now.rows.contains_key(row)) {
            let _ = writeln!(
                table,
                "{:<16}{:<13}is in the file alone",
                row.0.name(),
                row.1.name()
            );
        }
        let head = format!(
            "{:<16}{:<13}{:<14}{:>10}{:>10}\n",
            "scenario", "tier", "number", "was", "is"
        );
        (!table.is_empty()).then(|| head + &table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn costs(instructions: f64, allocations: f64, syscalls: f64) -> Costs {
        let row = (Scenario::KeepAlive, Tier::Worker);
        let rows = BTreeMap::from([(
            row,
            Cost {
                instructions,
                allocations,
                syscalls,
            },
        )]);
        Costs {
            rows,
            measured_with: "a compiler".to_owned(),
        }
    }

    #[test]
    fn the_file_is_read_as_it_is_written() {
        let costs = costs(100_000.0, 12.5, 3.1);
        assert_eq!(Costs::parse(&costs.text()), costs);
    }

    #[test]
    fn the_file_in_the_repository_has_every_scenario_at_every_tier() {
        let text = std::fs::read_to_string(Costs::path()).unwrap();
        assert_eq!(
            Costs::parse(&text).rows.len(),
            Scenario::ALL.len() * Tier::ALL.len()
        );
    }

    #[test]
    fn more_than_three_percent_is_a_difference_either_way() {
        let was = costs(100_000.0, 50.0, 20.0);
        assert_eq!(was.differences(&costs(102_900.0, 51.4, 20.5)), None);
        assert_eq!(was.differences(&costs(97_100.0, 48.6, 19.5)), None);
        let more = was.differences(&costs(103_100.0, 50.0, 20.0)).unwrap();
        assert!(
            more.contains("instructions") && more.contains("+3.1 %"),
            "{more}"
        );
        let less = was.differences(&costs(100_000.0, 48.0, 20.0)).unwrap();
        assert!(
            less.contains("allocations") && less.contains("-4.0 %"),
            "{less}"
        );
    }

    #[test]
    fn a_number_that_only_wavers_is_not_written_anew() {
        let settled = costs(100_900.0, 60.0, 20.0).settled(&costs(100_000.0, 50.0, 20.1));
        assert_eq!(settled, costs(100_000.0, 60.0, 20.1));
    }
}
