//! Writes of what a store had from its first schema on: apps, workers, sessions and webhooks.

use app_proxy_api::table::StoredApp;
use rusqlite::{CachedStatement, Connection, OptionalExtension, Transaction, params};

use crate::activity::{ActivityBatch, AppActivity, SessionActivity};
use crate::commit::{AppChange, AppCommit};
use crate::member::Member;
use crate::sqlite::fault::Fault;
use crate::sqlite::rows::{self, WEBHOOK, json, list, to_sql};
use crate::sqlite::transaction::{Writer, next_change, write};
use crate::sqlite::{claims, members};
use crate::state::{StoredWebhook, StoredWorker};

/// Records that `writer` changed the workers.
fn mark_workers(transaction: &Transaction<'_>, writer: Writer) -> Result<(), Fault> {
    let change = next_change(transaction, writer)?;
    let mut statement = transaction.prepare_cached(
        "UPDATE marks SET changed = ?3,
             changed_by = iif(changed_by = ?1 OR changed <= ?2, ?1, 0)
         WHERE what = 'workers'",
    )?;
    statement.execute((writer.id, writer.seen, change))?;
    Ok(())
}

/// Commits changes of the app table, if `commit.base` is the stored table. Returns the other
/// members.
pub(super) fn commit_apps(
    connection: &mut Connection,
    commit: &AppCommit,
    writer: Writer,
) -> Result<Vec<Member>, Fault> {
    write(connection, |transaction| {
        let (base, revision) = &commit.base;
        let sql = "SELECT 1 FROM app_table WHERE epoch = ?1 AND revision = ?2";
        let current: Option<i64> = transaction
            .prepare_cached(sql)?
            .query_row((base.as_str(), to_sql(*revision)), |row| row.get(0))
            .optional()?;
        if current.is_none() {
            return Err(Fault::Behind);
        }
        claims::replace(transaction, commit)?;
        if *base != commit.epoch {
            transaction.execute_batch(
                "DELETE FROM apps; DELETE FROM deleted_apps; UPDATE app_table SET horizon = 0;",
            )?;
        }
        for change in &commit.changes {
            apply(transaction, change)?;
        }
        if *base != commit.epoch {
            transaction
                .execute_batch("DELETE FROM sessions WHERE app NOT IN (SELECT name FROM apps)")?;
        }
        let after = (
            commit.epoch.as_str(),
            to_sql(commit.revision),
            to_sql(commit.horizon),
        );
        let sql = "UPDATE app_table SET epoch = ?1, revision = ?2, horizon = max(horizon, ?3)";
        transaction.prepare_cached(sql)?.execute(after)?;
        let sql = "DELETE FROM deleted_apps WHERE revision <= (SELECT horizon FROM app_table)";
        transaction.prepare_cached(sql)?.execute(())?;
        members::others(transaction, writer.id)
    })
}

fn apply(transaction: &Transaction<'_>, change: &AppChange) -> Result<(), Fault> {
    match change {
        AppChange::Put(app) => put_app(transaction, app),
        AppChange::Delete { name, revision } => delete_app(transaction, name, to_sql(*revision)),
    }
}

fn put_app(transaction: &Transaction<'_>, app: &StoredApp) -> Result<(), Fault> {
    let name = &app.app.name;
    transaction
        .prepare_cached("DELETE FROM deleted_apps WHERE name = ?1")?
        .execute((name,))?;
    let mut statement = transaction.prepare_cached(
        "INSERT OR REPLACE INTO apps (name, revision, value) VALUES (?1, ?2, ?3)",
    )?;
    statement.execute((name, to_sql(app.revision), json("app", name, app)?))?;
    Ok(())
}

fn delete_app(transaction: &Transaction<'_>, name: &str, revision: i64) -> Result<(), Fault> {
    transaction
        .prepare_cached("DELETE FROM apps WHERE name = ?1")?
        .execute((name,))?;
    transaction
        .prepare_cached("DELETE FROM activity WHERE app = ?1")?
        .execute((name,))?;
    transaction
        .prepare_cached("DELETE FROM sessions WHERE app = ?1")?
        .execute((name,))?;
    let sql = "INSERT OR REPLACE INTO deleted_apps (name, revision) VALUES (?1, ?2)";
    transaction.prepare_cached(sql)?.execute((name, revision))?;
    Ok(())
}

