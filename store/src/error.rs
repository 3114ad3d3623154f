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
    /// Another member prevents that this process joins.
    #[error("the store is in use by {}", user(*.pid, .address.as_deref()))]
    InUse {
        /// The process identifier of the first such member; 0 if it is not known.
        pid: u32,
        /// The address of its admin API.
        address: Option<String>,
    },
}

/// Describes the process that uses a store.
fn user(pid: u32, address: Option<&str>) -> String {
    let process = match pid {
        0 => "another process".to_owned(),
        pid => format!("process {pid}"),
    };
    match address {
        Some(address) => format!("{process} (admin API at {address})"),
        None => process,
    }
}

impl StoreError {
    /// Returns the stable error code of the API.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Full(_) => "store_full",
            Self::Locked(_) | Self::Behind => "store_locked",
            Self::Unusable(_) | Self::Corrupt { .. } | Self::Newer { .. } | Self::InUse { .. } => {
                "store_unavailable"
            }
        }
    }
}
