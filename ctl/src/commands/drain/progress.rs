//! The progress of a drain.

use app_proxy_api::units::Period;
use app_proxy_api::workers::{DrainView, WorkerView};
use chrono::{DateTime, TimeDelta, Utc};

/// Maximum difference of two clocks that count as equal; the header `Date` has whole seconds.
const CLOCK_TOLERANCE: TimeDelta = TimeDelta::seconds(2);
/// The maximum time after the deadline until streams are closed.
const CLOSE_TIMEOUT: TimeDelta = TimeDelta::seconds(10);

/// The result of reading the worker's state once.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// No change.
    Unchanged,
    /// The numbers changed.
    Changed(String),
    /// All requests and streams ended by themselves.
    Done(String),
    /// Requests or streams were cut off, or are left.
    Incomplete(String),
    /// The drain was ended.
    Undrained,
}

/// The last state of a drain.
#[derive(Debug, Default)]
pub(super) struct Progress {
    last: Option<Remaining>,
}

/// The load of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Remaining {
    in_flight: u64,
    open_streams: u64,
    sessions: Option<u64>,
}

impl Progress {
    /// Adds the worker's state at `now`, in the coordinator's time.
    pub(super) fn update(&mut self, worker: &WorkerView, now: DateTime<Utc>) -> Step {
        let Some(drain) = &worker.drain else {
            return Step::Undrained;
        };
        let before = self.last.replace(Remaining::of(worker));
        let overdue = deadline(drain).map(|deadline| now - deadline);
        let past = overdue.is_some_and(|overdue| overdue >= TimeDelta::zero());
        match (drain.done, before) {
            // The load of the last state before the deadline was cut off at the deadline.
            (true, Some(before)) if past && before.in_flight > 0 => Step::Incomplete(format!(
                "the deadline has passed; {} cut off",
                before.busy()
            )),
            (true, _) => Step::Done("nothing is left".to_owned()),
            (false, _) if overdue.is_some_and(|overdue| overdue >= CLOSE_TIMEOUT) => {
                Step::Incomplete(format!(
                    "the deadline has passed; {} still there",
                    Remaining::of(worker).busy()
                ))
            }
            (false, before) if before == self.last => Step::Unchanged,
            (false, _) => Step::Changed(describe(worker, now)),
        }
    }

    /// Records that the worker left the pool.
    pub(super) fn gone(&self) -> Step {
        match self.last {
            Some(left) if left.in_flight > 0 => {
                Step::Incomplete(format!("has left the pool, with {}", left.busy()))
            }
            _ => Step::Done("has left the pool, and nothing was left".to_owned()),
        }
    }
}

impl Remaining {
    fn of(worker: &WorkerView) -> Self {
        Self {
            in_flight: worker.in_flight,
            open_streams: worker.open_streams,
            sessions: worker.sessions,
        }
    }

    fn busy(self) -> String {
        let requests = self.in_flight.saturating_sub(self.open_streams);
        match (requests, self.open_streams) {
            (0, 0) => "nothing".to_owned(),
            (0, streams) => count(streams, "stream"),
            (requests, 0) => count(requests, "request"),
            (requests, streams) => format!(
                "{} and {}",
                count(requests, "request"),
                count(streams, "stream")
            ),
        }
    }
}

fn count(number: u64, noun: &str) -> String {
    if number == 1 {
        format!("1 {noun}")
    } else {
        format!("{number} {noun}s")
    }
}

/// Describes a drained worker's load and deadline.
pub(super) fn describe(worker: &WorkerView, now: DateTime<Utc>) -> String {
    if worker.drain.as_ref().is_some_and(|drain| drain.done) {
        return "drained, nothing is left".to_owned();
    }
    let left = Remaining::of(worker);
    let sessions = left
        .sessions
        .map(|number| format!(", {}", count(number, "session")))
        .unwrap_or_default();
    let end = worker
        .drain
        .as_ref()
        .and_then(deadline)
        .map(|end| (end - now).num_seconds());
    let end = match end {
        Some(seconds @ 1..) => {
            format!(
                "; the rest is closed in {}",
                String::from(Period::from_secs(seconds.unsigned_abs()))
            )
        }
        _ => String::new(),
    };
    format!("draining, {} left{sessions}{end}", left.busy())
}

