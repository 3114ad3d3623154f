//! Keeps the state: opens the store once the daemon has forked, carries changes out, follows what
//! other processes write, and writes activity behind. The apps of the file are taken over here,
//! once this process is the one that serves.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use app_proxy_api::apps::App;
use async_trait::async_trait;
use log::error;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::ServiceReadyNotifier;
use pingora_core::services::background::BackgroundService;
use tokio::sync::watch;

use crate::apps::editor::{EditorTask, Queue};
use crate::config::{StoreKind, StoreSection};
use crate::state::journal::Journal;
use app_proxy_store::{SqliteStore, State, Store, StoreError, StoreReady};

/// Where the state is stored.
pub(crate) enum StoreLocation {
    /// In memory, empty at first.
    Memory,
    /// In a file.
    File(Arc<Path>),
}

impl StoreLocation {
    /// Returns the location that a configuration names.
    #[must_use]
    pub(crate) fn of(section: &StoreSection) -> Self {
        match section.kind {
            StoreKind::Memory => Self::Memory,
            // The daemon's working directory changes when it goes into the background.
            StoreKind::Sqlite => Self::File(
                std::path::absolute(&section.path)
                    .unwrap_or_else(|_| section.path.clone())
                    .into(),
            ),
        }
    }

    /// Reads the state without writing to the store; `None` if there is no store yet. Blocks.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn read_only(&self) -> Result<Option<State>, StoreError> {
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

/// The service that keeps the state.
pub(crate) struct StateService {
    place: Arc<StoreLocation>,
    opened: StoreReady,
    work: Mutex<Option<Work>>,
}

/// What is to be done once the store is open.
pub(crate) struct Work {
    /// Carries changes of the app table out.
    pub(crate) editor: EditorTask,
    /// The changes.
    pub(crate) queue: Queue,
    /// The apps of the file.
    pub(crate) file: Vec<App>,
    /// Writes activity behind.
    pub(crate) journal: Journal,
}

impl StateService {
    /// A keeper that opens the store at `place`, for all that wait for `opened`.
    #[must_use]
    pub(crate) fn new(place: StoreLocation, opened: StoreReady, work: Work) -> Self {
        Self {
            place: Arc::new(place),
            opened,
            work: Mutex::new(Some(work)),
        }
    }
}

#[async_trait]
impl BackgroundService for StateService {
    async fn start(&self, shutdown: ShutdownWatch) {
        self.start_with_ready_notifier(
            shutdown,
            ServiceReadyNotifier::new(watch::channel(false).0),
        )
        .await;
    }

    /// Works through a drain as well: what is in flight still changes things.
    async fn start_with_ready_notifier(
        &self,
        _shutdown: ShutdownWatch,
        ready: ServiceReadyNotifier,
    ) {
        let Some(Work {
            mut editor,
            queue,
            file,
            journal,
        }) = self
            .work
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
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
        editor.begin(file).await;
        ready.notify_ready();
        tokio::join!(editor.run(queue), journal.run());
    }
}
