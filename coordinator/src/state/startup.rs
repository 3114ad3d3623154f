//! The steps from the store and the configuration file to a coordinator that keeps its state: load,
//! restore, create the tasks, apply the file.

use std::sync::Arc;
use std::time::{Duration, Instant};

use app_proxy_api::table::AppTable;
use app_proxy_hop::drain::DrainStage;
use app_proxy_hop::streams::{CloseReason, StreamHandle};
use app_proxy_runtime::config::ConfigError;

use crate::apps::edit::{Draft, Edit, EditError};
use crate::apps::editor::{Editor, EditorTask, Overlap};
use crate::apps::{Apps, Snapshot};
use crate::config::Config;
use crate::request::services::Services;
use crate::state::journal::Journal;
use crate::state::location::StoreLocation;
use crate::state::reconciliation::Reconciler;
use crate::state::service::StateTasks;
use app_proxy_store::{Cursor, State, Store, StoreError};

/// The time after its start in which a successor assumes that its predecessor accepts connections.
/// The predecessor does so for about 5 s after the upgrade, which is some seconds after the start.
pub(crate) const PREDECESSOR: Duration = Duration::from_secs(30);

/// Opens the store and reads the state in it, of which the app table is returned as a snapshot. The
/// apps of the file are checked against it, and not applied: this start may still fail.
pub(crate) async fn open_state(
    config: &Config,
    is_successor: bool,
) -> Result<(Arc<dyn Store>, Snapshot, State), ConfigError> {
    let fault = |e: StoreError| config.file.fault_of("store", "store", e);
    let store = StoreLocation::of(&config.store).open().map_err(fault)?;
    let mut state = store.load().await.map_err(fault)?;
    if !is_successor {
        // The process that had these streams has ended, perhaps by SIGKILL. If another process
        // still drains, its streams are counted again when data flows in them.
        state
            .sessions
            .iter_mut()
            .for_each(|session| session.draining_streams = 0);
    }
    let snapshot = snapshot_of(&state, config)?;
    Ok((store, snapshot, state))
}

/// Checks that the store can be read, and that the apps of the file can be applied to it. Writes
/// nothing.
pub(crate) fn check_state(config: &Config) -> Result<(), ConfigError> {
    let state = StoreLocation::of(&config.store)
        .read_only()
        .map_err(|e| config.file.fault_of("store", "store", e))?;
    snapshot_of(&state.unwrap_or_default(), config).map(drop)
}

/// Returns the stored app table, without the apps of the file, if those can be applied to it.
fn snapshot_of(state: &State, config: &Config) -> Result<Snapshot, ConfigError> {
    let read = || -> Result<Snapshot, EditError> {
        let stored = Snapshot::new(AppTable::restore(state.apps.clone()), config.domain.clone())?;
        Draft::new(&stored).apply(&Edit::File(config.apps.clone()))?;
        Ok(stored)
    };
    read().map_err(|e| config.file.fault_of("apps", "apps", e))
}

/// Gives the coordinator the workers, sessions and activity of the store.
pub(crate) async fn restore(services: &Services, state: &mut State) {
    let Services { apps, pool, .. } = services;
    // Workers first: sessions are pinned to them.
    pool.restore(std::mem::take(&mut state.workers)).await;
    let reconciler = reconciler(services);
    let pools: Vec<_> = apps.load().selectors().cloned().collect();
    reconciler.build_rings(pools).await;
    reconciler.merge(&state.deleted_sessions, &state.sessions, &state.activity);
}

fn reconciler(services: &Services) -> Reconciler {
    let Services {
        apps,
        sessions,
        pool,
        ..
    } = services;
    Reconciler {
        apps: Arc::clone(apps),
        sessions: Arc::clone(sessions),
        pool: Arc::clone(pool),
    }
}

/// Closes the streams of a worker at the deadline of its drain. Returns how many.
fn close_streams_at(apps: &Apps, worker: &str) -> usize {
    let at = |stream: &StreamHandle| stream.worker() == Some(worker);
    apps.load()
        .apps()
        .map(|app| app.streams.close_where(CloseReason::WorkerDraining, at))
        .sum()
}

/// Creates the tasks that keep the state, and the handle for changes of the app table.
/// `predecessor` is how long the old process may run on, if this process is a successor.
pub(crate) fn state_tasks(
    config: &Config,
    services: &Services,
    store: &Arc<dyn Store>,
    cursor: Cursor,
    predecessor: Option<Duration>,
) -> (StateTasks, Editor) {
    let (editor, queue) = Editor::new();
    let Services {
        hop,
        apps,
        sessions,
        pool,
        ..
    } = services;
    pool.set_store(Arc::clone(store));
    let streams = Arc::clone(apps);
    pool.set_close_streams(Arc::new(move |worker| close_streams_at(&streams, worker)));
    let (drain, started) = (hop.drain.clone(), Instant::now());
    let overlap = move || match drain.stage() {
        DrainStage::Serving if predecessor.is_some() && started.elapsed() < PREDECESSOR => {
            Overlap::Successor
        }
        DrainStage::Serving => Overlap::None,
        DrainStage::Upgrading => Overlap::Predecessor,
        _ => Overlap::Leaving,
    };
    let task = EditorTask::new(apps, store, reconciler(services), cursor, overlap);
    let journal = Journal::new(
        sessions.table(),
        apps,
        store,
        &hop.drain,
        config.sessions.max,
    );
    let journal = match predecessor {
        Some(longest) => journal.with_predecessor(PREDECESSOR + longest),
        None => journal,
    };
    let tasks = StateTasks {
        editor: task,
        queue,
        file_apps: config.apps.clone(),
        journal,
    };
    (tasks, editor)
}

/// Applies the apps of the file, so that an error ends the start.
pub(crate) async fn apply_file(
    config: &Config,
    editor: &mut EditorTask,
) -> Result<(), ConfigError> {
    editor.apply_file(&config.apps).await.map_err(|e| {
        let key = if matches!(e, EditError::Store(_)) {
            "store"
        } else {
            "apps"
        };
        config.file.fault_of(key, key, e)
    })
}
