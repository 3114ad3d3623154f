//! Conversions between rows and values.
//!
//! SQLite's integers are signed: larger numbers are clamped to its largest integer, negative ones
//! to 0.

use std::net::IpAddr;

use app_proxy_api::table::StoredApp;
use rusqlite::{Params, Row, Transaction};
use serde::de::DeserializeOwned;

use crate::activity::AppActivity;
use crate::session::StoredSession;
use crate::sqlite::fault::Fault;
use crate::state::{StoredDrain, StoredWebhook, StoredWorker};

/// The columns of an app, as [`app`] reads them.
pub(super) const APP: &str = "name, revision, value";
/// The columns of a worker, as [`worker`] reads them.
pub(super) const WORKER: &str = "id, registration, drain_since_ms, drain_deadline_ms";
/// The columns of a session, as [`session`] reads them. Parameter 1 is the member that reads.
pub(super) const SESSION: &str = "id, mac, app, worker, moves, origin_request_id, \
    last_request_id, client, created_ms, active_ms, requests, bytes_in, bytes_out, \
    (SELECT sum(open) FROM streams WHERE session = id AND member <> ?1), user";
/// The columns of an app's activity, as [`activity`] reads them.
pub(super) const ACTIVITY: &str = "app, active_ms, quiet_since_ms, idle_told_ms";
/// The columns of a webhook, as [`webhook`] reads them.
pub(super) const WEBHOOK: &str = "id, url, event, created_ms";

/// Reads rows, each with `read`.
pub(super) fn list<T>(
    transaction: &Transaction<'_>,
    sql: &str,
    params: impl Params,
    read: impl Fn(&Row<'_>) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    let mut statement = transaction.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut list = Vec::new();
    while let Some(row) = rows.next()? {
        list.push(read(row)?);
    }
    Ok(list)
}

/// Converts a number to an SQLite integer.
pub(super) fn to_sql(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Converts an SQLite integer to a number.
pub(super) fn from_sql(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn number(row: &Row<'_>, column: usize) -> Result<u64, Fault> {
    Ok(from_sql(row.get(column)?))
}

/// Reads a number of 32 bits.
pub(super) fn small_number(row: &Row<'_>, column: usize) -> Result<u32, Fault> {
    Ok(u32::try_from(number(row, column)?).unwrap_or(u32::MAX))
}

fn parse<T: DeserializeOwned>(kind: &str, name: &str, json: &str) -> Result<T, Fault> {
    serde_json::from_str(json).map_err(|error| Fault::row(kind, name, error))
}

/// Serializes a value for a JSON column.
pub(super) fn json<T: serde::Serialize>(
    kind: &str,
    name: &str,
    value: &T,
) -> Result<String, Fault> {
    serde_json::to_string(value).map_err(|error| Fault::row(kind, name, error))
}

/// Reads a name and a number.
pub(super) fn named_number(row: &Row<'_>) -> Result<(String, u64), Fault> {
    Ok((row.get(0)?, number(row, 1)?))
}

/// Reads an app.
pub(super) fn app(row: &Row<'_>) -> Result<StoredApp, Fault> {
    let (name, revision) = named_number(row)?;
    let app: StoredApp = parse(
        "app",
        &name,
        row.get_ref(2)?
            .as_str()
            .map_err(|e| Fault::row("app", &name, e))?,
    )?;
    if (app.app.name.as_str(), app.revision) == (&*name, revision) {
        Ok(app)
    } else {
        let cause = format!(
            "the row has revision {revision}, its value is `{}` of revision {}",
            app.app.name, app.revision
        );
        Err(Fault::row("app", &name, cause))
    }
}

/// Reads a worker.
pub(super) fn worker(row: &Row<'_>) -> Result<StoredWorker, Fault> {
    let id: String = row.get(0)?;
    let registration: Option<String> = row.get(1)?;
    let registration = registration
        .map(|json| parse("worker", &id, &json))
        .transpose()?;
    let times: (Option<i64>, Option<i64>) = (row.get(2)?, row.get(3)?);
    let drain = |(since, deadline)| StoredDrain {
        since_ms: from_sql(since),
        deadline_ms: from_sql(deadline),
    };
    Ok(StoredWorker {
        id,
        registration,
        drain: times.0.zip(times.1).map(drain),
    })
}

/// Reads a session.
pub(super) fn session(row: &Row<'_>) -> Result<StoredSession, Fault> {
    let id: String = row.get(0)?;
    let client: Option<String> = row.get(7)?;
    let client = client.map(|text| text.parse::<IpAddr>()).transpose();
    let streams: Option<i64> = row.get(13)?;
    let streams = u32::try_from(from_sql(streams.unwrap_or(0))).unwrap_or(u32::MAX);
    Ok(StoredSession {
        client: client.map_err(|error| Fault::row("session", &id, error))?,
        id,
        mac: row.get(1)?,
        app: row.get(2)?,
        worker: row.get(3)?,
        moves: small_number(row, 4)?,
        origin_request_id: row.get(5)?,
        last_request_id: row.get(6)?,
        created_ms: number(row, 8)?,
        active_ms: number(row, 9)?,
        requests: number(row, 10)?,
        bytes_in: number(row, 11)?,
        bytes_out: number(row, 12)?,
        streams_elsewhere: streams,
        user: row.get(14)?,
    })
}

/// Reads the activity of an app.
pub(super) fn activity(row: &Row<'_>) -> Result<AppActivity, Fault> {
    Ok(AppActivity {
        app: row.get(0)?,
        active_ms: number(row, 1)?,
        idle_since_ms: number(row, 2)?,
        idle_notified_ms: number(row, 3)?,
    })
}

/// Reads a webhook.
pub(super) fn webhook(row: &Row<'_>) -> Result<StoredWebhook, Fault> {
    let (id, event): (String, String) = (row.get(0)?, row.get(2)?);
    Ok(StoredWebhook {
        url: row.get(1)?,
        event: parse("webhook", &id, &event)?,
        created_ms: number(row, 3)?,
    })
}
