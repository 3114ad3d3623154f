//! Apps as rows and details.

use app_proxy_api::apps::{Affinity, App, Labels, UpstreamPath};
use app_proxy_api::table::{AppSource, StoredApp};
use chrono::{DateTime, Utc};

use super::{Column, Tabular, ago};

/// Maximum number of endpoints of an app in a list.
const SHOWN_ENDPOINTS: usize = 2;

impl Tabular for StoredApp {
    const COLUMNS: &'static [Column] = &[
        Column::text("NAME"),
        Column::text("MATCH"),
        Column::text("ENDPOINTS"),
        Column::text("AFFINITY"),
        Column::text("SOURCE"),
        Column::number("REVISION"),
        Column::text("UPDATED"),
        Column::text("PATH").wide(),
        Column::text("POOL").wide(),
        Column::text("IDLE").wide(),
        Column::text("WAKE").wide(),
    ];

    fn cells(&self, now: DateTime<Utc>) -> Vec<String> {
        let app = &self.app;
        vec![
            app.name.clone(),
            rules(app),
            endpoint_summary(app),
            affinity(app).to_owned(),
            source(self.source).to_owned(),
            self.revision.to_string(),
            self.updated_at
                .as_deref()
                .map(|time| ago(time, now))
                .unwrap_or_default(),
            upstream_path(app).to_owned(),
            labels(&app.pool),
            app.idle
                .as_ref()
                .map(|idle| String::from(idle.after))
                .unwrap_or_default(),
            app.wake
                .as_ref()
                .map(|_| "yes".to_owned())
                .unwrap_or_default(),
        ]
    }

    fn details(&self, now: DateTime<Utc>) -> Vec<(&'static str, String)> {
        let app = &self.app;
        let mut details = vec![
            ("Name", app.name.clone()),
            ("Match", rules(app)),
            ("Path", upstream_path(app).to_owned()),
            ("Affinity", affinity(app).to_owned()),
            ("Pool", labels(&app.pool)),
            ("Source", source(self.source).to_owned()),
            ("Revision", self.revision.to_string()),
            (
                "Updated",
                self.updated_at
                    .as_deref()
                    .map(|time| format!("{time} ({})", ago(time, now)))
                    .unwrap_or_default(),
            ),
            (
                "Connect",
                app.timeouts.connect.map(String::from).unwrap_or_default(),
            ),
            (
                "Read",
                app.timeouts.read.map(String::from).unwrap_or_default(),
            ),
            (
                "Idle",
                app.idle
                    .as_ref()
                    .map(|i| format!("after {}, to {}", String::from(i.after), i.notify))
                    .unwrap_or_default(),
            ),
            (
                "Wake",
                app.wake
                    .as_ref()
                    .map(|wake| format!("by {}", wake.notify))
                    .unwrap_or_default(),
            ),
        ];
        if app.endpoints.is_empty() {
            details.push(("Endpoints", "none".to_owned()));
        }
        for (index, endpoint) in app.endpoints.iter().enumerate() {
            let title = if index == 0 { "Endpoints" } else { "" };
            details.push((
                title,
                format!("{}, weight {}", endpoint.address, endpoint.weight),
            ));
        }
        details
    }
}

fn rules(app: &App) -> String {
    if app.rules.is_empty() {
        return format!("/apps/{}", app.name);
    }
    let rule = |rule: &app_proxy_api::apps::MatchRule| {
        format!(
            "{}{}",
            rule.host.as_deref().unwrap_or_default(),
            rule.path.as_deref().unwrap_or_default()
        )
    };
    app.rules.iter().map(rule).collect::<Vec<_>>().join(", ")
}

fn endpoint_summary(app: &App) -> String {
    let shown = app
        .endpoints
        .iter()
        .take(SHOWN_ENDPOINTS)
        .map(|endpoint| endpoint.address.to_string());
    let mut text = shown.collect::<Vec<_>>().join(", ");
    if let Some(more @ 1..) = app.endpoints.len().checked_sub(SHOWN_ENDPOINTS) {
        text.push_str(&format!(" and {more} more"));
    }
    if text.is_empty() {
        "none".to_owned()
    } else {
        text
    }
}

const fn affinity(app: &App) -> &'static str {
    match app.affinity {
        Affinity::Session => "session",
        Affinity::None => "none",
    }
}

const fn upstream_path(app: &App) -> &'static str {
    match app.upstream_path {
        UpstreamPath::Strip => "strip",
        UpstreamPath::Keep => "keep",
    }
}

const fn source(source: AppSource) -> &'static str {
    match source {
        AppSource::File => "file",
        AppSource::Api => "api",
    }
}

/// Formats labels as for `--pool`.
pub(super) fn labels(labels: &Labels) -> String {
    labels
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect::<Vec<_>>()
        .join(",")
}
