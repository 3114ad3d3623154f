//! The steps from the store and the configuration file to a coordinator that keeps its state: join
//! the members, load, restore, create the tasks, apply the file.

use std::sync::Arc;
use std::time::Duration;

use app_proxy_api::address::Address;
use app_proxy_api::table::AppTable;
use app_proxy_hop::identity::RequestId;
use app_proxy_hop::streams::{CloseReason, StreamHandle};
use app_proxy_runtime::config::ConfigError;
use log::warn;
use tokio::time::{Instant, sleep};

use crate::apps::edit::{Draft, Edit, EditError, FileScope, ReplacedFiles};
use crate::apps::editor::{Editor, EditorTask};
use crate::apps::{Apps, Snapshot};
use crate::config::Config;
use crate::request::services::Services;
use crate::state::journal::Journal;
use crate::state::location::StoreLocation;
use crate::state::members::{DEAD_AFTER, Members};
use crate::state::reconciliation::Reconciler;
use crate::state::service::StateTasks;
use app_proxy_store::{Cursor, Member, MemberStage, NewMember, Role, State, Store, StoreError};

/// The pause between two tries to join beside a process that drains.
const JOIN_RETRY: Duration = Duration::from_millis(50);

/// The store of a process that has joined its members.
pub(crate) struct JoinedStore {
    /// The store.
    pub(crate) store: Arc<dyn Store>,
    /// The state before this process joined.
    pub(crate) state: State,
    /// The other members.
    pub(crate) others: Vec<Member>,
    /// The file of this process and those of others.
    pub(crate) scope: FileScope,
}

/// Opens the store, reads the state, and joins the members.
pub(crate) async fn join(config: &Config, is_successor: bool) -> Result<JoinedStore, ConfigError> {
    let section = &config.store;
    let fault = |e: StoreError| config.file.fault_of("store", "store", refusal(&e));
    let store = StoreLocation::of(section).open().map_err(fault)?;
    // All of it is read before the first write, which would change a damaged file.
    let state = store.load().await.map_err(fault)?;
    store.members().await.map_err(fault)?;
    let claims = store.file_claims().await.map_err(fault)?;
    let role = match (is_successor, section.shared) {
        (true, _) => Role::Successor,
        (false, true) => Role::Shared,
        (false, false) => Role::Alone,
    };
    let member = NewMember {
        instance: RequestId::generate().as_str().to_owned(),
        pid: std::process::id(),
        address: Some(config.admin.to_string()),
        file: Some(config.file.key()),
        shared: section.shared,
        ..NewMember::default()
    };
    let address = member.address.clone();
    let others = join_members(&store, member, role).await.map_err(fault)?;
    let strange = |other: &&Member| is_successor && !section.shared && !precedes(other, config);
    if let Some(stranger) = others.iter().find(strange) {
        store.leave().await.map_err(fault)?;
        return Err(no_successor(stranger, config));
    }
    let replaced = if section.shared {
        // The other coordinators of a shared store may start later. A successor may have another
        // file than its predecessor, which had the same address.
        let before = others
            .iter()
            .filter(|other| is_successor && other.address == address);
        ReplacedFiles::These(before.filter_map(|other| other.file.clone()).collect())
    } else {
        ReplacedFiles::All
    };
    Ok(JoinedStore {
        store,
        state,
        others,
        scope: FileScope {
            file: config.file.key(),
            replaced,
            claims,
        },
    })
}

