//! The service that keeps the state: it applies the apps of the file, carries out changes, follows
//! other processes, and writes activity.

use std::sync::{Mutex, PoisonError};

use app_proxy_api::apps::App;
use async_trait::async_trait;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::ServiceReadyNotifier;
use pingora_core::services::background::BackgroundService;

use crate::apps::editor::{EditQueue, EditorTask};
use crate::state::journal::Journal;

/// The service that keeps the state. It is ready when requests may be served.
pub(crate) struct StateService(Mutex<Option<StateTasks>>);

/// The tasks that keep the state.
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
    /// Creates a service that runs `tasks`.
    #[must_use]
    pub(crate) fn new(tasks: StateTasks) -> Self {
        Self(Mutex::new(Some(tasks)))
    }
}

#[async_trait]
impl BackgroundService for StateService {
    /// Runs through a drain as well: requests in flight still change the state.
    async fn start_with_ready_notifier(
        &self,
        _shutdown: ShutdownWatch,
        ready: ServiceReadyNotifier,
    ) {
        let tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut tasks) = tasks else { return };
        tasks.editor.start(tasks.file_apps).await;
        ready.notify_ready();
        tokio::join!(tasks.editor.run(tasks.queue), tasks.journal.run());
    }
}
