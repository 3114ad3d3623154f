//! Transactions that write: each write of the store is one.

use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::sqlite::fault::Fault;

/// Runs `work` in a transaction that holds the write lock from its start.
pub(super) fn write<T>(
    connection: &mut Connection,
    work: impl FnOnce(&Transaction<'_>) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let result = work(&transaction)?;
    transaction.commit()?;
    Ok(result)
}

/// The process that writes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Writer {
    /// The number that identifies its changes.
    pub(super) id: i64,
    /// The number of the last change that it has read. A row that it writes over has the changes of
    /// several processes if another one changed the row since; [`Writer::id`] is 0 there.
    pub(super) seen: i64,
}

/// Returns the number of a new change by `writer`.
pub(super) fn next_change(transaction: &Transaction<'_>, writer: Writer) -> Result<i64, Fault> {
    let mut statement = transaction.prepare_cached(
        "UPDATE marks SET changed = changed + 1,
             changed_by = iif(changed_by = ?1 OR changed <= ?2, ?1, 0)
         WHERE what = 'all' RETURNING changed",
    )?;
    Ok(statement.query_row((writer.id, writer.seen), |row| row.get(0))?)
}
