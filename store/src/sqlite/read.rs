//! Reading: everything at the start, and news after that.

use app_proxy_api::table::TableState;
use rusqlite::{Connection, Params, Row, Transaction};

use crate::sqlite::fault::Fault;
use crate::sqlite::rows::{self, ACTIVITY, APP, SESSION, WEBHOOK, WORKER, from_sql, to_sql};
use crate::{AppDelta, Cursor, Delta, Served, State, StoredSession, StoredWebhook, StoredWorker};

/// The connection that reads.
pub(super) struct Reader {
    connection: Connection,
    /// Under which name this process writes.
    writer: i64,
    /// At which state of the file there was no news, and after what.
    nothing_new: Option<(i64, Cursor)>,
}

impl Reader {
    /// Reads as the process that writes as `writer`.
    pub(super) fn new(connection: Connection, writer: i64) -> Self {
        Self {
            connection,
            writer,
            nothing_new: None,
        }
    }

    /// All that is there.
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
                (),
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

    /// The tables that other processes serve from.
    pub(super) fn served_elsewhere(&mut self) -> Result<Vec<Served>, Fault> {
        let transaction = self.connection.transaction()?;
        let sql = "SELECT epoch, revision FROM serving WHERE process <> ?1";
        list(&transaction, sql, (self.writer,), |row| {
            Ok(Served {
                epoch: row.get(0)?,
                revision: from_sql(row.get(1)?),
            })
        })
    }

    /// Webhooks that are still to be delivered.
    pub(super) fn webhooks(&mut self) -> Result<Vec<StoredWebhook>, Fault> {
        webhooks(&self.connection.transaction()?)
    }

    /// What others have changed since `seen`.
    pub(super) fn news(&mut self, seen: &Cursor) -> Result<Option<Delta>, Fault> {
        // A number that changes with every commit of another connection, and that is read from
        // memory.
        let version: i64 = self
            .connection
            .prepare_cached("PRAGMA data_version")?
            .query_row((), |row| row.get(0))?;
        if self
            .nothing_new
            .as_ref()
            .is_some_and(|(at, after)| *at == version && after == seen)
        {
            return Ok(None);
        }
        let news = news(&self.connection.transaction()?, seen, self.writer)?;
        if news.is_none() {
            self.nothing_new = Some((version, seen.clone()));
        }
        Ok(news)
    }
}

fn webhooks(transaction: &Transaction<'_>) -> Result<Vec<StoredWebhook>, Fault> {
    let sql = format!("SELECT {WEBHOOK} FROM webhooks ORDER BY created_ms, number");
    list(transaction, &sql, (), rows::webhook)
}

/// Rows, each as `read` reads it.
fn list<T>(
    transaction: &Transaction<'_>,
    sql: &str,
    params: impl Params,
    read: impl Fn(&Row<'_>) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    let mut statement = transaction.prepare_cached(sql)?;
    let mut found = statement.query(params)?;
    let mut list = Vec::new();
    while let Some(row) = found.next()? {
        list.push(read(row)?);
    }
    Ok(list)
}

/// By identifier. They are not kept in that order, and sorting them here costs less than looking
/// each of them up.
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

/// The app table from a revision on.
fn table(transaction: &Transaction<'_>, after: u64) -> Result<TableState, Fault> {
    let after = (to_sql(after),);
    let sql = format!("SELECT {APP} FROM apps WHERE revision > ?1 ORDER BY name");
    let apps = list(transaction, &sql, after, rows::app)?;
    let sql = "SELECT name, revision FROM deleted_apps WHERE revision > ?1 ORDER BY name";
    let deleted = list(transaction, sql, after, rows::named_number)?;
    let mut statement =
        transaction.prepare_cached("SELECT epoch, revision, horizon FROM app_table")?;
    let (epoch, revision, horizon) =
        statement.query_row((), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(TableState {
        epoch,
        revision: from_sql(revision),
        horizon: from_sql(horizon),
        apps,
        deleted,
    })
}

fn cursor(transaction: &Transaction<'_>) -> Result<Cursor, Fault> {
    let sql = "SELECT epoch, revision, changed FROM app_table, marks WHERE what = 'all'";
    let mut statement = transaction.prepare_cached(sql)?;
    let (epoch, revision, sequence) =
        statement.query_row((), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(Cursor {
        epoch,
        revision: from_sql(revision),
        sequence: from_sql(sequence),
    })
}

fn news(transaction: &Transaction<'_>, seen: &Cursor, reader: i64) -> Result<Option<Delta>, Fault> {
    let cursor = cursor(transaction)?;
    let apps = app_news(transaction, seen, &cursor)?;
    if !has_changed(transaction, "all", seen, reader)? {
        return Ok(apps.map(|apps| Delta {
            apps: Some(apps),
            cursor,
            ..Delta::default()
        }));
    }
    let after = (to_sql(seen.sequence), reader);
    let changed = |what: &str, columns: &str| {
        format!(
            "SELECT {columns} FROM {what} WHERE changed > ?1 AND (changed_by <> ?2 OR changed_by_another > ?1)"
        )
    };
    let deleted = "SELECT id, at_ms FROM deleted_sessions WHERE changed > ?1 AND changed_by <> ?2";
    let workers_changed = has_changed(transaction, "workers", seen, reader)?;
    Ok(Some(Delta {
        apps,
        workers: if workers_changed {
            Some(workers(transaction)?)
        } else {
            None
        },
        deleted_sessions: list(transaction, deleted, after, rows::named_number)?,
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

/// Whether others have changed something after `seen`.
fn has_changed(
    transaction: &Transaction<'_>,
    what: &str,
    seen: &Cursor,
    reader: i64,
) -> Result<bool, Fault> {
    let sql =
        "SELECT iif(changed_by = ?2, changed_by_another, changed) > ?3 FROM marks WHERE what = ?1";
    let mut statement = transaction.prepare_cached(sql)?;
    Ok(statement.query_row((what, reader, to_sql(seen.sequence)), |row| row.get(0))?)
}

fn app_news(
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
        // Deletions that were not seen are forgotten.
        complete = true;
        state = table(transaction, 0)?;
    }
    Ok(Some(AppDelta { state, complete }))
}
