//! The file of a store: created if missing, verified before anything is written to it, and copied.

use std::fs::{DirBuilder, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use crate::sqlite::fault::Fault;
use crate::sqlite::schema::{self, APPLICATION_ID};

/// The maximum time that a call waits for a lock that another process holds.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// Makes a path absolute, so that SQLite reads it as a file name: `:memory:` and `file:…` would
/// have another meaning.
pub(super) fn absolute(path: &Path) -> Result<PathBuf, Fault> {
    std::path::absolute(path).map_err(|error| Fault::Unusable(error.to_string()))
}

/// Creates an empty file and its folder, accessible to this user alone.
pub(super) fn create_if_missing(path: &Path) -> Result<(), Fault> {
    let fault = |error: std::io::Error| Fault::Unusable(error.to_string());
    // An existing file is not opened here: closing it would release the locks of every connection
    // that this process has to it.
    if path.symlink_metadata().is_ok() {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(fault)?;
    }
    match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
    {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(fault(error)),
        _ => Ok(()),
    }
}

/// Verifies like [`verify`], after rolling back a file whose creation was interrupted.
pub(super) fn recover_and_verify(path: &Path, known: i64) -> Result<(), Fault> {
    match verify(path, known) {
        Err(fault) if is_half_created(path, &fault) => {
            schema::version(&open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?)?;
            verify(path, known)
        }
        verified => verified,
    }
}

/// Returns whether the file has at most one page, and so no rows.
fn has_one_page(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.len() <= 4096)
}

/// Returns whether a process uses the file, or was killed while it did.
pub(super) fn has_log(path: &Path) -> bool {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    Path::new(&log).exists()
}

/// Removes the -wal and -shm files that a read-only connection leaves behind.
pub(super) fn remove_read_only_leftovers(path: &Path) -> Result<(), Fault> {
    schema::version(&open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?).map(drop)
}

/// Returns whether a process was killed while it created the file, so that the file is empty.
pub(super) fn is_half_created(path: &Path, fault: &Fault) -> bool {
    fault.needs_rollback() && has_one_page(path)
}

/// Verifies that the file is an undamaged store of a version up to `known`, or empty. Writes
/// nothing.
pub(super) fn verify(path: &Path, known: i64) -> Result<(), Fault> {
    if path.is_dir() {
        return Err(Fault::Unusable("it is a directory".to_owned()));
    }
    // One transaction, because another process may be creating the file.
    let mut connection = open(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let connection = connection.transaction()?;
    let id: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let objects: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0))?;
    let found = schema::version(&connection)?;
    match (id, found) {
        (0, 0) if objects == 0 => return Ok(()),
        (APPLICATION_ID, 1..) => (),
        _ => {
            return Err(Fault::NoStore(format!(
                "an SQLite database of another program (application_id {id})"
            )));
        }
    }
    if found > known {
        return Err(Fault::Newer { found, known });
    }
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", (), |row| row.get(0))?;
    if verdict == "ok" {
        Ok(())
    } else {
        Err(Fault::NoStore(verdict))
    }
}

/// Opens a connection. The path is a URI if `access` says so.
pub(super) fn open(path: &Path, access: OpenFlags) -> Result<Connection, Fault> {
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(LONGEST_WAIT)?;
    Ok(connection)
}

/// Rejects a file that this process may not write to. Writes nothing.
pub(super) fn check_writable(connection: &Connection) -> Result<(), Fault> {
    // SQLite opens a file read-only if it cannot open it for writing.
    if connection.is_readonly("main")? {
        return Err(Fault::Unusable("no permission to write to it".to_owned()));
    }
    Ok(())
}

/// Copies the contents of the file to a database in memory.
pub(super) fn copy(path: &Path) -> Result<Connection, Fault> {
    // A connection that runs no statement leaves the file alone.
    check_writable(&open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?)?;
    let file = open(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut copy = Connection::open_in_memory()?;
    match Backup::new(&file, &mut copy)?.step(-1)? {
        StepResult::Done => {}
        _ => return Err(Fault::Unusable("another process has locked it".to_owned())),
    }
    Ok(copy)
}
