//! Reads: the whole state at startup, the changes of other processes from then on.

use app_proxy_api::table::TableState;
use rusqlite::{Connection, Transaction};

use crate::commit::FileClaims;
use crate::member::Member;
use crate::session::StoredSession;
use crate::sqlite::fault::Fault;
use crate::sqlite::rows::{self, ACTIVITY, APP, SESSION, WEBHOOK, WORKER, from_sql, list, to_sql};
use crate::sqlite::{claims, members};
use crate::state::{AppDelta, Cursor, Delta, State, StoredWebhook, StoredWorker};

/// A connection that reads.
pub(super) struct Reader {
    connection: Connection,
    /// The writer whose changes are not returned as those of others.
    writer: i64,
    /// The last `data_version` at which nothing had changed since a cursor.
    unchanged: Option<(i64, Cursor)>,
}

impl Reader {
    /// Returns a reader for the process that writes as `writer`.
    pub(super) fn new(connection: Connection, writer: i64) -> Self {
        Self {
            connection,
            writer,
            unchanged: None,
        }
    }

    /// Reads the whole state.
    pub(super) fn load(&mut self) -> Result<State, Fault> {
        let transaction = self.connection.transaction()?;
        let all = |what: &str, columns: &str, order: &str| {
            format!("SELECT {columns} FROM {what} ORDER BY {order}")
        };
        Ok(State {
            apps: table(&transaction, 0)?,
            workers: workers(&transaction)?,
            sessions: sorted(list(
                &transaction,
                &format!("SELECT {SESSION} FROM sessions"),
                (self.writer,),
                rows::session,
            )?),
            deleted_sessions: list(
                &transaction,
                &all("deleted_sessions", "id, at_ms", "id"),
                (),
                rows::named_number,
            )?,
            activity: list(
                &transaction,
                &all("activity", ACTIVITY, "app"),
                (),
                rows::activity,
            )?,
            webhooks: webhooks(&transaction)?,
            cursor: cursor(&transaction)?,
        })
    }

    /// Reads the other members.
    pub(super) fn members(&mut self) -> Result<Vec<Member>, Fault> {
        members::others(&self.connection.transaction()?, self.writer)
    }

    /// Reads the claims of files.
    pub(super) fn file_claims(&mut self) -> Result<FileClaims, Fault> {
        claims::read(&self.connection.transaction()?)
    }

    /// Reads the webhooks that wait for delivery.
    pub(super) fn webhooks(&mut self) -> Result<Vec<StoredWebhook>, Fault> {
        webhooks(&self.connection.transaction()?)
    }

    /// Reads the changes of other processes since `seen`.
    pub(super) fn changes_since(&mut self, seen: &Cursor) -> Result<Option<Delta>, Fault> {
        // SQLite changes this number with each commit of another connection, and reads it from
        // memory.
        let version: i64 = self
            .connection
            .prepare_cached("PRAGMA data_version")?
            .query_row((), |row| row.get(0))?;
        if self
            .unchanged
            .as_ref()
            .is_some_and(|(at, after)| *at == version && after == seen)
        {
            return Ok(None);
        }
        let delta = delta(&self.connection.transaction()?, seen, self.writer)?;
        if delta.is_none() {
            self.unchanged = Some((version, seen.clone()));
        }
        Ok(delta)
    }
}

fn webhooks(transaction: &Transaction<'_>) -> Result<Vec<StoredWebhook>, Fault> {
    let sql = format!("SELECT {WEBHOOK} FROM webhooks ORDER BY created_ms, number");
    list(transaction, &sql, (), rows::webhook)
}

/// Sorts sessions by identifier. Sorting them here costs less than reading them in the order of an
/// index, which looks up each row.
fn sorted(mut sessions: Vec<StoredSession>) -> Vec<StoredSession> {
    sessions.sort_unstable_by(|one, other| one.id.cmp(&other.id));
    sessions
}

