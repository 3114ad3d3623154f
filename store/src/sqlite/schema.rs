//! The schema: the application id of the file, its tables, and migrations.

use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::sqlite::fault::Fault;

/// The `application_id` of a store, which other programs' files do not have: `APPX`.
pub(super) const APPLICATION_ID: i64 = 0x4150_5058;

/// The migration from each schema version to the next; the first creates version 1 in an empty
/// file. A released migration never changes.
pub(super) const MIGRATIONS: &[&str] =
    &[include_str!("schema/1.sql"), include_str!("schema/2.sql")];

/// Returns the version after the last of `migrations`.
pub(super) fn latest(migrations: &[&str]) -> i64 {
    i64::try_from(migrations.len()).unwrap_or(i64::MAX)
}

/// Reads the schema version of the file.
pub(super) fn version(connection: &Connection) -> Result<i64, Fault> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

/// Migrates the file to the latest version in one transaction. Other processes that migrate wait.
pub(super) fn migrate(connection: &mut Connection, migrations: &[&str]) -> Result<(), Fault> {
    let known = latest(migrations);
    if version(connection)? == known {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have migrated meanwhile.
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
