//! The results as a table of two columns.

use std::fs;
use std::io::{Write, stdout};
use std::time::Duration;

use anyhow::Result;

use crate::stats::quantile;

/// The rows so far.
pub(super) struct Table {
    rows: Vec<(String, String)>,
    load_at_begin: String,
}

impl Table {
    /// Creates an empty table, and records the load of the machine.
    pub(super) fn begin() -> Self {
        Self {
            rows: Vec::new(),
            load_at_begin: load(),
        }
    }

    /// Adds a row, and prints it at once: the whole measurement lasts some minutes.
    pub(super) fn add(&mut self, what: &str, figure: String) {
        eprintln!("{what}: {figure}");
        self.rows.push((what.to_owned(), figure));
    }

    /// A row of memory.
    pub(super) fn bytes(&mut self, what: &str, bytes: u64) {
        self.add(what, format!("{:.1} MiB", mebi(bytes)));
    }

    /// A row of memory, for each of so many.
    pub(super) fn bytes_each(&mut self, what: &str, (before, after): (u64, u64), count: usize) {
        let each = after.saturating_sub(before) / (count as u64).max(1);
        self.add(what, format!("{each} bytes"));
    }

    /// A row of times.
    pub(super) fn times(&mut self, what: &str, times: Vec<Duration>) {
        self.add(what, spread(times));
    }

    /// Prints all rows, with the machine's state.
    ///
    /// # Errors
    /// Standard output is closed.
    pub(super) fn print(&self) -> Result<()> {
        let mut out = stdout().lock();
        let width = self
            .rows
            .iter()
            .map(|(what, _)| what.chars().count())
            .max()
            .unwrap_or_default();
        writeln!(
            out,
            "load of the machine: {} at the begin, {} at the end",
            self.load_at_begin,
            load()
        )?;
        for (what, figure) in &self.rows {
            writeln!(out, "{what:<width$}  {figure}")?;
        }
        Ok(())
    }
}

#[allow(clippy::cast_precision_loss)]
fn mebi(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// The middle, the 99th of a hundred, and the longest.
fn spread(times: Vec<Duration>) -> String {
    let mut ms: Vec<f64> = times.iter().map(|time| time.as_secs_f64() * 1e3).collect();
    ms.sort_by(f64::total_cmp);
    let at = |q| quantile(&ms, q).unwrap_or_default();
    match ms.as_slice() {
        [one] => format!("{one:.1} ms"),
        _ => format!(
            "p50 {:.1} ms, p99 {:.1} ms, most {:.1} ms",
            at(0.5),
            at(0.99),
            at(1.0)
        ),
    }
}

fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_ascii_whitespace()
        .next()
        .unwrap_or("?")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_time_is_itself_and_many_are_a_spread() {
        let ms = Duration::from_millis;
        assert_eq!(spread(vec![ms(7)]), "7.0 ms");
        assert_eq!(
            spread((1..=101).map(ms).collect()),
            "p50 51.0 ms, p99 100.0 ms, most 101.0 ms"
        );
    }
}