fn workers(transaction: &Transaction<'_>) -> Result<Vec<StoredWorker>, Fault> {
    list(
        transaction,
        &format!("SELECT {WORKER} FROM workers ORDER BY id"),
        (),
        rows::worker,
    )
}

/// Reads the apps and tombstones of the table after a revision.
fn table(transaction: &Transaction<'_>, after: u64) -> Result<TableState, Fault> {
    let after = (to_sql(after),);
    let sql = format!("SELECT {APP} FROM apps WHERE revision > ?1 ORDER BY name");
    let apps = list(transaction, &sql, after, rows::app)?;
    let sql = "SELECT name, revision FROM deleted_apps WHERE revision > ?1 ORDER BY name";
    let deleted = list(transaction, sql, after, rows::named_number)?;
    let mut statement =
        transaction.prepare_cached("SELECT epoch, revision, horizon FROM app_table")?;
    let (epoch, revision, horizon): (String, _, _) =
        statement.query_row((), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(TableState {
        epoch: epoch.into(),
        revision: from_sql(revision),
        horizon: from_sql(horizon),
        apps,
        deleted,
    })
}

fn cursor(transaction: &Transaction<'_>) -> Result<Cursor, Fault> {
    let sql = "SELECT epoch, revision, changed FROM app_table, marks WHERE what = 'all'";
    let mut statement = transaction.prepare_cached(sql)?;
    let (epoch, revision, sequence): (String, _, _) =
        statement.query_row((), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(Cursor {
        epoch: epoch.into(),
        revision: from_sql(revision),
        sequence: from_sql(sequence),
    })
}

fn delta(
    transaction: &Transaction<'_>,
    seen: &Cursor,
    reader: i64,
) -> Result<Option<Delta>, Fault> {
    let cursor = cursor(transaction)?;
    let apps = app_delta(transaction, seen, &cursor)?;
    if !has_changed(transaction, "all", seen, reader)? {
        return Ok(apps.map(|apps| Delta {
            apps: Some(apps),
            cursor,
            ..Delta::default()
        }));
    }
    let after = (reader, to_sql(seen.sequence));
    let changed = |what: &str, columns: &str| {
        format!("SELECT {columns} FROM {what} WHERE changed > ?2 AND changed_by <> ?1")
    };
    let workers_changed = has_changed(transaction, "workers", seen, reader)?;
    Ok(Some(Delta {
        apps,
        workers: if workers_changed {
            Some(workers(transaction)?)
        } else {
            None
        },
        deleted_sessions: list(
            transaction,
            &changed("deleted_sessions", "id, at_ms"),
            after,
            rows::named_number,
        )?,
        sessions: sorted(list(
            transaction,
            &changed("sessions", SESSION),
            after,
            rows::session,
        )?),
        activity: list(
            transaction,
            &changed("activity", ACTIVITY),
            after,
            rows::activity,
        )?,
        cursor,
    }))
}

/// Returns whether another writer changed `what` after `seen`.
fn has_changed(
    transaction: &Transaction<'_>,
    what: &str,
    seen: &Cursor,
    reader: i64,
) -> Result<bool, Fault> {
    let sql = "SELECT changed > ?3 AND changed_by <> ?2 FROM marks WHERE what = ?1";
    let mut statement = transaction.prepare_cached(sql)?;
    Ok(statement.query_row((what, reader, to_sql(seen.sequence)), |row| row.get(0))?)
}

fn app_delta(
    transaction: &Transaction<'_>,
    seen: &Cursor,
    now: &Cursor,
) -> Result<Option<AppDelta>, Fault> {
    let same = now.epoch == seen.epoch;
    if same && now.revision == seen.revision {
        return Ok(None);
    }
    let mut complete = !same || seen.revision > now.revision;
    let mut state = table(transaction, if complete { 0 } else { seen.revision })?;
    if !complete && seen.revision < state.horizon {
        // Tombstones that the caller has not seen are deleted.
        complete = true;
        state = table(transaction, 0)?;
    }
    Ok(Some(AppDelta { state, complete }))
}
