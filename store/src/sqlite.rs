//! The SQLite store: a file (`store: {kind: sqlite, path: …}`, the default) or memory
//! (`store: {kind: memory}`).
//!
//! The file has a write-ahead log (WAL). A process that is killed loses nothing that was
//! acknowledged, and two processes may use the file at once. Changes made through the API are on
//! disk before they are acknowledged. Activity is synced later: a loss of power may lose its last
//! seconds.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use rusqlite::Connection;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::task::spawn_blocking;

use crate::activity::ActivityBatch;
use crate::commit::{AppCommit, FileClaims};
use crate::error::StoreError;
use crate::member::{Member, MemberId, MemberStage, NewMember, Role};
use crate::state::{Cursor, Delta, ServedTable, State, StoredWebhook, StoredWorker};
use crate::store::Store;

mod claims;
mod database;
mod fault;
mod file;
mod members;
mod presence;
mod read;
mod rows;
mod schema;
mod streams;
mod transaction;
mod trim;
mod write;

#[cfg(test)]
mod measure;
#[cfg(test)]
mod tests;

use database::{Database, Durability};
use fault::Fault;
use members::Membership;
use read::Reader;
use transaction::Writer;

/// A store in an SQLite file or in memory.
///
/// Dropping the store closes it; it has no threads. A connection must not cross a fork: a process
/// that forks opens its store afterwards.
pub struct SqliteStore {
    database: Database,
    /// A random number that identifies this handle as a member, and its changes.
    writer: i64,
    /// The number of the last change that the caller has read.
    seen: AtomicI64,
    /// SQLite allows one writer at a time. Writers of one process queue here, so that they do not
    /// poll SQLite's lock.
    writers: Arc<Mutex<Writers>>,
    reader: Arc<Mutex<Reader>>,
}

struct Writers {
    /// Writes that a caller waits for.
    durable: Connection,
    /// Writes of activity.
    behind: Connection,
    membership: Option<Membership>,
}