fn deadline(drain: &DrainView) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(&drain.deadline)
        .ok()
        .map(|time| time.to_utc())
}

/// Returns the time in the response's `Date` if it clearly differs from this host's time, and this
/// host's time otherwise.
pub(super) fn server_time(date: Option<&str>, here: DateTime<Utc>) -> DateTime<Utc> {
    let there = date
        .and_then(|date| DateTime::parse_from_rfc2822(date).ok())
        .map(|time| time.to_utc());
    there
        .filter(|there| (*there - here).abs() > CLOCK_TOLERANCE)
        .unwrap_or(here)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(&format!("2026-11-23T{time}Z"))
            .unwrap()
            .to_utc()
    }

    fn worker(in_flight: u64, open_streams: u64, done: bool) -> WorkerView {
        serde_json::from_value(serde_json::json!({
            "id": "w1", "address": "127.0.0.1:7080", "weight": 1, "labels": {}, "healthy": true,
            "draining": true, "source": "file", "in_flight": in_flight,
            "open_streams": open_streams, "sessions": 4, "drain": {"since": "2026-11-23T12:00:00Z",
            "deadline": "2026-11-23T12:10:00Z", "done": done},
        }))
        .unwrap()
    }

    #[test]
    fn changes_of_the_load_are_reported_once() {
        let mut progress = Progress::default();
        let text =
            "draining, 2 requests and 1 stream left, 4 sessions; the rest is closed in 9m59s";
        assert_eq!(
            progress.update(&worker(3, 1, false), at("12:00:01")),
            Step::Changed(text.to_owned())
        );
        assert_eq!(
            progress.update(&worker(3, 1, false), at("12:00:02")),
            Step::Unchanged
        );
        assert!(matches!(
            progress.update(&worker(1, 1, false), at("12:00:03")),
            Step::Changed(_)
        ));
        assert!(matches!(
            progress.update(&worker(0, 0, true), at("12:00:04")),
            Step::Done(_)
        ));
    }

    #[test]
    fn streams_open_at_the_deadline_are_cut_off() {
        let mut progress = Progress::default();
        progress.update(&worker(2, 2, false), at("12:09:59"));
        let text = "the deadline has passed; 2 streams cut off";
        assert_eq!(
            progress.update(&worker(0, 0, true), at("12:10:00.4")),
            Step::Incomplete(text.to_owned())
        );
    }

    #[test]
    fn requests_after_the_deadline_are_left() {
        let mut progress = Progress::default();
        progress.update(&worker(1, 0, false), at("12:09:59"));
        assert_eq!(
            progress.update(&worker(1, 0, false), at("12:10:05")),
            Step::Unchanged
        );
        assert!(matches!(
            progress.update(&worker(1, 0, false), at("12:10:10")),
            Step::Incomplete(_)
        ));
    }

    #[test]
    fn a_worker_that_leaves_under_load_is_incomplete() {
        let mut progress = Progress::default();
        progress.update(&worker(0, 0, false), at("12:00:01"));
        assert!(matches!(progress.gone(), Step::Done(_)));
        progress.update(&worker(1, 0, false), at("12:00:02"));
        assert!(matches!(progress.gone(), Step::Incomplete(_)));
    }

    #[test]
    fn an_ended_drain_is_reported() {
        let mut undrained = worker(1, 0, false);
        undrained.drain = None;
        assert_eq!(
            Progress::default().update(&undrained, at("12:00:01")),
            Step::Undrained
        );
    }

    #[test]
    fn the_coordinators_time_is_used_if_clocks_differ() {
        let here = at("12:00:00");
        assert_eq!(
            server_time(Some("Mon, 23 Nov 2026 12:00:01 GMT"), here),
            here
        );
        assert_eq!(
            server_time(Some("Mon, 23 Nov 2026 13:00:00 GMT"), here),
            at("13:00:00")
        );
        assert_eq!(server_time(Some("yesterday"), here), here);
        assert_eq!(server_time(None, here), here);
    }
}
