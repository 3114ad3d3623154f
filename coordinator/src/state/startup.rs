//! The steps from the store and the configuration file to a coordinator that keeps its state: load,
//! restore, create the tasks, apply the file.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use app_proxy_api::apps::App;
use app_proxy_api::table::AppTable;
use app_proxy_hop::drain::DrainStage;
use app_proxy_hop::streams::{CloseReason, StreamHandle};

use crate::apps::edit::{Draft, Edit, EditError};
use crate::apps::editor::{Editor, EditorTask, Overlap};
use crate::apps::{Apps, Snapshot};
use crate::config::Config;
use crate::request::services::Services;
use crate::state::journal::Journal;
use crate::state::reconciliation::Reconciler;
use crate::state::service::{StateTasks, StoreLocation};
use app_proxy_store::{Cursor, State, Store};

/// The time after its start in which a successor assumes that its predecessor accepts connections.
/// The predecessor does so for about 5 s after the upgrade, which is some seconds after the start.
pub(crate) const PREDECESSOR: Duration = Duration::from_secs(30);

/// Loads the app table and the other state from the store, and checks that the apps of the file can
/// be applied to it. Changes nothing: this start may still fail, and another process may use the
/// store.
pub(crate) fn load_state(
    config: &Config,
    location: &StoreLocation,
    is_successor: bool,
) -> Result<(Snapshot, State)> {
    let mut state = location
        .read_only()
        .map_err(|e| config.file.fault_of("store", "store", e))?
        .unwrap_or_default();
    if !is_successor {
        // The process that had these streams has ended, perhaps by SIGKILL. If another process
        // still drains, its streams are counted again when data flows in them.
        state
            .sessions
            .iter_mut()
            .for_each(|session| session.draining_streams = 0);
    }
    let snapshot =
        snapshot_of(&state, config).map_err(|e| config.file.fault_of("apps", "apps", e))?;
    Ok((snapshot, state))
}

/// Returns the stored app table, without the apps of the file, if those can be applied to it.
fn snapshot_of(state: &State, config: &Config) -> Result<Snapshot, EditError> {
    let stored = Snapshot::new(AppTable::restore(state.apps.clone()), config.domain.clone())?;
    Draft::new(&stored).apply(&Edit::File(config.apps.clone()))?;
    Ok(stored)
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

/// Creates the tasks that keep the state once the store is open, and the handle for changes of the
/// app table. `predecessor` is how long the old process may run on, if this process is a successor.
pub(crate) fn state_tasks(
    services: &Services,
    store: &Arc<dyn Store>,
    cursor: Cursor,
    (file_apps, max_sessions): (Vec<App>, u64),
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
    let journal = Journal::new(sessions.table(), apps, store, &hop.drain, max_sessions);
    let journal = match predecessor {
        Some(longest) => journal.with_predecessor(PREDECESSOR + longest),
        None => journal,
    };
    let tasks = StateTasks {
        editor: task,
        queue,
        file_apps,
        journal,
    };
    (tasks, editor)
}

/// Applies the apps of the file before the daemon forks, so that an error is printed at startup. A
/// store in memory would not survive the fork; the state service applies the apps later.
pub(crate) async fn apply_file(
    config: &Config,
    location: &StoreLocation,
    editor: &mut EditorTask,
) -> Result<()> {
    if matches!(location, StoreLocation::Memory) {
        return Ok(());
    }
    let store = location
        .open()
        .map_err(|e| config.file.fault_of("store", "store", e))?;
    let applied = editor.apply_file_in(store, &config.apps).await;
    Ok(applied.map_err(|e| {
        let key = if matches!(e, EditError::Store(_)) {
            "store"
        } else {
            "apps"
        };
        config.file.fault_of(key, key, e)
    })?)
}
