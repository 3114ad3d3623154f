//! The file: made when it is not there, looked at before anything is written to it, and connected
//! to.

use std::fs::{DirBuilder, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use crate::sqlite::fault::Fault;
use crate::sqlite::schema::{self, APPLICATION_ID};

/// How long another process may hold the file before a call fails.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// What the write-ahead log is cut to when it was longer, in bytes.
const LONGEST_LOG_BYTES: i64 = 16 << 20;
/// What a connection that writes activity keeps of the file in memory, in KiB: enough for the pages
/// of a large batch, so that each is written once.
const CACHE_KIB: i64 = 16 << 10;
/// Statements that a connection keeps ready; more than there are.
const STATEMENTS: usize = 64;

/// When a commit is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durability {
    /// Before it returns.
    Now,
    /// With a later one; a loss of power may take it back, but damages nothing.
    Later,
}

impl Durability {
    const fn synchronous(self) -> &'static str {
        match self {
            Self::Now => "FULL",
            Self::Later => "NORMAL",
        }
    }

    /// After how many pages of 4 KiB in the log a commit moves them to the file: enough that a page
    /// that changes often is moved once for many changes. Who is waited for does that only when
    /// nobody else does.
    const fn pages_to_checkpoint(self) -> i64 {
        match self {
            Self::Now => 8000,
            Self::Later => 4000,
        }
    }
}

/// Makes an empty file, for nobody else to read, and the folder that it is in.
pub(super) fn create_if_missing(path: &Path) -> Result<(), Fault> {
    let fault = |error: std::io::Error| Fault::Unusable(error.to_string());
    // A file that is there is not opened here: closing it would take away the locks of a connection
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

/// Makes sure that the file is a store that can be read, or empty. Nothing is written to it.
pub(super) fn inspect(path: &Path, known: i64) -> Result<(), Fault> {
    match look(path, known) {
        // What is half done can be taken back.
        Err(fault) if is_half_made(path, &fault) => {
            schema::version(&open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?)?;
            look(path, known)
        }
        done => done,
    }
}

/// In its first page a file has no rows.
fn has_one_page(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.len() <= 4096)
}

/// Whether somebody is at work with the file, or was ended while at work.
pub(super) fn has_log(path: &Path) -> bool {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    Path::new(&log).exists()
}

/// Takes away what reading has put beside a file that nobody was at work with: who may only read
/// cannot.
pub(super) fn tidy(path: &Path) -> Result<(), Fault> {
    schema::version(&open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?).map(drop)
}

/// Whether somebody was ended while making the file, so that there is nothing in it yet.
pub(super) fn is_half_made(path: &Path, fault: &Fault) -> bool {
    fault.wants_rollback() && has_one_page(path)
}

/// Like [`inspect`], where even what is half done has to stay.
pub(super) fn look(path: &Path, known: i64) -> Result<(), Fault> {
    if path.is_dir() {
        return Err(Fault::Unusable("it is a directory".to_owned()));
    }
    // All of this is asked of one state of the file: another process may be making it.
    let mut connection = open(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let connection = connection.transaction()?;
    let id: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let things: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0))?;
    let found = schema::version(&connection)?;
    match (id, found) {
        (0, 0) if things == 0 => return Ok(()),
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

fn open(path: &Path, access: OpenFlags) -> Result<Connection, Fault> {
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(LONGEST_WAIT)?;
    Ok(connection)
}

/// Makes sure that the file may be written to. Nothing is.
fn check_writable(connection: &Connection) -> Result<(), Fault> {
    // SQLite is content to read where it may not write.
    if connection.is_readonly("main")? {
        return Err(Fault::Unusable("no permission to write to it".to_owned()));
    }
    Ok(())
}

/// A copy in memory of what is in the file now.
pub(super) fn copy(path: &Path) -> Result<Connection, Fault> {
    // Asked for nothing, a connection does nothing.
    check_writable(&open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?)?;
    let file = open(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut copy = Connection::open_in_memory()?;
    match Backup::new(&file, &mut copy)?.step(-1)? {
        StepResult::Done => {}
        _ => return Err(Fault::Unusable("another process holds it".to_owned())),
    }
    Ok(copy)
}

/// A connection that writes.
pub(super) fn connect(path: &Path, durability: Durability) -> Result<Connection, Fault> {
    let connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    check_writable(&connection)?;
    write_ahead(&connection)?;
    connection.pragma_update(None, "synchronous", durability.synchronous())?;
    connection.pragma_update(None, "wal_autocheckpoint", durability.pages_to_checkpoint())?;
    connection.pragma_update(None, "journal_size_limit", LONGEST_LOG_BYTES)?;
    if durability == Durability::Later {
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    }
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}

/// A connection that only reads.
pub(super) fn connect_to_read(path: &Path) -> Result<Connection, Fault> {
    let connection = connect(path, Durability::Later)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

/// Has changes written to a log first, which is what lets others read and a second process write.
fn write_ahead(connection: &Connection) -> Result<(), Fault> {
    let began = Instant::now();
    loop {
        let set = connection
            .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0));
        match set.map_err(Fault::from) {
            Ok(mode) if mode.eq_ignore_ascii_case("wal") => return Ok(()),
            Ok(mode) => {
                return Err(Fault::Unusable(format!(
                    "its filesystem allows no write-ahead log (only {mode})"
                )));
            }
            // SQLite itself does not wait here for another process that does the same.
            Err(fault) if fault.is_busy() && began.elapsed() < LONGEST_WAIT => {
                sleep(Duration::from_millis(5))
            }
            Err(fault) => return Err(fault),
        }
    }
}
