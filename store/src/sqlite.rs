//! A store in one SQLite file: `store: {kind: sqlite, path: …}`, the default.
//!
//! The file is written ahead (WAL): a process that is ended at any moment loses nothing that was
//! acknowledged, and two processes use the file at once. What a call of the API waits for is on the
//! disk when it returns; activity is left to the system, and a loss of power may take back its last
//! seconds.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use rusqlite::Connection;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::task::spawn_blocking;

use crate::{
    ActivityBatch, AppCommit, Cursor, Delta, Served, State, Store, StoreError, StoredWebhook,
    StoredWorker,
};

mod fault;
mod file;
mod read;
mod rows;
mod schema;
mod write;

#[cfg(test)]
mod measure;
#[cfg(test)]
mod tests;

use fault::Fault;
use file::Durability;
use read::Reader;

/// A store in an SQLite file.
///
/// Dropping it closes the file; it has no threads of its own. A process that forks drops it first
/// and opens it again after that, because a connection must not be used on both sides of a fork.
pub struct SqliteStore {
    /// The file's name, for errors.
    file: Arc<str>,
    /// Tells the changes of this process from those of others; by chance, so that nothing has to be
    /// agreed.
    writer: i64,
    /// Whether this process serves no more.
    left: AtomicBool,
    /// SQLite has one writer at a time: in a process they wait for each other here, in order and
    /// without asking again and again.
    writers: Arc<Mutex<Writers>>,
    reader: Arc<Mutex<Reader>>,
}

struct Writers {
    /// For what somebody waits for.
    durable: Connection,
    /// For activity.
    behind: Connection,
}

impl SqliteStore {
    /// Opens the store in a file: a new one when there is no file, or an empty one. The file, and
    /// the folder when that is missing too, are made for nobody else to read. What is no store, or
    /// is damaged, is left as it is.
    ///
    /// It blocks for as long as it takes to read the file once. A process opens a file that does
    /// not exist yet once at a time.
    ///
    /// # Errors
    /// [`StoreError`], which names the file.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_with(path, schema::MIGRATIONS)
    }

    /// What is in a file, as a later version of the schema may see it. Nothing is written to the
    /// file: another process, of an earlier version, may be at work with it.
    ///
    /// # Errors
    /// [`StoreError`], which names the file.
    pub fn look(path: &Path) -> Result<State, StoreError> {
        Self::look_with(path, schema::MIGRATIONS)
    }

    fn look_with(path: &Path, migrations: &[&str]) -> Result<State, StoreError> {
        let contents = || -> Result<State, Fault> {
            let path = absolute(path)?;
            let is_in_use = file::has_log(&path);
            match file::look(&path, schema::latest(migrations)) {
                Err(fault) if file::is_half_made(&path, &fault) => return Ok(State::default()),
                looked => looked?,
            }
            let mut copy = file::copy(&path)?;
            if !is_in_use {
                file::tidy(&path)?;
            }
            schema::migrate(&mut copy, migrations)?;
            Reader::new(copy, 0).load()
        };
        contents().map_err(|fault| fault.at(&path.display().to_string()))
    }

    fn open_with(path: &Path, migrations: &[&str]) -> Result<Self, StoreError> {
        let file: Arc<str> = path.display().to_string().into();
        Self::connect(path, Arc::clone(&file), migrations).map_err(|fault| fault.at(&file))
    }

    fn connect(path: &Path, file: Arc<str>, migrations: &[&str]) -> Result<Self, Fault> {
        let path = absolute(path)?;
        file::create_if_missing(&path)?;
        file::inspect(&path, schema::latest(migrations))?;
        let mut durable = file::connect(&path, Durability::Now)?;
        schema::migrate(&mut durable, migrations)?;
        let behind = file::connect(&path, Durability::Later)?;
        let writer = i64::from(rand::random::<u32>());
        let reader = Reader::new(file::connect_to_read(&path)?, writer);
        let writers = Arc::new(Mutex::new(Writers { durable, behind }));
        Ok(Self {
            file,
            writer,
            left: AtomicBool::new(false),
            writers,
            reader: Arc::new(Mutex::new(reader)),
        })
    }

    /// Does something with what a lock guards, where it may block; it goes on to its end even when
    /// nobody waits for it any more.
    async fn with<G, T, F>(&self, lock: &Arc<Mutex<G>>, work: F) -> Result<T, StoreError>
    where
        G: Send + 'static,
        T: Send + 'static,
        F: FnOnce(&mut G) -> Result<T, Fault> + Send + 'static,
    {
        let mut held: OwnedMutexGuard<G> = Arc::clone(lock).lock_owned().await;
        let done = spawn_blocking(move || work(&mut held)).await;
        done.unwrap_or_else(|error| Err(Fault::Unusable(error.to_string())))
            .map_err(|fault| fault.at(&self.file))
    }

    /// Writes what somebody waits for.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection, i64) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let writer = self.writer;
        self.with(&self.writers, move |writers| {
            work(&mut writers.durable, writer)
        })
        .await
    }

    /// Writes what nobody waits for.
    async fn write_behind<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection, i64) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let writer = self.writer;
        self.with(&self.writers, move |writers| {
            work(&mut writers.behind, writer)
        })
        .await
    }
}