/// Creates or replaces a worker.
pub(super) fn save_worker(
    connection: &mut Connection,
    worker: &StoredWorker,
    writer: Writer,
) -> Result<(), Fault> {
    let registration = worker
        .registration
        .as_ref()
        .map(|registration| json("worker", &worker.id, registration))
        .transpose()?;
    let drain = worker
        .drain
        .map(|drain| (to_sql(drain.since_ms), to_sql(drain.deadline_ms)))
        .unzip();
    write(connection, |transaction| {
        let mut statement = transaction.prepare_cached(
            "INSERT OR REPLACE INTO workers (id, registration, drain_since_ms, drain_deadline_ms)
             VALUES (?1, ?2, ?3, ?4)",
        )?;
        statement.execute((&worker.id, registration, drain.0, drain.1))?;
        mark_workers(transaction, writer)
    })
}

/// Deletes a worker, if it exists.
pub(super) fn delete_worker(
    connection: &mut Connection,
    id: &str,
    writer: Writer,
) -> Result<(), Fault> {
    write(connection, |transaction| {
        let deleted = transaction
            .prepare_cached("DELETE FROM workers WHERE id = ?1")?
            .execute((id,))?;
        if deleted > 0 {
            mark_workers(transaction, writer)
        } else {
            Ok(())
        }
    })
}

/// Merges activity.
pub(super) fn save_activity(
    connection: &mut Connection,
    batch: &ActivityBatch,
    writer: Writer,
) -> Result<(), Fault> {
    write(connection, |transaction| {
        let change = next_change(transaction, writer)?;
        let mut statement = transaction.prepare_cached(MERGE_SESSION)?;
        for activity in &batch.sessions {
            merge_session(&mut statement, activity, change, writer)?;
        }
        let mut statement = transaction.prepare_cached(MERGE_APP)?;
        for activity in &batch.apps {
            merge_app(&mut statement, activity, change, writer)?;
        }
        Ok(())
    })
}

/// Sums are clamped to SQLite's largest integer: larger ones would become floating-point numbers,
/// which the columns reject.
const MERGE_SESSION: &str = "
    INSERT INTO sessions (id, mac, app, worker, moves, origin_request_id, last_request_id, client,
        created_ms, active_ms, requests, bytes_in, bytes_out, user, changed, changed_by)
    SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16
    WHERE NOT EXISTS (SELECT 1 FROM deleted_sessions WHERE id = ?1)
        AND NOT EXISTS (SELECT 1 FROM deleted_apps WHERE name = ?3)
    ON CONFLICT (id) DO UPDATE SET
        worker = iif(excluded.active_ms >= active_ms, excluded.worker, worker),
        moves = iif(excluded.active_ms >= active_ms, excluded.moves, moves),
        last_request_id =
            iif(excluded.active_ms >= active_ms, excluded.last_request_id, last_request_id),
        active_ms = max(active_ms, excluded.active_ms),
        requests = min(requests, 9223372036854775807 - ?17) + ?17,
        bytes_in = min(bytes_in, 9223372036854775807 - ?18) + ?18,
        bytes_out = min(bytes_out, 9223372036854775807 - ?19) + ?19,
        changed = excluded.changed,
        changed_by = iif(changed_by = excluded.changed_by OR changed <= ?20,
            excluded.changed_by, 0)";

fn merge_session(
    statement: &mut CachedStatement<'_>,
    activity: &SessionActivity,
    change: i64,
    writer: Writer,
) -> Result<(), Fault> {
    let SessionActivity { session, added } = activity;
    statement.execute(params![
        session.id,
        session.mac,
        session.app,
        session.worker,
        session.moves,
        session.origin_request_id,
        session.last_request_id,
        session.client.map(|client| client.to_string()),
        to_sql(session.created_ms),
        to_sql(session.active_ms),
        to_sql(session.requests),
        to_sql(session.bytes_in),
        to_sql(session.bytes_out),
        session.user,
        change,
        writer.id,
        to_sql(added.requests),
        to_sql(added.bytes_in),
        to_sql(added.bytes_out),
        writer.seen,
    ])?;
    Ok(())
}

