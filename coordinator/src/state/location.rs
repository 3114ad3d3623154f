//! The place where a configuration has the state.

use std::path::PathBuf;
use std::sync::Arc;

use app_proxy_store::{FileClaims, SqliteStore, State, Store, StoreError};

use crate::config::{StoreKind, StoreSection};

/// The location of the state.
pub(crate) enum StoreLocation {
    /// In memory, empty at first.
    Memory,
    /// In a file.
    File(PathBuf),
}

impl StoreLocation {
    /// Returns the location that a configuration names.
    #[must_use]
    pub(crate) fn of(section: &StoreSection) -> Self {
        match section.kind {
            StoreKind::Memory => Self::Memory,
            // The daemon's working directory changes when it goes into the background.
            StoreKind::Sqlite => Self::File(
                std::path::absolute(&section.path).unwrap_or_else(|_| section.path.clone()),
            ),
        }
    }

    /// Reads the state without writing to the store; `None` if there is no store yet. Blocks.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn read_only(&self) -> Result<Option<(State, FileClaims)>, StoreError> {
        match self {
            Self::File(path) if path.exists() => SqliteStore::read_only(path).map(Some),
            Self::File(_) | Self::Memory => Ok(None),
        }
    }

    /// Opens the store. In memory that is a new one each time. Blocks.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn open(&self) -> Result<Arc<dyn Store>, StoreError> {
        match self {
            Self::Memory => Ok(Arc::new(SqliteStore::in_memory()?)),
            Self::File(path) => Ok(Arc::new(SqliteStore::open(path)?)),
        }
    }
}
