//! The service that keeps the state: it opens the store after the daemon has forked, applies the
//! apps of the file, carries out changes, follows other processes, and writes activity.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use app_proxy_api::apps::App;
use async_trait::async_trait;
use log::error;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::ServiceReadyNotifier;
use pingora_core::services::background::BackgroundService;
use tokio::sync::watch;

use crate::apps::editor::{EditQueue, EditorTask};
use crate::config::{StoreKind, StoreSection};
use crate::state::journal::Journal;
use app_proxy_store::{SqliteStore, State, Store, StoreError, StoreReady};

/// The location of the state.
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
    location: Arc<StoreLocation>,
    opened: StoreReady,
    tasks: Mutex<Option<StateTasks>>,
}

/// The tasks that run once the store is open.
pub(crate) struct StateTasks {
    /// Carries out changes of the app table.
    pub(crate) editor: EditorTask,
    /// The changes to carry out.
    pub(crate) queue: EditQueue,
    /// The apps of the file.
    pub(crate) file_apps: Vec<App>,
    /// Writes activity.
    pub(crate) journal: Journal,
}

impl StateService {
    /// Creates a service that opens the store at `location`, sets `opened`, and runs `tasks`.
    #[must_use]
    pub(crate) fn new(location: StoreLocation, opened: StoreReady, tasks: StateTasks) -> Self {
        Self {
            location: Arc::new(location),
            opened,
            tasks: Mutex::new(Some(tasks)),
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

    /// Runs through a drain as well: requests in flight still change the state.
    async fn start_with_ready_notifier(
        &self,
        _shutdown: ShutdownWatch,
        ready: ServiceReadyNotifier,
    ) {
        let Some(StateTasks {
            mut editor,
            queue,
            file_apps,
            journal,
        }) = self
            .tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        else {
            return;
        };
        let location = Arc::clone(&self.location);
        let opened = tokio::task::spawn_blocking(move || location.open()).await;
        match opened.unwrap_or_else(|e| Err(StoreError::Unusable(e.to_string()))) {
            Ok(store) => self.opened.set(store),
            Err(e) => {
                // Unexpected: it could be opened before the daemon forked.
                error!("cannot open the store, exiting: {e}");
                std::process::exit(1);
            }
        }
        editor.start(file_apps).await;
        ready.notify_ready();
        tokio::join!(editor.run(queue), journal.run());
    }
}
