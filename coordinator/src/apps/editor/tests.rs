//! Tests of what callers are told, and of what two processes with one store make of each other's
//! changes.

use app_proxy_api::table::AppTable;
use serde_json::{Value, json};

use super::super::edit::Condition;
use super::*;
use crate::clock::Moment;
use app_proxy_store::{SqliteStore, conformance::broken_store};

struct Nobody;

#[async_trait]
impl TableObserver for Nobody {
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

/// What a store has, as requests see it.
async fn apps_of(store: &SqliteStore) -> Arc<Apps> {
    let table = AppTable::restore(store.load().await.unwrap().apps);
    Arc::new(Apps::new(Snapshot::new(table, None).unwrap()))
}

/// An editor of `apps`, which are what `store` has.
async fn editor(apps: &Arc<Apps>, store: Arc<dyn Store>) -> EditorTask {
    let cursor = store
        .load()
        .await
        .map(|contents| contents.cursor)
        .unwrap_or_default();
    let mut editor = EditorTask::new(apps, &store, Nobody, cursor, || Overlap::None);
    editor.begin(Vec::new()).await;
    editor
}

impl EditorTask {
    /// Carries changes out that have come together.
    async fn together(&mut self, edits: Vec<Edit>) -> Vec<Result<EditOutcome, EditError>> {
        let job = |edit| Job {
            edit,
            request: None,
            done: oneshot::channel().0,
        };
        self.commit(&edits.into_iter().map(job).collect::<Vec<_>>())
            .await
    }
}

/// Keeps out: of two calls that wanted the same and came together the second was told that it was
/// there already, though the store had taken neither.
#[tokio::test]
async fn what_the_store_does_not_take_nobody_has() {
    let store = SqliteStore::in_memory().unwrap();
    let apps = apps_of(&store).await;
    let stored = editor(&apps, Arc::new(store))
        .await
        .together(vec![put(app("there", at(1)))])
        .await;
    assert!(
        matches!(stored[..], [Ok(EditOutcome::Created(_))]),
        "{stored:?}"
    );

    let mut broken = editor(&apps, broken_store()).await;
    let match_of_new = app("other", json!({"match": [{"path": "/apps/new"}]}));
    let answers = broken
        .together(vec![
            put(app("new", at(1))),
            put(app("new", at(1))),
            delete("new"),
            put(match_of_new),
            put(app("there", at(1))),
            delete("nobody"),
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

/// Keeps out: a process that had followed an app which came and went at the other one could write
/// nothing any more.
#[tokio::test]
async fn an_app_that_comes_and_goes_elsewhere_keeps_nobody_from_writing() {
    let store = SqliteStore::in_memory().unwrap();
    let ours = apps_of(&store).await;
    let mut we = editor(&ours, Arc::new(store.another().unwrap())).await;
    we.together(vec![put(app("stays", at(1)))]).await;
    let theirs = apps_of(&store).await;
    let mut they = editor(&theirs, Arc::new(store.another().unwrap())).await;
    let answers = we
        .together(vec![put(app("short", at(1))), delete("short")])
        .await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    they.follow().await.unwrap();
    let answers = they
        .together(vec![put(app("theirs", at(1))), delete("short")])
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
async fn an_app_is_quiet_anew_when_its_endpoints_change_and_not_when_that_is_refused() {
    let store = SqliteStore::in_memory().unwrap();
    let apps = apps_of(&store).await;
    editor(&apps, Arc::new(store.another().unwrap()))
        .await
        .together(vec![put(app("a", at(1)))])
        .await;
    let usage = Arc::clone(&apps.load().get("a").unwrap().usage);
    let told = || {
        let now = Moment::now();
        usage.mark_notified(usage.status(now));
        usage.status(now).notified
    };
    assert!(told());
    let mut broken = editor(&apps, broken_store()).await;
    assert!(broken.together(vec![put(app("a", at(2)))]).await[0].is_err());
    assert!(usage.status(Moment::now()).notified, "nothing has changed");
    let mut works = editor(&apps, Arc::new(store.another().unwrap())).await;
    assert!(
        works
            .together(vec![put(app(
                "a",
                json!({"idle": null, "endpoints": at(1)["endpoints"]})
            ))])
            .await[0]
            .is_ok()
    );
    assert!(usage.status(Moment::now()).notified);
    assert!(works.together(vec![put(app("a", at(2)))]).await[0].is_ok());
    assert!(!usage.status(Moment::now()).notified);
}

/// Keeps out: in a table that is the file's alone an app keeps its revision when the file changes,
/// and was taken for one that was asked.
#[tokio::test]
async fn a_scheduler_that_the_file_names_anew_is_asked() {
    let store = SqliteStore::in_memory().unwrap();
    let apps = apps_of(&store).await;
    let mut editor = editor(&apps, Arc::new(store)).await;
    let asks = |apps: &Apps| {
        let app = Arc::clone(apps.load().get("a").unwrap());
        app.usage.claim_activation(app.stored.revision)
    };
    for notify in ["http://127.0.0.1:1/wrong", "http://127.0.0.1:1/right"] {
        let file = vec![app("a", json!({"wake": {"notify": notify}}))];
        editor.together(vec![Edit::File(file.clone())]).await;
        assert_eq!((asks(&apps), asks(&apps)), (true, false), "{notify}");
        editor.together(vec![Edit::File(file)]).await;
        assert!(!asks(&apps), "nothing has changed");
    }
}

/// Keeps out: a process that had not been able to take its file over did so after its successor had
/// taken over another one.
#[tokio::test]
async fn the_file_is_taken_when_the_store_takes_it_but_not_after_a_hand_over() {
    let store = SqliteStore::in_memory().unwrap();
    let apps = apps_of(&store).await;
    let mut editor = editor(&apps, broken_store()).await;
    let file = vec![app("filed", at(1))];
    editor.begin(file.clone()).await;
    assert!(editor.waiting.is_some() && apps.load().get("filed").is_none());
    editor.store = Arc::new(store);
    editor.take_waiting_file().await;
    assert!(editor.waiting.is_some(), "it is not due");
    let is_due = |editor: &mut EditorTask| editor.waiting = Some((file.clone(), Instant::now()));
    for over in [Overlap::Predecessor, Overlap::Leaving] {
        is_due(&mut editor);
        editor.overlap = Box::new(move || over);
        editor.take_waiting_file().await;
        assert!(editor.waiting.is_none() && apps.load().get("filed").is_none());
    }
    is_due(&mut editor);
    editor.overlap = Box::new(|| Overlap::None);
    editor.take_waiting_file().await;
    assert!(editor.waiting.is_none() && apps.load().get("filed").is_some());
}
