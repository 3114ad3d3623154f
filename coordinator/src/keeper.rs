//! Keeps the state: opens the store once the daemon has forked, carries changes out, follows what other processes write, and writes
//! activity behind. At the start it makes the first state, of what the store and the file say.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use app_proxy_control::app::App;
use app_proxy_control::table::AppTable;
use async_trait::async_trait;
use log::error;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::ServiceReadyNotifier;
use pingora_core::services::background::BackgroundService;
use tokio::sync::watch;

use crate::apps::Snapshot;
use crate::apps::edit::{Draft, Edit, EditError};
use crate::apps::editor::{EditorTask, Queue};
use crate::config::{StoreKind, StoreSection};
use crate::router::HostName;
use crate::sessions::journal::Journal;
use crate::store::late::Opened;
use crate::store::memory::MemoryStore;
use crate::store::sqlite::SqliteStore;
use crate::store::{Contents, Store, StoreError};

/// How often the file's apps are taken over, should another process be first each time.
const TRIES: usize = 10;

/// Where state is kept, before and after the daemon forks.
pub enum Place {
    /// In memory, which a fork copies.
    Memory(MemoryStore),
    /// In a file, which is opened on either side of a fork.
    File(Arc<Path>),
}

impl Place {
    /// The place that a configuration says.
    #[must_use]
    pub fn of(section: &StoreSection) -> Self {
        match section.kind {
            StoreKind::Memory => Self::Memory(MemoryStore::new()),
            // The daemon's working directory changes when it goes into the background.
            StoreKind::Sqlite => {
                Self::File(std::path::absolute(&section.path).unwrap_or_else(|_| section.path.clone()).into())
            }
        }
    }

    /// What is there, if there is a store already. It changes nothing; it blocks.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn look(&self) -> Result<Option<Contents>, StoreError> {
        match self {
            Self::File(path) if path.exists() => SqliteStore::look(path).map(Some),
            Self::File(_) | Self::Memory(_) => Ok(None),
        }
    }

    /// Opens the store; blocks.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(&self) -> Result<Arc<dyn Store>, StoreError> {
        match self {
            Self::Memory(store) => Ok(Arc::new(store.another())),
            Self::File(path) => Ok(Arc::new(SqliteStore::open(path)?)),
        }
    }
}

/// Why there is no first state.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the store has and what the file says do not go together.
    #[error(transparent)]
    Apps(#[from] EditError),
}

/// The first state of the app table: what the store has, with the apps of the file taken over; and all that the store has.
///
/// # Errors
/// [`BeginError`]; the store is then as it was.
pub async fn begin(
    store: &dyn Store,
    file: &[App],
    domain: Option<&HostName>,
) -> Result<(Snapshot, Contents), BeginError> {
    let mut left = TRIES;
    loop {
        let mut contents = store.load().await?;
        let (snapshot, commit) = take_over(&contents, file, domain)?;
        let Some(commit) = commit else { return Ok((snapshot, contents)) };
        (contents.cursor.epoch, contents.cursor.revision) = (commit.epoch.clone(), commit.revision);
        match store.commit_apps(commit).await {
            Ok(()) => return Ok((snapshot, contents)),
            Err(StoreError::Behind) if left > 0 => left -= 1,
            Err(e) => return Err(e.into()),
        }
    }
}

/// What `begin` would make of a store, and what it would write.
///
/// # Errors
/// When the apps of the file and those of the store do not go together.
pub fn take_over(
    contents: &Contents,
    file: &[App],
    domain: Option<&HostName>,
) -> Result<(Snapshot, Option<crate::store::AppCommit>), EditError> {
    let kept = Snapshot::new(AppTable::restore(contents.apps.clone()), domain.cloned())?;
    let mut draft = Draft::of(&kept);
    draft.apply(&Edit::File(file.to_vec()))?;
    let commit = draft.commit();
    Ok((draft.snapshot, commit))
}

/// The service that keeps the state.
pub struct Keeper {
    place: Arc<Place>,
    opened: Opened,
    work: Mutex<Option<Work>>,
}

/// What is to be done once the store is open.
pub struct Work {
    /// Carries changes of the app table out.
    pub editor: EditorTask,
    /// The changes.
    pub queue: Queue,
    /// Writes activity behind.
    pub journal: Journal,
}

impl Keeper {
    /// A keeper that opens the store at `place`, for all that wait for `opened`.
    #[must_use]
    pub fn new(place: Place, opened: Opened, work: Work) -> Self {
        Self { place: Arc::new(place), opened, work: Mutex::new(Some(work)) }
    }
}

#[async_trait]
impl BackgroundService for Keeper {
    async fn start(&self, shutdown: ShutdownWatch) {
        self.start_with_ready_notifier(shutdown, ServiceReadyNotifier::new(watch::channel(false).0)).await;
    }

    /// Works through a drain as well: what is in flight still changes things.
    async fn start_with_ready_notifier(&self, _shutdown: ShutdownWatch, ready: ServiceReadyNotifier) {
        let Some(Work { mut editor, queue, journal }) = self.work.lock().unwrap_or_else(PoisonError::into_inner).take()
        else {
            return;
        };
        let place = Arc::clone(&self.place);
        let opened = tokio::task::spawn_blocking(move || place.open()).await;
        match opened.unwrap_or_else(|e| Err(StoreError::Unusable(e.to_string()))) {
            Ok(store) => self.opened.set(store),
            Err(e) => {
                // It could be opened a moment ago, before the daemon went into the background.
                error!("store: {e}");
                std::process::exit(1);
            }
        }
        editor.begin().await;
        ready.notify_ready();
        tokio::join!(editor.run(queue), journal.run());
    }
}
