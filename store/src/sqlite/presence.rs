//! The proof that members are alive: a lock that each holds for life, and that the operating system
//! releases when the process ends, in whichever way it ends.
//!
//! A file `<store>.lock` has the lock, since SQLite manages the locks of its own files.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::sqlite::fault::Fault;

/// The lock of a store, not held yet. It is used inside a write transaction, so that no other
/// process joins or leaves meanwhile.
#[derive(Debug)]
pub(super) enum PresenceLock {
    /// That of a file.
    File(File, PathBuf),
    /// That of a store in memory: the number of members.
    Memory(Arc<AtomicUsize>),
}

/// The lock of a store, held until this value is dropped.
#[derive(Debug)]
pub(super) enum Presence {
    /// That of a file.
    File(#[allow(dead_code)] File),
    /// That of a store in memory.
    Memory(Arc<AtomicUsize>),
}

impl PresenceLock {
    /// Opens the lock of the store in a file, and creates it if it is missing, accessible to this
    /// user alone.
    pub(super) fn of_file(store: &Path) -> Result<Self, Fault> {
        // Links to one store lead to one lock.
        let store = store.canonicalize();
        let store = store.map_err(|error| Fault::Unusable(error.to_string()))?;
        let mut path = store.into_os_string();
        path.push(".lock");
        let path = PathBuf::from(path);
        let opened = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path);
        match opened {
            Ok(file) => Ok(Self::File(file, path)),
            Err(error) => Err(fault("open", &path, &error)),
        }
    }

    /// Returns whether another member is alive.
    pub(super) fn is_held(&self) -> Result<bool, Fault> {
        match self {
            Self::File(file, path) => match file.try_lock() {
                Ok(()) => Ok(false),
                Err(TryLockError::WouldBlock) => Ok(true),
                Err(TryLockError::Error(error)) => Err(fault("lock", path, &error)),
            },
            Self::Memory(members) => Ok(members.load(Ordering::Acquire) > 0),
        }
    }

    /// Holds the lock, beside other members.
    pub(super) fn hold(self) -> Result<Presence, Fault> {
        match self {
            Self::File(file, path) => {
                // Platforms differ in a lock that replaces another one of the same handle.
                file.unlock()
                    .map_err(|error| fault("unlock", &path, &error))?;
                match file.try_lock_shared() {
                    Ok(()) => Ok(Presence::File(file)),
                    Err(error) => Err(fault("lock", &path, &error.into())),
                }
            }
            Self::Memory(members) => {
                members.fetch_add(1, Ordering::AcqRel);
                Ok(Presence::Memory(members))
            }
        }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        if let Self::Memory(members) = self {
            members.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

fn fault(verb: &str, path: &Path, error: &std::io::Error) -> Fault {
    Fault::Unusable(format!("cannot {verb} {}: {error}", path.display()))
}
