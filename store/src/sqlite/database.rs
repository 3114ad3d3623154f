//! The database behind a store, and the connections to it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};

use crate::error::StoreError;
use crate::sqlite::fault::Fault;
use crate::sqlite::file::{self, LONGEST_WAIT};
use crate::sqlite::presence::PresenceLock;

/// The size in bytes to which SQLite truncates the write-ahead log after a checkpoint.
const MAX_LOG_BYTES: i64 = 16 << 20;
/// The page cache of a connection that writes activity, in KiB: enough for the pages of a large
/// batch, so that each is written once.
const CACHE_KIB: i64 = 16 << 10;
/// The number of prepared statements that a connection caches; more than the store has.
const STATEMENTS: usize = 64;

/// The point at which a commit is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durability {
    /// Before it returns.
    Now,
    /// With a later commit. A loss of power may lose it, but damages nothing.
    Later,
}

impl Durability {
    const fn synchronous(self) -> &'static str {
        match self {
            Self::Now => "FULL",
            Self::Later => "NORMAL",
        }
    }

    /// The number of 4 KiB pages in the log from which a commit moves them to the file: enough that
    /// a page that changes often is moved once for many changes. A connection that callers wait for
    /// has a higher limit, so that the other one does the work.
    const fn pages_to_checkpoint(self) -> i64 {
        match self {
            Self::Now => 8000,
            Self::Later => 4000,
        }
    }
}

/// The database behind a store.
#[derive(Clone, Debug)]
pub(super) enum Database {
    /// A file.
    File(Arc<Path>),
    /// Memory of this process.
    Memory {
        /// Connections with the same URI share the contents, which are freed with the last of them.
        uri: Arc<str>,
        /// The number of members.
        members: Arc<AtomicUsize>,
    },
}

impl Database {
    /// A file at `path`, which may be relative.
    ///
    /// # Errors
    /// [`StoreError`] if the path is empty, or the working directory is unknown.
    pub(super) fn file(path: &Path) -> Result<Self, StoreError> {
        let absolute: Result<PathBuf, Fault> = file::absolute(path);
        absolute
            .map(|path| Self::File(path.into()))
            .map_err(|fault| fault.at(&path.display().to_string()))
    }

    /// A new database in memory. SQLite's plain `:memory:` belongs to one connection and a store
    /// has three, so this is a named one of SQLite's `memdb` file system.
    pub(super) fn new_in_memory() -> Self {
        let name = rand::random::<u128>();
        Self::Memory {
            uri: format!("file:/app-proxy-store-{name:032x}?vfs=memdb").into(),
            members: Arc::default(),
        }
    }

    /// The name of the database in error messages.
    pub(super) fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Memory { .. } => ":memory:".to_owned(),
        }
    }

    /// Creates the file if it is missing, and verifies that it is a store that this program knows.
    pub(super) fn prepare(&self, known: i64) -> Result<(), Fault> {
        match self {
            Self::File(path) => {
                file::create_if_missing(path)?;
                file::recover_and_verify(path, known)
            }
            Self::Memory { .. } => Ok(()),
        }
    }

    /// Opens a connection that writes.
    pub(super) fn connect(&self, durability: Durability) -> Result<Connection, Fault> {
        let connection = match self {
            Self::File(path) => connect_to_file(path, durability)?,
            Self::Memory { uri, .. } => connect_to_memory(uri)?,
        };
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        Ok(connection)
    }

    /// Opens the lock that members hold.
    pub(super) fn presence_lock(&self) -> Result<PresenceLock, Fault> {
        match self {
            Self::File(path) => PresenceLock::of_file(path),
            Self::Memory { members, .. } => Ok(PresenceLock::Memory(Arc::clone(members))),
        }
    }

    /// Opens a connection that only reads.
    pub(super) fn connect_to_read(&self) -> Result<Connection, Fault> {
        let connection = self.connect(Durability::Later)?;
        connection.pragma_update(None, "query_only", true)?;
        Ok(connection)
    }
}

fn connect_to_file(path: &Path, durability: Durability) -> Result<Connection, Fault> {
    let connection = file::open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    file::check_writable(&connection)?;
    enable_write_ahead_log(&connection)?;
    connection.pragma_update(None, "synchronous", durability.synchronous())?;
    connection.pragma_update(None, "wal_autocheckpoint", durability.pages_to_checkpoint())?;
    connection.pragma_update(None, "journal_size_limit", MAX_LOG_BYTES)?;
    if durability == Durability::Later {
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    }
    Ok(connection)
}

fn connect_to_memory(uri: &str) -> Result<Connection, Fault> {
    let access = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_URI;
    let connection = file::open(Path::new(uri), access)?;
    // Large sorts would use a temporary file.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(connection)
}

/// Enables the write-ahead log, which allows readers beside a writer, and a second process.
fn enable_write_ahead_log(connection: &Connection) -> Result<(), Fault> {
    let began = Instant::now();
    loop {
        let set = connection
            .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0));
        match set.map_err(Fault::from) {
            Ok(mode) if mode.eq_ignore_ascii_case("wal") => return Ok(()),
            Ok(mode) => {
                return Err(Fault::Unusable(format!(
                    "its filesystem does not support a write-ahead log (only {mode})"
                )));
            }
            // SQLite does not apply its busy timeout here.
            Err(fault) if fault.is_busy() && began.elapsed() < LONGEST_WAIT => {
                sleep(Duration::from_millis(5));
            }
            Err(fault) => return Err(fault),
        }
    }
}
