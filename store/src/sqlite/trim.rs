//! Trimming of sessions, in transactions short enough for other writers.

use rusqlite::Connection;

use crate::sqlite::fault::Fault;
use crate::sqlite::rows::to_sql;
use crate::sqlite::transaction::write;

/// The number of rows of a kind that one transaction deletes at most.
pub(super) const TRIMMED_AT_ONCE: u64 = 2_000;

/// The result of one transaction of [`trim`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trimmed {
    /// The number of deleted sessions.
    pub(super) sessions: u64,
    /// True if there may be more rows to delete.
    pub(super) more: bool,
}

/// Deletes at most [`TRIMMED_AT_ONCE`] each of old tombstones, idle sessions, and sessions beyond
/// `max`.
pub(super) fn trim(
    connection: &mut Connection,
    before_ms: u64,
    max: u64,
) -> Result<Trimmed, Fault> {
    const STEPS: [&str; 3] = [
        "DELETE FROM deleted_sessions WHERE id IN
             (SELECT id FROM deleted_sessions WHERE at_ms < ?1 ORDER BY at_ms LIMIT ?2)",
        "DELETE FROM sessions WHERE number IN
             (SELECT number FROM sessions WHERE active_ms < ?1 ORDER BY active_ms LIMIT ?2)",
        "DELETE FROM sessions WHERE number IN
             (SELECT number FROM sessions ORDER BY active_ms DESC, number DESC LIMIT ?2 OFFSET ?1)",
    ];
    let [tombstones, idle, surplus] = STEPS;
    write(connection, |transaction| {
        let delete = |sql, bound: u64| -> Result<u64, Fault> {
            let deleted = transaction
                .prepare_cached(sql)?
                .execute((to_sql(bound), to_sql(TRIMMED_AT_ONCE)))?;
            Ok(deleted as u64)
        };
        let [tombstones, idle, surplus] = [
            delete(tombstones, before_ms)?,
            delete(idle, before_ms)?,
            delete(surplus, max)?,
        ];
        let more = [tombstones, idle, surplus].contains(&TRIMMED_AT_ONCE);
        Ok(Trimmed {
            sessions: idle + surplus,
            more,
        })
    })
}
