//! Errors of a store, and their codes in the API.

/// An error of a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no space left, or a quota or a file size limit is reached.
    #[error("the store is full: {0}")]
    Full(String),
    /// Another process has locked the store for too long.
    #[error("the store is locked: {0}")]
    Locked(String),
    /// The store cannot be read or written.
    #[error("cannot use the store: {0}")]
    Unusable(String),
    /// The file is damaged, or is not a store. It was left unchanged.
    #[error("{file} is damaged or is not a store: {cause}")]
    Corrupt {
        /// The path of the file.
        file: String,
        /// The defect.
        cause: String,
    },
    /// A later version of the program wrote the file.
    #[error("{file} has schema version {found}, this program knows versions up to {known}")]
    Newer {
        /// The path of the file.
        file: String,
        /// The schema version of the file.
        found: i64,
        /// The latest schema version that this program knows.
        known: i64,
    },
    /// Another process committed first.
    #[error("another process has changed the app table")]
    Behind,
}

impl StoreError {
    /// Returns the stable error code of the API.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Full(_) => "store_full",
            Self::Locked(_) | Self::Behind => "store_locked",
            Self::Unusable(_) | Self::Corrupt { .. } | Self::Newer { .. } => "store_unavailable",
        }
    }
}
