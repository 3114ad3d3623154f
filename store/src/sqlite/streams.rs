//! Open streams of sessions at members.

use rusqlite::{Connection, Transaction};

use crate::sqlite::fault::Fault;
use crate::sqlite::transaction::{Writer, next_change, write};

/// Saves the streams of sessions at the member that writes.
pub(super) fn save_streams(
    connection: &mut Connection,
    changes: &[(String, u32)],
    writer: Writer,
) -> Result<(), Fault> {
    let changes = changes.iter().map(|(session, open)| (session, *open));
    write(connection, |transaction| put(transaction, changes, writer))
}

/// Replaces the streams of sessions at the member that writes.
pub(super) fn put<'a>(
    transaction: &Transaction<'_>,
    changes: impl Iterator<Item = (&'a String, u32)>,
    writer: Writer,
) -> Result<(), Fault> {
    let change = next_change(transaction, writer)?;
    let mut touch = transaction.prepare_cached(
        "UPDATE sessions SET changed = ?2,
             changed_by = iif(changed_by = ?3 OR changed <= ?4, ?3, 0)
         WHERE id = ?1",
    )?;
    for (session, open) in changes {
        put_one(transaction, session, open, writer)?;
        touch.execute((session, change, writer.id, writer.seen))?;
    }
    Ok(())
}

/// Replaces the number of streams of a session; 0 deletes.
fn put_one(
    transaction: &Transaction<'_>,
    session: &str,
    open: u32,
    writer: Writer,
) -> Result<(), Fault> {
    if open == 0 {
        let sql = "DELETE FROM streams WHERE session = ?1 AND member = ?2";
        transaction
            .prepare_cached(sql)?
            .execute((session, writer.id))?;
    } else {
        let sql = "INSERT OR REPLACE INTO streams (session, member, open) VALUES (?1, ?2, ?3)";
        transaction
            .prepare_cached(sql)?
            .execute((session, writer.id, open))?;
    }
    Ok(())
}
