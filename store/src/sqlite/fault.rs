//! What can go wrong with the file, and which error of a store that is.

use std::io::ErrorKind;

use rusqlite::{Error, ErrorCode, ffi};

use crate::StoreError;

/// What has gone wrong.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// SQLite has failed.
    #[error("{cause}")]
    Sql {
        /// What it says.
        cause: Error,
        /// Whether the system has refused a write for want of room.
        no_room: bool,
    },
    /// The file is no store.
    #[error("{0}")]
    NoStore(String),
    /// A row is not what was written.
    #[error("{what}: {cause}")]
    Row {
        /// Which row, as in "app `notes`".
        what: String,
        /// What is wrong with it.
        cause: String,
    },
    /// A later version of the program has written the file.
    #[error("schema version {found}")]
    Newer {
        /// The version in the file.
        found: i64,
        /// The latest version that is known here.
        known: i64,
    },
    /// A commit does not build on the table in the file.
    #[error("another process has changed the app table")]
    Behind,
    /// The file cannot be used.
    #[error("{0}")]
    Unusable(String),
}

impl From<Error> for Fault {
    fn from(cause: Error) -> Self {
        // SQLite tells a full disk from a failing one, but not a quota or a limit of the file's
        // size. The call that failed is the last one that this thread made, so that the system's
        // own word is still there.
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
    /// A row that cannot be read.
    pub(super) fn row(what: &str, name: &str, cause: impl ToString) -> Self {
        Self::Row {
            what: format!("{what} `{name}`"),
            cause: cause.to_string(),
        }
    }

    /// Whether an interrupted transaction has to be taken back, which who may only read cannot do.
    pub(super) fn wants_rollback(&self) -> bool {
        let code = |error: &ffi::Error| error.extended_code;
        matches!(self, Self::Sql { cause, .. } if cause.sqlite_error().map(code) == Some(ffi::SQLITE_READONLY_ROLLBACK))
    }

    /// Whether others hold the file.
    pub(super) fn is_busy(&self) -> bool {
        let busy = |code| matches!(code, ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked);
        matches!(self, Self::Sql { cause, .. } if cause.sqlite_error_code().is_some_and(busy))
    }

    /// The error of a store, of this file.
    pub(super) fn at(self, file: &str) -> StoreError {
        let said = format!("{file}: {self}");
        let corrupt = |cause: String| StoreError::Corrupt {
            file: file.to_owned(),
            cause,
        };
        match self {
            Self::Sql { no_room: true, .. } => StoreError::Full(said),
            Self::Sql { cause, .. } => match cause.sqlite_error_code() {
                Some(ErrorCode::DiskFull) => StoreError::Full(said),
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                    StoreError::Locked(said)
                }
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                    corrupt(cause.to_string())
                }
                // The statements are right for the tables that the file should have.
                Some(ErrorCode::Unknown | ErrorCode::ConstraintViolation) => {
                    corrupt(cause.to_string())
                }
                Some(_) => StoreError::Unusable(said),
                // Not SQLite but a value in a row.
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
            Self::Unusable(_) => StoreError::Unusable(said),
        }
    }
}
