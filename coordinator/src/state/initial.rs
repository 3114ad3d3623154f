//! The coordinator's state at the start: what the store has, with the file taken over; and what
//! keeps it from then on.

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
use crate::request::proxy::Coordinator;
use crate::state::journal::Journal;
use crate::state::reconciliation::Reconciler;
use crate::state::service::{StoreLocation, Work};
use app_proxy_store::{Cursor, State, Store};

/// The app table as the store has it, and all else that is there. It only looks: this start may
/// still come to nothing, and another process may be at work with the store.
pub(crate) fn first_state(
    config: &Config,
    place: &StoreLocation,
    is_successor: bool,
) -> Result<(Snapshot, State)> {
    let mut contents = place
        .read_only()
        .map_err(|e| config.file.fault_of("store", "store", e))?
        .unwrap_or_default();
    if !is_successor {
        // Nobody hands over to this process: whoever had these streams has ended, and may have been
        // killed. One that still drains, of a coordinator that was killed since, tells of them when
        // data flows in them.
        contents
            .sessions
            .iter_mut()
            .for_each(|session| session.draining_streams = 0);
    }
    let snapshot =
        snapshot_of(&contents, config).map_err(|e| config.file.fault_of("apps", "apps", e))?;
    Ok((snapshot, contents))
}

/// What a store has of the app table, provided that the apps of the file can be taken over on top
/// of it: they are not yet.
fn snapshot_of(contents: &State, config: &Config) -> Result<Snapshot, EditError> {
    let kept = Snapshot::new(
        AppTable::restore(contents.apps.clone()),
        config.domain.clone(),
    )?;
    Draft::of(&kept).apply(&Edit::File(config.apps.clone()))?;
    Ok(kept)
}

/// Adopts the apps of the file before the daemon forks, so that the caller reads the error if that
/// fails. A store in memory would not survive the fork; the state service adopts the apps later.
pub(crate) async fn take_file(
    config: &Config,
    place: &StoreLocation,
    editor: &mut EditorTask,
) -> Result<()> {
    if matches!(place, StoreLocation::Memory) {
        return Ok(());
    }
    let store = place
        .open()
        .map_err(|e| config.file.fault_of("store", "store", e))?;
    let taken = editor.take_file_in(store, &config.apps).await;
    Ok(taken.map_err(|e| {
        let key = if matches!(e, EditError::Store(_)) {
            "store"
        } else {
            "apps"
        };
        config.file.fault_of(key, key, e)
    })?)
}

/// Gives the coordinator what its store has.
pub(crate) async fn restore(coordinator: &Coordinator, contents: &mut State) {
    let Coordinator { apps, pool, .. } = coordinator;
    // Workers first: sessions are pinned to them.
    pool.restore(std::mem::take(&mut contents.workers)).await;
    let pools: Vec<_> = apps.load().pools().cloned().collect();
    if let Err(e) = pool.want_selectors(pools).await {
        log::warn!("the pools that apps ask for have no rings: {e}");
    }
    effects_of(coordinator).take_in(
        &contents.deleted_sessions,
        &contents.sessions,
        &contents.activity,
    );
}

/// What changes do to a coordinator.
fn effects_of(coordinator: &Coordinator) -> Reconciler {
    let Coordinator {
        apps,
        sessions,
        pool,
        ..
    } = coordinator;
    Reconciler {
        apps: Arc::clone(apps),
        sessions: Arc::clone(sessions),
        pool: Arc::clone(pool),
    }
}

/// Closes what is open at a worker whose drain is over.
fn close_streams_at(apps: &Apps, worker: &str) -> usize {
    let at = |stream: &StreamHandle| stream.worker() == Some(worker);
    apps.load()
        .apps()
        .map(|app| app.streams.close_where(CloseReason::WorkerDraining, at))
        .sum()
}

/// How long after its start a successor takes its predecessor for alive: that takes connections for
/// some 5 s after the hand-over, which is some seconds after the start.
pub(crate) const PREDECESSOR: Duration = Duration::from_secs(30);

/// What keeps the state once the store is open, and the handle by which it is changed.
pub(crate) fn work(
    coordinator: &Coordinator,
    store: &Arc<dyn Store>,
    cursor: Cursor,
    (file, most_sessions): (Vec<App>, u64),
    predecessor: Option<Duration>,
) -> (Work, Editor) {
    let (editor, queue) = Editor::new();
    let Coordinator {
        hop,
        apps,
        sessions,
        pool,
        ..
    } = coordinator;
    pool.keep_in(Arc::clone(store));
    let streams = Arc::clone(apps);
    pool.on_deadline(Arc::new(move |worker| close_streams_at(&streams, worker)));
    let (drain, started) = (hop.drain.clone(), Instant::now());
    let overlap = move || match drain.phase() {
        DrainStage::Serving if predecessor.is_some() && started.elapsed() < PREDECESSOR => {
            Overlap::Successor
        }
        DrainStage::Serving => Overlap::None,
        DrainStage::HandingOver => Overlap::Predecessor,
        _ => Overlap::Leaving,
    };
    let task = EditorTask::new(apps, store, effects_of(coordinator), cursor, overlap);
    let journal = Journal::new(sessions.table(), apps, store, &hop.drain, most_sessions);
    let journal = match predecessor {
        Some(longest) => journal.after(PREDECESSOR + longest),
        None => journal,
    };
    (
        Work {
            editor: task,
            queue,
            file,
            journal,
        },
        editor,
    )
}