/// Joins the members. Beside a process that drains after an upgrade the lock of the store does not
/// tell whether its successor is alive: a successor without a heartbeat is dead after some seconds,
/// like any member, and does not prevent its own restart.
pub(super) async fn join_members(
    store: &Arc<dyn Store>,
    member: NewMember,
    role: Role,
) -> Result<Vec<Member>, StoreError> {
    let begin = Instant::now();
    let first = store.members().await?;
    let is_draining = first.iter().any(is_leaving);
    loop {
        let refused = match store.join(member.clone(), role).await {
            Err(e @ StoreError::InUse { .. }) => e,
            joined => return joined,
        };
        let others = store.members().await?;
        let silent = |other: &&Member| {
            let before = first.iter().find(|before| before.id == other.id);
            before.is_some_and(|before| before.beat == other.beat)
        };
        let mut preventing = others.iter().filter(|other| !is_leaving(other));
        if !is_draining || !preventing.clone().all(|other| silent(&other)) {
            return Err(refused);
        }
        if begin.elapsed() >= DEAD_AFTER {
            let Some(dead) = preventing.next() else {
                return Err(refused);
            };
            warn!(
                "member of process {}: no heartbeat for {DEAD_AFTER:?}",
                dead.pid
            );
            store.remove_member(dead.id).await?;
        } else {
            sleep(JOIN_RETRY).await;
        }
    }
}

fn is_leaving(member: &Member) -> bool {
    member.stage == MemberStage::Leaving
}

/// Returns whether a member may be the predecessor of a process: a successor has the same admin
/// address. A port that the system chooses tells nothing, nor does a member without an address.
fn precedes(member: &Member, config: &Config) -> bool {
    let (own, address) = (&config.admin, member.address.as_deref());
    let Some(Ok(address)) = address.map(str::parse::<Address>) else {
        return true;
    };
    if address == *own || address.port() == Some(0) || own.port() == Some(0) {
        return true;
    }
    match (address.resolve_inet(), own.resolve_inet()) {
        (Ok(address), Ok(own)) => address == own,
        _ => false,
    }
}

/// Returns the error of a successor whose store another coordinator uses.
fn no_successor(stranger: &Member, config: &Config) -> ConfigError {
    let in_use = StoreError::InUse {
        pid: stranger.pid,
        address: stranger.address.clone(),
    };
    let own = &config.admin;
    let problem = format!("{in_use}; a process with the admin address {own} cannot succeed it");
    config.file.fault_of("store", "store", problem)
}

/// Returns the text of an error, with the ways out of a refusal.
fn refusal(error: &StoreError) -> String {
    match error {
        StoreError::InUse { .. } => format!(
            "{error}; start with -u to succeed it, or set `shared: true` in the files of both"
        ),
        _ => error.to_string(),
    }
}

/// Checks that the store can be read, and that the apps of the file can be applied to it by a
/// process that succeeds no other file. Writes nothing.
pub(crate) fn check_state(config: &Config) -> Result<(), ConfigError> {
    let state = StoreLocation::of(&config.store)
        .read_only()
        .map_err(|e| config.file.fault_of("store", "store", e))?;
    let (state, claims) = state.unwrap_or_default();
    let replaced = if config.store.shared {
        ReplacedFiles::NONE
    } else {
        ReplacedFiles::All
    };
    let scope = FileScope {
        file: config.file.key(),
        replaced,
        claims,
    };
    snapshot_of(&state, config, &scope).map(drop)
}

