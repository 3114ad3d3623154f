//! The numbers in the repository, `costs.txt`, and how they are compared.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use app_proxy_tests::daemon::Program;

use crate::scenario::Scenario;

/// How far a number may be off, as a part of it.
const TOLERANCE: f64 = 0.03;

/// What one request, message or event costs one tier.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Cost {
    pub(crate) instructions: f64,
    pub(crate) allocations: f64,
    pub(crate) syscalls: f64,
}

impl Cost {
    /// Each number with its name and how far it may be off beside [`TOLERANCE`]: what happens seldom happens in whole numbers.
    fn numbers(self) -> [(&'static str, f64, f64); 3] {
        [
            ("instructions", self.instructions, 50.0),
            ("allocations", self.allocations, 0.2),
            ("syscalls", self.syscalls, 0.2),
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
pub(crate) struct Costs(pub(crate) BTreeMap<Row, Cost>);

const HEAD: &str = "\
# What one request (or WebSocket message there and back, or server-sent event) costs each tier. `make costs` writes this
# file anew; docs/testing.md says how it is measured and when that is right.
";

impl Costs {
    /// Where the file is.
    pub(crate) fn path() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cost/costs.txt")
    }

    /// Reads the text of the file.
    pub(crate) fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()).skip(1);
        let row = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [scenario, tier, instructions, allocations, syscalls] = words[..] else { return None };
            let cost = Cost {
                instructions: instructions.parse().ok()?,
                allocations: allocations.parse().ok()?,
                syscalls: syscalls.parse().ok()?,
            };
            Some(((Scenario::called(scenario)?, Tier::called(tier)?), cost))
        };
        Self(lines.map(|line| row(line).unwrap_or_else(|| panic!("costs.txt: not a row: {line}"))).collect())
    }

    /// The text of the file.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{HEAD}\n");
        let _ = writeln!(
            text,
            "{:<16}{:<13}{:>12}{:>13}{:>10}",
            "scenario", "tier", "instructions", "allocations", "syscalls"
        );
        for ((scenario, tier), cost) in &self.0 {
            let Cost { instructions, allocations, syscalls } = cost;
            let (scenario, tier) = (scenario.name(), tier.name());
            let _ = writeln!(text, "{scenario:<16}{tier:<13}{instructions:>12.0}{allocations:>13.1}{syscalls:>10.1}");
        }
        text
    }

    /// The numbers that are not what they were, as a table; `None` when all are.
    pub(crate) fn differences(&self, now: &Self) -> Option<String> {
        let mut table = String::new();
        for (row, is) in &now.0 {
            let (scenario, tier) = (row.0.name(), row.1.name());
            let Some(was) = self.0.get(row) else {
                let _ = writeln!(table, "{scenario:<16}{tier:<13}is not in the file");
                continue;
            };
            for ((name, is, slack), (_, was, _)) in is.numbers().into_iter().zip(was.numbers()) {
                if (is - was).abs() > (was * TOLERANCE).max(slack) {
                    let percent = (is / was - 1.0) * 100.0;
                    let _ = writeln!(table, "{scenario:<16}{tier:<13}{name:<14}{was:>10.1}{is:>10.1}{percent:>+8.1} %");
                }
            }
        }
        for row in self.0.keys().filter(|row| !now.0.contains_key(row)) {
            let _ = writeln!(table, "{:<16}{:<13}is in the file alone", row.0.name(), row.1.name());
        }
        let head = format!("{:<16}{:<13}{:<14}{:>10}{:>10}\n", "scenario", "tier", "number", "was", "is");
        (!table.is_empty()).then(|| head + &table)
    }
}