/// A name that is a file's: SQLite takes some relative ones for something else, `:memory:` and
/// `file:…`.
fn absolute(path: &Path) -> Result<PathBuf, Fault> {
    std::path::absolute(path).map_err(|error| Fault::Unusable(error.to_string()))
}

#[async_trait]
impl Store for SqliteStore {
    async fn load(&self) -> Result<State, StoreError> {
        self.with(&self.reader, Reader::load).await
    }

    async fn news(&self, seen: &Cursor) -> Result<Option<Delta>, StoreError> {
        let seen = seen.clone();
        self.with(&self.reader, move |reader| reader.news(&seen))
            .await
    }

    async fn commit_apps(&self, commit: AppCommit) -> Result<(), StoreError> {
        self.write(move |connection, _| write::commit_apps(connection, &commit))
            .await
    }

    async fn note_serving(&self, table: &Served, alone: bool) -> Result<(), StoreError> {
        if self.left.load(Ordering::Acquire) {
            return Ok(());
        }
        let table = table.clone();
        self.write_behind(move |connection, writer| {
            write::note_serving(connection, &table, alone, writer)
        })
        .await
    }

    async fn note_leaving(&self) -> Result<(), StoreError> {
        self.left.store(true, Ordering::Release);
        self.write_behind(write::note_leaving).await
    }

    async fn served_elsewhere(&self) -> Result<Option<Vec<Served>>, StoreError> {
        self.with(&self.reader, Reader::served_elsewhere)
            .await
            .map(Some)
    }

    async fn save_worker(&self, worker: StoredWorker) -> Result<(), StoreError> {
        self.write(move |connection, writer| write::save_worker(connection, &worker, writer))
            .await
    }

    async fn remove_worker(&self, id: &str) -> Result<(), StoreError> {
        let id = id.to_owned();
        self.write(move |connection, writer| write::remove_worker(connection, &id, writer))
            .await
    }

    async fn save_activity(&self, batch: &ActivityBatch) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        let batch = batch.clone();
        self.write_behind(move |connection, writer| {
            write::save_activity(connection, &batch, writer)
        })
        .await
    }

    async fn delete_sessions(&self, ids: &[String], at_ms: u64) -> Result<(), StoreError> {
        if ids.is_empty() {
            return Ok(());
        }
        let ids = ids.to_vec();
        self.write(move |connection, writer| {
            write::delete_sessions(connection, &ids, at_ms, writer)
        })
        .await
    }

    async fn trim_sessions(&self, before_ms: u64, most: u64) -> Result<u64, StoreError> {
        let mut sessions = 0;
        loop {
            let trimmed = self
                .write_behind(move |connection, _| write::trim(connection, before_ms, most))
                .await?;
            sessions += trimmed.sessions;
            if !trimmed.more {
                return Ok(sessions);
            }
        }
    }

    async fn save_webhook(&self, webhook: StoredWebhook) -> Result<(), StoreError> {
        self.write(move |connection, _| write::save_webhook(connection, &webhook))
            .await
    }

    async fn webhooks(&self) -> Result<Vec<StoredWebhook>, StoreError> {
        self.with(&self.reader, |reader| reader.webhooks()).await
    }

    async fn remove_webhook(&self, event_id: &str) -> Result<(), StoreError> {
        let event_id = event_id.to_owned();
        self.write(move |connection, _| write::remove_webhook(connection, &event_id))
            .await
    }
}
