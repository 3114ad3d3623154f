//! Tests of answers to callers, and of two members with one store.

use app_proxy_api::table::AppTable;
use serde_json::{Value, json};

use super::super::edit::Condition;
use super::*;
use crate::clock::Moment;
use crate::state::members::tests::{serving, stores};
use app_proxy_store::{SqliteStore, conformance::broken_store};

struct NoObserver;

#[async_trait]
impl TableObserver for NoObserver {
    async fn table_changed(&self, _: &Snapshot, _: &[Arc<RoutedApp>]) {}
    async fn changed_elsewhere(&self, _: Delta) {}
}

fn app(name: &str, more: Value) -> App {
    let mut app = json!({"name": name});
    app.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    serde_json::from_value(app).unwrap()
}

fn at(port: u16) -> Value {
    json!({"endpoints": [{"address": format!("127.0.0.1:{port}")}]})
}

fn put(app: App) -> Edit {
    Edit::Put(Box::new(app), Condition::None)
}

fn delete(name: &str) -> Edit {
    Edit::Delete(name.to_owned(), Condition::None)
}

/// Loads the apps of a store.
async fn apps_of(store: &SqliteStore) -> Arc<Apps> {
    let table = AppTable::restore(store.load().await.unwrap().apps);
    Arc::new(Apps::new(Snapshot::new(table, None).unwrap()))
}

/// Creates an editor of `apps`, which have the state of `store`. It is the only member.
async fn editor(apps: &Arc<Apps>, store: Arc<dyn Store>) -> EditorTask {
    let [another] = stores();
    editor_of(apps, store, &serving(&another).await, "file").await
}

/// Creates an editor of one of the members of `store`.
async fn editor_of(
    apps: &Arc<Apps>,
    store: Arc<dyn Store>,
    members: &Arc<Members>,
    file: &str,
) -> EditorTask {
    let cursor = store
        .load()
        .await
        .map(|contents| contents.cursor)
        .unwrap_or_default();
    let file = (file.to_owned(), ReplacedFiles::NONE);
    let mut editor = EditorTask::new(apps, &store, NoObserver, cursor, members, file);
    editor.start(Vec::new()).await;
    editor
}

/// A member with its editor, which runs.
struct Running {
    apps: Arc<Apps>,
    editor: Editor,
    members: Arc<Members>,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    /// Starts a member of `store`, whose file has the key `file`.
    async fn start(store: &Arc<dyn Store>, file: &str) -> Self {
        let state = store.load().await.unwrap();
        let table = AppTable::restore(state.apps);
        let apps = Arc::new(Apps::new(Snapshot::new(table, None).unwrap()));
        let members = serving(store).await;
        let task = editor_of(&apps, Arc::clone(store), &members, file).await;
        let (editor, queue) = Editor::new();
        Self {
            apps,
            editor,
            members,
            task: tokio::spawn(task.run(queue)),
        }
    }

    async fn put(&self, name: &str) -> bool {
        let edit = put(app(name, at(1)));
        self.editor.edit(edit, None).await.unwrap().served_by_all
    }

    async fn apply_file(&self, apps: Vec<App>) -> (Vec<String>, bool) {
        let applied = self.editor.edit(Edit::File(apps), None).await.unwrap();
        let EditOutcome::FileApplied { contested, .. } = applied.outcome else {
            panic!("{applied:?}")
        };
        (contested, applied.served_by_all)
    }

    fn names(&self) -> Vec<String> {
        let apps = self.apps.load();
        apps.table.iter().map(|app| app.app.name.clone()).collect()
    }
}

