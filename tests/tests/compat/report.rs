//! The results of the cases, as a table.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Counters that all clients of one case share.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Requests, calls of the API and handshakes.
    pub(crate) requests: AtomicUsize,
    /// Those that failed, were answered wrongly, or broke off.
    pub(crate) failed: AtomicUsize,
    /// Events and WebSocket messages that arrived as they were sent.
    pub(crate) messages: AtomicUsize,
    /// Changes that the API acknowledged.
    pub(crate) writes: AtomicUsize,
    /// Acknowledged changes that are not there afterwards.
    pub(crate) lost: AtomicUsize,
}

impl Tally {
    /// Counts a request that succeeded.
    pub(crate) fn request(&self) {
        self.requests.fetch_add(1, Ordering::SeqCst);
    }

    /// Counts a request that failed, and prints the reason.
    pub(crate) fn fail(&self, reason: &str) {
        println!("failed: {reason}");
        self.requests.fetch_add(1, Ordering::SeqCst);
        self.failed.fetch_add(1, Ordering::SeqCst);
    }

    /// Counts a message that arrived.
    pub(crate) fn message(&self) {
        self.messages.fetch_add(1, Ordering::SeqCst);
    }

    /// Counts a change that was acknowledged.
    pub(crate) fn write(&self) {
        self.writes.fetch_add(1, Ordering::SeqCst);
    }

    /// Counts a change that was lost, and prints it.
    pub(crate) fn lose(&self, change: &str) {
        println!("lost: {change}");
        self.lost.fetch_add(1, Ordering::SeqCst);
    }
}

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Row {
    case: String,
    /// Requests, failed, messages, writes, lost.
    numbers: [usize; 5],
    seconds: f64,
    fault: Option<String>,
}

impl Row {
    /// The result of a case that began at `begin`; `outcome` has the reason why it was given up.
    pub(crate) fn new(
        case: &str,
        tally: &Tally,
        begin: Instant,
        outcome: Result<(), String>,
    ) -> Self {
        let counters = [
            &tally.requests,
            &tally.failed,
            &tally.messages,
            &tally.writes,
            &tally.lost,
        ];
        Self {
            case: case.to_owned(),
            numbers: counters.map(|counter| counter.load(Ordering::SeqCst)),
            seconds: begin.elapsed().as_secs_f64(),
            fault: outcome.err(),
        }
    }

    /// Returns whether nothing failed and nothing was lost.
    pub(crate) fn passed(&self) -> bool {
        let [_, failed, _, _, lost] = self.numbers;
        failed == 0 && lost == 0 && self.fault.is_none()
    }
}

/// The table, with the reason below for each case that was given up.
pub(crate) fn table(rows: &[Row]) -> String {
    let width = rows.iter().map(|row| row.case.len()).max().unwrap_or(0);
    let mut text = format!(
        "{:<width$} {:>9} {:>7} {:>9} {:>7} {:>5} {:>8}\n",
        "case", "requests", "failed", "messages", "writes", "lost", "seconds"
    );
    for row in rows {
        let [requests, failed, messages, writes, lost] = row.numbers;
        let verdict = if row.passed() { "" } else { "  FAILED" };
        let _ = writeln!(
            text,
            "{:<width$} {requests:>9} {failed:>7} {messages:>9} {writes:>7} {lost:>5} \
             {:>8.1}{verdict}",
            row.case, row.seconds
        );
    }
    for row in rows {
        if let Some(fault) = &row.fault {
            let _ = writeln!(text, "{}: {fault}", row.case);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_with_a_failed_request_or_a_lost_write_or_a_fault_has_not_passed() {
        let (tally, begin) = (Tally::default(), Instant::now());
        tally.request();
        assert!(Row::new("good", &tally, begin, Ok(())).passed());
        assert!(!Row::new("given up", &tally, begin, Err("why".into())).passed());
        tally.lose("an app");
        assert!(!Row::new("lost", &tally, begin, Ok(())).passed());
        let tally = Tally::default();
        tally.fail("a request");
        assert!(!Row::new("failed", &tally, begin, Ok(())).passed());
    }

    #[test]
    fn the_table_has_a_line_for_each_case_and_the_reasons_below() {
        let tally = Tally::default();
        tally.request();
        let rows = [
            Row::new("one", &tally, Instant::now(), Ok(())),
            Row::new("another", &tally, Instant::now(), Err("no start".into())),
        ];
        let text = table(&rows);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert!(lines[1].starts_with("one             1       0"), "{text}");
        assert!(lines[2].ends_with("FAILED"), "{text}");
        assert_eq!(lines[3], "another: no start");
    }
}
