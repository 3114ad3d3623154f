//! Faults of SQLite and of the file, and their mapping to [`StoreError`].

use std::io::ErrorKind;

use rusqlite::{Error, ErrorCode, ffi};

use crate::error::StoreError;

/// A fault of SQLite or of the file.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// SQLite returned an error.
    #[error("{cause}")]
    Sql {
        /// The error.
        cause: Error,
        /// True if the operating system rejected a write for lack of space.
        no_room: bool,
    },
    /// The file is not a store.
    #[error("{0}")]
    NoStore(String),
    /// A row cannot be read.
    #[error("{what}: {cause}")]
    Row {
        /// The row, as in "app `notes`".
        what: String,
        /// The defect.
        cause: String,
    },
    /// A later version of the program wrote the file.
    #[error("schema version {found}")]
    Newer {
        /// The schema version of the file.
        found: i64,
        /// The latest schema version that this program knows.
        known: i64,
    },
    /// A commit is not based on the stored table.
    #[error("another process has changed the app table")]
    Behind,
    /// A member prevents that this process joins.
    #[error("process {pid} uses it")]
    InUse {
        /// The process identifier of the member.
        pid: u32,
        /// The address of its admin API.
        address: Option<String>,
    },
    /// The file cannot be read or written.
    #[error("{0}")]
    Unusable(String),
}

impl From<Error> for Fault {
    fn from(cause: Error) -> Self {
        // SQLite reports a full disk, but not a quota or a file size limit. The failed call is the
        // last system call of this thread, so its errno is still set.
        let io = cause.sqlite_error_code() == Some(ErrorCode::SystemIoFailure);
        let kind = std::io::Error::last_os_error().kind();
        let no_room = io
            && matches!(
                kind,
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge
            );
        Self::Sql { cause, no_room }
    }
}

impl Fault {
    /// Returns the fault of a row that cannot be read.
    pub(super) fn row(kind: &str, name: &str, cause: impl ToString) -> Self {
        Self::Row {
            what: format!("{kind} `{name}`"),
            cause: cause.to_string(),
        }
    }

    /// Returns whether an interrupted transaction must be rolled back first, which a read-only
    /// connection cannot do.
    pub(super) fn needs_rollback(&self) -> bool {
        let Self::Sql { cause, .. } = self else {
            return false;
        };
        let code = cause.sqlite_error().map(|error| error.extended_code);
        code == Some(ffi::SQLITE_READONLY_ROLLBACK)
    }

    /// Returns whether another connection has locked the file.
    pub(super) fn is_busy(&self) -> bool {
        let busy = |code| matches!(code, ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked);
        matches!(self, Self::Sql { cause, .. } if cause.sqlite_error_code().is_some_and(busy))
    }

    /// Converts the fault to an error of the store in `file`.
    pub(super) fn at(self, file: &str) -> StoreError {
        let message = format!("{file}: {self}");
        let corrupt = |cause: String| StoreError::Corrupt {
            file: file.to_owned(),
            cause,
        };
        match self {
            Self::Sql { no_room: true, .. } => StoreError::Full(message),
            Self::Sql { cause, .. } => match cause.sqlite_error_code() {
                Some(ErrorCode::DiskFull) => StoreError::Full(message),
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                    StoreError::Locked(message)
                }
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                    corrupt(cause.to_string())
                }
                // The statements are correct, so the tables of the file are not those of a store.
                Some(ErrorCode::Unknown | ErrorCode::ConstraintViolation) => {
                    corrupt(cause.to_string())
                }
                Some(_) => StoreError::Unusable(message),
                // A value has the wrong type for its column.
                None => corrupt(cause.to_string()),
            },
            Self::NoStore(cause) => corrupt(cause),
            Self::Row { .. } => corrupt(self.to_string()),
            Self::Newer { found, known } => StoreError::Newer {
                file: file.to_owned(),
                found,
                known,
            },
            Self::Behind => StoreError::Behind,
            Self::InUse { pid, address } => StoreError::InUse { pid, address },
            Self::Unusable(_) => StoreError::Unusable(message),
        }
    }
}