impl SqliteStore {
    /// Opens the store in a file. Creates the file if it is missing or empty, and its folder if
    /// that is missing, both accessible to this user alone. A damaged file and a file that is not a
    /// store are left unchanged.
    ///
    /// Blocks while the file is read once. A process must not open a missing file twice at the
    /// same time.
    ///
    /// # Errors
    /// [`StoreError`], which names the file.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_with(Database::file(path)?, schema::MIGRATIONS)
    }

    /// Opens a new, empty store in memory. Its contents are lost when the store and all handles
    /// returned by [`SqliteStore::another`] are dropped. No file is written.
    ///
    /// ```
    /// use app_proxy_store::{SqliteStore, State, Store};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), app_proxy_store::StoreError> {
    /// let store = SqliteStore::in_memory()?;
    /// assert_eq!(store.load().await?, State::default());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn in_memory() -> Result<Self, StoreError> {
        Self::open_with(Database::new_in_memory(), schema::MIGRATIONS)
    }

    /// Opens a store in memory without tables, so that every call fails.
    pub(crate) fn without_tables() -> Result<Self, StoreError> {
        Self::open_with(Database::new_in_memory(), &[])
    }

    /// Opens another handle on the same contents, like that of a second process.
    ///
    /// ```
    /// use app_proxy_store::{AppCommit, SqliteStore, Store, StoreError};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), StoreError> {
    /// let ours = SqliteStore::in_memory()?;
    /// let theirs = ours.another()?;
    /// let epoch = "e1".to_owned().into();
    /// let commit = AppCommit { epoch, revision: 1, ..AppCommit::default() };
    /// ours.commit_apps(commit.clone()).await?;
    ///
    /// // The other process has not seen the first commit.
    /// assert!(matches!(theirs.commit_apps(commit).await, Err(StoreError::Behind)));
    /// let seen = Default::default();
    /// let delta = theirs.changes_since(&seen).await?.expect("a commit");
    /// assert_eq!(delta.cursor.revision, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn another(&self) -> Result<Self, StoreError> {
        Self::open_with(self.database.clone(), schema::MIGRATIONS)
    }

    /// Reads the state and the claims of a file without writing to it: another process, of an
    /// earlier version, may be using it. The contents are migrated in a copy in memory.
    ///
    /// # Errors
    /// [`StoreError`], which names the file.
    pub fn read_only(path: &Path) -> Result<(State, FileClaims), StoreError> {
        Self::read_only_with(path, schema::MIGRATIONS)
    }

    fn read_only_with(path: &Path, migrations: &[&str]) -> Result<(State, FileClaims), StoreError> {
        let read = || -> Result<_, Fault> {
            let path = file::absolute(path)?;
            let is_in_use = file::has_log(&path);
            match file::verify(&path, schema::latest(migrations)) {
                Err(fault) if file::is_half_created(&path, &fault) => {
                    return Ok(Default::default());
                }
                verified => verified?,
            }
            let mut copy = file::copy(&path)?;
            if !is_in_use {
                file::remove_read_only_leftovers(&path)?;
            }
            schema::migrate(&mut copy, migrations)?;
            let mut reader = Reader::new(copy, 0);
            Ok((reader.load()?, reader.file_claims()?))
        };
        read().map_err(|fault| fault.at(&path.display().to_string()))
    }

    fn open_with(database: Database, migrations: &[&str]) -> Result<Self, StoreError> {
        let name = database.name();
        Self::connect(database, migrations).map_err(|fault| fault.at(&name))
    }

    fn connect(database: Database, migrations: &[&str]) -> Result<Self, Fault> {
        database.prepare(schema::latest(migrations))?;
        let mut durable = database.connect(Durability::Now)?;
        schema::migrate(&mut durable, migrations)?;
        let behind = database.connect(Durability::Later)?;
        let writer = i64::from(rand::random::<u32>());
        let reader = Reader::new(database.connect_to_read()?, writer);
        Ok(Self {
            database,
            writer,
            seen: AtomicI64::new(0),
            writers: Arc::new(Mutex::new(Writers {
                durable,
                behind,
                membership: None,
            })),
            reader: Arc::new(Mutex::new(reader)),
        })
    }

    fn writer(&self) -> Writer {
        Writer {
            id: self.writer,
            seen: self.seen.load(Ordering::Acquire),
        }
    }

    /// Runs blocking work on the value that a lock guards. The work completes even if the future
    /// is dropped.
    async fn with<G, T, F>(&self, lock: &Arc<Mutex<G>>, work: F) -> Result<T, StoreError>
    where
        G: Send + 'static,
        T: Send + 'static,
        F: FnOnce(&mut G) -> Result<T, Fault> + Send + 'static,
    {
        let mut guard: OwnedMutexGuard<G> = Arc::clone(lock).lock_owned().await;
        spawn_blocking(move || work(&mut guard))
            .await
            .unwrap_or_else(|error| Err(Fault::Unusable(error.to_string())))
            .map_err(|fault| fault.at(&self.database.name()))
    }

    /// Writes durably.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection, Writer) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let writer = self.writer();
        self.with(&self.writers, move |writers| {
            work(&mut writers.durable, writer)
        })
        .await
    }

    /// Writes without waiting for the disk.
    async fn write_behind<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection, Writer) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let writer = self.writer();
        self.with(&self.writers, move |writers| {
            work(&mut writers.behind, writer)
        })
        .await
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn load(&self) -> Result<State, StoreError> {
        self.with(&self.reader, Reader::load).await
    }

    async fn changes_since(&self, seen: &Cursor) -> Result<Option<Delta>, StoreError> {
        self.seen
            .fetch_max(rows::to_sql(seen.sequence), Ordering::AcqRel);
        let seen = seen.clone();
        self.with(&self.reader, move |reader| reader.changes_since(&seen))
            .await
    }

    async fn commit_apps(&self, commit: AppCommit) -> Result<Vec<Member>, StoreError> {
        self.write(move |connection, writer| write::commit_apps(connection, &commit, writer))
            .await
    }

    async fn file_claims(&self) -> Result<FileClaims, StoreError> {
        self.with(&self.reader, Reader::file_claims).await
    }

    async fn join(&self, member: NewMember, role: Role) -> Result<Vec<Member>, StoreError> {
        let (database, id) = (self.database.clone(), self.writer);
        self.with(&self.writers, move |writers| {
            let lock = database.presence_lock()?;
            let (membership, others) =
                members::join(&mut writers.durable, lock, (id, member, role))?;
            writers.membership = Some(membership);
            Ok(others)
        })
        .await
    }

    async fn beat(
        &self,
        stage: MemberStage,
        served: &ServedTable,
    ) -> Result<Vec<Member>, StoreError> {
        let (writer, served) = (self.writer(), served.clone());
        self.with(&self.writers, move |writers| {
            let membership = writers.membership.as_mut();
            members::beat(&mut writers.behind, membership, (writer, stage, served))
        })
        .await
    }

    async fn members(&self) -> Result<Vec<Member>, StoreError> {
        self.with(&self.reader, Reader::members).await
    }

    async fn leave(&self) -> Result<(), StoreError> {
        let id = self.writer;
        self.with(&self.writers, move |writers| {
            members::leave(&mut writers.durable, &mut writers.membership, id)
        })
        .await
    }

    async fn remove_member(&self, id: MemberId) -> Result<(), StoreError> {
        self.write_behind(move |connection, _| members::remove(connection, id))
            .await
    }

    async fn save_streams(&self, changes: &[(String, u32)]) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        let (writer, changes) = (self.writer(), changes.to_vec());
        self.with(&self.writers, move |writers| {
            let Some(membership) = &mut writers.membership else {
                return Ok(());
            };
            streams::save_streams(&mut writers.behind, &changes, writer)?;
            membership.record_streams(changes);
            Ok(())
        })
        .await
    }

    async fn save_worker(&self, worker: StoredWorker) -> Result<(), StoreError> {
        self.write(move |connection, writer| write::save_worker(connection, &worker, writer))
            .await
    }

    async fn delete_worker(&self, id: &str) -> Result<(), StoreError> {
        let id = id.to_owned();
        self.write(move |connection, writer| write::delete_worker(connection, &id, writer))
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

    async fn trim_sessions(&self, before_ms: u64, max: u64) -> Result<u64, StoreError> {
        let mut sessions = 0;
        loop {
            let trimmed = self
                .write_behind(move |connection, _| trim::trim(connection, before_ms, max))
                .await?;
            sessions += trimmed.sessions;
            if !trimmed.more {
                return Ok(sessions);
            }
        }
    }

    async fn save_webhook(&self, webhook: StoredWebhook) -> Result<(), StoreError> {
        self.write(move |connection, writer| write::save_webhook(connection, &webhook, writer))
            .await
    }

    async fn webhooks(&self) -> Result<Vec<StoredWebhook>, StoreError> {
        self.with(&self.reader, |reader| reader.webhooks()).await
    }

    async fn adopt_webhooks(&self) -> Result<Vec<StoredWebhook>, StoreError> {
        self.write_behind(write::adopt_webhooks).await
    }

    async fn delete_webhook(&self, event_id: &str) -> Result<(), StoreError> {
        let event_id = event_id.to_owned();
        self.write(move |connection, _| write::delete_webhook(connection, &event_id))
            .await
    }
}
