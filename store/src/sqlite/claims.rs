//! Claims of files on apps.

use rusqlite::{OptionalExtension, Transaction};

use crate::commit::{AppCommit, FileClaim, FileClaims};
use crate::sqlite::fault::Fault;
use crate::sqlite::rows::{from_sql, list, to_sql};

/// Reads the claims of all files.
pub(super) fn read(transaction: &Transaction<'_>) -> Result<FileClaims, Fault> {
    let version = "SELECT changed FROM marks WHERE what = 'files'";
    let version: i64 = transaction
        .prepare_cached(version)?
        .query_row((), |row| row.get(0))?;
    let mut files: Vec<FileClaim> = Vec::new();
    let sql = "SELECT file, app FROM app_files ORDER BY file, app";
    let rows: Vec<(String, String)> =
        list(transaction, sql, (), |row| Ok((row.get(0)?, row.get(1)?)))?;
    for (file, app) in rows {
        match files.last_mut() {
            Some(last) if last.file == file => last.apps.push(app),
            _ => files.push(FileClaim {
                file,
                apps: vec![app],
            }),
        }
    }
    Ok(FileClaims {
        version: from_sql(version),
        files,
    })
}

/// Replaces the claims of the files of a commit, if the stored claims are those that it is based
/// on.
pub(super) fn replace(transaction: &Transaction<'_>, commit: &AppCommit) -> Result<(), Fault> {
    if commit.files.is_empty() {
        return Ok(());
    }
    let sql = "SELECT 1 FROM marks WHERE what = 'files' AND changed = ?1";
    let current: Option<i64> = transaction
        .prepare_cached(sql)?
        .query_row((to_sql(commit.files_base),), |row| row.get(0))
        .optional()?;
    if current.is_none() {
        return Err(Fault::Behind);
    }
    let mut changed = false;
    for claim in &commit.files {
        changed |= replace_one(transaction, claim)?;
    }
    if changed {
        transaction.execute_batch("UPDATE marks SET changed = changed + 1 WHERE what = 'files'")?;
    }
    Ok(())
}

/// Replaces the claims of a file. Returns whether they differ from before.
fn replace_one(transaction: &Transaction<'_>, claim: &FileClaim) -> Result<bool, Fault> {
    let sql = "SELECT app FROM app_files WHERE file = ?1 ORDER BY app";
    let before: Vec<String> = list(transaction, sql, (&claim.file,), |row| Ok(row.get(0)?))?;
    let mut apps: Vec<&str> = claim.apps.iter().map(String::as_str).collect();
    apps.sort_unstable();
    apps.dedup();
    if apps == before {
        return Ok(false);
    }
    let sql = "DELETE FROM app_files WHERE file = ?1";
    transaction.prepare_cached(sql)?.execute((&claim.file,))?;
    let sql = "INSERT INTO app_files (file, app) VALUES (?1, ?2)";
    let mut insert = transaction.prepare_cached(sql)?;
    for app in apps {
        insert.execute((&claim.file, app))?;
    }
    Ok(true)
}
