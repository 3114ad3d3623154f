//! Tests of answers to callers and of two processes with one store.

use app_proxy_api::table::AppTable;
use serde_json::{Value, json};

use super::super::edit::Condition;
use super::*;
use crate::clock::Moment;
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

/// Creates an editor of `apps`, which have the state of `store`.
async fn editor(apps: &Arc<Apps>, store: Arc<dyn Store>) -> EditorTask {
    let cursor = store
        .load()
        .await
        .map(|contents| contents.cursor)
        .unwrap_or_default();
    let mut editor = EditorTask::new(apps, &store, NoObserver, cursor, || Overlap::None);
    editor.start(Vec::new()).await;
    editor
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
async fn a_pending_file_is_applied_later_but_not_after_an_upgrade() {
    let store = SqliteStore::in_memory().unwrap();
    let apps = apps_of(&store).await;
    let mut editor = editor(&apps, broken_store()).await;
    let file = vec![app("filed", at(1))];
    editor.start(file.clone()).await;
    assert!(editor.pending_file.is_some() && apps.load().get("filed").is_none());
    editor.store = Arc::new(store);
    editor.retry_pending_file().await;
    assert!(editor.pending_file.is_some(), "the retry is not due");
    let is_due =
        |editor: &mut EditorTask| editor.pending_file = Some((file.clone(), Instant::now()));
    for over in [Overlap::Predecessor, Overlap::Leaving] {
        is_due(&mut editor);
        editor.overlap = Box::new(move || over);
        editor.retry_pending_file().await;
        assert!(editor.pending_file.is_none() && apps.load().get("filed").is_none());
    }
    is_due(&mut editor);
    editor.overlap = Box::new(|| Overlap::None);
    editor.retry_pending_file().await;
    assert!(editor.pending_file.is_none() && apps.load().get("filed").is_some());
}
