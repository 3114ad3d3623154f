//! What is in the file: its mark, its tables, and how it comes from one version to the next.

use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::sqlite::fault::Fault;

/// Tells a store from another program's SQLite file: `APPX`.
pub(super) const APPLICATION_ID: i64 = 0x4150_5058;

/// What leads from each schema version to the next; the first one makes an empty file version 1.
/// One that was released never changes.
pub(super) const MIGRATIONS: &[&str] = &[include_str!("schema/1.sql")];

/// The version that a list of migrations leads to.
pub(super) fn latest(migrations: &[&str]) -> i64 {
    i64::try_from(migrations.len()).unwrap_or(i64::MAX)
}

/// The version of the file.
pub(super) fn version(connection: &Connection) -> Result<i64, Fault> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

/// Brings the file to the latest version: in one transaction, which keeps other processes that do
/// the same waiting.
pub(super) fn migrate(connection: &mut Connection, migrations: &[&str]) -> Result<(), Fault> {
    let known = latest(migrations);
    if version(connection)? == known {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have been first.
    let found = version(&transaction)?;
    if found > known {
        return Err(Fault::Newer { found, known });
    }
    apply(
        &transaction,
        migrations
            .get(usize::try_from(found).unwrap_or(0)..)
            .unwrap_or_default(),
    )?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", known)?;
    Ok(transaction.commit()?)
}

fn apply(transaction: &Transaction<'_>, migrations: &[&str]) -> Result<(), Fault> {
    for migration in migrations {
        transaction.execute_batch(migration)?;
    }
    Ok(())
}
