//! Workers as rows and details.

use app_proxy_api::workers::{WorkerSource, WorkerView};
use chrono::{DateTime, Utc};

use super::app::labels;
use super::{Column, Tabular, ago};

impl Tabular for WorkerView {
    const COLUMNS: &'static [Column] = &[
        Column::text("ID"),
        Column::text("ADDRESS"),
        Column::text("STATE"),
        Column::number("WEIGHT"),
        Column::number("SESSIONS"),
        Column::number("IN FLIGHT"),
        Column::number("STREAMS"),
        Column::text("LABELS"),
        Column::text("SOURCE"),
        Column::number("REVISION").wide(),
        Column::text("LEASE ENDS").wide(),
        Column::text("DRAIN ENDS").wide(),
        Column::text("VERSION").wide(),
    ];

    fn cells(&self, now: DateTime<Utc>) -> Vec<String> {
        vec![
            self.id.to_string(),
            self.address.clone(),
            state(self).to_owned(),
            self.weight.to_string(),
            self.sessions
                .map(|number| number.to_string())
                .unwrap_or_default(),
            self.in_flight.to_string(),
            self.open_streams.to_string(),
            labels(&self.labels),
            source(self.source).to_owned(),
            self.held
                .as_ref()
                .map(|held| held.revision.to_string())
                .unwrap_or_default(),
            self.lease_until
                .as_deref()
                .map(|time| ago(time, now))
                .unwrap_or_default(),
            self.drain
                .as_ref()
                .map(|drain| ago(&drain.deadline, now))
                .unwrap_or_default(),
            self.version.clone().unwrap_or_default(),
        ]
    }

    fn details(&self, now: DateTime<Utc>) -> Vec<(&'static str, String)> {
        let timed = |time: &str| format!("{time} ({})", ago(time, now));
        let (drain, held) = (self.drain.as_ref(), self.held.as_ref());
        vec![
            ("ID", self.id.to_string()),
            ("Address", self.address.clone()),
            ("State", state(self).to_owned()),
            ("Weight", self.weight.to_string()),
            ("Labels", labels(&self.labels)),
            ("Source", source(self.source).to_owned()),
            ("Version", self.version.clone().unwrap_or_default()),
            (
                "Lease ends",
                self.lease_until.as_deref().map(timed).unwrap_or_default(),
            ),
            (
                "App table",
                held.map(|held| format!("revision {} of {}", held.revision, held.epoch))
                    .unwrap_or_default(),
            ),
            (
                "Sessions",
                self.sessions
                    .map(|number| number.to_string())
                    .unwrap_or_default(),
            ),
            ("In flight", self.in_flight.to_string()),
            ("Streams", self.open_streams.to_string()),
            (
                "Drained since",
                drain.map(|drain| timed(&drain.since)).unwrap_or_default(),
            ),
            (
                "Drain ends",
                drain
                    .map(|drain| timed(&drain.deadline))
                    .unwrap_or_default(),
            ),
            (
                "Drain done",
                drain
                    .map(|drain| if drain.done { "yes" } else { "no" }.to_owned())
                    .unwrap_or_default(),
            ),
        ]
    }
}

/// Returns the state of a worker.
fn state(worker: &WorkerView) -> &'static str {
    match (worker.healthy, &worker.drain, worker.draining) {
        (_, Some(drain), _) if drain.done => "drained",
        (_, _, true) | (_, Some(_), _) => "draining",
        (true, ..) => "healthy",
        (false, ..) => "unhealthy",
    }
}

const fn source(source: WorkerSource) -> &'static str {
    match source {
        WorkerSource::File => "file",
        WorkerSource::Api => "api",
    }
}