/// Returns the stored app table, without the apps of the file, if those can be applied to it. This
/// start may still fail.
pub(crate) fn snapshot_of(
    state: &State,
    config: &Config,
    scope: &FileScope,
) -> Result<Snapshot, ConfigError> {
    let read = || -> Result<Snapshot, EditError> {
        let stored = Snapshot::new(AppTable::restore(state.apps.clone()), config.domain.clone())?;
        let mut draft = Draft::new(&stored).in_scope(scope.clone());
        draft.apply(&Edit::File(config.apps.clone()))?;
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

/// Creates the tasks that keep the state, and the handle for changes of the app table. `replaced`
/// are the files of others that this one's file replaces.
pub(crate) fn state_tasks(
    config: &Config,
    services: &Services,
    store: &Arc<dyn Store>,
    cursor: Cursor,
    (members, replaced): (&Arc<Members>, ReplacedFiles),
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
    let file = (config.file.key(), replaced);
    let task = EditorTask::new(apps, store, reconciler(services), cursor, members, file);
    let duties = (members, &hop.drain);
    let journal = Journal::new(sessions.table(), apps, store, duties, config.sessions.max);
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    use crate::state::members::tests::stores;
    use app_proxy_store::ServedTable;

    /// Regression: after an upgrade, a coordinator that was killed while its predecessor drained
    /// could not be started again until the drain was over.
    #[tokio::test(start_paused = true)]
    async fn a_start_beside_a_process_that_drains_waits_for_a_dead_successor_only() {
        let [old, killed, next, another] = stores();
        let new_member = NewMember::default;
        let served = ServedTable::default();
        old.join(new_member(), Role::Alone).await.unwrap();
        killed.join(new_member(), Role::Successor).await.unwrap();
        killed.beat(MemberStage::Serving, &served).await.unwrap();
        old.beat(MemberStage::Leaving, &served).await.unwrap();
        drop(killed);
        let begin = Instant::now();
        let others = join_members(&next, new_member(), Role::Alone)
            .await
            .unwrap();
        assert!((5..6).contains(&begin.elapsed().as_secs()));
        assert!(others.len() == 1 && is_leaving(&others[0]));
        // A live one prevents it at its next heartbeat.
        next.beat(MemberStage::Serving, &served).await.unwrap();
        let lives = async {
            sleep(Duration::from_secs(1)).await;
            next.beat(MemberStage::Serving, &served).await.unwrap();
            std::future::pending::<()>().await;
        };
        let begin = Instant::now();
        let refused = tokio::select! {
            refused = join_members(&another, new_member(), Role::Alone) => refused,
            () = lives => Ok(Vec::new()),
        };
        assert!(
            matches!(refused, Err(StoreError::InUse { .. })),
            "{refused:?}"
        );
        assert!(begin.elapsed() < Duration::from_secs(2));
    }

    fn config(folder: &Path, admin: &str) -> Config {
        let text = format!(
            "version: 1\n\
             coordinator:\n\
             \x20 listeners: [{{address: '127.0.0.1:0'}}]\n\
             \x20 admin: {{address: '{admin}'}}\n\
             \x20 store: {{kind: sqlite, path: c.db}}\n"
        );
        Config::parse(&text, folder).unwrap()
    }

    #[tokio::test]
    async fn a_successor_of_another_coordinator_is_refused_and_leaves() {
        let folder = tempfile::tempdir().unwrap();
        let own = config(folder.path(), "127.0.0.1:8081");
        let first = join(&own, false).await.unwrap();
        let stranger = join(&config(folder.path(), "127.0.0.1:9081"), true).await;
        let error = stranger.err().unwrap().to_string();
        let pid = format!("process {}", std::process::id());
        let parts = [":5: store: ", &pid, "127.0.0.1:8081", "127.0.0.1:9081"];
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        assert_eq!(first.store.members().await.unwrap(), []);
        assert_eq!(join(&own, true).await.unwrap().others.len(), 1);
    }

    #[test]
    fn an_address_that_tells_nothing_may_be_that_of_the_predecessor() {
        let folder = tempfile::tempdir().unwrap();
        let precedes = |address: Option<&str>, own: &str| {
            let member = Member {
                address: address.map(str::to_owned),
                ..Member::default()
            };
            precedes(&member, &config(folder.path(), own))
        };
        assert!(precedes(None, "127.0.0.1:8081"));
        assert!(precedes(Some("127.0.0.1:0"), "127.0.0.1:8081"));
        assert!(precedes(Some("127.0.0.1:8081"), "127.0.0.1:0"));
        assert!(precedes(Some("127.0.0.1:8081"), "127.0.0.1:8081"));
        assert!(!precedes(Some("127.0.0.1:8081"), "127.0.0.1:8082"));
    }
}