#[tokio::test]
async fn a_change_is_acknowledged_when_both_members_serve_it() {
    let [ours, theirs] = stores();
    let (us, they) = (
        Running::start(&ours, "ours").await,
        Running::start(&theirs, "theirs").await,
    );
    for number in 0..20 {
        let (one, other) = (format!("our-{number}"), format!("their-{number}"));
        let (by_us, by_them) = tokio::join!(us.put(&one), they.put(&other));
        assert!(by_us && by_them);
        for name in [one, other] {
            assert!(us.apps.load().get(&name).is_some() && they.apps.load().get(&name).is_some());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_waits_a_second_for_a_member_that_hangs_and_not_for_a_dead_one() {
    let [ours, theirs] = stores();
    let us = Running::start(&ours, "ours").await;
    let they = Running::start(&theirs, "theirs").await;
    they.task.abort();
    let waited = async |name: &str| {
        let begin = Instant::now();
        let served_by_all = us.put(name).await;
        (served_by_all, begin.elapsed())
    };
    let (served_by_all, time) = waited("first").await;
    assert!(!served_by_all);
    assert!((1.0..1.1).contains(&time.as_secs_f64()), "{time:?}");
    // Changes that come meanwhile do not wait for each other.
    let begin = Instant::now();
    let both = tokio::join!(us.put("second"), us.put("third"));
    assert_eq!(both, (false, false));
    assert!(begin.elapsed() < Duration::from_millis(1100));
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (served_by_all, time) = waited("fourth").await;
    assert!(
        served_by_all && time < Duration::from_millis(50),
        "{time:?}"
    );
    assert!(us.members.is_alone());
}

#[tokio::test]
async fn an_app_of_a_file_goes_with_the_last_file_that_names_it() {
    let [ours, theirs] = stores();
    let (us, they) = (
        Running::start(&ours, "ours").await,
        Running::start(&theirs, "theirs").await,
    );
    let [one, both, other] = ["one", "both", "other"].map(|name| app(name, at(1)));
    let applied = us.apply_file(vec![one.clone(), both.clone()]).await;
    assert_eq!(applied, (Vec::new(), true));
    let applied = they.apply_file(vec![both.clone(), other.clone()]).await;
    assert_eq!(applied, (Vec::new(), true));
    for member in [&us, &they] {
        assert_eq!(member.names(), ["both", "one", "other"]);
        let refused = member.editor.edit(delete("one"), None).await;
        assert!(
            matches!(refused, Err(EditError::OwnedByFile(_))),
            "{refused:?}"
        );
    }
    us.apply_file(vec![one.clone()]).await;
    assert_eq!(us.names(), ["both", "one", "other"]);
    they.apply_file(vec![other.clone()]).await;
    assert_eq!(
        (us.names(), they.names()),
        (us.names(), vec!["one".to_owned(), "other".to_owned()])
    );
    // The last definition wins.
    let moved = app("one", at(2));
    assert_eq!(they.apply_file(vec![other, moved.clone()]).await.0, ["one"]);
    for member in [&us, &they] {
        let apps = member.apps.load();
        assert_eq!(apps.get("one").unwrap().stored.app, moved);
    }
}

impl EditorTask {
    /// Commits changes as one batch.
    async fn batch(&mut self, edits: Vec<Edit>) -> Vec<Result<EditOutcome, EditError>> {
        let pending = |edit| PendingEdit {
            edit,
            request: None,
            done: oneshot::channel().0,
        };
        self.commit(&edits.into_iter().map(pending).collect::<Vec<_>>())
            .await
    }
}

/// Regression: of two equal calls in one batch, the second one succeeded although the store had
/// rejected both.
#[tokio::test]
async fn a_change_that_is_not_stored_fails_for_all_callers() {
    let store = SqliteStore::in_memory().unwrap();
    let apps = apps_of(&store).await;
    let stored = editor(&apps, Arc::new(store))
        .await
        .batch(vec![put(app("there", at(1)))])
        .await;
    assert!(
        matches!(stored[..], [Ok(EditOutcome::Created(_))]),
        "{stored:?}"
    );

    let mut broken = editor(&apps, broken_store()).await;
    let match_of_new = app("other", json!({"match": [{"path": "/apps/new"}]}));
    let answers = broken
        .batch(vec![
            put(app("new", at(1))),
            put(app("new", at(1))),
            delete("new"),
            put(match_of_new),
            put(app("there", at(1))),
            delete("unknown"),
        ])
        .await;
    let refused = |answer: &Result<_, _>| matches!(answer, Err(EditError::Store(_)));
    assert!(
        refused(&answers[0]) && refused(&answers[1]) && refused(&answers[3]),
        "{answers:?}"
    );
    assert!(
        matches!(answers[2], Err(EditError::NotFound(_))),
        "{answers:?}"
    );
    assert!(
        matches!(answers[4], Ok(EditOutcome::Unchanged(_))),
        "{answers:?}"
    );
    assert!(
        matches!(answers[5], Err(EditError::NotFound(_))),
        "{answers:?}"
    );
    assert!(apps.load().get("new").is_none());
}

/// Regression: after an app was created and deleted by another process, all writes failed.
#[tokio::test]
async fn writes_succeed_after_an_app_came_and_went_in_another_process() {
    let store = SqliteStore::in_memory().unwrap();
    let ours = apps_of(&store).await;
    let mut we = editor(&ours, Arc::new(store.another().unwrap())).await;
    we.batch(vec![put(app("stays", at(1)))]).await;
    let theirs = apps_of(&store).await;
    let mut they = editor(&theirs, Arc::new(store.another().unwrap())).await;
    let answers = we
        .batch(vec![put(app("short", at(1))), delete("short")])
        .await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    they.follow().await.unwrap();
    let answers = they
        .batch(vec![put(app("theirs", at(1))), delete("short")])
        .await;
    assert!(
        matches!(
            answers[..],
            [Ok(EditOutcome::Created(_)), Ok(EditOutcome::Deleted)]
        ),
        "{answers:?}"
    );
    we.follow().await.unwrap();
    assert_eq!(
        ours.load().table.changes(0, None),
        theirs.load().table.changes(0, None)
    );
}

#[tokio::test]
async fn the_idle_period_restarts_when_endpoints_change_but_not_on_a_failed_change() {
    let store = SqliteStore::in_memory().unwrap();
    let apps = apps_of(&store).await;
    editor(&apps, Arc::new(store.another().unwrap()))
        .await
        .batch(vec![put(app("a", at(1)))])
        .await;
    let usage = Arc::clone(&apps.load().get("a").unwrap().usage);
    let mark_notified = || {
        let now = Moment::now();
        usage.mark_notified(usage.status(now));
        usage.status(now).notified
    };
    assert!(mark_notified());
    let mut broken = editor(&apps, broken_store()).await;
    assert!(broken.batch(vec![put(app("a", at(2)))]).await[0].is_err());
    assert!(usage.status(Moment::now()).notified, "nothing has changed");
    let mut works = editor(&apps, Arc::new(store.another().unwrap())).await;
    assert!(
        works
            .batch(vec![put(app(
                "a",
                json!({"idle": null, "endpoints": at(1)["endpoints"]})
            ))])
            .await[0]
            .is_ok()
    );
    assert!(usage.status(Moment::now()).notified);
    assert!(works.batch(vec![put(app("a", at(2)))]).await[0].is_ok());
    assert!(!usage.status(Moment::now()).notified);
}

/// Regression: in a table of the file alone, the revision of an app stays the same when the file
/// changes, so the new scheduler was not asked.
#[tokio::test]
async fn a_scheduler_that_the_file_changes_is_asked_again() {
    let store = SqliteStore::in_memory().unwrap();
    let apps = apps_of(&store).await;
    let mut editor = editor(&apps, Arc::new(store)).await;
    let claims = |apps: &Apps| {
        let app = Arc::clone(apps.load().get("a").unwrap());
        app.usage.claim_activation(app.stored.revision)
    };
    for notify in ["http://127.0.0.1:1/wrong", "http://127.0.0.1:1/right"] {
        let file = vec![app("a", json!({"wake": {"notify": notify}}))];
        editor.batch(vec![Edit::File(file.clone())]).await;
        assert_eq!((claims(&apps), claims(&apps)), (true, false), "{notify}");
        editor.batch(vec![Edit::File(file)]).await;
        assert!(!claims(&apps), "nothing has changed");
    }
}

/// Regression: a process that could not store its file applied it after its successor had applied
/// another one.
#[tokio::test]
async fn a_pending_file_is_applied_later_but_not_by_a_member_that_leaves() {
    for leaves in [false, true] {
        let [another] = stores();
        let drain = app_proxy_hop::drain::Drain::default();
        let members = Arc::new(Members::new(&another, Vec::new(), &drain));
        let store = SqliteStore::in_memory().unwrap();
        let apps = apps_of(&store).await;
        let mut editor = editor_of(&apps, broken_store(), &members, "file").await;
        let file = vec![app("filed", at(1))];
        editor.start(file.clone()).await;
        assert!(editor.pending_file.is_some() && apps.load().get("filed").is_none());
        editor.store = Arc::new(store);
        editor.retry_pending_file().await;
        assert!(editor.pending_file.is_some(), "the retry is not due");
        if leaves {
            drain.advance(app_proxy_hop::drain::DrainStage::Upgrading);
        }
        editor.pending_file = Some((file, Instant::now()));
        editor.retry_pending_file().await;
        assert!(editor.pending_file.is_none());
        assert_eq!(apps.load().get("filed").is_none(), leaves);
    }
}
