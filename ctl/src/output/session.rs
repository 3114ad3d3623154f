//! Sessions as rows and details.

use app_proxy_api::sessions::SessionView;
use chrono::{DateTime, Utc};

use super::{Column, Tabular, ago, bytes};

impl Tabular for SessionView {
    const COLUMNS: &'static [Column] = &[
        Column::text("ID"),
        Column::text("APP"),
        Column::text("WORKER"),
        Column::text("CLIENT"),
        Column::number("REQUESTS"),
        Column::number("STREAMS"),
        Column::text("LAST ACTIVE"),
        Column::text("CREATED"),
        Column::number("IN").wide(),
        Column::number("OUT").wide(),
        Column::number("MOVES").wide(),
        Column::text("FIRST REQUEST").wide(),
        Column::text("LAST REQUEST").wide(),
    ];

    fn cells(&self, now: DateTime<Utc>) -> Vec<String> {
        vec![
            self.id.clone(),
            self.app.clone(),
            self.worker.clone().unwrap_or_default(),
            self.client
                .map(|client| client.to_string())
                .unwrap_or_default(),
            self.requests.to_string(),
            self.open_streams.to_string(),
            ago(&self.last_active_at, now),
            ago(&self.created_at, now),
            bytes(self.bytes_in),
            bytes(self.bytes_out),
            self.moves.to_string(),
            self.origin_request_id.clone(),
            self.last_request_id.clone(),
        ]
    }

    fn details(&self, now: DateTime<Utc>) -> Vec<(&'static str, String)> {
        let timed = |time: &str| format!("{time} ({})", ago(time, now));
        vec![
            ("ID", self.id.clone()),
            ("App", self.app.clone()),
            (
                "Worker",
                self.worker.clone().unwrap_or_else(|| "none".to_owned()),
            ),
            ("Moves", self.moves.to_string()),
            (
                "Client",
                self.client
                    .map(|client| client.to_string())
                    .unwrap_or_default(),
            ),
            ("Created", timed(&self.created_at)),
            ("Last active", timed(&self.last_active_at)),
            ("Requests", self.requests.to_string()),
            ("Streams", self.open_streams.to_string()),
            ("Bytes in", bytes(self.bytes_in)),
            ("Bytes out", bytes(self.bytes_out)),
            ("First request", self.origin_request_id.clone()),
            ("Last request", self.last_request_id.clone()),
        ]
    }
}