const MERGE_APP: &str = "
    INSERT INTO activity (app, active_ms, quiet_since_ms, idle_told_ms,
        changed, changed_by)
    SELECT ?1, ?2, ?3, ?4, ?5, ?6
    WHERE NOT EXISTS (SELECT 1 FROM deleted_apps WHERE name = ?1)
    ON CONFLICT (app) DO UPDATE SET
        active_ms = max(active_ms, excluded.active_ms),
        quiet_since_ms = max(quiet_since_ms, excluded.quiet_since_ms),
        idle_told_ms = max(idle_told_ms, excluded.idle_told_ms),
        changed = excluded.changed,
        changed_by = iif(changed_by = excluded.changed_by OR changed <= ?7,
            excluded.changed_by, 0)";

fn merge_app(
    statement: &mut CachedStatement<'_>,
    activity: &AppActivity,
    change: i64,
    writer: Writer,
) -> Result<(), Fault> {
    let AppActivity {
        app,
        active_ms,
        idle_since_ms,
        idle_notified_ms,
    } = activity;
    let times = [active_ms, idle_since_ms, idle_notified_ms].map(|ms| to_sql(*ms));
    statement.execute(params![
        app,
        times[0],
        times[1],
        times[2],
        change,
        writer.id,
        writer.seen
    ])?;
    Ok(())
}

/// Deletes sessions and keeps tombstones.
pub(super) fn delete_sessions(
    connection: &mut Connection,
    ids: &[String],
    at_ms: u64,
    writer: Writer,
) -> Result<(), Fault> {
    write(connection, |transaction| {
        let change = next_change(transaction, writer)?;
        let mut delete = transaction.prepare_cached("DELETE FROM sessions WHERE id = ?1")?;
        let mut keep_tombstone = transaction.prepare_cached(
            "INSERT INTO deleted_sessions (id, at_ms, changed, changed_by) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (id) DO UPDATE SET at_ms = max(at_ms, excluded.at_ms)",
        )?;
        for id in ids {
            delete.execute((id,))?;
            keep_tombstone.execute((id, to_sql(at_ms), change, writer.id))?;
        }
        Ok(())
    })
}

/// Creates a webhook, unless it exists.
pub(super) fn save_webhook(
    connection: &mut Connection,
    webhook: &StoredWebhook,
    writer: Writer,
) -> Result<(), Fault> {
    let id = &webhook.event.id;
    let event = json("webhook", id, &webhook.event)?;
    write(connection, |transaction| {
        let mut statement = transaction.prepare_cached(
            "INSERT INTO webhooks (id, url, event, created_ms, member) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (id) DO NOTHING",
        )?;
        let created_ms = to_sql(webhook.created_ms);
        statement.execute((id, &webhook.url, event, created_ms, writer.id))?;
        Ok(())
    })
}

/// Gives the writer the webhooks of processes that are no members, and returns those.
pub(super) fn adopt_webhooks(
    connection: &mut Connection,
    writer: Writer,
) -> Result<Vec<StoredWebhook>, Fault> {
    // Those of schema 1 have no member: a process of schema 1 that is alive delivers them.
    const LEFT: &str = "member <> ?1 AND member NOT IN (SELECT id FROM members)
         AND (member <> 0 OR NOT EXISTS (SELECT 1 FROM members WHERE pid = 0))";
    write(connection, |transaction| {
        let sql =
            format!("SELECT {WEBHOOK} FROM webhooks WHERE {LEFT} ORDER BY created_ms, number");
        let left = list(transaction, &sql, (writer.id,), rows::webhook)?;
        if !left.is_empty() {
            let sql = format!("UPDATE webhooks SET member = ?1 WHERE {LEFT}");
            transaction.execute(&sql, (writer.id,))?;
        }
        Ok(left)
    })
}

/// Deletes a webhook, if it exists.
pub(super) fn delete_webhook(connection: &mut Connection, event_id: &str) -> Result<(), Fault> {
    write(connection, |transaction| {
        transaction
            .prepare_cached("DELETE FROM webhooks WHERE id = ?1")?
            .execute((event_id,))?;
        Ok(())
    })
}
